"""From a generator's range to grey levels."""

import torch
from jaxtyping import Float, UInt8
from torch import Tensor


def to_pixels(images: Float[Tensor, "... 3 height width"]) -> UInt8[Tensor, "... 3 height width"]:
    """Images [..., 3, height, width] in [−1, 1] (clamped) to the nearest of 256 levels, uint8."""
    return ((images.clamp(-1, 1) + 1) * 127.5).round_().to(torch.uint8)
