"""W-perturb (Section 3.2): noise on the inverted latent, one forward pass a view."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy.typing import NDArray
from torch import Tensor

from assimilate.data.progress import Progress, silent
from assimilate.data.seeding import generator as seeded
from assimilate.generator.protocol import LatentGenerator
from assimilate.generator.truncated_normal import truncated_normal
from assimilate.views.embedding import to_pixels


@dataclass(frozen=True)
class PerturbSettings:
    """W-perturb: `sigma` is a standard deviation over the whole W+; `projected` rescales the noise to radius
    σ√(codes·dim) (footnote of Section 3.2, Table 16); `batch` images are synthesised at once, always. `noise_limit`
    truncates the normal distribution that σ scales at ±limit (GenRep's neighbours: 2; PROTOCOLS 12)."""

    num_views: int
    sigma: float
    projected: bool
    batch: int
    seed: int
    noise_limit: float | None = None


def perturbation(
    shape: tuple[int, int, int],
    *,
    sigma: float,
    projected: bool,
    rng: torch.Generator,
    noise_limit: float | None = None,
) -> Float[Tensor, "views codes dim"]:
    """Noise for the views of one image.

    Args:
        shape: (views, codes, dim).
        sigma: standard deviation of each element, before truncation.
        projected: rescale each view's noise to the radius that it has on average.
        rng: source of the draw.
        noise_limit: no element exceeds noise_limit·sigma; None: a normal distribution.
    """
    noise = torch.randn(shape, generator=rng) if noise_limit is None else truncated_normal(shape, noise_limit, rng)
    if projected:
        radius = (shape[1] * shape[2]) ** 0.5
        noise *= radius / torch.linalg.vector_norm(noise, dim=(1, 2), keepdim=True)
    return sigma * noise


def perturb_views(
    generator: LatentGenerator,
    latents: NDArray[np.float32],
    indices: Sequence[int],
    settings: PerturbSettings,
    emit: Callable[[int, UInt8[Tensor, "views 3 height width"]], None],
    *,
    device: str = "cpu",
    progress: Progress = silent,
) -> None:
    """Views of `indices`: g(e(x) + noise), the noise a function of (seed, image) alone.

    Args:
        generator: synthesises images from W+ latents.
        latents: inverted codes of the whole data set, [N, codes, dim], before truncation.
        indices: which images to work on.
        settings: W-perturb.
        emit: receives (image, its views) in order.
        device: where to compute.
        progress: called as images are finished.
    """
    pending: list[UInt8[Tensor, "3 height width"]] = []
    position = 0
    for tile, real in _tiles(latents, indices, settings):
        with torch.no_grad():
            pending += list(to_pixels(generator.synthesize(tile.to(device))).cpu()[:real])
        while len(pending) >= settings.num_views:
            emit(indices[position], torch.stack(pending[: settings.num_views]))
            del pending[: settings.num_views]
            position += 1
        progress(position, len(indices), {})


def _tiles(
    latents: NDArray[np.float32], indices: Sequence[int], settings: PerturbSettings
) -> Iterator[tuple[Tensor, int]]:
    """All latents to synthesise, in tiles of a fixed width; the last one padded. Yields (tile, how many are real)."""
    waiting: list[Tensor] = []
    for index in indices:
        code = torch.from_numpy(np.array(latents[index]))
        rng = seeded(settings.seed, "perturb", int(index))
        shape = (settings.num_views, *code.shape)
        noise = perturbation(
            shape, sigma=settings.sigma, projected=settings.projected, rng=rng, noise_limit=settings.noise_limit
        )
        waiting += list(code + noise)
        while len(waiting) >= settings.batch:
            yield torch.stack(waiting[: settings.batch]), settings.batch
            del waiting[: settings.batch]
    if waiting:
        real = len(waiting)
        yield torch.stack(waiting + [waiting[-1]] * (settings.batch - real)), real
