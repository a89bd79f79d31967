"""The tracker of a job, for as long as it lasts."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from assimilate.run.job import Job, rank
from assimilate.tracking.tracker import RANK_METRICS, FileTracker, Tracker
from assimilate.tracking.wandb_tracker import WandbTracker, chosen_mode

# Stages whose jobs have something to tell.
TRACKED = ("train", "evaluate", "make_views", "invert", "train_generator")


@contextmanager
def open_tracker(job: Job, say: Callable[[str], None]) -> Iterator[Tracker]:
    """The tracker of a job, closed whatever happens: N jobs of a multirun are N runs.

    wandb is imported only here, and only for logger=wandb. Under several ranks the parent alone has the tracker; rank
    0 tells it what it measures, the others nothing.

    Raises:
        UserError: W&B cannot be reached, wants a login or a home folder, or refuses its own settings.
    """
    tracker = Tracker()
    if rank() is not None:
        if rank() == 0 and RANK_METRICS in os.environ:
            tracker = FileTracker(Path(os.environ[RANK_METRICS]))
    elif _is_tracked(job):
        if (mode := chosen_mode(job.config["logger"])) == "disabled":
            say("  Weights & Biases is disabled by the environment (WANDB_DISABLED or WANDB_MODE)")
        else:
            tracker = WandbTracker(job, say, mode)
    try:
        yield tracker
    except BaseException:
        tracker.close(failed=True)
        raise
    tracker.close(failed=False)


def _is_tracked(job: Job) -> bool:
    config = job.config
    only_looks = config["prepare"] == "plan" or config["verify"] or config["shard"] is not None
    return config["logger"]["name"] == "wandb" and job.stage in TRACKED and not only_looks
