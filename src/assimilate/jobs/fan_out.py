"""One process a shard, one shard a device of this machine."""

import os
import subprocess
import sys
from collections.abc import Sequence

from assimilate.artifacts.artifact import Artifact
from assimilate.errors import UserError
from assimilate.jobs.session import Session
from assimilate.jobs.stopping import start_child
from assimilate.words import override_word

# What a shard's own command sets, whatever the job's says.
SET_BY_US = (
    *("prepare", "out", "force", "preview"),
    *("trainer", "trainer.devices", "trainer.accelerator", "trainer.strategy"),
)


def run_shards(session: Session, artifact: Artifact, count: int, chosen: Sequence[int] | None = None) -> None:
    """Run `artifact`'s stage with shard=k/count side by side, and wait for all.

    Args:
        session: the job's.
        artifact: what the shards are of.
        count: how many there are.
        chosen: each k, from 1; None: all.

    Raises:
        UserError: one failed; what is done is kept.
    """
    chosen = range(1, count + 1) if chosen is None else chosen
    words = [word for word in session.job.overrides if word.split("=")[0] not in SET_BY_US]
    threads = session.config["trainer"]["num_threads"] or max(1, (os.cpu_count() or 1) // count)
    on_gpu = session.device == "cuda"
    lacking = "" if len(chosen) == count else f" of which {', '.join(map(str, chosen))} lack"
    each = f"{threads} CPU thread{'s' * (threads > 1)} each"
    session.terminal.say(f"  {artifact.name} in {count} shards{lacking}, {each}")
    sys.stdout.flush()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    devices = visible.split(",") if visible else [str(device) for device in range(count)]
    if on_gpu and len(devices) < count:
        raise UserError(f"trainer.devices={count}, but CUDA_VISIBLE_DEVICES={visible} shows {len(devices)}")
    running = []
    for index, shard in enumerate(chosen):
        command = [sys.executable, "-m", f"assimilate.{artifact.stage}", *words, f"shard={shard}/{count}"]
        command += [
            "prepare=never",
            override_word("out", str(session.job.out)),
            f"trainer={'gpu' if on_gpu else 'cpu'}",
        ]
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        if on_gpu:
            environment["CUDA_VISIBLE_DEVICES"] = devices[index]
        output = None if index == 0 else subprocess.DEVNULL  # one progress bar is enough; every error is shown
        running.append(start_child(command, environment, stdout=output))
    codes = [process.wait() for process in running]
    failed = [str(shard) for shard, code in zip(chosen, codes, strict=True) if code]
    if failed:
        raise UserError(
            f"shard {', '.join(failed)} of {count} of {artifact.label} failed; its error is above. "
            "The same command goes on from what is done"
        )
