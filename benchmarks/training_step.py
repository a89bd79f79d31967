"""What Lightning, the record and the loader cost a step: `fit` against a bare loop over the same batches.

Gathering and augmenting run in both; the difference is the framework's, logging included. Milliseconds are told by a
network so narrow that they stand out, the share of a step by a ResNet-18 at 32x32.

python benchmarks/training_step.py                                  both
python benchmarks/training_step.py --width 16 --batch 64 --size 32  one of your own
"""

import argparse
import math
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.loggers import CSVLogger

from assimilate.assimilation.contrastive import SimCLR
from assimilate.assimilation.fit import fit
from assimilate.assimilation.loss import InfoNCE
from assimilate.assimilation.optimizers import SGD, CosineWithWarmup
from assimilate.data.datamodule import ContrastiveDataModule
from assimilate.data.images import ImageArrays
from assimilate.data.transform import make_transform
from assimilate.data.views import ViewSlot
from pairs import overheads, report

MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
OPTIMIZER = SGD(lr=0.03, momentum=0.9, weight_decay=5e-4, schedule=CosineWithWarmup(warmup_epochs=0))


class InTurns:
    """After each step of the trainer a step of the bare loop, so that drifts of the machine's speed fall on both.

    Called by hooks that every module has: a callback more would cost the trainer's steps what no user pays.
    """

    def __init__(self, bare_steps: Iterator[None]) -> None:
        self.bare_steps = bare_steps
        self.ours: list[float] = []
        self.bare: list[float] = []
        self._since = math.nan

    def watch(self, module: pl.LightningModule) -> pl.LightningModule:
        module.on_train_start = self.begin  # type: ignore[method-assign]
        module.on_train_batch_end = self.take_turns  # type: ignore[method-assign]
        return module

    def begin(self) -> None:
        self._since = time.perf_counter()

    def take_turns(self, *_: object) -> None:
        # What the trainer does after this hook, and fetching the next batch, is of its next step.
        ended = time.perf_counter()
        self.ours.append(ended - self._since)
        next(self.bare_steps)
        self._since = time.perf_counter()
        self.bare.append(self._since - ended)


@dataclass(frozen=True)
class Case:
    """A network, its batches, and how many steps make a pair; the loggers get a row in each."""

    width: int
    batch: int
    size: int
    steps: int
    # One thread where the framework's share is Python's: threads that wait for each other drown it in noise.
    threads: int

    def compare(self, pairs: int) -> list[tuple[float, float]]:
        """Milliseconds a step of both; a pair is the mean over `steps` steps."""
        torch.set_num_threads(self.threads)
        rng = np.random.default_rng(0)
        count = (pairs + 1) * self.steps * self.batch  # the first pair is the warm-up
        arrays = ImageArrays(rng.integers(0, 256, (count, 3, self.size, self.size), dtype=np.uint8), None)
        in_turns = InTurns(self.bare_steps(arrays))
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder)
            fit(
                in_turns.watch(self.module()), self.data(arrays), max_epochs=1, workdir=path, accelerator="cpu",
                log_every_n_steps=self.steps, loggers=[CSVLogger(path)],
            )  # fmt: skip
        return list(zip(per_step(in_turns.ours, self.steps), per_step(in_turns.bare, self.steps), strict=True))

    def bare_steps(self, arrays: ImageArrays) -> Iterator[None]:
        network, source = self.module().train(), self.data(arrays)
        batches = source.index_batches(rank=0, world_size=1)
        rate = OPTIMIZER.rates(epochs=1, steps_per_epoch=len(batches))
        sgd = torch.optim.SGD(network.parameters(), lr=1.0, momentum=0.9, weight_decay=5e-4, fused=True)
        total = torch.zeros((), dtype=torch.float64)
        for step, batch in enumerate(batches):
            views = source.serve(source.transfer_batch_to_device(batch, torch.device("cpu"), 0)).views
            for group in sgd.param_groups:
                group["lr"] = rate(step)
            loss = network.loss_terms(views).total
            sgd.zero_grad()
            loss.backward()
            sgd.step()
            total += loss.detach()
            yield

    def module(self) -> SimCLR:
        module = SimCLR(
            encoder={"width": self.width, "hidden_dim": 32, "output_dim": 32},
            loss=InfoNCE(temperature=0.5), optimizer=OPTIMIZER, epochs=1, mean=MEAN, std=STD,
        )  # fmt: skip
        module.encoder.to(memory_format=torch.channels_last)  # as trainer.channels_last does
        return module

    def data(self, arrays: ImageArrays) -> ContrastiveDataModule:
        transform = make_transform("expert", self.size, flip=0.5, expert={})
        return ContrastiveDataModule(
            arrays, mean=MEAN, std=STD, slots=[ViewSlot("image", transform)] * 2, batch_size=self.batch, seed=0,
            view_source=None, drop_last=True,
        )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, help="of the network; without it, the two cases that have targets")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--steps", type=int, default=50, help="of a pair")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--pairs", type=int, default=41)
    arguments = parser.parse_args()
    if arguments.width is not None:
        own = (arguments.width, arguments.batch, arguments.size, arguments.steps, arguments.threads)
        compare(Case(*own), arguments.pairs)
        return
    compare(Case(width=2, batch=8, size=16, steps=50, threads=1), arguments.pairs, at_most_ms=1.5)
    # A step takes 25 times as long: half the pairs.
    compare(Case(width=64, batch=8, size=32, steps=10, threads=2), -(-arguments.pairs // 2), at_most_ratio=1.03)


def compare(case: Case, pairs: int, *, at_most_ms: float | None = None, at_most_ratio: float | None = None) -> None:
    """Print the overhead in the unit of its target, in both where there is none."""
    timed = case.compare(pairs)
    details = {
        "step_ms": round(statistics.median(own for own, _ in timed), 2),
        "bare_step_ms": round(statistics.median(bare for _, bare in timed), 2),
        **{name: getattr(case, name) for name in ("width", "batch", "size", "steps")},
    }
    if at_most_ratio is None:
        differences = [own - bare for own, bare in timed]
        report("training_step/overhead", differences, unit="milliseconds", at_most=at_most_ms, **details)
    if at_most_ms is None:
        report("training_step/overhead_ratio", overheads(timed), at_most=at_most_ratio, **details)


def per_step(seconds: Sequence[float], steps: int) -> list[float]:
    """Mean milliseconds of a step over each `steps` steps, the first of these left out.

    Not a median over steps: it would leave out what comes round now and then, a row for the loggers first of all.
    """
    assert len(seconds) % steps == 0, (len(seconds), steps)
    return [1000 * statistics.mean(seconds[begin : begin + steps]) for begin in range(steps, len(seconds), steps)]


if __name__ == "__main__":
    main()
