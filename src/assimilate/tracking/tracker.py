"""A tracker logs what a job measures while it runs; this one logs nothing, others replace it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assimilate.graph.place import Progress

if TYPE_CHECKING:
    import numpy as np
    from lightning.pytorch import Callback
    from lightning.pytorch.loggers import Logger

# Where rank 0 of a distributed training writes what its parent is to hear.
RANK_METRICS = "ASSIMILATE_RANK_METRICS"
EVERY_N_STEPS = 50


class Tracker:
    """Hears what a job measures. This one lets it go.

    Names are `<subject>/<metric>`, and a curve's horizontal axis is `<subject>/step` or `<subject>/epoch`.
    """

    listens = False

    def log(self, metrics: Mapping[str, float]) -> None:
        """Points of curves, with the values of their axes among them."""

    def histogram(self, name: str, values: "np.ndarray[Any, Any]") -> None:
        """The distribution of `values`."""

    def picture(self, name: str, png: bytes, caption: str) -> None:
        """A picture."""

    def conclude(self, values: Mapping[str, Any]) -> None:
        """What the job comes to: one value a name."""

    def describe(self, values: Mapping[str, Any]) -> None:
        """Settings that were found out while the job ran."""

    def use(self, folder: Path, name: str, kind: str) -> None:
        """An artifact that the job's result is made from."""

    def keep(self, file: Path, name: str, kind: str) -> None:
        """A file of the job's result to be kept with it, where that is asked for."""

    def knows_curves(self) -> bool:
        """Whether the curves of this job were told before, by an earlier process."""
        return False

    def curves_are_told(self) -> None:
        """The curves of this job's training are told to their end."""

    def close(self, *, failed: bool) -> None:
        """The job ended."""

    # ------------------------------------------------------------------------------------------ made of `log`

    def loggers(self, subject: str) -> "list[Logger]":
        """Loggers for Lightning's trainer, of metrics of `subject`; none where nothing is logged."""
        return [_logger(self, subject)] if self.listens else []

    def callbacks(self, subject: str) -> "list[Callback]":
        """What looks over Lightning's shoulder, for pictures of `subject`."""
        if not self.listens:
            return []
        from assimilate.tracking.first_batch import FirstBatch

        return [FirstBatch(self, subject)]

    def following(self, progress: Progress, subject: str, *, every: int = EVERY_N_STEPS) -> Progress:
        """A progress report that also logs the values shown, once in `every` steps and after the last."""
        if not self.listens:
            return progress

        def report(done: int, total: int, values: Mapping[str, float]) -> None:
            progress(done, total, values)
            if values and (done % every == 0 or done == total):
                self.log({f"{subject}/{name}": value for name, value in values.items()} | {f"{subject}/step": done})

        return report


class FileTracker(Tracker):
    """Writes curves as lines of a file, for `relay` in another process."""

    listens = True

    def __init__(self, path: Path) -> None:
        self._path = path

    def log(self, metrics: Mapping[str, float]) -> None:
        with self._path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(dict(metrics)) + "\n")


class Relay:
    """Passes on what a `FileTracker` in another process wrote since the last call."""

    def __init__(self, path: Path, tracker: Tracker) -> None:
        self._path, self._tracker, self._read = path, tracker, 0

    def __call__(self) -> None:
        if not self._path.is_file():
            return
        with self._path.open("rb") as stream:
            stream.seek(self._read)
            for line in stream:
                if not line.endswith(b"\n"):  # still being written
                    break
                self._read += len(line)
                self._tracker.log(json.loads(line))


# Callbacks of the training name what metrics.json names otherwise.
_RENAMED = {"knn5_cosine": "knn5"}


def _logger(tracker: Tracker, subject: str) -> "Logger":
    from lightning.pytorch.loggers.logger import DummyLogger

    class TrainingLogger(DummyLogger):
        """Lightning's trainer speaks to loggers."""

        def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
            named = {_RENAMED.get(name, name.removeprefix("train/")): value for name, value in metrics.items()}
            if step is not None:
                named["step"] = step
            tracker.log({f"{subject}/{name}": value for name, value in named.items()})

    return TrainingLogger()
