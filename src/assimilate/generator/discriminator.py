"""The residual StyleGAN2 discriminator, with rosinality's state-dict keys and shapes."""

import math
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from assimilate.generator.architecture import Architecture
from assimilate.generator.layers import LEAKY_GAIN, LEAKY_SLOPE, BiasedLeakyReLU, EqualConv2d, EqualLinear
from assimilate.generator.resample import Blur

STDDEV_GROUP = 4


class ConvLayer(nn.Sequential):
    """[blur →] equalised convolution [→ bias, leaky ReLU · √2]; the keys are the places in this sequence.

    ``downsample`` halves the size: blur, then stride 2.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, *, downsample: bool = False, activated: bool = True
    ) -> None:
        layers: list[nn.Module] = []
        if downsample:
            layers.append(Blur(padding=(kernel_size + 1) // 2))
        # A 1×1 convolution of stride 2 sees only every other blurred pixel, so the blur makes no others.
        pointwise = kernel_size == 1
        stride = 2 if downsample and not pointwise else 1
        padding = 0 if downsample else kernel_size // 2
        layers.append(EqualConv2d(in_channels, out_channels, kernel_size, stride=stride, padding=padding))
        if activated:
            layers.append(BiasedLeakyReLU(out_channels))
        super().__init__(*layers)
        self.blur_stride = 2 if pointwise else 1

    def forward(
        self, images: Float[Tensor, "batch in height width"], gain: float = 1.0
    ) -> Float[Tensor, "batch out height2 width2"]:
        """Return the layer's output times ``gain`` > 0, which is folded into the weight."""
        bias = None
        activation = self[-1]
        if isinstance(activation, BiasedLeakyReLU):
            gain = gain * LEAKY_GAIN
            bias = activation.bias * gain
        for layer in self:
            if isinstance(layer, Blur):
                images = layer(images, stride=self.blur_stride)
            elif isinstance(layer, EqualConv2d):
                images = layer(images, bias=bias, gain=gain)
        return images if bias is None else functional.leaky_relu(images, LEAKY_SLOPE)


class ResBlock(nn.Module):
    """Two 3×3 convolutions, the second down-sampling, beside a 1×1 skip; their sum divided by √2."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv1 = ConvLayer(in_channels, in_channels, 3)
        self.conv2 = ConvLayer(in_channels, out_channels, 3, downsample=True)
        self.skip = ConvLayer(in_channels, out_channels, 1, downsample=True, activated=False)

    def forward(self, images: Float[Tensor, "batch in height width"]) -> Float[Tensor, "batch out height2 width2"]:
        half = 1 / math.sqrt(2.0)
        return self.conv2(self.conv1(images), half) + self.skip(images, half)


def minibatch_stddev(
    features: Float[Tensor, "batch channels height width"],
) -> Float[Tensor, "batch channels+1 height width"]:
    """Append the mean standard deviation over groups of 4 images (all of a smaller batch) as one more channel.

    Image i belongs to group i mod (batch/4). Raises ValueError if the batch does not divide into groups.
    """
    batch, channels, height, width = features.shape
    group = min(batch, STDDEV_GROUP)
    if batch % group:
        raise ValueError(f"generator.batch_size={batch}: the discriminator compares groups of {group}; use a multiple")
    members = features.reshape(group, batch // group, channels, height, width)
    # Not torch.var, which is several times slower over the leading dimension on a CPU.
    variance = (members - members.mean(dim=0)).square().mean(dim=0)
    deviation = torch.sqrt(variance + 1e-8).mean(dim=(1, 2, 3))
    channel = deviation.repeat(group).view(batch, 1, 1, 1).expand(batch, 1, height, width)
    return torch.cat([features, channel], dim=1)


class Discriminator(nn.Module):
    """Images in [-1, 1] to one logit each: large for real ones."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        widths = architecture.channels[::-1]
        self.convs = nn.Sequential(
            ConvLayer(3, widths[0], 1), *(ResBlock(width, following) for width, following in pairwise(widths))
        )
        last = widths[-1]
        self.final_conv = ConvLayer(last + 1, last, 3)
        self.final_linear = nn.Sequential(EqualLinear(last * 16, last, activated=True), EqualLinear(last, 1))

    def features(self, images: Float[Tensor, "batch 3 size size"]) -> list[Float[Tensor, "batch _ _ _"]]:
        """Return the maps behind from-RGB and behind each block, from full size to 4×4; each image on its own."""
        maps = []
        values = images.contiguous(memory_format=torch.channels_last)
        for layer in self.convs:
            values = layer(values)
            maps.append(values)
        return maps

    def forward(self, images: Float[Tensor, "batch 3 size size"], *, num_batches: int = 1) -> Float[Tensor, " batch"]:
        """Return the logits; ``images`` may be several batches of equal size in a row, whose statistics stay apart."""
        values = self.convs(images.contiguous(memory_format=torch.channels_last))
        values = self.final_conv(torch.cat([minibatch_stddev(batch) for batch in values.chunk(num_batches)]))
        return self.final_linear(values.flatten(1))[:, 0]
