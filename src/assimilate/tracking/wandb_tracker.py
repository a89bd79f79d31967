"""A job as a run of Weights & Biases: offline unless a key is set, then `wandb sync` sends it later.

What a run is called and which metrics it has: docs/wandb.md.
"""

import io
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import numpy as np
from PIL import Image

from assimilate.errors import UserError
from assimilate.graph.identity import content_hash
from assimilate.run.job import Job, shell_word
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


class WandbTracker(Tracker):
    """One W&B run. A job that is resumed, or evaluated again, goes on with the run of its identity.

    `mode` is "online" or "offline".

    Every metric of another budget than "paper" has the budget's name before its own, and so have the run's name and
    group: no panel shows a smoke number among the paper's.

    Raises:
        UserError: W&B cannot be reached, wants a login or a home folder, or refuses its own settings.
    """

    listens = True

    def __init__(self, job: Job, say: Callable[[str], None], mode: Any) -> None:
        if os.path.expanduser("~") == "~":
            raise UserError("logger=wandb needs a home folder for W&B's own settings: set HOME, or give logger=csv")
        import wandb

        self._wandb = wandb
        settings = job.config["logger"]
        self._mode = mode
        self._keeps_files = bool(settings["checkpoints"])
        budget = job.config["budget"]["name"]
        self._prefix = "" if budget == "paper" else f"{budget}/"
        self._folder = job.out / "wandb"
        self._folder.mkdir(parents=True, exist_ok=True)
        self._own_data_dir = self._keeps_files and DATA_DIR not in os.environ
        if self._own_data_dir:  # what an offline run keeps must be there when it is sent
            os.environ[DATA_DIR] = str(self._folder / "files")
        self._id = run_id(job)
        self._known = any(self._folder.glob(f"*run-*-{self._id}"))
        # There from the first process of a run until its curves are told: one that ends before leaves it.
        self._owed = self._folder / f".{self._id}.curves-owed"
        if not self._known and _job_type(job) == "train":
            self._owed.touch()
        place = job.run_dir.relative_to(job.out / budget).as_posix()
        try:
            self._run = wandb.init(
                project=settings["project"],
                entity=settings["entity"],
                id=self._id,
                resume="allow",
                mode=self._mode,
                dir=str(job.out),
                name=self._prefix + place[-(MAX_NAME - len(self._prefix)) :],  # whatever is cut, not the budget
                group=f"{self._prefix}{place.split('/')[0]}",
                job_type=_job_type(job),
                config=_recorded(job),
                tags=[f"budget={budget}", "row" if job.row else "adhoc"],
                settings=wandb.Settings(silent=self._mode != "online", quiet=True, console="off"),
            )
        except ValueError as error:  # of pydantic: an environment variable of W&B's
            raise UserError(f"logger=wandb: Weights & Biases refuses its settings: {_in_one_line(error)}") from error
        except (wandb.errors.Error, OSError) as error:
            raise UserError(
                f"logger=wandb: Weights & Biases cannot be reached ({_in_one_line(error)}): use "
                "logger.mode=offline and send the runs later with wandb sync, or logger=csv"
            ) from error
        for name, axis in AXES.items():
            self._run.define_metric(self._prefix + axis)
            self._run.define_metric(self._prefix + name, step_metric=self._prefix + axis)
        self._run.summary["budget"] = budget
        where = self._run.url if self._mode == "online" else Path(self._run.dir).parent
        say(f"  Weights & Biases ({self._mode}): {where}")
        if self._mode == "offline":
            say(f"  to send it later: wandb sync {shell_word(str(where))}")

    def log(self, metrics: Mapping[str, float]) -> None:
        self._run.log({self._prefix + name: value for name, value in metrics.items()})

    def histogram(self, name: str, values: np.ndarray[Any, Any]) -> None:
        counts = np.histogram(np.asarray(values, dtype=np.float64).reshape(-1), bins=BINS)
        self._run.log({self._prefix + name: self._wandb.Histogram(np_histogram=counts)})

    def picture(self, name: str, png: bytes, caption: str) -> None:
        self._run.log({self._prefix + name: self._wandb.Image(Image.open(io.BytesIO(png)), caption=caption)})

    def conclude(self, values: Mapping[str, Any]) -> None:
        self._run.summary.update({self._prefix + name: value for name, value in values.items()})

    def keep(self, file: Path, name: str, kind: str) -> None:
        if self._keeps_files:
            artifact = self._wandb.Artifact(name, type=kind, metadata={"budget": self._prefix.rstrip("/") or "paper"})
            artifact.add_file(str(file))
            self._run.log_artifact(artifact)

    def knows_curves(self) -> bool:
        return self._known and not self._owed.exists()

    def curves_are_told(self) -> None:
        self._owed.unlink(missing_ok=True)

    def close(self, *, failed: bool) -> None:
        self._run.finish(exit_code=1 if failed else 0)
        if self._own_data_dir:
            os.environ.pop(DATA_DIR, None)


def _in_one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]


def run_id(job: Job) -> str:
    """Hash of the run's identity: the same run goes on, whatever process it is in."""
    parts = {"run": job.identity, "stage": _job_type(job), "suffix": job.config["logger"]["suffix"]}
    return content_hash(parts, 16)


def _job_type(job: Job) -> str:
    """The stage; a row that is probed again is still the run that trained it."""
    return "train" if job.stage == "evaluate" and job.config["checkpoint"] is None else job.stage


def _recorded(job: Job) -> dict[str, Any]:
    given = {"command": job.command, "run_dir": str(job.run_dir), "row": job.row}
    return {**{key: value for key, value in job.config.items() if key != "logger"}, **given}


def chosen_mode(settings: Mapping[str, Any]) -> Any:
    """ "online", "offline" or "disabled": what `logger.mode` says, else the environment, else whether there is a key.

    Raises:
        UserError: an unknown mode, or online without a key: nobody is asked to log in.
    """
    asked, source = settings["mode"], "logger.mode"
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
