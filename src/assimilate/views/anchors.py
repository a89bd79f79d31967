"""Anchors as f sees them, in tiles of a fixed width, so that no image's bits depend on its neighbours."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy.typing import NDArray
from torch import Tensor

from assimilate.generator.protocol import LatentGenerator
from assimilate.views.embedding import FrozenEmbedding, from_pixels


@dataclass(frozen=True)
class AnchorTile:
    """Some images of a data set; rows beyond them are copies of the last.

    Attributes:
        indices: which images.
        codes: inverted, [width, codes, dim], before truncation, on the device.
        originals: f of the images, [width, dim].
        reconstructions: f of what the generator makes of the codes, not rounded to pixels; None where not asked for.
    """

    indices: list[int]
    codes: Float[Tensor, "width codes dim"]
    originals: Float[Tensor, "width dim"]
    reconstructions: Float[Tensor, "width dim"] | None


@torch.no_grad()
def anchor_tiles(
    generator: LatentGenerator,
    embedding: FrozenEmbedding,
    latents: NDArray[np.float32],
    images: NDArray[np.uint8],
    indices: Sequence[int],
    *,
    width: int,
    device: torch.device,
    reconstructed: bool,
) -> Iterator[AnchorTile]:
    """The images `indices`, `width` at a time.

    Args:
        generator: of the codes.
        embedding: f.
        latents: inverted codes of the whole data set, [N, codes, dim].
        images: the data set's images, uint8 [N, 3, H, W].
        indices: which of them.
        width: of a tile; the last one is padded.
        device: where the networks are.
        reconstructed: whether reconstructions are wanted.
    """
    dtype = torch.from_numpy(latents[:0].copy()).dtype
    for begin in range(0, len(indices), width):
        chosen = [int(index) for index in indices[begin : begin + width]]
        padded = np.array(chosen + [chosen[-1]] * (width - len(chosen)))
        codes = torch.from_numpy(np.array(latents[padded])).to(device, non_blocking=True)
        originals = embedding(pixels_on(images[padded], device, dtype))
        seen = embedding(generator.synthesize(codes).clamp(-1, 1)) if reconstructed else None
        yield AnchorTile(chosen, codes, originals, seen)


def pixels_on(
    images: "NDArray[np.uint8] | UInt8[Tensor, '... 3 height width']", device: torch.device, dtype: torch.dtype
) -> Float[Tensor, "... 3 height width"]:
    """Images uint8 as f takes them, floats in [−1, 1] on the device."""
    pixels = images if isinstance(images, Tensor) else torch.from_numpy(np.array(images))
    return from_pixels(pixels.to(device, non_blocking=True), dtype)
