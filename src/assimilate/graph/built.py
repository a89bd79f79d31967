"""What the builder of an artifact says of the folder that it filled."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Built:
    """The report of a build on the folder that it filled.

    Attributes:
        facts: what it measured (errors, counts, …), recorded in the manifest.
        volatile: names of files that may differ between two builds of the same content (logs); they are checksummed
            but are no part of the content's digest.
        leftovers: names of what an interrupted build would have gone on from. They stay until the manifest is
            written, so that a kill in between costs nothing, and are then deleted.
    """

    facts: Mapping[str, Any]
    volatile: frozenset[str] = frozenset()
    leftovers: frozenset[str] = frozenset()
