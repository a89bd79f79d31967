"""The modulated convolution in its activation-scaled form."""

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from assimilate.generator.layers import EqualLinear
from assimilate.generator.resample import Blur


class ModulatedConv2d(nn.Module):
    """A convolution whose input is scaled by a style and whose output is demodulated (StyleGAN2, section 2.2).

    The grouped form builds a weight for every image, scale·W·s, divided by its norm √(Σ (scale·W·s)² + 1e-8). Scaling
    the input by s, convolving with the one shared weight and dividing the output by the same norm, a product of s² with
    Σ_kk (scale·W)², gives the same result without a weight of its own for each image. Up-sampling is a transposed
    convolution of stride 2 and then a blur with gain 4.
    """

    shared_weight: Tensor | None
    squared_weight: Tensor | None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        latent_dim: int,
        *,
        demodulate: bool = True,
        upsample: bool = False,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(1, out_channels, in_channels, kernel_size, kernel_size))
        self.modulation = EqualLinear(latent_dim, in_channels, bias_init=1.0)
        self.blur = Blur(padding=1, gain=4.0) if upsample else None
        self.demodulate = demodulate
        self.scale = 1.0 / math.sqrt(in_channels * kernel_size**2)
        self.padding = kernel_size // 2
        self.register_buffer("shared_weight", None, persistent=False)
        self.register_buffer("squared_weight", None, persistent=False)

    def freeze(self) -> None:
        """Keep the scaled and the squared weight for every later call; the parameters must not change any more."""
        self.shared_weight = None
        weight = self._scaled_weight().detach()
        self.shared_weight = weight.contiguous(memory_format=torch.channels_last)
        self.squared_weight = weight.square().sum(dim=(2, 3))

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self.shared_weight = self.squared_weight = None

    def _scaled_weight(self) -> Float[Tensor, "out in kernel kernel"]:
        return self.weight[0] * self.scale if self.shared_weight is None else self.shared_weight

    def convolve(
        self, features: Float[Tensor, "batch in height width"], codes: Float[Tensor, "batch dim"]
    ) -> tuple[Float[Tensor, "batch out height2 width2"], Float[Tensor, "batch out"] | None]:
        """Return the convolution before demodulation, and the demodulating factor of each image and channel.

        The factor is None without demodulation. The caller folds it into whatever it multiplies next.
        """
        styles = self.modulation(codes)
        weight = self._scaled_weight()
        scaled = features * styles[:, :, None, None]
        if self.blur is None:
            outputs = functional.conv2d(scaled, weight, padding=self.padding)
        else:
            outputs = self.blur(functional.conv_transpose2d(scaled, weight.transpose(0, 1), stride=2))
        if not self.demodulate:
            return outputs, None
        squared = weight.square().sum(dim=(2, 3)) if self.squared_weight is None else self.squared_weight
        return outputs, torch.rsqrt(styles.square() @ squared.T + 1e-8)

    def forward(
        self, features: Float[Tensor, "batch in height width"], codes: Float[Tensor, "batch dim"]
    ) -> Float[Tensor, "batch out height2 width2"]:
        outputs, demodulation = self.convolve(features, codes)
        return outputs if demodulation is None else outputs * demodulation[:, :, None, None]
