"""The tracker of a job, and what the job is called where runs are kept: found again by the identity of our run."""

import importlib.util
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from assimilate.errors import UserError
from assimilate.graph.called import resolved
from assimilate.graph.identity import content_hash
from assimilate.run.job import Job, rank
from assimilate.run.job_settings import Logger
from assimilate.run.recipe import Recipe
from assimilate.tracking.tracker import RANK_METRICS, FileTracker, Tracker

Say = Callable[[str], None]
# Stages whose jobs have something to tell.
TRACKED = ("train", "evaluate", "make_views", "invert", "train_generator")


class RunTracker(Tracker):
    """A tracker that keeps a job as a run, below `out`; a job that goes on, or is evaluated again, is the same run.

    Smoke and paper numbers have the same names: a run's group, tags and config say which budget it has.

    Args:
        job: the job.
        service: name of the folder.
    """

    listens = True

    def __init__(self, job: Job, service: str) -> None:
        self.folder = job.out / service
        self.folder.mkdir(parents=True, exist_ok=True)
        self.id = run_id(job)
        # There as soon as the run has heard the curves of its training to their end.
        self._told = self.folder / f".{self.id}.curves-told"

    def knows_curves(self) -> bool:
        return self._told.exists()

    def curves_are_told(self) -> None:
        self._told.touch()


def settings_of(job: Job) -> Logger:
    """The group `logger` of a job."""
    return Recipe(job.config).job.logger


def run_id(job: Job) -> str:
    """Hash of the run's identity: the same run goes on, whatever process it is in."""
    parts = {"run": job.identity, "stage": job_type(job), "suffix": settings_of(job).suffix}
    return content_hash(parts, 16)


def job_type(job: Job) -> str:
    """The stage; a row that is probed again is still the run that trained it."""
    return "train" if job.stage == "evaluate" and job.config["checkpoint"] is None else job.stage


def run_name(job: Job) -> str:
    """The run's folder below `out`, without the budget of the paper: "table3/…/cifar10/seed0", "smoke/table3/…"."""
    return job.run_dir.relative_to(job.out).as_posix().removeprefix("paper/")


def run_group(job: Job) -> str:
    """The table, or "adhoc"; runs of another budget are a group of their own."""
    words = run_name(job).split("/")
    return "/".join(words[: 1 if job.config["budget"]["name"] == "paper" else 2])


def recorded(job: Job) -> dict[str, Any]:
    """The settings of the run."""
    given = {"command": job.command, "run_dir": str(job.run_dir), "row": job.row}
    return {**{key: value for key, value in job.config.items() if key != "logger"}, **given}


def axis_of(metrics: Mapping[str, float]) -> int | None:
    """Where on its axis a point of curves stands; None where none of them is an axis."""
    axes = [value for name, value in metrics.items() if name.endswith("/step")]
    axes += [value for name, value in metrics.items() if name.endswith("/epoch")]
    return int(axes[0]) if axes else None


@contextmanager
def open_tracker(job: Job, say: Say) -> Iterator[Tracker]:
    """The tracker of a job, closed whatever happens: N jobs of a multirun are N runs.

    Under several ranks the parent alone has the tracker; rank 0 tells it what it measures, the others nothing.

    Raises:
        UserError: it cannot be opened.
    """
    tracker = Tracker()
    if rank() is not None:
        if rank() == 0 and RANK_METRICS in os.environ:
            tracker = FileTracker(Path(os.environ[RANK_METRICS]))
    elif _is_tracked(job):
        tracker = _opener(settings_of(job))(job, say)
    try:
        yield tracker
    except BaseException:
        tracker.close(failed=True)
        raise
    tracker.close(failed=False)


def _is_tracked(job: Job) -> bool:
    config = job.config
    only_looks = config["prepare"] == "plan" or config["verify"] or config["shard"] is not None
    return settings_of(job).tracker is not None and job.stage in TRACKED and not only_looks


def _opener(settings: Logger) -> Callable[[Job, Say], Tracker]:
    """The class or function that `tracker` names, which is imported only here."""
    package = settings.package
    if package is not None and importlib.util.find_spec(package) is None:
        raise UserError(
            f"logger={settings.name} needs the package {package}, which is not installed: make extras "
            f"EXTRAS={package}, or give logger=csv"
        )
    try:
        return resolved(settings.tracker)
    except ValueError as error:
        raise UserError(f"logger.tracker={error}") from error
