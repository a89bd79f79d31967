"""Checkpoints in the dict that StyleGAN2 programs share: g, d, g_ema, g_optim, d_optim, args, ada_aug_p."""

import argparse
from collections.abc import Iterable, Mapping
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from assimilate.data.seeding import generator as seeded
from assimilate.files.plain_files import check_weights, load_plain, save_plain
from assimilate.generator.architecture import architecture_of, channel_multiplier_of
from assimilate.generator.discriminator import Discriminator
from assimilate.generator.state import GeneratorState, mean_latent
from assimilate.generator.stylegan2 import Generator

_KEY = "generator.checkpoint"
# What programs call the mean of mapped latents.
_MEANS = ("latent_mean", "latent_avg")
# State dicts of what is trained beside it.
_DICTS = ("g", "d", "g_optim", "d_optim")


def read_checkpoint(path: Path, *, key: str, needed: str = "a dict with the key g_ema") -> dict[str, Any]:
    """Load a checkpoint dict without running any code that it may hold.

    ``key`` is the config key that the path came from, ``needed`` what it should hold. Raises ValueError if the file is
    missing, damaged, no dict, or a pickle that needs more than `load_plain` allows.
    """
    try:
        content = load_plain(path)
    except FileNotFoundError:
        raise ValueError(f"{key}={path}: no such file") from None
    except ValueError as error:
        raise ValueError(f"{key}={path}: {error}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{key}={path}: holds a {type(content).__name__}; needed is {needed}")
    return content


def name_a_few(keys: Iterable[Any], *, shown: int = 5) -> str:
    """The first keys in order, and how many more there are: a state dict has hundreds."""
    names = sorted(map(str, keys))
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return f"{names[:shown]}{more}"


def check_image_size(made: int, wanted: int | None, *, origin: str) -> None:
    """Refuse a generator whose images have another side, in pixels, than the data set's; None takes any.

    Raises:
        ValueError: it has; names both.
    """
    if wanted is not None and made != wanted:
        raise ValueError(
            f"{origin}: makes images of {made}×{made}, but dataset.image_size={wanted}; "
            f"set dataset.image_size={made} or give another checkpoint"
        )


def load_strictly(network: nn.Module, state_dict: object, *, origin: str) -> None:
    """Load ``state_dict`` into ``network``.

    Raises ValueError, led by ``origin``, unless it passes ``check_weights`` and keys and shapes agree.
    """
    weights = check_weights(state_dict, origin=origin)
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        problems = [line.strip() for line in str(error).splitlines()[1:]]
        more = f" … and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise ValueError(f"{origin} does not fit: {' '.join(problems[:3])}{more}") from None


def stylegan2_content(state: GeneratorState, *, extra: dict[str, Any] | None = None) -> dict[str, Any]:
    """What a checkpoint of ``state`` holds; ``extra`` (plain containers) is kept under the key ``extra``."""
    architecture = state.architecture
    widest = max(architecture.channels)
    content: dict[str, Any] = {
        "g_ema": state.generator_ema.state_dict(),
        "args": argparse.Namespace(
            size=architecture.image_size,
            latent=architecture.latent_dim,
            n_mlp=architecture.num_mapping_layers,
            channels=list(architecture.channels),
            channel_multiplier=channel_multiplier_of(architecture),
            max_channels=widest,
            iter=state.step,
        ),
        "ada_aug_p": 0.0,
        "latent_mean": state.latent_mean.detach().cpu(),
        "history": state.history,
        "mean_path_length": state.mean_path_length,
        "extra": extra or {},
    }
    for key, network in (("g", state.generator), ("d", state.discriminator)):
        if network is not None:
            content[key] = network.state_dict()
    return content | state.optimizers


def save_stylegan2(path: Path, state: GeneratorState) -> None:
    """Write ``state`` atomically."""
    save_plain(path, stylegan2_content(state))


def load_stylegan2(path: Path, *, image_size: int | None = None, latent_mean_seed: int = 0) -> GeneratorState:
    """Load a StyleGAN2 on the CPU, ours or one made by another program, reading its architecture from the shapes.

    The file holds state dicts by g_ema, g and d, or g_ema's alone, or either in state_dict, whatever lies beside it;
    names may begin with module. or _orig_mod. (wrappers of PyTorch). The truncation mean is its latent_mean or
    latent_avg, else the mean of 4096 mapped latents drawn from ``latent_mean_seed``. Networks without noise maps get
    seeded ones, which ``notes`` of the result says.
    Raises ValueError (naming generator.checkpoint) for what ``read_checkpoint`` and ``check_weights`` refuse, a file
    without g_ema, keys or shapes that are not of the rosinality layout, and an image size other than ``image_size``.
    What is None counts as absent.
    """
    content = read_checkpoint(path, key=_KEY)
    return parse_stylegan2(content, origin=f"{_KEY}={path}", image_size=image_size, latent_mean_seed=latent_mean_seed)


