"""What BigBiGAN's generator is built of: conditional BatchNorm, residual up-sampling blocks, self-attention.

Their layers are spectrally normalised as BigGAN stores them: the raw weight, one singular vector, one value.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

Features = Float[Tensor, "batch channels height width"]
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


# The port gives its blocks 1e-4 and leaves the last normalisation at PyTorch's default.
_BLOCK_EPSILON = 1e-4
_OUTPUT_EPSILON = 1e-5


class ConditionalBatchNorm(nn.Module):
    """Normalisation by stored statistics; the condition's linear images are added to a gain of 1 and a bias of 0."""

    stored_mean: Tensor
    stored_var: Tensor

    def __init__(self, channels: int, condition_dim: int) -> None:
        super().__init__()
        self.gain = SpectralLinear(condition_dim, channels, bias=False)
        self.bias = SpectralLinear(condition_dim, channels, bias=False)
        self.register_buffer("stored_mean", torch.zeros(channels))
        self.register_buffer("stored_var", torch.ones(channels))

    def forward(self, features: Features, condition: Float[Tensor, "batch condition"]) -> Features:
        scale = (1 + self.gain(condition)) * torch.rsqrt(self.stored_var + _BLOCK_EPSILON)
        shift = self.bias(condition) - self.stored_mean * scale
        return torch.addcmul(shift[:, :, None, None], features, scale[:, :, None, None])


class OutputBatchNorm(nn.Module):
    """Normalisation by stored statistics with a learned gain and bias a channel."""

    stored_mean: Tensor
    stored_var: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("stored_mean", torch.zeros(channels))
        self.register_buffer("stored_var", torch.ones(channels))

    def forward(self, features: Features) -> Features:
        return functional.batch_norm(
            features, self.stored_mean, self.stored_var, self.gain, self.bias, training=False, eps=_OUTPUT_EPSILON
        )


class UpsamplingBlock(nn.Module):
    """BN-ReLU-up-conv3-BN-ReLU-conv3 beside up-conv1, summed; up repeats every pixel twice in both directions."""

    def __init__(self, in_channels: int, out_channels: int, condition_dim: int) -> None:
        super().__init__()
        self.conv1 = SpectralConv2d(in_channels, out_channels, 3)
        self.conv2 = SpectralConv2d(out_channels, out_channels, 3)
        self.conv_sc = SpectralConv2d(in_channels, out_channels, 1)
        self.bn1 = ConditionalBatchNorm(in_channels, condition_dim)
        self.bn2 = ConditionalBatchNorm(out_channels, condition_dim)

    def forward(self, features: Features, condition: Float[Tensor, "batch condition"]) -> Features:
        inner = self.conv1(_repeat_pixels(functional.relu(self.bn1(features, condition))))
        inner = self.conv2(functional.relu(self.bn2(inner, condition)))
        # A 1×1 convolution before the repetition is the same as after it, at a quarter of the cost.
        return inner + _repeat_pixels(self.conv_sc(features))


def _repeat_pixels(features: Tensor) -> Tensor:
    return functional.interpolate(features, scale_factor=2.0, mode="nearest")


class SelfAttention(nn.Module):
    """x + γ·o(softmax(θᵀφ)·g): queries at every pixel, keys and values at the maxima of 2×2 pixels, no scaling."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.theta = SpectralConv2d(channels, channels // 8, 1, bias=False)
        self.phi = SpectralConv2d(channels, channels // 8, 1, bias=False)
        self.g = SpectralConv2d(channels, channels // 2, 1, bias=False)
        self.o = SpectralConv2d(channels // 2, channels, 1, bias=False)
        self.gamma = nn.Parameter(torch.zeros(()))

    def forward(self, features: Features) -> Features:
        height, width = features.shape[2:]
        queries, keys, values = (
            each.flatten(2).transpose(1, 2)
            for each in (
                self.theta(features),
                functional.max_pool2d(self.phi(features), 2),
                functional.max_pool2d(self.g(features), 2),
            )
        )
        attended = functional.scaled_dot_product_attention(queries, keys, values, scale=1.0)
        return features + self.gamma * self.o(attended.transpose(1, 2).unflatten(2, (height, width)))
