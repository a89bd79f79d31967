"""Experiment trackers: Weights & Biases when it is chosen, offline unless a key is set."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assimilate.artifacts import Artifact
from assimilate.config import is_rank
from assimilate.identity import content_hash

if TYPE_CHECKING:
    from lightning.pytorch.loggers import Logger

    from assimilate.session import Session


@contextmanager
def open_tracker(session: "Session", artifact: Artifact) -> Iterator[list["Logger"]]:
    """Loggers for the training of `artifact`, closed whatever happens: N jobs of a sweep are N runs.

    wandb is imported only here, and only if `logger=wandb`.
    """
    config = session.config["logger"]
    if config["name"] != "wandb" or (is_rank() and os.environ["RANK"] != "0"):
        yield []
        return
    import wandb
    from lightning.pytorch.loggers import WandbLogger

    mode = _mode(config["mode"])
    job = session.job
    (job.out / "wandb").mkdir(parents=True, exist_ok=True)
    run_id = content_hash({"run": job.identity, "artifact": artifact.label, "seed": session.config["seed"]}, 16)
    run = wandb.init(
        project=config["project"],
        entity=config["entity"],
        id=run_id,
        resume="allow",
        mode=mode,
        dir=str(job.out),
        name=f"{job.row or job.run_dir.parent.parent.name}/{session.config['dataset']['name']}/{job.run_dir.name}",
        group=(job.row or "adhoc").split("/")[0],
        job_type="train",
        config={**session.config, "artifact": artifact.label},
        tags=[f"budget={session.config['budget']['name']}"],
    )
    session.terminal.say(f"  Weights & Biases ({mode}): {Path(run.dir).parent}")
    try:
        yield [WandbLogger(experiment=run)]
    finally:
        run.finish()


def _mode(asked: str) -> Any:
    if asked != "auto":
        return asked
    if os.environ.get("WANDB_MODE"):
        return os.environ["WANDB_MODE"]
    netrc = Path(os.environ.get("NETRC", "~/.netrc")).expanduser()
    logged_in = netrc.is_file() and "api.wandb.ai" in netrc.read_text(errors="ignore")
    return "online" if os.environ.get("WANDB_API_KEY") or logged_in else "offline"
