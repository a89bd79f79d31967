"""A training that is preempted, killed and started again ends in the bits of one that was left alone."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

from tests.chain_run import SLURM
from tests.warm_process import WarmProcess

COMMAND = (
    "dataset=digits",
    "dataset.max_train_images=256",
    "dataset.max_test_images=64",
    "assim=simclr",
    "encoder.width=4",
    "batch_size=32",
    "epochs=12",
    "trainer=cpu",
    "trainer.num_threads=1",
    "logger=none",
    "probe.num_epochs=2",
)


def start(out: Path, **environment: str) -> WarmProcess:
    words = [*COMMAND, f"out={out}"]
    return WarmProcess("assimilate.train", words, environment=os.environ | environment, new_session=True)


def run_alone(out: Path) -> None:
    """As it is typed."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, "-m", "assimilate.train", *COMMAND, f"out={out}"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def finish(process: WarmProcess) -> None:
    output, _ = process.communicate(timeout=500)
    assert process.returncode == 0, output


def stop(process: WarmProcess, out: Path, number: signal.Signals) -> str:
    """Send a signal once there is a checkpoint, at any moment: between steps, while measuring, while writing."""
    deadline = time.monotonic() + 300
    while not list(out.glob("artifacts/encoders/**/last.ckpt")):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.01)
    time.sleep(random.Random().uniform(0, 0.4))
    os.killpg(process.pid, number)
    said, _ = process.communicate()
    assert not list(out.glob("artifacts/encoders/**/manifest.json")), "it was too fast to be stopped"
    return said


def outcome(out: Path) -> tuple[dict[str, torch.Tensor], list[list[str]], str, dict[str, Any], list[str]]:
    """Weights, the history without its seconds, the kNN curve, the metrics, and the names of all files."""
    (folder,) = (path.parent for path in out.glob("artifacts/encoders/*/*/encoder.pt"))
    rows = [line.split(",") for line in (folder / "history.csv").read_text().splitlines()]
    clock = rows[0].index("seconds")
    history = [[cell for place, cell in enumerate(row) if place != clock] for row in rows]
    weights = torch.load(folder / "encoder.pt", weights_only=True)["state_dict"]
    (result,) = out.rglob("metrics.json")
    names = sorted(path.relative_to(out).as_posix() for path in out.rglob("*"))
    return weights, history, (folder / "knn_curve.csv").read_text(), json.loads(result.read_text())["metrics"], names


def test_preempted_killed_and_resumed_equals_uninterrupted(tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    run_alone(whole)
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    on_slurm = {**SLURM, "TMPDIR": str(temporary)}
    process = start(cut, **on_slurm)
    said = stop(process, cut, signal.SIGUSR1)
    assert process.returncode == 138
    assert said.splitlines()[-1] == "assimilate.train: terminated; the same command resumes"
    process = start(cut, **on_slurm)
    stop(process, cut, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    finish(start(cut, **on_slurm))
    assert not [path for path in temporary.iterdir() if "inductor" not in path.name]  # torch's own cache
    weights, history, curve, metrics, names = outcome(whole)
    weights_again, history_again, curve_again, metrics_again, names_again = outcome(cut)
    assert weights.keys() == weights_again.keys()
    assert all(torch.equal(weights[name], weights_again[name]) for name in weights)
    assert len(history) == 1 + 12
    assert history == history_again
    assert curve == curve_again
    assert metrics == metrics_again
    assert names == names_again
