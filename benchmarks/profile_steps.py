"""Where the time of a step goes on the four hot paths: SimCLR, A2, StyleGAN2's training, W-search.

python benchmarks/profile_steps.py                            all four, with narrow networks (two minutes on two cores)
python benchmarks/profile_steps.py simclr a2 --width 64 --batch 512 --precision bf16-mixed          on a GPU
"""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch

import assimilate.data.datamodule as datamodule
import assimilate.generator.steps as adversarial
import assimilate.views.search as search
from assimilate.assimilation.fit import fit
from assimilate.assimilation.loss import NTXent
from assimilate.assimilation.record import TrainingRecord
from assimilate.assimilation.view_passes import ViewPasses
from assimilate.data.augmentation import FlipAugmentation
from assimilate.data.expert import ExpertAugmentation
from assimilate.generator.real_images import RealImages
from assimilate.generator.truncated import TruncatedStyleGAN2
from assimilate.views.embedding import FrozenEmbedding
from assimilate.views.search_state import SearchState
from pairs import machine
from sections import BACKWARD, Section, Shares, Window, labelled
from workloads import Contrastive, SearchWorld, device_here, generator_training, random_images, search_settings

# Lazy regularisers of StyleGAN2 come round together after so many steps.
GENERATOR_ROUND = 16

CONTRASTIVE = (
    Section("gather", datamodule.ContrastiveDataModule, "serve"),
    Section("augmentation", ExpertAugmentation, "__call__"),
    Section("augmentation", FlipAugmentation, "__call__"),
    Section("augmentation", datamodule, "normalize"),
    Section("forward", ViewPasses, "project"),
    Section("loss", NTXent, "base"),
    Section("loss", NTXent, "aligned"),
    Section(BACKWARD, torch.Tensor, "backward"),
    Section("optimizer", torch.optim.SGD, "step"),
    Section("optimizer", torch.optim.lr_scheduler.LambdaLR, "step"),
    Section("logging", TrainingRecord, "on_train_batch_start"),
    Section("logging", TrainingRecord, "on_train_batch_end"),
)
ADVERSARIAL = (
    Section("real images", RealImages, "batch"),
    Section("discriminator step", adversarial.AdversarialTraining, "_update_discriminator"),
    Section("R1", adversarial.AdversarialTraining, "_regularise_discriminator"),
    Section("generator step", adversarial.AdversarialTraining, "_update_generator"),
    Section("path length", adversarial.AdversarialTraining, "_regularise_generator"),
    Section("moving average", adversarial.AdversarialTraining, "_move_average"),
    Section(BACKWARD, torch.Tensor, "backward"),
    Section("optimizer", torch.optim.Adam, "step"),
)
SEARCH = (
    Section("generator", TruncatedStyleGAN2, "synthesize"),
    Section("f", FrozenEmbedding, "forward"),
    Section("loss", search, "search_loss"),
    Section(BACKWARD, torch.autograd, "grad"),
    Section("Adam", SearchState, "adam"),
    Section("refill", SearchState, "fill"),
    Section("delivery", search.SearchEngine, "_deliver"),
)


class _Between(pl.Callback):
    """Opens the window before one step and closes it before a later one: whole cycles, the loader's part included."""

    def __init__(self, window: Window, *, first: int, steps: int) -> None:
        self._window, self._first, self._steps = window, first, steps

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if batch_idx == self._first:
            self._window.start()
        elif batch_idx == self._first + self._steps:
            self._window.stop(self._steps)


