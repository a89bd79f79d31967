"""SimCLR with ResNet-18 at 32², B=512: the full training step against the bare one on synthetic views that are there.

Full: our LightningModule and LightningDataModule, images on the device, gathering, augmentation, record, schedule.
Bare: forward, loss, backward and optimiser on views that never change. Then the shares of a full step.

python benchmarks/gpu/measure_training.py --work /tmp/pack              (the pack runs it: pack.py --piece 1)
"""

import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from measuring import Measuring, cudnn_benchmark, peak_gigabytes, repeated_seconds, synchronize

from assimilate.assimilation.checkpointing import ResumePoint
from assimilate.assimilation.fit import fit
from pairs import verdict
from profile_steps import profile_contrastive
from workloads import Contrastive

CIFAR_IMAGES = 50_000
TARGET_RATIO, TARGET_EPOCH_SECONDS, GOAL_EPOCH_SECONDS = 1.15, 4.0, 2.5


@dataclass(frozen=True)
class Option:
    """How a step is computed; the views and the loss are the same for all."""

    name: str
    precision: str = "bf16-mixed"
    channels_last: bool = True
    compiled: bool = False
    compiled_augmentation: bool = True
    cudnn_benchmark: bool = False
    mode: str | None = None
    seconds: float = 30.0


# The first is what a run takes unless told otherwise, in bf16; each of the others changes one thing of the second.
OPTIONS = (
    Option("bf16", compiled_augmentation=False),
    Option("bf16,compiled augmentation", seconds=60),
    Option("bf16,compiled augmentation,compiled networks", compiled=True, seconds=150),
    Option("fp32,compiled augmentation", precision="32-true", seconds=45),
    Option("bf16,compiled augmentation,cudnn benchmark", cudnn_benchmark=True),
    Option("bf16,compiled augmentation,contiguous", channels_last=False),
    Option("bf16,compiled augmentation,CUDA graphs", compiled=True, mode="reduce-overhead", seconds=100),
    Option("fp32,compiled augmentation,compiled networks", precision="32-true", compiled=True, seconds=150),
)


