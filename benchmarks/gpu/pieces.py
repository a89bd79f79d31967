"""The pieces of the pack: commands that a user could type. What is there already is not made again."""

from collections.abc import Callable
from typing import Any

from archive import unpack
from context import Context
from wheels import unpack_wheels

Settings = dict[str, Any]
NAME = "cifar10jpeg"
VIEWS = "wsearch,wperturb,wmix"

# Of a rehearsal: the same commands, so small that a CPU does them in seconds.
TOY: Settings = {
    "dataset.max_train_images": 64,
    "dataset.max_test_images": 32,
    "encoder.width": 2,
    "encoder.hidden_dim": 8,
    "encoder.output_dim": 8,
    "batch_size": 16,
    "epochs": 2,
    "probe.num_epochs": 2,
    "trainer": "cpu",
    "trainer.num_threads": 1,
    "trainer.precision": "32-true",
}
TOY_ROW: Settings = {**TOY, "optimizer.warmup_epochs": 1}
TOY_GENERATOR: Settings = {
    "generator.max_channels": 8,
    "generator.channel_base": 64,
    "generator.latent_dim": 16,
    "generator.num_mapping_layers": 2,
    "generator.num_steps": 2,
    "generator.batch_size": 4,
    "generator.checkpoint_every": 1,
    "inversion.num_steps": 2,
    "inversion.batch_size": 4,
    "inversion.optimization.num_steps": 1,
    "inversion.optimization.tile": 16,
}


def prepare(context: Context) -> None:
    """Piece 0: what this machine is, and the archive as the project's arrays."""
    unpack_wheels(context.wheels, context.site)
    context.script("environment.py")
    unpack(context.archive, context.images, per_class=8 if context.rehearse else None)
    context.stage("prepare_data", _data(context, all_images=True))


def measure(context: Context) -> None:
    """Piece 1: the benchmarks. Shares of the time, so that an early one cannot starve the later ones."""
    context.script("measure_training.py", share=0.55)
    context.script("measure_generator.py", share=0.4)
    context.script("measure_search.py")


def dkobak(context: Context) -> None:
    """Piece 2: 100 epochs of dkobak's recipe with its precomputed probe."""
    settings = {**_data(context, all_images=True), "recipe": "dkobak_100", "assim": "simclr", **_fast()}
    if context.rehearse:
        settings |= TOY
    context.stage("train", settings)


def table3(context: Context) -> None:
    """Piece 3: a short Table 3: generator, latents, f and three caches, then SimCLR, A1 and A2 rows, all alike."""
    common = {**_data(context, all_images=False), **SHORT, **_fast()}
    made = {**common, **GENERATOR, **VIEW}
    search = dict(SEARCH)
    if context.rehearse:
        common, made = {**common, **TOY_ROW}, {**made, **TOY_ROW, **TOY_GENERATOR}
        search |= {"view.search.width": 4, "view.search.iterations": 2, "view.search.precision": "fp32"}
    context.stage("train_generator", {**made, "view": "wsearch", **search})
    context.stage("invert", {**made, "view": "wsearch", **search})
    context.stage("make_views", {**made, "view": "wsearch", **search, "preview": "true"})
    context.stage("make_views", {**made, "view": "wperturb,wmix", "preview": "true"}, multirun=True)
    for seed in context.seeds:
        context.stage("train", {**common, "assim": "simclr", "seed": seed})
        context.stage("train", {**made, "assim": "a1,a2", "view": "wsearch", **search, "seed": seed}, multirun=True)
        context.stage("train", {**made, "assim": "a1,a2", "view": "wperturb,wmix", "seed": seed}, multirun=True)


# Equal for all rows. 30 epochs of 12,500 images at B=256 are 1,440 steps.
SHORT: Settings = {
    "recipe": "essl",
    "epochs": 30,
    "batch_size": 256,
    "optimizer.lr": 0.06,
    "optimizer.weight_decay": 5e-4,
    "optimizer.warmup_epochs": 3,
    "probe.num_draws": 8,
}
# 4,000 steps of 64 images: what a few minutes allow, at half the published width. The later regularisers are lazier.
GENERATOR: Settings = {
    "generator.max_channels": 256,
    "generator.num_steps": 4000,
    "generator.batch_size": 64,
    "generator.r1_weight": 2.0,
    "generator.path_length_every": 16,
    "generator.ema_half_life_steps": 150,
    "generator.checkpoint_every": 500,
    "inversion.perceptual": "discriminator",
    "inversion.num_steps": 1500,
    "inversion.batch_size": 64,
    "inversion.lr": 2e-3,
    "inversion.checkpoint_every": 250,
    "inversion.optimization.num_steps": 25,
    "inversion.optimization.lr": 0.05,
    "inversion.optimization.tile": 512,
}
VIEW: Settings = {"view.n_cached": 2}
# Step size and noise are those of recipe=narrow, with which trained networks converged on CIFAR-10's JPEGs.
SEARCH: Settings = {
    "view.search.width": 256,
    "view.search.iterations": 150,
    "view.search.lr": 0.02,
    "view.search.tolerance": "null",
    "view.search.tolerance_relative": 0.05,
    "view.search.initial_noise": 0.05,
    "view.search.precision": "bf16",
}


def _data(context: Context, *, all_images: bool) -> Settings:
    data: Settings = {
        "dataset": "folder",
        "dataset.root": context.images,
        "dataset.name": NAME,
        "dataset.image_size": 32,
    }
    if context.rehearse:
        data |= {key: TOY[key] for key in ("dataset.max_train_images", "dataset.max_test_images")}
    elif not all_images:
        data["dataset.max_train_images"] = 12_500
    return data


def _fast() -> Settings:
    """How it is computed: the training benchmark's first option. Short runs lose by compiling."""
    return {
        "trainer": "auto",
        "trainer.precision": "bf16-mixed",
        "data.placement": "device",
        "trainer.checkpoint_every_n_epochs": 5,
        "knn.every_n_epochs": 10,
        "logger": "none",
    }


PIECES: tuple[Callable[[Context], None], ...] = (prepare, measure, dkobak, table3)
