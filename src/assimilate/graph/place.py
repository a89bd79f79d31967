"""Where a step is built: what a job offers to the code that builds and loads artifacts, and what that hands back."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

Progress = Callable[[int, int, Mapping[str, float]], None]
"""Called as ``progress(done, total, {"loss": 0.3})``; the mapping holds what is new and worth showing, or nothing."""


def silent(done: int, total: int, values: Mapping[str, float]) -> None:
    """Show nothing: the default of every function that takes a ``Progress``."""


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


class Place(Protocol):
    """A job at work, as the builder of an artifact sees it. The artifacts before the step's own are there.

    A `step` is a `Step`.
    """

    @property
    def device(self) -> str:
        """ "cpu" or "cuda"."""

    @property
    def settings(self) -> Any:
        """How the job is computed: devices, precision, placement and all else that decides no bytes (`JobSettings`)."""

    @property
    def dataset(self) -> Any:
        """The run's prepared images (`ImageDataset`)."""

    @property
    def tracker(self) -> Any:
        """What measurements are logged with (`Tracker`)."""

    def say(self, line: str) -> None:
        """Tell the user one line."""

    def bar(self, title: str) -> AbstractContextManager[Progress]:
        """A progress bar for the block."""

    def subject(self, step: Any) -> str:
        """What the curves of a step's training are called: "train" for the run's own encoder."""

    def folder(self, step: Any) -> Path:
        """The folder of a step's finished artifact."""

    def manifest(self, step: Any) -> dict[str, Any]:
        """The manifest of a step's finished artifact: its facts and its digest."""

    def load(self, step: Any) -> Any:
        """What a step's artifact holds: a network, latents, views, numbers."""

    def fill_rows(self, step: Any, work: RowWork, into: Path) -> None:
        """Fill the rows of a step's artifact, by as many processes as the job has devices; what is there is kept."""

    def fit_on_ranks(self, step: Any) -> None:
        """Call the step's `fit` in as many processes as the job has devices, which learn one network together."""
