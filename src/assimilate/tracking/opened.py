"""The tracker of a job, for as long as it lasts."""

import importlib.util
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from assimilate.errors import UserError
from assimilate.graph.called import resolved
from assimilate.run.job import Job, rank
from assimilate.run.job_settings import Logger
from assimilate.tracking.run_tracker import settings_of
from assimilate.tracking.tracker import RANK_METRICS, FileTracker, Tracker

# Stages whose jobs have something to tell.
TRACKED = ("train", "evaluate", "make_views", "invert", "train_generator")


@contextmanager
def open_tracker(job: Job, say: Callable[[str], None]) -> Iterator[Tracker]:
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


def _opener(settings: Logger) -> Callable[[Job, Callable[[str], None]], Tracker]:
    """The class or function that `tracker` names, which is imported only here.

    Raises:
        UserError: it cannot be imported, or called, or what it needs is not installed.
    """
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
