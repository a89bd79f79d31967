"""Distributed training: one launch a job, whose ranks run that job alone.

Lightning's own launcher re-executes sys.argv, which under a multirun is the whole sweep. Here the parent holds the
artifact's lock and starts `torch.distributed.run` with the job's own overrides and prepare=never; the ranks train into
the parent's staging folder and build nothing else.
"""

import os
import subprocess
import sys

from assimilate.artifacts import Artifact
from assimilate.errors import UserError
from assimilate.session import Session, use_threads

TARGET = "ASSIMILATE_RANK_TARGET"


def launch_ranks(session: Session, artifact: Artifact) -> None:
    """Train `artifact` with trainer.devices processes on this machine.

    Raises:
        UserError: a rank failed; its own message was printed.
    """
    trainer = session.config["trainer"]
    ranks = int(trainer["devices"])
    threads = trainer["num_threads"] or max(1, (os.cpu_count() or 1) // ranks)
    words = [word for word in session.job.overrides if not word.startswith(("prepare=", "out=", "force="))]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"]
    command += ["-m", "assimilate.train", *words, "prepare=never", f"out={session.job.out}"]
    environment = {**os.environ, TARGET: artifact.label, "OMP_NUM_THREADS": str(threads)}
    session.terminal.say(f"  {artifact.name} on {ranks} ranks, {threads} CPU thread{'s' * (threads > 1)} each")
    sys.stdout.flush()
    finished = subprocess.run(command, env=environment, check=False)
    if finished.returncode:
        raise UserError(
            f"a rank failed while training {artifact.label} (exit code {finished.returncode}); its error is above. "
            "The same command goes on from the last checkpoint"
        )


def train_as_rank(session: Session) -> None:
    """What a rank does: train the artifact that its parent names, and nothing else.

    Raises:
        UserError: something upstream is missing; a rank does not build it.
    """
    from assimilate.train import fit_encoder

    target = os.environ.get(TARGET)
    if target is None:
        raise UserError(
            "this process is a rank of a launch that assimilate did not make: start python -m assimilate.train with "
            "trainer=ddp trainer.devices=N instead of torchrun"
        )
    use_threads(session.config)
    for artifact in session.chain.all():
        if artifact.label == target:
            for parent in artifact.parents.values():
                session.ensure(parent)
            fit_encoder(session, artifact, artifact.staging)
            return
    raise UserError(f"rank: this job has no {target}")
