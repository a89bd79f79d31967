"""Views that take one forward pass: codes moved by a random draw, cached or made while training.

Kernels run at a fixed width and the draw of an image depends on (seed, image) alone, so a cache's bytes depend neither
on neighbours nor on sharding.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64, UInt8
from numpy.typing import NDArray
from torch import Tensor

from assimilate.data.placement import Placement
from assimilate.data.seeding import generator as seeded
from assimilate.generator.protocol import LatentGenerator
from assimilate.graph.place import Progress, silent
from assimilate.views.embedding import to_pixels
from assimilate.views.moves import Mixing as Mixing
from assimilate.views.moves import Perturbation as Perturbation

# Rounded to pixels, NaN would be black.
_NOT_FINITE = (
    "are not finite: another generator.checkpoint, other inversion.latents or a smaller generator.truncation helps"
)


class Move(Protocol):
    """How a view's codes come from its anchor's."""

    @property
    def purpose(self) -> str:
        """Names the draws: the moves of one seed are independent of each other."""
        ...

    def draw(
        self, generator: LatentGenerator, count: int, shape: torch.Size, rng: torch.Generator
    ) -> Float[Tensor, "count ..."]:
        """The random part of `count` views whose codes have `shape` [codes, dim], on the device of `rng`."""
        ...

    def apply(
        self, generator: LatentGenerator, codes: Float[Tensor, "batch codes dim"], drawn: Float[Tensor, "batch ..."]
    ) -> Float[Tensor, "batch codes dim"]:
        """Codes of the views, before truncation; row by row."""
        ...


def move_codes(
    generator: LatentGenerator, codes: Float[Tensor, "batch codes dim"], move: Move, rng: torch.Generator | None = None
) -> Float[Tensor, "batch codes dim"]:
    """Codes of one view of each anchor; `to_pixels(generator.synthesize(…))` makes the views.

    Args:
        generator: whose codes they are.
        codes: of the anchors, [batch, codes, dim], before truncation; repeat them for several views.
        move: `Perturbation` (W-perturb) or `Mixing` (W-mix).
        rng: source of the draws, on the device of the codes; None: torch's global generator.

    Raises:
        ValueError: the move's settings do not fit the number of codes.
    """
    rng = torch.default_generator if rng is None else rng
    drawn = move.draw(generator, len(codes), codes.shape[1:], rng)
    return move.apply(generator, codes, drawn.to(codes.device))


def synthesize_views(
    generator: LatentGenerator,
    latents: NDArray[np.float32],
    indices: Sequence[int],
    move: Move,
    emit: Callable[[int, UInt8[Tensor, "views 3 height width"]], None],
    *,
    num_views: int,
    batch: int,
    seed: int,
    device: str = "cpu",
    progress: Progress = silent,
) -> None:
    """Views of `indices`, the draws a function of (seed, image) alone.

    Args:
        generator: synthesises images from W+ latents.
        latents: inverted codes of the whole data set, [N, codes, dim], before truncation.
        indices: which images to work on.
        move: W-perturb or W-mix.
        emit: receives (image, its views) in order.
        num_views: views an image.
        batch: views synthesised at once, always: the last tile is padded.
        seed: of the draws.
        device: where to compute.
        progress: called as images are finished.

    Raises:
        ValueError: an image that the generator makes is not finite.
    """
    pending: list[UInt8[Tensor, "3 height width"]] = []
    position = 0
    for codes, drawn, real in _tiles(generator, latents, indices, move, num_views, batch, seed):
        with torch.no_grad():
            moved = move.apply(generator, codes.to(device), drawn.to(device))
            made = generator.synthesize(moved)
        finite = torch.isfinite(made[:real]).flatten(1).all(dim=1).cpu()
        if not bool(finite.all()):
            first_bad = position + (len(pending) + int(finite.int().argmin())) // num_views
            raise ValueError(f"views of image {indices[first_bad]} {_NOT_FINITE}")
        pending += list(to_pixels(made).cpu()[:real])
        while len(pending) >= num_views:
            emit(indices[position], torch.stack(pending[:num_views]))
            del pending[:num_views]
            position += 1
        progress(position, len(indices), {})


def _tiles(
    generator: LatentGenerator,
    latents: NDArray[np.float32],
    indices: Sequence[int],
    move: Move,
    num_views: int,
    batch: int,
    seed: int,
) -> Iterator[tuple[Tensor, Tensor, int]]:
    """(codes, draws, how many are real) in tiles of a fixed width; the last one padded."""
    codes: list[Tensor] = []
    drawn: list[Tensor] = []
    for index in indices:
        code = torch.from_numpy(np.array(latents[index]))
        codes += [code] * num_views
        drawn += list(move.draw(generator, num_views, code.shape, seeded(seed, move.purpose, int(index))))
        while len(codes) >= batch:
            yield torch.stack(codes[:batch]), torch.stack(drawn[:batch]), batch
            del codes[:batch], drawn[:batch]
    if codes:
        real = len(codes)
        padding = batch - real
        yield torch.stack(codes + codes[-1:] * padding), torch.stack(drawn + drawn[-1:] * padding), real


class FreshViews:
    """Makes new views at every step (a ViewSource): inverted codes, moved and synthesised.

    Args:
        generator: frozen.
        latents: inverted codes of the data set, [N, codes, dim], before truncation.
        move: W-perturb or W-mix.
    """

    def __init__(self, generator: LatentGenerator, latents: NDArray[np.float32], move: Move) -> None:
        self._generator, self._latents, self._move = generator, latents, move
        tensors = [*generator.parameters(), *generator.buffers()] if isinstance(generator, torch.nn.Module) else []
        self._device = tensors[0].device if tensors else torch.device("cpu")

    @property
    def device(self) -> torch.device:
        """Where the views are made: where the generator is."""
        return self._device

    def place(self, device: torch.device, *, placement: Placement, num_sharing: int = 1) -> None:
        """Make the views on `device`; the codes stay where they are, a batch of them is small."""
        self._device = device
        if isinstance(self._generator, torch.nn.Module):
            self._generator.to(device)

    @property
    def num_views(self) -> int:
        """Any number: no two draws are the same."""
        return sys.maxsize

    @torch.no_grad()
    def gather(
        self, indices: Int64[Tensor, " batch"], num_sampled: int, rng: torch.Generator
    ) -> UInt8[Tensor, "batch num_sampled 3 height width"]:
        """New views of each image.

        Args:
            indices: images of the data set.
            num_sampled: how many views of each.
            rng: source of the draw, on the CPU; what is drawn depends on the kind of device as well.

        Raises:
            ValueError: an image that the generator makes is not finite.
        """
        draws = torch.Generator(self._device)
        draws.manual_seed(int(torch.randint(2**62, (), generator=rng)))
        codes = torch.from_numpy(np.array(self._latents[indices.cpu().numpy()])).to(self._device)
        codes = codes.repeat_interleave(num_sampled, dim=0)
        made = self._generator.synthesize(move_codes(self._generator, codes, self._move, draws))
        if not bool(torch.isfinite(made).all()):
            raise ValueError(f"views {_NOT_FINITE}")
        return to_pixels(made).unflatten(0, (len(indices), num_sampled))


def moved_again(
    generator: LatentGenerator,
    latents: NDArray[np.float32],
    indices: Sequence[int],
    move: Move,
    *,
    num_views: int,
    count: int,
    seed: int,
    device: str = "cpu",
) -> Float32[np.ndarray, "images count codes dim"]:
    """Codes, before truncation, of the first `count` views that `synthesize_views` makes of `indices`."""
    codes: list[NDArray[np.float32]] = []
    for index in indices:
        code = torch.from_numpy(np.array(latents[index]))
        drawn = move.draw(generator, num_views, code.shape, seeded(seed, move.purpose, index))[:count].to(device)
        with torch.no_grad():
            codes.append(move.apply(generator, code.to(device).expand(len(drawn), -1, -1), drawn).cpu().numpy())
    return np.stack(codes)