class _Epochs(pl.Callback):
    """Seconds of each epoch's steps, the device's work included: it waits at the ends of epochs alone."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._started = 0.0

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        synchronize()
        self._started = time.perf_counter()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        synchronize()
        self.seconds.append(time.perf_counter() - self._started)


class _TimedResumePoint:
    """Seconds that a checkpoint takes."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._save = ResumePoint._save

    def __enter__(self) -> "_TimedResumePoint":
        def save(point: ResumePoint, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            synchronize()
            started = time.perf_counter()
            self._save(point, trainer, pl_module)
            self.seconds.append(time.perf_counter() - started)

        ResumePoint._save = save  # type: ignore[method-assign]
        return self

    def __exit__(self, *_: object) -> None:
        ResumePoint._save = self._save  # type: ignore[method-assign]


def full_step(work: Contrastive, option: Option, device: torch.device, *, epochs: int) -> tuple[list[float], float]:
    """Milliseconds of a step in each epoch but the first, and seconds of the last checkpoint."""
    module, data, clock = work.module(), work.datamodule(), _Epochs()
    if option.channels_last:
        module.encoder.to(memory_format=torch.channels_last)
    if option.compiled:
        module.compile_networks(option.mode)
    with tempfile.TemporaryDirectory() as folder, _TimedResumePoint() as checkpoint:
        fit(
            module, data, max_epochs=epochs, workdir=Path(folder), precision=option.precision, callbacks=[clock],
            accelerator="gpu" if device.type == "cuda" else "cpu", checkpoint_every_n_epochs=epochs,
        )  # fmt: skip
    return [1000 * seconds / work.steps for seconds in clock.seconds[1:]], checkpoint.seconds[-1]


def bare_step(work: Contrastive, option: Option, device: torch.device, *, repeats: int) -> list[float]:
    """Milliseconds of forward, loss, backward and optimiser on fixed views, `repeats` times."""
    module = work.module().to(device).train()
    if option.channels_last:
        module.encoder.to(memory_format=torch.channels_last)
    if option.compiled:
        module.compile_networks(option.mode)
    views = [torch.randn(work.batch, 3, work.size, work.size, device=device) for _ in range(work.num_views)]
    sgd = torch.optim.SGD(module.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4, fused=True)

    def step() -> None:
        sgd.zero_grad()
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=option.precision == "bf16-mixed"):
            loss = module.loss_terms(views).total
        loss.backward()
        sgd.step()

    return [1000 * seconds for seconds in repeated_seconds(step, repeats=repeats, calls=work.steps // 2, warmup=5)]


def compare(work: Contrastive, option: Option, device: torch.device, *, epochs: int) -> dict[str, Any]:
    """One line of the result."""
    with cudnn_benchmark(option.cudnn_benchmark):
        bares = bare_step(work, option, device, repeats=epochs)
        steps, checkpoint_seconds = full_step(work, option, device, epochs=epochs + 1)
    step, bare = statistics.median(steps), statistics.median(bares)
    # Not in turns: compiled networks would be compiled anew each time. So the verdict asks it of the extremes.
    judged = verdict(min(steps) / max(bares), max(steps) / min(bares), at_most=TARGET_RATIO)
    epoch_seconds = [each / 1000 * CIFAR_IMAGES / work.batch for each in (step, min(steps), max(steps))]
    return {
        "step_ms": round(step, 3),
        "step_ms_spread": [round(min(steps), 3), round(max(steps), 3)],
        "bare_step_ms": round(bare, 3),
        "bare_step_ms_spread": [round(min(bares), 3), round(max(bares), 3)],
        "ratio": round(step / bare, 4),
        "target": f"≤ {TARGET_RATIO}",
        "verdict": judged,
        "epoch_seconds": round(epoch_seconds[0], 3),
        "epoch_target": f"≤ {TARGET_EPOCH_SECONDS:g}, goal {GOAL_EPOCH_SECONDS:g}",
        "epoch_verdict": verdict(*epoch_seconds[1:], at_most=TARGET_EPOCH_SECONDS),
        "images_per_second": round(1000 * work.batch / step),
        "views_per_second": round(1000 * work.num_views * work.batch / step),
        "checkpoint_seconds": round(checkpoint_seconds, 3),
        "peak_gigabytes": peak_gigabytes(),
        "batch": work.batch,
        "width": work.width,
    }


def workload(measuring: Measuring, assim: str, *, compiled_augmentation: bool) -> Contrastive:
    """ResNet-18 at 32² with B=512; in a rehearsal something that a CPU does in a second."""
    if measuring.rehearse:
        return Contrastive(assim, 2, 8, 8, size=16, batch=8, steps=4, compiled_augmentation=False)
    return Contrastive(assim, steps=40, compiled_augmentation=compiled_augmentation)


def main() -> None:
    measuring = Measuring(__doc__)
    epochs = 1 if measuring.rehearse else 3
    # torch.compile needs a C++ compiler on a CPU; a rehearsal is of the way there, not of the compiler.
    options = OPTIONS[:1] if measuring.rehearse else OPTIONS

    def steps(*chosen: Option) -> None:
        for option in chosen:
            work = workload(measuring, "simclr", compiled_augmentation=option.compiled_augmentation)
            measuring.measure(
                f"simclr step/{option.name}",
                lambda work=work, option=option: compare(work, option, measuring.device, epochs=epochs),
                seconds=option.seconds,
            )

    # The share of augmentation is asked for whatever compiling the networks gains: it comes before what takes minutes.
    steps(*options[:2])
    shares(measuring, "simclr")
    steps(*options[2:])
    shares(measuring, "a2")


def shares(measuring: Measuring, assim: str) -> None:
    """Where the time of a full step goes, with the augmentation as it is and compiled."""
    for compiled in (False,) if measuring.rehearse else (False, True):
        work = workload(measuring, assim, compiled_augmentation=compiled)

        def profiled(work: Contrastive = work) -> dict[str, Any]:
            precision = "32-true" if measuring.rehearse else "bf16-mixed"
            found = profile_contrastive(
                work, steps=work.steps // 2, warmup=work.steps // 3, precision=precision, device=measuring.device
            )
            print(found.table())
            return {**found.summary(), "shares": found.rows()}

        measuring.measure(f"{assim} shares/bf16{',compiled augmentation' if compiled else ''}", profiled, seconds=40)


if __name__ == "__main__":
    main()
