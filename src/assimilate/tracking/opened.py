"""The tracker of a job, for as long as it lasts."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from assimilate.errors import UserError
from assimilate.graph.called import resolved
from assimilate.run.job import Job, rank
from assimilate.tracking.run_tracker import settings_of
from assimilate.tracking.tracker import RANK_METRICS, FileTracker, Tracker

# Stages whose jobs have something to tell.
TRACKED = ("train", "evaluate", "make_views", "invert", "train_generator")


@contextmanager
def open_tracker(job: Job, say: Callable[[str], None]) -> Iterator[Tracker]:
    """The tracker of a job, closed whatever happens: N jobs of a multirun are N runs.

    Whatever it needs is imported only here. Under several ranks the parent alone has the tracker; rank
    0 tells it what it measures, the others nothing.

    Raises:
        UserError: it cannot be opened.
    """
    tracker = Tracker()
    if rank() is not None:
        if rank() == 0 and RANK_METRICS in os.environ:
            tracker = FileTracker(Path(os.environ[RANK_METRICS]))
    elif _is_tracked(job):
        tracker = _opener(str(settings_of(job).tracker))(job, say)
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


def _opener(path: str) -> Callable[[Job, Callable[[str], None]], Tracker]:
    """The class or function that a dotted path names.

    Raises:
        UserError: it cannot be imported, or called.
    """
    try:
        return resolved(path)
    except ValueError as error:
        raise UserError(f"logger.tracker={error}") from error
