"""A part of a component that a word chooses: a backbone, a projector, the network of a perceptual term, …"""

from functools import cached_property
from typing import Any, ClassVar

from assimilate.graph.settings import Settings


class Part(Settings):
    """A part that is chosen by a word or a dotted path; its settings stand beside that, or with `_target_` below it."""

    # The key that chooses it.
    role: ClassVar[str]

    @property
    def called(self) -> str:
        """Its word, or its class's name."""
        return self.word or type(self).__name__

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What decides it, beside the other settings: a shipped one is known by its word."""
        known = dict(super().identity)
        if self.word is None:
            return known
        known = {name: value for name, value in known.items() if name not in ("class", "version", "source")}
        version = {} if self.version == 1 else {f"version_of_{self.role}": self.version}
        return {**known, self.role: self.word, **version}
