"""Spectrally normalised layers as BigGAN's checkpoints store them: the raw weight, one singular vector, one value."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

# Keeps a norm from being divided by 0.
_EPSILON = 1e-4


class SpectralWeight(nn.Module):
    """A weight that is divided by an estimate of its largest singular value.

    The estimate is one step of the power method from the stored vector ``u0``, which inference
    leaves unchanged; ``sv0``, the value of the last training step, is kept but not used.
    """

    weight: Tensor
    bias: Tensor | None
    u0: Tensor
    sv0: Tensor
    normalised_weight: Tensor | None

    def __init__(self, shape: tuple[int, ...], *, bias: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(0.02 * torch.randn(shape))
        self.bias = nn.Parameter(torch.zeros(shape[0])) if bias else None
        self.register_buffer("u0", torch.randn(1, shape[0]))
        self.register_buffer("sv0", torch.ones(1))
        self.register_buffer("normalised_weight", None, persistent=False)

    def normalised(self) -> Tensor:
        """The weight over the estimate of its largest singular value."""
        if self.normalised_weight is not None:
            return self.normalised_weight
        matrix = self.weight.flatten(1)
        right = functional.normalize(self.u0 @ matrix, dim=1, eps=_EPSILON)
        image = right @ matrix.T
        left = functional.normalize(image, dim=1, eps=_EPSILON)
        return self.weight / (image @ left.T).squeeze()

    def freeze(self) -> None:
        """Normalise once and for all."""
        with torch.no_grad():
            normalised = self.normalised()
            if normalised.ndim == 4:
                normalised = normalised.contiguous(memory_format=torch.channels_last)
            self.normalised_weight = normalised


class SpectralLinear(SpectralWeight):
    """y = Wx/σ + b."""

    def __init__(self, in_features: int, out_features: int, *, bias: bool = True) -> None:
        super().__init__((out_features, in_features), bias=bias)

    def forward(self, inputs: Float[Tensor, "batch in"]) -> Float[Tensor, "batch out"]:
        return functional.linear(inputs, self.normalised(), self.bias)


class SpectralConv2d(SpectralWeight):
    """A convolution of odd size that keeps height and width."""

    def __init__(self, in_channels: int, out_channels: int, size: int, *, bias: bool = True) -> None:
        super().__init__((out_channels, in_channels, size, size), bias=bias)

    def forward(self, features: Float[Tensor, "batch in height width"]) -> Float[Tensor, "batch out height width"]:
        return functional.conv2d(features, self.normalised(), self.bias, padding=self.weight.shape[-1] // 2)
