"""Distributed training, of encoders and generators: one launch an artifact, whose ranks train that one alone.

Lightning's own launcher re-executes sys.argv, which under a multirun is the whole sweep. Here the parent holds the
artifact's lock and starts `torch.distributed.run` with the job's own overrides and prepare=never; the ranks train into
the parent's staging folder and build nothing else.
"""

import contextlib
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from assimilate.artifacts.artifact import Artifact
from assimilate.artifacts.store import full_disk_explained
from assimilate.config import RANK_TARGET
from assimilate.errors import UserError
from assimilate.jobs.session import Session, use_threads
from assimilate.jobs.stopping import start_child
from assimilate.tracking.tracker import RANK_METRICS, Relay
from assimilate.words import override_word

if TYPE_CHECKING:
    import torch

# In the artifact's staging folder: what the first rank that failed has to say, for its parent.
FAILURE = "failure.txt"
# There too, and never part of the artifact: what rank 0 measures, for its parent's tracker.
METRICS = ".metrics.jsonl"
RELAY_EVERY_SECONDS = 2.0


def launch_ranks(session: Session, artifact: Artifact) -> None:
    """Train `artifact` with trainer.devices processes on this machine.

    Raises:
        UserError: a rank failed; it says why, unless it was killed or had no word for the user.
    """
    trainer = session.config["trainer"]
    ranks = int(trainer["devices"])
    check_gpus(session, ranks)
    threads = trainer["num_threads"] or max(1, (os.cpu_count() or 1) // ranks)
    words = [word for word in session.job.overrides if not word.startswith(("prepare=", "out=", "force=", "shard="))]
    # Its log folder, of which nothing is read, would stay in TMPDIR.
    launcher = ["torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}", f"--log-dir={os.devnull}"]
    command = [sys.executable, "-m", *launcher]
    command += ["-m", "assimilate.train", *words, "prepare=never", override_word("out", str(session.job.out))]
    # Kubeflow sets PET_NNODES and the like for any process; torch's launcher takes them for arguments of its own.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PET_")}
    environment |= {RANK_TARGET: artifact.label, "OMP_NUM_THREADS": str(threads)}
    session.terminal.say(f"  {artifact.name} on {ranks} ranks, {threads} CPU thread{'s' * (threads > 1)} each")
    sys.stdout.flush()
    failure = artifact.staging / FAILURE
    failure.unlink(missing_ok=True)
    returncode = _run_and_relay(session, command, environment, artifact.staging / METRICS)
    if returncode and failure.is_file():
        said = failure.read_text(encoding="utf-8")
        failure.unlink()
        raise UserError(f"{said} ({artifact.label} on {ranks} ranks)")
    if returncode:
        raise UserError(
            f"a rank failed while training {artifact.label} (exit code {returncode}); its error is above. "
            "The same command goes on from the last checkpoint"
        )


def _run_and_relay(session: Session, command: list[str], environment: dict[str, str], metrics: Path) -> int:
    """Run the ranks, and tell this job's tracker what rank 0 measures while they run."""
    metrics.unlink(missing_ok=True)
    relay = Relay(metrics, session.tracker)
    if session.tracker.listens:
        environment = {**environment, RANK_METRICS: str(metrics)}
    with start_child(command, environment) as process:
        try:
            while True:
                try:
                    returncode = process.wait(timeout=RELAY_EVERY_SECONDS)
                except subprocess.TimeoutExpired:
                    relay()
                else:
                    break
        except BaseException:  # the ranks end with this process; torch's launcher would report that as their failure
            process.kill()
            raise
    relay()
    metrics.unlink(missing_ok=True)
    return returncode


def check_gpus(session: Session, ranks: int) -> None:
    """Refuse more processes than there are GPUs, where the training is on GPUs.

    Raises:
        UserError: so.
    """
    import torch

    if session.device == "cuda" and ranks > torch.cuda.device_count():
        raise UserError(
            f"trainer.devices={ranks}, but there {'is' if torch.cuda.device_count() == 1 else 'are'} "
            f"{torch.cuda.device_count()} GPU: one process a GPU; use fewer, or trainer.accelerator=cpu"
        )


def train_as_rank(session: Session) -> None:
    """What a rank does: train the artifact that its parent names, and nothing else.

    Raises:
        UserError: something upstream is missing; a rank does not build it.
    """
    target = os.environ[RANK_TARGET]
    use_threads(session.config)
    take_gpu(session)  # before anything is loaded: each rank would load it onto the first GPU
    for artifact in session.chain.all():
        if artifact.label == target:
            for parent in artifact.parents.values():
                session.ensure(parent)
            try:
                with full_disk_explained(artifact):
                    artifact.step.fit(artifact.staging, session)
            except (UserError, ValueError, FloatingPointError) as error:  # a room's word to the user
                with contextlib.suppress(OSError), (artifact.staging / FAILURE).open("xb") as stream:
                    stream.write(str(error).encode(errors="backslashreplace"))
                raise UserError(str(error)) from error
            return
    raise UserError(f"rank: this job has no {target}")


def take_gpu(session: Session) -> "torch.device | None":
    """Make this rank's own GPU the one that "cuda" means in this process; None where the ranks are on the CPU."""
    import torch

    if session.device != "cuda":
        return None
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    torch.cuda.set_device(device)
    return device
