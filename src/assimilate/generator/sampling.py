"""A data set that a generator makes: images beside the codes they were made from (Table 4)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from assimilate.data.seeding import generator as seeded
from assimilate.generator.protocol import LatentGenerator, to_pixels
from assimilate.graph.place import Progress, silent


@dataclass(frozen=True)
class SamplingSettings:
    """Images of ``seed``; ``tile`` are synthesised at once, always that many, so the same bits."""

    tile: int
    seed: int


def sample_images(
    generator: LatentGenerator,
    write: Callable[..., None],
    pending: Sequence[int],
    settings: SamplingSettings,
    *,
    device: torch.device | str = "cpu",
    progress: Progress = silent,
) -> None:
    """Make the images ``pending`` and give each to ``write(index, image, latents=codes)``.

    An image is uint8 [3, S, S], its codes are float32 [L, D] and pre-truncation. Image i and its codes are functions of
    (seed, i) alone: it is made among the neighbours of its tile, those from i − i mod tile on, whichever of them are
    asked for. ``progress`` counts the images asked for. Raises ValueError if an image is not finite.
    """
    wanted, done = set(pending), 0
    progress(0, len(wanted), {})
    for begin in sorted({index - index % settings.tile for index in wanted}):
        codes, pixels = _make_tile(generator, begin, settings, device)
        for place in range(settings.tile):
            if begin + place in wanted:
                write(begin + place, pixels[place], latents=codes[place])
                done += 1
        progress(done, len(wanted), {})


def _make_tile(
    generator: LatentGenerator, begin: int, settings: SamplingSettings, device: torch.device | str
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Codes and images of ``begin`` … ``begin + tile − 1``; the last tile is whole too."""
    with torch.no_grad():
        codes = draw_codes(generator, range(begin, begin + settings.tile), settings.seed, device)
        made = generator.synthesize(codes)
    if not bool(torch.isfinite(made).all()):
        last = begin + settings.tile - 1
        raise ValueError(
            f"the generator's images {begin}…{last} are not finite: another generator.checkpoint or a smaller "
            "generator.truncation helps"
        )
    return codes.cpu().numpy(), to_pixels(made).cpu().numpy()


def draw_codes(
    generator: LatentGenerator, indices: range, seed: int = 0, device: torch.device | str = "cpu"
) -> Float[Tensor, "batch codes dim"]:
    """Codes [batch, codes, dim] of images drawn at random: a latent each, mapped, the same for every layer.

    Those of image i are a function of (``seed``, i) alone. ``generator.synthesize(codes)`` makes the images.
    """
    latents = [generator.sample_latents(1, seeded(seed, "sampled image", index)) for index in indices]
    codes = generator.map(torch.cat(latents).to(device))
    return codes[:, None].repeat(1, generator.num_codes, 1).float()