def profile_contrastive(
    work: Contrastive,
    *,
    steps: int,
    warmup: int,
    precision: str,
    compiled: bool = False,
    device: torch.device | None = None,
) -> Shares:
    """A step of the full training, through Lightning, with the record's logging; on `device_here()` unless told."""
    window = Window()
    module, data = work.module(), work.datamodule()
    module.encoder.to(memory_format=torch.channels_last)
    if compiled:
        module.compile_networks()
    accelerator = "gpu" if (device or device_here()).type == "cuda" else "cpu"
    # The first steps are in another window of the log than the profiled ones: a row for the loggers falls within.
    with tempfile.TemporaryDirectory() as folder, labelled(CONTRASTIVE):
        fit(
            module, data, max_epochs=1, workdir=Path(folder), accelerator=accelerator, precision=precision,
            callbacks=[_Between(window, first=warmup, steps=steps)], log_every_n_steps=warmup + max(1, steps // 2),
        )  # fmt: skip
    assert window.shares is not None, "the epoch is shorter than the window"
    return window.shares


def profile_generator(
    size: int,
    channels: int,
    batch: int,
    *,
    steps: int = GENERATOR_ROUND,
    warmup: int = 1,
    device: torch.device | None = None,
) -> Shares:
    """16 steps of StyleGAN2's training, so that R1 (1 in 16) and path length (1 in 4) have their share."""
    device = device or device_here()
    training = generator_training(size, channels, batch, device)
    stream = RealImages(
        random_images(8 * batch, size), batch_size=batch, seed=0, flip_probability=0.5, device=device
    )  # fmt: skip
    window = Window()
    with labelled(ADVERSARIAL):
        for _ in range(warmup):
            training.train_step(stream.batch(training.step))
        window.start()
        for _ in range(steps):
            training.train_step(stream.batch(training.step))
        window.stop(steps)
    assert window.shares is not None
    return window.shares


def profile_search(world: SearchWorld, *, num_views: int, width: int, steps: int, **changes: Any) -> Shares:
    """Steps of the engine with every slot busy, where `world` is: nobody converges, the search is cut after `steps`."""
    settings = search_settings(
        num_views=num_views, width=width, iterations=steps, tolerance=0.0, tolerance_relative=None, **changes
    )
    engine = search.SearchEngine(world.generator, world.embedding, settings, device=world.device.type)
    chosen = list(range(min(width, len(world.images))))

    def run() -> None:
        engine.run(world.latents, world.images, chosen, lambda found: None)

    run()
    window = Window()
    with labelled(SEARCH):
        window.start()
        run()
        window.stop(steps)
    assert window.shares is not None
    return window.shares


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="*", metavar="path", help=f"of {', '.join(PATHS)}; all unless given")
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--width", type=int, default=16, help="of the ResNet-18; 64 is the published one")
    parser.add_argument("--batch", type=int, default=128, help="images of a contrastive step")
    parser.add_argument("--channels", type=int, default=64, help="of the generator; 512 is the published one")
    parser.add_argument("--generator-batch", type=int, default=16)
    parser.add_argument("--generator-steps", type=int, default=GENERATOR_ROUND, help="R1: 1 in 16; path length: 1 in 4")
    parser.add_argument("--anchors", type=int, default=8)
    parser.add_argument("--views", type=int, default=8)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--warmup", type=int, default=3)
    parser.add_argument("--precision", default="32-true")
    parser.add_argument("--compile", action="store_true", help="the encoder's networks")
    parser.add_argument("--compile-augmentation", action="store_true")
    parser.add_argument("--threads", type=int, default=None)
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    if unknown := set(arguments.paths) - set(PATHS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; paths are {', '.join(PATHS)}")
    chosen = arguments.paths or list(PATHS)
    print(f"{machine()}\n")
    for path in chosen:
        shape, shares = PATHS[path](arguments)
        print(f"## {path}: {shape}\n\n{shares.summary()}\n\n{shares.table()}\n", flush=True)


def _contrastive(assim: str) -> Callable[[argparse.Namespace], tuple[str, Shares]]:
    def run(arguments: argparse.Namespace) -> tuple[str, Shares]:
        narrow = arguments.width < 64
        work = Contrastive(
            assim, arguments.width, *((256, 128) if narrow else (1024, 128)), arguments.size, arguments.batch,
            steps=arguments.warmup + arguments.steps + 1, compiled_augmentation=arguments.compile_augmentation,
        )  # fmt: skip
        shares = profile_contrastive(
            work, steps=arguments.steps, warmup=arguments.warmup, precision=arguments.precision,
            compiled=arguments.compile,
        )  # fmt: skip
        shape = f"width {arguments.width}, {arguments.size}², B={arguments.batch}, {work.num_views} views"
        return f"{shape}, {arguments.precision}", shares

    return run


def _generator(arguments: argparse.Namespace) -> tuple[str, Shares]:
    sizes = arguments.size, arguments.channels, arguments.generator_batch
    shares = profile_generator(*sizes, steps=arguments.generator_steps)
    return f"{arguments.channels} channels, {arguments.size}², B={arguments.generator_batch}", shares


def _search(arguments: argparse.Namespace) -> tuple[str, Shares]:
    world = SearchWorld(
        size=arguments.size, channels=arguments.channels, width=arguments.width, count=max(16, arguments.anchors),
        device=device_here(),
    )  # fmt: skip
    shares = profile_search(world, num_views=arguments.views, width=arguments.anchors, steps=arguments.steps)
    shape = f"{arguments.channels} channels, f of width {arguments.width}, {arguments.size}²"
    return f"{shape}, {arguments.anchors} anchors × {arguments.views} views", shares


PATHS: dict[str, Callable[[argparse.Namespace], tuple[str, Shares]]] = {
    "simclr": _contrastive("simclr"),
    "a2": _contrastive("a2"),
    "generator": _generator,
    "wsearch": _search,
}


if __name__ == "__main__":
    main()
