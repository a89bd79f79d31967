"""Processes that work on one artifact of a job: ranks that learn a network together, shards that each fill some rows.

A child is handed the composed job in a file (`Job.written`) and reads no command line. Lightning's own launcher
re-executes sys.argv, which under a multirun is the whole sweep, and torch's has each process import torch by itself.
The parent holds the artifact's lock; a child builds nothing else.
"""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from assimilate.artifacts.artifact import Artifact
from assimilate.errors import UserError
from assimilate.files.cpus import whole_cpus
from assimilate.graph.place import Place
from assimilate.jobs.stopping import start_child
from assimilate.jobs.terminal import Pace, Terminal
from assimilate.run.job import RANK_TARGET, Job
from assimilate.tracking.tracker import RANK_METRICS, Relay

CHILD = "assimilate.jobs.child"
# In the artifact's staging folder: the message of the first rank that failed, for its parent to print.
FAILURE = "failure.txt"
# There too, and never part of the artifact: what rank 0 measures, for its parent's tracker, and the job of a child.
METRICS = ".metrics.jsonl"
JOB = ".job.json"
RELAY_EVERY_SECONDS = 2.0


class Parent(Place, Protocol):
    """A job that starts children."""

    @property
    def job(self) -> Job:
        """What it was composed to."""

    @property
    def terminal(self) -> Terminal:
        """To which it reports."""

    @property
    def machine(self) -> Any:
        """The devices of this machine (`jobs.machine`)."""


def run_ranks(at: Parent, artifact: Artifact) -> None:
    """Call the `fit` of an artifact's step in trainer.devices processes on this machine.

    Raises:
        UserError: a rank failed; it says why, unless it was killed or left no message.
    """
    ranks, threads = at.settings.trainer.devices, _threads(at, at.settings.trainer.devices)
    check_gpus(ranks, device=at.device, num_gpus=at.machine.num_gpus() if at.device == "cuda" else 0)
    at.say(f"  {artifact.name} on {ranks} ranks, {threads} CPU thread{'s' * (threads > 1)} each")
    files = [
        _written(at.job, artifact, f"{JOB}.{rank}", at.terminal.pace, environment={"RANK": rank, "LOCAL_RANK": rank})
        for rank in map(str, range(ranks))
    ]
    command = [sys.executable, "-m", CHILD, *map(str, files)]
    environment = {**os.environ, RANK_TARGET: artifact.label, "OMP_NUM_THREADS": str(threads)}
    failure = artifact.staging / FAILURE
    failure.unlink(missing_ok=True)
    returncode = _run_and_relay(at, command, environment, artifact.staging / METRICS)
    for file in files:
        file.unlink(missing_ok=True)
    if returncode and failure.is_file():
        said = failure.read_text(encoding="utf-8")
        failure.unlink()
        raise UserError(f"{said} ({artifact.label} on {ranks} ranks)")
    if returncode:
        raise UserError(
            f"a rank failed while training {artifact.label} (exit code {returncode}); its error is above. "
            "The same command goes on from the last checkpoint"
        )


def _run_and_relay(at: Place, command: list[str], environment: dict[str, str], metrics: Path) -> int:
    """Run the ranks, and tell this job's tracker what rank 0 measures while they run."""
    metrics.unlink(missing_ok=True)
    relay = Relay(metrics, at.tracker)
    if at.tracker.listens:
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
        except BaseException:  # the ranks end with this process, which is no failure of theirs to be reported
            process.kill()
            raise
    relay()
    metrics.unlink(missing_ok=True)
    return returncode


def check_gpus(ranks: int, *, device: str, num_gpus: int) -> None:
    """Refuse more processes than there are GPUs, where the training is on GPUs.

    Raises:
        UserError: there are fewer GPUs.
    """
    if device == "cuda" and ranks > num_gpus:
        raise UserError(
            f"trainer.devices={ranks}, but there {'is' if num_gpus == 1 else 'are'} {num_gpus} GPU: one process a GPU; "
            "use fewer, or trainer.accelerator=cpu"
        )


def run_shards(at: Parent, artifact: Artifact, count: int, chosen: Sequence[int]) -> None:
    """Fill shards of an artifact's rows side by side, a device each, and wait for all.

    Args:
        at: the job.
        artifact: what the shards are of.
        count: how many shards there are.
        chosen: those that are filled, each from 1.

    Raises:
        UserError: one failed; what is done is kept.
    """
    on_gpu, threads = at.device == "cuda", _threads(at, count)
    lacking = "" if len(chosen) == count else f" of which {', '.join(map(str, chosen))} lack"
    at.say(f"  {artifact.name} in {count} shards{lacking}, {threads} CPU thread{'s' * (threads > 1)} each")
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    devices = visible.split(",") if visible else [str(device) for device in range(count)]
    if on_gpu and len(devices) < count:
        raise UserError(f"trainer.devices={count}, but CUDA_VISIBLE_DEVICES={visible} shows {len(devices)}")
    hardware = {"devices": 1, "strategy": "auto", "accelerator": "gpu" if on_gpu else "cpu", "num_threads": threads}
    files = []
    for index, shard in enumerate(chosen):
        one = {"CUDA_VISIBLE_DEVICES": devices[index]} if on_gpu else {}
        files.append(
            _written(
                at.job, artifact, f"{JOB}.{shard}", at.terminal.pace, shard=f"{shard}/{count}", trainer=hardware,
                environment=one, is_heard=index == 0,  # one progress bar is enough; every error is shown
            )
        )  # fmt: skip
    command = [sys.executable, "-m", CHILD, *map(str, files)]
    start_child(command, {**os.environ, "OMP_NUM_THREADS": str(threads)}).wait()
    failed = [str(shard) for shard, file in zip(chosen, files, strict=True) if file.exists()]
    for file in files:
        file.unlink(missing_ok=True)
    if failed:
        raise UserError(
            f"shard {', '.join(failed)} of {count} of {artifact.label} failed; its error is above. "
            "The same command goes on from what is done"
        )


def _threads(at: Place, processes: int) -> int:
    """CPU threads of each of several processes."""
    return int(at.settings.trainer.num_threads or max(1, whole_cpus() // processes))


def _written(
    job: Job,
    artifact: Artifact,
    name: str,
    pace: Pace,
    *,
    shard: str | None = None,
    trainer: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
    is_heard: bool = True,
) -> Path:
    """Write a child's job beside what it works on, with what `run_forked` reads."""
    hardware = {**job.config["trainer"], **(trainer or {})}
    alone = {"prepare": "never", "force": False, "preview": False, "verify": False, "shard": shard}
    child = replace(job, config={**job.config, **alone, "trainer": hardware})
    artifact.staging.mkdir(parents=True, exist_ok=True)
    more = {"imports": artifact.step.slow_imports, "environment": environment or {}, "is_heard": is_heard}
    return child.written(artifact.staging / name, artifact=artifact.label, pace=pace.handed_over(), **more)
