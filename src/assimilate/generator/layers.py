"""Layers with an equalised learning rate: weights rest at unit variance and are scaled where they are used.

The modulated convolution is in its activation-scaled form.
"""

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from assimilate.generator.resample import Blur

LEAKY_SLOPE = 0.2
LEAKY_GAIN = math.sqrt(2.0)
"""Follows every leaky ReLU and keeps the variance. As leaky(√2·x) = √2·leaky(x), layers fold it into what precedes."""


class PixelNorm(nn.Module):
    """Divide every latent code by its root mean square."""

    def forward(self, latents: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch dim"]:
        return latents * torch.rsqrt(latents.square().mean(dim=1, keepdim=True) + 1e-8)


class EqualLinear(nn.Module):
    """x · (weight · lr_multiplier/√in)ᵀ + bias · lr_multiplier, with a leaky ReLU · √2 behind it if ``activated``."""

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        bias_init: float = 0.0,
        lr_multiplier: float = 1.0,
        activated: bool = False,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_features, in_features) / lr_multiplier)
        self.bias = nn.Parameter(torch.full((out_features,), bias_init))
        self.lr_multiplier = lr_multiplier
        self.scale = lr_multiplier / math.sqrt(in_features)
        self.activated = activated

    def forward(self, inputs: Float[Tensor, "batch in"]) -> Float[Tensor, "batch out"]:
        if not self.activated:
            return functional.linear(inputs, self.weight * self.scale, self.bias * self.lr_multiplier)
        outputs = functional.linear(
            inputs, self.weight * (self.scale * LEAKY_GAIN), self.bias * (self.lr_multiplier * LEAKY_GAIN)
        )
        return functional.leaky_relu(outputs, LEAKY_SLOPE)


class EqualConv2d(nn.Module):
    """A convolution without bias whose weight is scaled by 1/√fan_in where it is used."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, *, stride: int = 1, padding: int = 0
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, kernel_size, kernel_size))
        self.scale = 1.0 / math.sqrt(in_channels * kernel_size**2)
        self.stride = stride
        self.padding = padding

    def forward(
        self,
        images: Float[Tensor, "batch in height width"],
        *,
        bias: Float[Tensor, " out"] | None = None,
        gain: float = 1.0,
    ) -> Float[Tensor, "batch out height2 width2"]:
        """Convolve with ``gain`` times the scaled weight and add ``bias`` as it is."""
        return functional.conv2d(images, self.weight * (self.scale * gain), bias, self.stride, self.padding)


class BiasedLeakyReLU(nn.Module):
    """The bias in front of a leaky ReLU; the layer that owns it folds bias and gain into its own arithmetic."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels))


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
