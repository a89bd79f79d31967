"""What Lightning, the record and the loader cost a step: `fit` against a bare loop over the same batches.

Gathering and augmenting run in both; the difference is the framework's, logging included.

python benchmarks/training_step.py
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import lightning.pytorch as pl
import numpy as np
import torch

from assimilate.assimilation.fit import fit
from assimilate.assimilation.objective import compute_loss
from assimilate.assimilation.schedule import OptimizerSpec, learning_rate
from assimilate.assimilation.simclr import SimCLR
from assimilate.data.augmentation import Augmentation, make_transform
from assimilate.data.datamodule import ContrastiveDataModule
from assimilate.data.images import ImageArrays
from assimilate.data.views import ViewSlot
from pairs import report

MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)


class Clock(pl.Callback):
    """Notes the time at which each step ends."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_train_batch_end(self, *_: object) -> None:
        self.ends.append(time.perf_counter())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=4)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--pairs", type=int, default=15)
    # One thread: the framework's share is Python's, and threads that wait for each other drown it in noise.
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    rng = np.random.default_rng(0)
    count = arguments.steps * arguments.batch
    arrays = ImageArrays(rng.integers(0, 256, (count, 3, 16, 16), dtype=np.uint8), None)
    optimizer = {"name": "sgd", "lr": 0.03, "epochs": 1, "weight_decay": 5e-4}
    transform = make_transform("expert", 16, flip=0.5, expert={})

    def module() -> SimCLR:
        return SimCLR(
            encoder={"width": arguments.width, "hidden_dim": 32, "output_dim": 32},
            loss={"name": "infonce", "temperature": 0.5}, optimizer=optimizer, mean=MEAN, std=STD,
        )  # fmt: skip

    def data(view: Augmentation) -> ContrastiveDataModule:
        return ContrastiveDataModule(
            arrays, mean=MEAN, std=STD, slots=[ViewSlot("image", view)] * 2, batch_size=arguments.batch, seed=0,
            view_source=None, drop_last=True,
        )  # fmt: skip

    def with_lightning() -> float:
        clock = Clock()
        with tempfile.TemporaryDirectory() as folder:
            fit(module(), data(transform), max_epochs=1, workdir=Path(folder), accelerator="cpu", callbacks=[clock])
        return per_step(clock.ends)

    def bare_loop() -> float:
        network, source = module().train(), data(transform)
        network.encoder.to(memory_format=torch.channels_last)
        batches = source.index_batches(rank=0, world_size=1)
        rate = learning_rate(OptimizerSpec(**optimizer), len(batches))
        sgd = torch.optim.SGD(network.parameters(), lr=1.0, momentum=0.9, weight_decay=5e-4, fused=True)
        total, ends = torch.zeros((), dtype=torch.float64), []
        for step, batch in enumerate(batches):
            views = source.serve(source.transfer_batch_to_device(batch, torch.device("cpu"), 0)).views
            for group in sgd.param_groups:
                group["lr"] = rate(step)
            loss = compute_loss([network.encoder(view) for view in views], network.loss_spec).total
            sgd.zero_grad()
            loss.backward()
            sgd.step()
            total += loss.detach()
            ends.append(time.perf_counter())
        return per_step(ends)

    milliseconds = pair(with_lightning, bare_loop, arguments.pairs)
    report(
        "training_step/overhead", [own - bare for own, bare in milliseconds], unit="milliseconds", at_most=1.5,
        step_ms=statistics.median(own for own, _ in milliseconds),
        bare_step_ms=statistics.median(bare for _, bare in milliseconds),
        batch=arguments.batch, width=arguments.width,
    )  # fmt: skip


def pair(ours: Callable[[], float], reference: Callable[[], float], pairs: int) -> list[tuple[float, float]]:
    """What the two measure themselves, in turns."""
    ours(), reference()
    return [(ours(), reference()) for _ in range(pairs)]


def per_step(ends: list[float]) -> float:
    """Median milliseconds between the ends of two steps, the first few left out."""
    return 1000 * statistics.median(np.diff(ends[5:]))


if __name__ == "__main__":
    main()
