"""A job as a run of Weights & Biases: offline unless a key is set, then `wandb sync` sends it later.

What a run is called and which metrics it has: docs/wandb.md.
"""

import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import numpy as np
from PIL import Image

from assimilate.errors import UserError
from assimilate.run.job import Job, shell_word
from assimilate.tracking.run_tracker import RunTracker, Say, job_type, recorded, run_group, run_name, settings_of
from assimilate.tracking.tracker import Tracker

MODES = ("auto", "online", "offline")
# What WANDB_MODE may be, and what W&B takes it for.
MODES_OF_WANDB = {
    "online": "online",
    "offline": "offline",
    "disabled": "disabled",
    "dryrun": "offline",
    "run": "online",
}
SWITCHED_ON = ("true", "1", "yes", "on")
# W&B's limit for names and groups.
MAX_NAME = 128
BINS = 64
# Where W&B stages files until they are sent.
DATA_DIR = "WANDB_DATA_DIR"
# Curves of one subject share an axis; kNN is measured once in so many epochs, all else once in so many steps.
AXES = {
    "train/*": "train/step",
    "train/knn5": "train/epoch",
    "f/*": "f/step",
    "f/knn5": "f/epoch",
    "generator/*": "generator/step",
    "inversion/*": "inversion/step",
}


def open_wandb(job: Job, say: Say) -> Tracker:
    """The tracker of a job, or one that keeps nothing where the environment disables W&B.

    Raises:
        UserError: W&B cannot be reached, wants a login or a home folder, or refuses its own settings.
    """
    if (mode := chosen_mode(settings_of(job).mode)) == "disabled":
        say("  Weights & Biases is disabled by the environment (WANDB_DISABLED or WANDB_MODE)")
        return Tracker()
    return WandbTracker(job, say, mode)


class WandbTracker(RunTracker):
    """One W&B run; `mode` is "online" or "offline".

    Raises:
        UserError: W&B cannot be reached, wants a login or a home folder, or refuses its own settings.
    """

    def __init__(self, job: Job, say: Say, mode: Any) -> None:
        if os.path.expanduser("~") == "~":
            raise UserError("logger=wandb needs a home folder for W&B's own settings: set HOME, or give logger=csv")
        import wandb

        super().__init__(job, "wandb")
        self._wandb = wandb
        settings, budget = settings_of(job), job.config["budget"]["name"]
        self._is_online = mode == "online"
        self._keeps_files = settings.checkpoints
        self._own_data_dir = self._keeps_files and DATA_DIR not in os.environ
        if self._own_data_dir:  # what an offline run keeps must be there when it is sent
            os.environ[DATA_DIR] = str(self.folder / "files")
        prefix = "" if budget == "paper" else f"{budget}/"
        name = run_name(job).removeprefix(prefix)
        try:
            self._run = wandb.init(
                project=settings.project,
                entity=settings.entity,
                id=self.id,
                resume="allow",
                mode=mode,
                dir=str(job.out),
                name=prefix + name[-(MAX_NAME - len(prefix)) :],  # whatever is cut, not the budget
                group=run_group(job),
                job_type=job_type(job),
                config=recorded(job),
                tags=[f"budget={budget}", "row" if job.row else "adhoc"],
                settings=wandb.Settings(silent=not self._is_online, quiet=True, console="off"),
            )
        except ValueError as error:  # of pydantic: an environment variable of W&B's
            raise UserError(f"logger=wandb: Weights & Biases refuses its settings: {_in_one_line(error)}") from error
        except (wandb.errors.Error, OSError) as error:
            raise UserError(
                f"logger=wandb: Weights & Biases cannot be reached ({_in_one_line(error)}): use "
                "logger.mode=offline and send the runs later with wandb sync, or logger=csv"
            ) from error
        for name, axis in AXES.items():
            self._run.define_metric(axis)
            self._run.define_metric(name, step_metric=axis)
        self._run.summary["budget"] = budget
        where = self._run.url if self._is_online else Path(self._run.dir).parent
        say(f"  Weights & Biases ({mode}): {where}")
        if not self._is_online:
            say(f"  to send it later: wandb sync {shell_word(str(where))}")

    def log(self, metrics: Mapping[str, float]) -> None:
        self._run.log(dict(metrics))

    def histogram(self, name: str, values: np.ndarray[Any, Any]) -> None:
        counts = np.histogram(np.asarray(values, dtype=np.float64).reshape(-1), bins=BINS)
        self._run.log({name: self._wandb.Histogram(np_histogram=counts)})

    def picture(self, name: str, png: bytes, caption: str) -> None:
        self._run.log({name: self._wandb.Image(Image.open(io.BytesIO(png)), caption=caption)})

    def conclude(self, values: Mapping[str, Any]) -> None:
        self._run.summary.update(dict(values))

    def describe(self, values: Mapping[str, Any]) -> None:
        self._run.config.update(dict(values), allow_val_change=True)

    def use(self, folder: Path, name: str, kind: str) -> None:
        """Where files are kept: the artifact of that name if W&B has one, else a reference to the folder.

        W&B looks up nothing for a run that is offline; its config says what it is made from.
        """
        if not (self._keeps_files and self._is_online):
            return
        try:
            self._run.use_artifact(f"{name}:latest")
        except (self._wandb.errors.Error, ValueError):  # no run has kept one
            artifact = self._wandb.Artifact(name, type=kind)
            artifact.add_reference(folder.resolve().as_uri(), checksum=False)
            self._run.use_artifact(artifact)

    def keep(self, file: Path, name: str, kind: str) -> None:
        if self._keeps_files:
            artifact = self._wandb.Artifact(name, type=kind, metadata={"budget": self._run.summary["budget"]})
            artifact.add_file(str(file))
            self._run.log_artifact(artifact)

    def close(self, *, failed: bool) -> None:
        self._run.finish(exit_code=1 if failed else 0)
        if self._own_data_dir:
            os.environ.pop(DATA_DIR, None)


def _in_one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]


def chosen_mode(asked: str) -> Any:
    """ "online", "offline" or "disabled": by `asked` (logger.mode), else the environment, else whether there is a key.

    Raises:
        UserError: an unknown mode, or online without a key: nobody is asked to log in.
    """
    source = "logger.mode"
    if asked not in MODES:
        raise UserError(f"logger.mode={asked} is unknown; choose one of {', '.join(MODES)}")
    if asked == "auto" and os.environ.get("WANDB_DISABLED", "").lower() in SWITCHED_ON:
        return "disabled"
    if asked == "auto" and os.environ.get("WANDB_MODE"):
        asked, source = os.environ["WANDB_MODE"], "WANDB_MODE"
        if asked not in MODES_OF_WANDB:
            allowed = ", ".join(MODES_OF_WANDB)
            raise UserError(f"WANDB_MODE={asked} is unknown; allowed are {allowed}, and logger.mode= comes before it")
        asked = MODES_OF_WANDB[asked]
    if asked == "auto":
        return "online" if _has_key() else "offline"
    if asked == "online" and not _has_key():
        raise UserError(f"{source}=online needs a key: wandb login, WANDB_API_KEY, or logger.mode=offline")
    return asked


def _has_key() -> bool:
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlparse(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    netrc = Path(os.path.expanduser(os.environ.get("NETRC", "~/.netrc")))
    return netrc.is_file() and host in netrc.read_text(errors="ignore", encoding="utf-8")