def parse_stylegan2(
    content: Mapping[str, Any], *, origin: str, image_size: int | None = None, latent_mean_seed: int = 0
) -> GeneratorState:
    """Return what ``load_stylegan2`` does, from what the file holds; errors begin with ``origin``."""
    stored = _named(content)
    if "g_ema" not in stored and isinstance(stored.get("state_dict"), Mapping):
        inner = stored.pop("state_dict")
        # Another program's `g` beside it may be a loss.
        beside = {key: value for key, value in stored.items() if key not in _DICTS or isinstance(value, Mapping)}
        stored = beside | _named(inner)
    if "g_ema" not in stored:
        raise ValueError(f"{origin}: has no g_ema, only {name_a_few(stored)}")
    for name in ("g_ema", "g", "d"):
        if name in stored:
            stored[name] = _unwrapped(check_weights(stored[name], origin=f"{origin}: {name}"))
    try:
        architecture = architecture_of(stored["g_ema"])
    except ValueError as error:
        raise ValueError(f"{origin}: {error}") from None
    check_image_size(architecture.image_size, image_size, origin=origin)
    # Building a network draws initial weights, which must not move the caller's random state.
    with torch.random.fork_rng(devices=[]):
        generator_ema = Generator(architecture)
        generator = Generator(architecture) if "g" in stored else None
        discriminator = Discriminator(architecture) if "d" in stored else None
    noiseless = [
        name for name in ("g_ema", "g") if name in stored and not any(key.startswith("noises.") for key in stored[name])
    ]
    for name in noiseless:
        stored[name] = {**stored[name], **_seeded_noise(generator_ema)}
    file = origin.rsplit("/", 1)[-1]
    lacking = f"{file}: {', '.join(noiseless)} without noise maps (noises.*), which are drawn from a fixed seed"
    for name, network in (("g_ema", generator_ema), ("g", generator), ("d", discriminator)):
        if network is not None:
            load_strictly(network, stored[name], origin=f"{origin}: {name}")
    given = next((key for key in _MEANS if key in stored), None)
    if given is not None:
        latent_mean = check_weights({given: stored[given]}, origin=origin)[given]
        if latent_mean.shape == (1, architecture.latent_dim):  # what rosinality's mean_latent returns
            latent_mean = latent_mean[0]
        if latent_mean.shape != (architecture.latent_dim,):
            raise ValueError(
                f"{origin}: {given} has shape {list(latent_mean.shape)}; needed is [{architecture.latent_dim}]"
            )
    step, mean_path_length = getattr(stored.get("args"), "iter", None), stored.get("mean_path_length", 0.0)
    step = 0 if step is None else step
    if not isinstance(step, Integral):
        raise ValueError(f"{origin}: args.iter={step!r}; needed is a whole number of steps")
    if not isinstance(mean_path_length, Real):
        raise ValueError(f"{origin}: mean_path_length is a {type(mean_path_length).__name__}; needed is a number")
    return GeneratorState(
        architecture=architecture,
        generator_ema=generator_ema,
        latent_mean=mean_latent(generator_ema, seed=latent_mean_seed) if given is None else latent_mean,
        generator=generator,
        discriminator=discriminator,
        step=int(step),
        history=stored.get("history", []),
        optimizers={key: stored[key] for key in ("g_optim", "d_optim") if key in stored},
        mean_path_length=float(mean_path_length),
        notes=(lacking,) if noiseless else (),
    )


def _named(content: Mapping[str, Any]) -> dict[str, Any]:
    """What is not None, with the names of a network that no key holds put under g_ema."""
    stored = {key: value for key, value in content.items() if value is not None}
    if "g_ema" in stored or not any(str(key).endswith("input.input") for key in stored):
        return stored
    means = {key: stored.pop(key) for key in _MEANS if key in stored}
    return {"g_ema": stored, **means}


def _unwrapped(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state dict without what `DataParallel` and `torch.compile` put before every name."""
    for wrapper in ("module.", "_orig_mod.", "module."):
        if weights and all(name.startswith(wrapper) for name in weights):
            weights = {name.removeprefix(wrapper): tensor for name, tensor in weights.items()}
    return weights


def _seeded_noise(network: Generator) -> dict[str, Tensor]:
    """Noise maps from N(0, 1), by their names in the state dict."""
    maps = network.draw_noise(1, seeded(0, "noise maps"))
    return {f"noises.noise_{index}": noise for index, noise in enumerate(maps)}
