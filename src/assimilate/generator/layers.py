"""Layers with an equalised learning rate: weights rest at unit variance and are scaled where they are used."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

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
