"""A training process that is killed with SIGKILL and started again ends in the bits of one that was left alone."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import torch

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


def start(out: Path) -> subprocess.Popen:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return subprocess.Popen(
        [sys.executable, "-m", "assimilate.train", *COMMAND, f"out={out}"],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True, text=True,
    )  # fmt: skip


def finish(process: subprocess.Popen) -> None:
    output, _ = process.communicate(timeout=500)
    assert process.returncode == 0, output


def outcome(out: Path) -> tuple[dict[str, torch.Tensor], list[list[str]], str]:
    """Weights, the history without its seconds, and the kNN curve."""
    (folder,) = (path.parent for path in out.glob("artifacts/encoders/*/*/encoder.pt"))
    rows = [line.split(",") for line in (folder / "history.csv").read_text().splitlines()]
    clock = rows[0].index("seconds")
    history = [[cell for place, cell in enumerate(row) if place != clock] for row in rows]
    weights = torch.load(folder / "encoder.pt", weights_only=True)["state_dict"]
    return weights, history, (folder / "knn_curve.csv").read_text()


def test_killed_and_resumed_equals_uninterrupted(tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    finish(start(whole))
    process = start(cut)
    deadline = time.monotonic() + 300
    # Once there is a checkpoint, at any moment: between two steps, while measuring, or while writing the next one.
    while not list(cut.glob("artifacts/encoders/**/last.ckpt")):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.01)
    time.sleep(random.Random().uniform(0, 0.4))
    os.killpg(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not list(cut.glob("artifacts/encoders/**/manifest.json")), "it was too fast to be killed"
    finish(start(cut))
    (weights, history, curve), (weights_again, history_again, curve_again) = outcome(whole), outcome(cut)
    assert weights.keys() == weights_again.keys()
    assert all(torch.equal(weights[name], weights_again[name]) for name in weights)
    assert len(history) == 1 + 12
    assert history == history_again
    assert curve == curve_again
