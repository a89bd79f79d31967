"""Work on the images of a data set, a row an image, that processes may share."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assimilate.graph.progress import Progress

# Writes the row of one image, its pictures (where there are some) and what belongs to them:
# write(index, pictures, **fields).
Write = Callable[..., None]


@dataclass(frozen=True)
class Shared:
    """What is made once, in the folder of the whole, before any row: a network that all rows are made with.

    Attributes:
        name: what it is.
        find: takes it from the folder; returns its digest, None where it is not there or damaged.
        make: makes it in the folder, from what an interrupted call left there, if anything.
    """

    name: str
    find: Callable[[Path], str | None]
    make: Callable[[Path], None]


def _nothing(folder: Path) -> dict[str, Any]:
    return {}


@dataclass(frozen=True)
class RowWork:
    """What fills the arrays of an artifact, a row an image; the row of an image depends on the image alone.

    Attributes:
        title: what the progress bar says.
        count: images.
        image_shape: of an image's row in the uint8 array of pictures; None: there are none.
        fields: what is stored beside it: (shape of a row, dtype) by file stem.
        fill: makes the rows of the given images and writes them, in any order.
        summarize: what the arrays of a finished folder say, for the manifest and the report.
        doubt: a warning about what fills the folder; None where there is nothing to say.
        images: file stem of the pictures.
        tile: images that are made together, and so fall to one part.
        flush_every: rows that a kill may cost; None: few.
        shared: what has to be there before the first row; None: nothing.
    """

    title: str
    count: int
    image_shape: tuple[int, ...] | None
    fields: Mapping[str, tuple[tuple[int, ...], str]]
    fill: Callable[[Write, list[int], Progress], None]
    summarize: Callable[[Path], dict[str, Any]] = _nothing
    doubt: Callable[[Path], str | None] = lambda folder: None
    images: str = "images"
    tile: int = 1
    flush_every: int | None = None
    shared: Shared | None = None

    @property
    def num_tiles(self) -> int:
        """In how many parts the work can be cut."""
        return -(-self.count // self.tile)
