"""What each key of a configuration may hold, one rule a line."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from assimilate.data.shard import is_shard
from assimilate.data.statistics import MEANS, STDS, divided_by_255, is_mean, is_std
from assimilate.settings.identity import GENERATED, OWN
from assimilate.settings.options import (
    ANALYSES,
    BACKBONES,
    INITIALIZATIONS,
    LOSSES,
    OPTIMIZERS,
    PROBES,
    PROJECTORS,
    SCHEDULES,
    STEMS,
    TRANSFORMS,
)


@dataclass(frozen=True)
class Check:
    """One rule about one dotted key; a key that the configuration lacks is not checked."""

    key: str
    holds: Callable[[Any], bool]
    allowed: str
    advice: Callable[[Any], str] = lambda value: ""  # what to say beside it of a value that does not hold


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _positive(value: Any) -> bool:
    return _number(value) and value > 0


def _not_negative(value: Any) -> bool:
    return _number(value) and value >= 0


def _count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _seed(value: Any) -> bool:
    return _whole(value) and value < 2**64  # what torch's generators take


def _one_of(*options: Any) -> Callable[[Any], bool]:
    return lambda value: value in options


def _text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _probability(value: Any) -> bool:
    return _number(value) and 0 <= value <= 1


def _range(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(_positive, value)) and value[0] <= value[1]


def _strengths(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 4 and all(map(_not_negative, value)) and value[3] <= 0.5


def _milestones(value: Any) -> bool:
    return isinstance(value, list) and all(_number(share) and 0 < share <= 1 for share in value)


def _option(key: str, options: Iterable[str]) -> "Check":
    return Check(key, _one_of(*options), ", ".join(options))


def _or_auto(rule: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value == "auto" or rule(value)


def _or_none(rule: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or rule(value)


def _each(rule: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: bool(value) and all(map(rule, value)) if isinstance(value, list) else rule(value)


def _settings(value: Any) -> bool:
    return isinstance(value, Mapping)


def _folder_name(value: Any) -> bool:
    return _text(value) and value not in (".", "..") and not set(value) & set("/\\\0") and len(value.encode()) <= 255


def _place(value: Any) -> bool:
    return _text(value) or _number(value)


def _path(value: Any) -> bool:
    return value is None or _text(value)


def _root(value: Any) -> bool:
    return value is None or _place(value)


SEEDS = "a whole number from 0 to 2⁶⁴ − 1"
# Keys that hold others: a value in the place of one would take its settings away.
GROUPS_OF_SETTINGS = (
    *("data", "data.expert", "knn", "input", "view.encoder", "view.search"),
    *("inversion.optimization", "analysis.mine", "analysis.perplexity"),
)
# Groups with a mean, a std or both.
NORMALISED = ("dataset", "dataset.evaluation", "input", "data")

CHECKS = (
    *(Check(key, _settings, f"a setting in it, {key}.<name>=… (all keys: --cfg job)") for key in GROUPS_OF_SETTINGS),
    Check("seed", _seed, SEEDS),
    Check("out", _place, "a folder"),
    Check("force", _one_of(True, False), "true or false"),
    Check("verify", _one_of(True, False), "true or false"),
    Check("preview", _one_of(True, False), "true or false"),
    Check("shard", _or_none(is_shard), "null or k/n with 1 ≤ k ≤ n, the third of eight is 3/8"),
    Check("objective", _or_none(_text), "null, knn5_train or a metric of metrics.json"),
    Check("checkpoint", _path, "null, a file or timm/<model>.<tag>"),
    Check("prepare", _one_of("auto", "only", "plan", "never"), "auto, only, plan or never"),
    Check("epochs", _count, "a whole number ≥ 1"),
    Check("batch_size", lambda v: _count(v) and v >= 2, "a whole number ≥ 2 (contrastive losses need negatives)"),
    Check("accumulate_grad_batches", _count, "a whole number ≥ 1"),
    Check(
        "batchnorm",
        _one_of("per_view", "concatenated", "per_view_backbone", "per_source"),
        "per_view, concatenated, per_view_backbone or per_source",
    ),
    Check("drop_last", _one_of(True, False), "true or false"),
    _option("simclr_loss", LOSSES),
    Check("data.normalize", _one_of(True, False), "true or false"),
    Check("data.crop_size", _or_none(_count), "null or a whole number ≥ 1"),
    Check("data.placement", _one_of("auto", "device", "host"), "auto, device or host"),
    Check("data.compile_augmentation", _one_of(True, False), "true or false"),
    Check(
        "data.expert.crop_scale",
        lambda v: _range(v) and v[1] <= 1,
        "[low, high], shares of the image's area with 0 < low ≤ high ≤ 1",
    ),
    Check("data.expert.crop_ratio", _range, "[low, high], width over height with 0 < low ≤ high"),
    Check(
        "data.expert.jitter", _strengths, "[brightness, contrast, saturation, hue], each ≥ 0 and the last at most 0.5"
    ),
    Check("data.expert.jitter_probability", _probability, "a probability, 0 to 1"),
    Check("data.expert.grayscale_probability", _probability, "a probability, 0 to 1"),
    Check("data.expert.interpolation", _one_of("bilinear", "bicubic"), "bilinear or bicubic"),
    Check("data.expert.order", _one_of("crop_first", "jitter_first"), "crop_first or jitter_first"),
    Check("knn.every_n_epochs", _whole, "a whole number ≥ 0 (0: off)"),
    # Of networks that double from 4², checks.py asks for more.
    Check("dataset.image_size", lambda v: _count(v) and v >= 8, "a whole number ≥ 8"),
    Check("dataset.name", _folder_name, "the name of one folder, without / or \\"),
    Check("dataset.root", _root, "a folder"),
    Check("dataset.evaluation.root", _root, "a folder"),
    Check("dataset.flip", _probability, "a probability, 0 to 1"),
    Check("dataset.test_fraction", lambda v: _number(v) and 0 < v < 1, "a share between 0 and 1"),
    Check("dataset.num_images", _count, "a whole number ≥ 1"),
    Check("dataset.tile", _count, "a whole number ≥ 1"),
    Check("dataset.seed", _seed, SEEDS),
    Check("dataset.max_train_images", _or_none(_count), "null or a whole number ≥ 1"),
    Check("dataset.max_test_images", _or_none(_count), "null or a whole number ≥ 1"),
    _option("loss.name", LOSSES),
    Check("loss.temperature", _positive, "a number > 0"),
    Check("loss.base_temperature", _or_none(_positive), "null or a number > 0"),
    Check("loss.alpha", _not_negative, "a number ≥ 0"),
    Check(
        "loss.align_anchors",
        lambda v: v in ([0], [1], [0, 1], [1, 0]),
        "[0, 1] (Eq. 4), [0] (the reference code) or [1]",
    ),
    _option("encoder.backbone", BACKBONES),
    _option("encoder.stem", STEMS),
    _option("encoder.initialization", INITIALIZATIONS),
    _option("encoder.projector", PROJECTORS),
    Check("encoder.hidden_dim", _or_none(_count), "null (the projector's own) or a whole number ≥ 1"),
    Check("encoder.output_dim", _or_none(_count), "null (the projector's own) or a whole number ≥ 1"),
    Check("encoder.predictor_dim", _or_none(_count), "null or a whole number ≥ 1"),
    Check("encoder.width", _count, "a whole number ≥ 1"),
    _option("optimizer.name", OPTIMIZERS),
    _option("optimizer.schedule", SCHEDULES),
    Check("optimizer.lr", _positive, "a number > 0"),
    Check("optimizer.momentum", lambda v: _number(v) and 0 <= v < 1, "a number, 0 ≤ momentum < 1"),
    Check("optimizer.weight_decay", _not_negative, "a number ≥ 0"),
    Check("optimizer.warmup_epochs", _not_negative, "a number ≥ 0"),
    Check("optimizer.warmup_steps", _whole, "a whole number ≥ 0"),
    Check("optimizer.warmup_from", _not_negative, "a number ≥ 0"),
    Check("optimizer.final", _not_negative, "a share of lr ≥ 0"),
    Check("optimizer.milestones", _milestones, "a list of shares of the epochs, each in (0, 1]"),
    Check("optimizer.gamma", _positive, "a number > 0"),
    Check("view.seed", _seed, SEEDS),
    Check("view.encoder.seed", _seed, SEEDS),
    Check("view.encoder.checkpoint", _path, "null or a path"),
    Check("view.path", _root, "a folder or a .npy file"),
    Check("view.projected", _one_of(True, False), "true or false"),
    Check("view.n_cached", _or_none(_count), "a whole number ≥ 1"),
    Check("view.n_used", _or_none(_count), "null (all that are cached) or a whole number ≥ 1"),
    Check("view.n_sampled", _count, "a whole number ≥ 1"),
    Check(
        "view.epsilon1",
        _or_auto(lambda v: _not_negative(v) and v <= 2),
        "auto or a distance: 0 ≤ ε1 ≤ 2, f's outputs have norm 1",
    ),
    Check("view.epsilon2", _or_auto(_not_negative), "auto or a distance ≥ 0"),
    Check("view.lambda", _not_negative, "a number ≥ 0"),
    Check("view.sigma", _each(_not_negative), "a standard deviation ≥ 0, or a list with one a code"),
    Check("view.noise_limit", _or_none(_positive), "null (a normal distribution) or standard deviations > 0"),
    Check("view.split", _whole, "a whole number of codes ≥ 0, at most 2·log2(image_size) − 2"),
    Check("view.cached", _one_of(True, False), "true or false"),
    Check("view.draws", _one_of("independent", "shared"), "independent or shared"),
    Check("view.draw_batch", _count, "a whole number ≥ 1"),
    Check("assim.probability", lambda v: _number(v) and 0 < v <= 1, "a probability above 0, up to 1"),
    Check("view.batch", _count, "a whole number ≥ 1"),
    Check("view.distortion_budget", _positive, "a mean change of a pixel in [0, 1], above 0"),
    Check("view.width", _count, "a whole number ≥ 1"),
    Check("view.lr", _positive, "a number > 0"),
    Check("view.objective", _one_of("cosine", "eq3"), "cosine or eq3"),
    Check("view.threshold", lambda v: _number(v) and -1 <= v <= 1, "a cosine, −1 to 1"),
    Check("view.step_size", _positive, "a number > 0"),
    Check("view.initial_noise", _not_negative, "a standard deviation ≥ 0"),
    Check("view.frozen", _one_of(True, False), "true or false"),
    Check("view.transform", _one_of(*TRANSFORMS), ", ".join(TRANSFORMS)),
    Check("view.anchor", _one_of("reconstruction", "original"), "reconstruction or original"),
    Check("view.hinge", _one_of("image", "view"), "image or view"),
    Check("view.search.optimizer", _one_of("adam", "sgd"), "adam or sgd"),
    Check("view.search.stop", _one_of("anchor", "batch"), "anchor or batch"),
    Check("view.search.space", _one_of("wplus", "w"), "wplus or w"),
    Check("view.search.projection", _one_of("none", "sphere"), "none or sphere"),
    Check("view.search.precision", _one_of("fp32", "bf16"), "fp32 or bf16"),
    Check("view.search.compile", _one_of(True, False), "true or false"),
    Check("view.search.width", _count, "a whole number ≥ 1"),
    Check("view.search.iterations", _whole, "a whole number ≥ 0"),
    Check("view.search.lr", _positive, "a number > 0"),
    Check("view.search.tolerance", _or_none(_not_negative), "null or a number ≥ 0"),
    Check("view.search.tolerance_relative", _or_none(_positive), "null or a number > 0"),
    Check("view.search.noise_first_view", _one_of(True, False), "true or false"),
    Check("view.search.initial_noise", _not_negative, "a standard deviation ≥ 0"),
    _option("assim.name", ("simclr", "a1", "a2")),
    _option("assim.view1", (GENERATED, *TRANSFORMS)),
    _option("assim.view2", (GENERATED, *TRANSFORMS)),
    Check(
        "assim.view3",
        _or_none(_one_of(GENERATED, *TRANSFORMS)),
        ", ".join(("null (two views)", GENERATED, *TRANSFORMS)),
    ),
    _option("assim.generated_transform", TRANSFORMS),
    Check("trainer.accelerator", _one_of("auto", "cpu", "gpu"), "auto, cpu or gpu"),
    Check("trainer.strategy", _one_of("auto", "ddp"), "auto or ddp"),
    Check("trainer.channels_last", _one_of(True, False), "true or false"),
    Check("trainer.devices", _count, "a whole number ≥ 1"),
    Check(
        "trainer.precision",
        _one_of("32-true", "bf16-mixed", "16-mixed", "64-true"),
        "32-true, bf16-mixed, 16-mixed or 64-true",
    ),
    Check("trainer.num_threads", _or_none(_count), "null or a whole number ≥ 1"),
    Check(
        "trainer.compile",
        _one_of(True, False, "reduce-overhead", "max-autotune"),
        "true, false, reduce-overhead (CUDA graphs) or max-autotune",
    ),
    Check("trainer.cudnn_benchmark", _one_of(True, False), "true or false"),
    Check("trainer.checkpoint_every_n_epochs", _count, "a whole number ≥ 1"),
    Check("logger.project", _text, "a name"),
    Check("logger.entity", _or_none(_text), "null or a name"),
    Check("logger.every_n_steps", _count, "a whole number of steps ≥ 1"),
    Check("logger.checkpoints", _one_of(True, False), "true or false"),
    Check("logger.suffix", _or_none(_place), "null or a word"),
    _option("probe.name", PROBES),
    Check(
        "probe.seeds",
        lambda v: isinstance(v, list) and bool(v) and all(map(_seed, v)) and len(set(v)) == len(v),
        "a list of different whole numbers from 0 to 2⁶⁴ − 1, at least one",
    ),
    Check("probe.batch_size", _or_none(_count), "null (the protocol's) or a whole number ≥ 1"),
    Check("probe.lr", _or_none(_positive), "null (the protocol's) or a number > 0"),
    Check("probe.num_draws", _or_none(_count), "null (new draws in every epoch) or a whole number ≥ 1"),
    Check("probe.augmentation_seed", _seed, SEEDS),
    Check("probe.draws", _one_of("shared", "independent"), "shared or independent"),
    Check(
        "probe.neighbours",
        lambda v: isinstance(v, list) and 5 in v and all(map(_count, v)),
        "a list of whole numbers ≥ 1 with 5 in it",
    ),
    Check("probe.num_epochs", _or_none(_count), "null or a whole number ≥ 1"),
    Check("input.image_size", _or_none(_count), "null or a whole number ≥ 1"),
    *(Check(f"{images}.mean", _or_none(is_mean), MEANS, divided_by_255) for images in NORMALISED),
    *(Check(f"{images}.std", _or_none(is_std), STDS, divided_by_255) for images in NORMALISED),
    Check(
        "input.stem",
        _one_of(None, "cifar", "cifar_maxpool", "imagenet"),
        "null, cifar, cifar_maxpool or imagenet",
    ),
    Check("input.prefix", lambda v: v is None or isinstance(v, str), "null, or what stands before a ResNet's names"),
    Check("generator.name", _one_of("stylegan2", "bigbigan", OWN), "stylegan2 or bigbigan"),
    Check("generator._target_", _or_none(_text), "null or module.Class, as Python imports it"),
    Check("generator.checkpoint", _path, "null or a path"),
    Check("generator.seed", _seed, SEEDS),
    Check("generator.max_channels", _count, "a whole number ≥ 1"),
    Check("generator.channel_multiplier", _count, "a whole number ≥ 1"),
    Check("generator.channel_base", _or_none(_count), "null or a whole number ≥ dataset.image_size"),
    Check("generator.latent_dim", _count, "a whole number ≥ 1"),
    Check("generator.num_mapping_layers", _count, "a whole number ≥ 1"),
    Check("generator.num_steps", _count, "a whole number ≥ 1"),
    Check(
        "generator.batch_size",
        lambda v: _count(v) and (v < 4 or v % 4 == 0),
        "a whole number ≥ 1, below 4 or a multiple of 4",
    ),
    Check("generator.lr", _positive, "a number > 0"),
    Check("generator.r1_weight", _not_negative, "a number ≥ 0 (0: off)"),
    Check("generator.r1_every", _count, "a whole number of steps ≥ 1"),
    Check("generator.path_length_weight", _not_negative, "a number ≥ 0 (0: off)"),
    Check("generator.path_length_every", _count, "a whole number of steps ≥ 1"),
    Check("generator.path_length_batch_shrink", _count, "a whole number ≥ 1"),
    Check("generator.mixing_probability", _probability, "a probability, 0 to 1"),
    # Beyond that, the decay of a step rounds to 1.
    Check("generator.ema_half_life_steps", lambda v: _positive(v) and v <= 1e15, "a number of steps > 0, at most 1e15"),
    Check("generator.checkpoint_every", _count, "a whole number of steps ≥ 1"),
    Check("generator.augment", _one_of("none", "leak", "diffaugment"), "none, leak or diffaugment"),
    Check("generator.augment_probability", _probability, "a probability, 0 to 1"),
    Check("generator.sample_every", _whole, "a whole number ≥ 0 (0: off)"),
    Check("generator.save_every_images", _whole, "a whole number ≥ 0 (0: off)"),
    Check("generator.frechet", _one_of("none", "inception", "encoder"), "none, inception or encoder"),
    Check("generator.frechet_every", _count, "a whole number ≥ 1"),
    Check("generator.frechet_images", lambda v: _count(v) and v >= 2, "a whole number ≥ 2"),
    Check("generator.truncation", lambda v: _number(v) and 0 < v <= 1, "a number in (0, 1]; 1 switches it off"),
    Check("generator.latent_width", _count, "a whole number ≥ 1"),
    Check("generator.latent_limit", _or_none(_positive), "null (a normal distribution) or a number > 0"),
    Check("generator.frechet_encoder", _path, "null or a path"),
    Check("inversion.name", _one_of("indomain"), "indomain"),
    Check("inversion.seed", _seed, SEEDS),
    Check("inversion.checkpoint", _path, "null or a path"),
    Check("inversion.latents", _path, "null or a path"),
    Check("inversion.checkpoint_every", _count, "a whole number of steps ≥ 1"),
    Check("inversion.max_channels", _or_none(_count), "null or a whole number ≥ 1"),
    Check("inversion.num_steps", _count, "a whole number ≥ 1"),
    Check("inversion.batch_size", _count, "a whole number ≥ 1"),
    Check("inversion.lr", _positive, "a number > 0"),
    Check("inversion.mse_weight", _not_negative, "a number ≥ 0 (0: off)"),
    Check("inversion.perceptual_weight", _not_negative, "a number ≥ 0 (0: off)"),
    Check("inversion.adversarial_weight", _not_negative, "a number ≥ 0 (0: off)"),
    Check("inversion.r1_weight", _not_negative, "a number ≥ 0 (0: off)"),
    Check("inversion.r1_every", _count, "a whole number of steps ≥ 1"),
    Check("inversion.optimization.num_steps", _whole, "a whole number ≥ 0"),
    Check("inversion.optimization.lr", _positive, "a number > 0"),
    Check("inversion.optimization.lr_schedule", _one_of("constant", "cosine"), "constant or cosine"),
    Check("inversion.optimization.mse_weight", _not_negative, "a number ≥ 0 (0: off)"),
    Check("inversion.optimization.perceptual_weight", _not_negative, "a number ≥ 0 (0: off)"),
    Check("inversion.optimization.in_domain_weight", _not_negative, "a number ≥ 0 (0: off)"),
    Check("inversion.optimization.keep", _one_of("best", "last"), "best or last"),
    Check("inversion.perceptual_norm", _one_of("l1", "l2"), "l1 or l2"),
    Check("inversion.optimization.tile", _count, "a whole number ≥ 1"),
    Check(
        "inversion.perceptual",
        _one_of("vgg19", "discriminator", "encoder", "none"),
        "vgg19, discriminator, encoder or none",
    ),
    _option("analysis.kind", ANALYSES),
    Check("analysis.mine.hidden_dim", _or_none(_count), "null (as wide as f's projection) or a whole number ≥ 1"),
    Check("analysis.mine.lr", _positive, "a number > 0"),
    Check("analysis.mine.batch_size", lambda v: _count(v) and v >= 2, "a whole number ≥ 2"),
    Check("analysis.mine.num_epochs", _count, "a whole number ≥ 1"),
    Check("analysis.viewmaker", _root, "null or the folder of a run"),
    Check("analysis.anchor", _one_of("own", "original"), "own or original"),
    Check("analysis.num_images", _or_none(_count), "null (all) or a whole number ≥ 1"),
    Check("analysis.num_views", _count, "a whole number ≥ 1"),
    Check("analysis.num_embedded", _count, "a whole number ≥ 1"),
    Check("analysis.num_plotted", _count, "a whole number ≥ 1"),
    Check("analysis.perplexity.w", _positive, "a number > 0"),
    Check("analysis.perplexity.z", _positive, "a number > 0"),
    Check("analysis.num_iterations", lambda v: _count(v) and v >= 250, "a whole number ≥ 250, what scikit-learn asks"),
    Check("analysis.part", _one_of("test", "train"), "test or train"),
    Check("analysis.power", _positive, "a number > 0"),
    Check("analysis.t", _positive, "a number > 0"),
)
# Keys whose value can be nothing but a path.
PATHS = frozenset(check.key for check in CHECKS if check.holds in (_place, _path, _root))
