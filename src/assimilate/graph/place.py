"""Where a step is built: what a job offers to the code that builds and loads artifacts."""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from assimilate.graph.progress import Progress
from assimilate.graph.rows import RowWork


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

    def followed(self, progress: Progress, subject: str) -> Progress:
        """A progress whose values the job's tracker also logs, as curves of `subject`."""

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
