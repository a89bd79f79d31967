"""Per-image optimisation of the codes, from the encoder's guess."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from assimilate.data.images import ImageArrays
from assimilate.generator.protocol import LatentGenerator
from assimilate.generator.real_images import to_unit_range
from assimilate.graph.place import Progress, silent
from assimilate.inversion.encoder import InversionEncoder
from assimilate.inversion.perceptual import FeatureExtractor, perceptual_distance
from assimilate.inversion.settings import OptimizationSettings

# By `lr_schedule`: the share of the rate at a step of so many.
_SCHEDULES: dict[str, Callable[[int, int], float]] = {
    "constant": lambda step, num_steps: 1.0,
    "cosine": lambda step, num_steps: 0.5 * (1 + math.cos(math.pi * step / num_steps)),
}
# By `keep`: whether the codes of a step take the place of those before.
_KEPT: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "best": torch.lt,
    "last": lambda losses, best: torch.ones_like(losses, dtype=torch.bool),
}


@dataclass(frozen=True)
class OptimizedTile:
    """Pre-truncation codes and the mean squared error of the clamped reconstructions, on the scale of [-1, 1].

    ``initial_errors`` are those of the encoder's guess. ``losses`` are those of ``codes``: NaN or ∞ where no step,
    or not the last one, had one that is finite.
    """

    codes: Float[Tensor, "batch codes dim"]
    errors: Float[Tensor, " batch"]
    initial_errors: Float[Tensor, " batch"]
    losses: Float[Tensor, " batch"]


def optimize_images(
    generator: LatentGenerator,
    encoder: InversionEncoder,
    features: FeatureExtractor,
    images: ImageArrays,
    pending: Sequence[int],
    write: Callable[[int, NDArray[Any], NDArray[Any], NDArray[Any]], None],
    settings: OptimizationSettings,
    *,
    device: torch.device | str = "cpu",
    progress: Progress = silent,
) -> None:
    """Optimise the codes of the images ``pending`` and give each to ``write(index, codes, error, initial_error)``.

    Codes are float32 [L, D] and pre-truncation, errors those of ``OptimizedTile``. What is found for an image is a
    function of that image alone: it is optimised among the neighbours of its tile, whichever of them are asked for.
    Networks are frozen and on ``device``. ``progress`` counts the images asked for. Raises ValueError if a
    reconstruction is not finite.
    """
    size, wanted, done = settings.tile, set(pending), 0
    for begin in sorted({index - index % size for index in wanted}):
        end = min(begin + size, len(images))
        # The last tile is filled up with its own last image: kernels see the same shape for every image.
        chosen = np.minimum(np.arange(begin, begin + size), end - 1)
        pixels = torch.from_numpy(np.array(images.images[chosen])).to(torch.device(device))
        optimized = optimize_codes(generator, encoder, features, to_unit_range(pixels), settings)
        error = float(optimized.errors[: end - begin].mean())
        # A comparison with NaN is false: codes that became NaN would be the encoder's guess, unnoticed.
        if not math.isfinite(error) or not bool(torch.isfinite(optimized.losses).all()):
            raise ValueError(
                f"inversion.optimization.lr={settings.lr}: images {begin}…{end - 1} have no finite reconstruction or "
                "loss; finished tiles are kept; a lower inversion.optimization.lr or another generator.checkpoint helps"
            )
        found = (optimized.codes, optimized.errors, optimized.initial_errors)
        codes, errors, initial_errors = (values.float().cpu().numpy() for values in found)
        for index in range(begin, end):
            if index in wanted:
                place = index - begin
                write(index, codes[place], errors[place], initial_errors[place])
                done += 1
        progress(done, len(wanted), {"mse": error})


def optimize_codes(
    generator: LatentGenerator,
    encoder: InversionEncoder,
    features: FeatureExtractor,
    images: Float[Tensor, "batch 3 size size"],
    settings: OptimizationSettings,
) -> OptimizedTile:
    """Minimise MSE + perceptual + in_domain_weight·MSE(w0, e(g(w))) over the codes of each image, from w0 = e(x).

    The losses of the images are summed, never averaged, and Adam works on each number by itself: an image is optimised
    as if it were alone. Returns, for each image, the codes with the lowest loss seen, or with ``keep=last`` those after
    the last step, as the reference does.
    Images are in [-1, 1]; generator, encoder and features are frozen.
    """
    with torch.no_grad():
        start = encoder(images)
        target = features(images) if settings.perceptual_weight > 0 else ()
    codes = start.clone().requires_grad_()
    optimizer = torch.optim.Adam([codes], lr=settings.lr, fused=True)
    best_codes, best_loss = start, torch.full((len(images),), math.inf, device=images.device)
    for step in range(settings.num_steps + 1):
        last = step == settings.num_steps
        with torch.set_grad_enabled(not last):
            made = generator.synthesize(codes)
            losses = settings.mse_weight * (made - images).square().flatten(1).mean(dim=1)
            if settings.perceptual_weight > 0:
                losses = losses + settings.perceptual_weight * perceptual_distance(
                    features(made), target, settings.perceptual_norm
                )
            if settings.in_domain_weight > 0:
                drift = (encoder(made) - start).square().flatten(1).mean(dim=1)
                losses = losses + settings.in_domain_weight * drift
        with torch.no_grad():
            better = _KEPT[settings.keep](losses, best_loss)
            best_loss = torch.where(better, losses, best_loss)
            best_codes = torch.where(better[:, None, None], codes, best_codes)
        if not last:
            optimizer.param_groups[0]["lr"] = learning_rate(settings, step)
            optimizer.zero_grad()
            # The reference takes the mean over its batch: Adam's 1e-8 damps gradients so small.
            losses.sum().backward()
            optimizer.step()
    # Codes that became NaN stay so: what was best until then is no optimisation of so many steps.
    best_loss = torch.where(torch.isfinite(losses), best_loss, losses)
    errors, initial_errors = (_reconstruction_errors(generator, each, images) for each in (best_codes, start))
    return OptimizedTile(best_codes, errors, initial_errors, best_loss)


def learning_rate(settings: OptimizationSettings, step: int) -> float:
    """Return the rate of ``step`` (from 0): constant, or half a cosine from ``lr`` down to 0."""
    return settings.lr * _SCHEDULES[settings.lr_schedule](step, settings.num_steps)


@torch.no_grad()
def _reconstruction_errors(
    generator: LatentGenerator, codes: Float[Tensor, "batch codes dim"], images: Float[Tensor, "batch 3 size size"]
) -> Float[Tensor, " batch"]:
    return (generator.synthesize(codes).clamp(-1, 1) - images).square().flatten(1).mean(dim=1)
