"""A part of an encoder that a key of the group `encoder` chooses: a backbone, or a projector."""

from functools import cached_property
from typing import Any, ClassVar

from assimilate.graph.settings import Settings


class Part(Settings):
    """A part that is chosen by a word or a dotted path; its settings stand beside that, or with `_target_` below it."""

    # The key of `encoder` that chooses it.
    role: ClassVar[str]

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What decides it, beside the settings of the other parts: a shipped one is known by its word."""
        known = dict(super().identity)
        if self.word is None:
            return known
        known = {name: value for name, value in known.items() if name not in ("class", "version", "source")}
        version = {} if self.version == 1 else {f"version_of_{self.role}": self.version}
        return {**known, self.role: self.word, **version}
