"""Blur, ×2 up-sampling and ×2 down-sampling with the binomial filter [1, 3, 3, 1]."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional


class Filter(nn.Module):
    """A 4×4 filter that is stored as a whole (``kernel``, as checkpoints have it) and applied as two passes of 4 taps.

    A loaded kernel that is no outer product is applied as it is. Convolution is the mathematical one: taps are flipped.
    """

    kernel: Tensor
    column: Tensor
    row: Tensor

    def __init__(self, *, gain: float = 1.0) -> None:
        super().__init__()
        taps = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8.0
        self.register_buffer("kernel", torch.outer(taps, taps) * gain)
        self.register_buffer("column", torch.empty(4), persistent=False)
        self.register_buffer("row", torch.empty(4), persistent=False)
        self.separable = True
        self._factorise()

    def _factorise(self) -> None:
        kernel = self.kernel.double()
        column, row = kernel.sum(dim=1), kernel.sum(dim=0) / kernel.sum()
        error = (torch.outer(column, row) - kernel).abs().max()
        self.separable = bool(error <= 1e-6 * kernel.abs().max())
        self.column.copy_(column)
        self.row.copy_(row)

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self._factorise()

    def _taps(self, channels: int) -> list[Float[Tensor, "channels 1 _ _"]]:
        """One depthwise weight a pass: first along rows, then along columns; or a single 4×4 one."""
        if not self.separable:
            return [self.kernel.expand(channels, 1, 4, 4)]
        row, column = self.row.view(1, 1, 1, 4), self.column.view(1, 1, 4, 1)
        return [row.expand(channels, 1, 1, 4), column.expand(channels, 1, 4, 1)]


class Blur(Filter):
    """Pad by ``padding`` on every side and filter; size h becomes h + 2·padding − 3."""

    def __init__(self, *, padding: int, gain: float = 1.0) -> None:
        super().__init__(gain=gain)
        self.padding = padding

    def forward(
        self, images: Float[Tensor, "batch channels height width"], *, stride: int = 1
    ) -> Float[Tensor, "batch channels height2 width2"]:
        """Return every ``stride``-th pixel of the blurred images in both directions."""
        channels = images.shape[1]
        for taps in self._taps(channels):
            along = [int(size > 1) for size in taps.shape[2:]]
            images = functional.conv2d(
                images,
                taps.flip(2, 3),
                stride=[stride if flag else 1 for flag in along],
                padding=[self.padding * flag for flag in along],
                groups=channels,
            )
        return images


class Upsample(Filter):
    """Double height and width: zeros between the pixels, then the filter with a gain of 4."""

    def __init__(self) -> None:
        super().__init__(gain=4.0)

    def forward(
        self, images: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch channels height2 width2"]:
        channels = images.shape[1]
        for taps in self._taps(channels):
            along = [int(size > 1) for size in taps.shape[2:]]
            images = functional.conv_transpose2d(
                images, taps, stride=[1 + flag for flag in along], padding=along, groups=channels
            )
        return images
