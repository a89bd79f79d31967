"""The StyleGAN2 generator, with rosinality's state-dict keys and shapes."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from assimilate.generator.architecture import Architecture, resolutions
from assimilate.generator.layers import (
    LEAKY_GAIN,
    LEAKY_SLOPE,
    BiasedLeakyReLU,
    EqualLinear,
    ModulatedConv2d,
    PixelNorm,
)
from assimilate.generator.resample import Upsample

_MAPPING_LR_MULTIPLIER = 0.01


class ConstantInput(nn.Module):
    """The learned 4×4 map that every image starts from."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.input = nn.Parameter(torch.randn(1, channels, 4, 4))


class NoiseWeight(nn.Module):
    """The one scalar by which a layer's noise is multiplied; 0 at the start."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))


class StyledConv(nn.Module):
    """Modulated 3×3 convolution, noise, bias, leaky ReLU · √2."""

    def __init__(self, in_channels: int, out_channels: int, latent_dim: int, *, upsample: bool = False) -> None:
        super().__init__()
        self.conv = ModulatedConv2d(in_channels, out_channels, 3, latent_dim, upsample=upsample)
        self.noise = NoiseWeight()
        self.activate = BiasedLeakyReLU(out_channels)

    def forward(
        self,
        features: Float[Tensor, "batch in height width"],
        codes: Float[Tensor, "batch dim"],
        noise: Float[Tensor, "batch_or_1 1 height2 width2"],
    ) -> Float[Tensor, "batch out height2 width2"]:
        outputs, demodulation = self.conv.convolve(features, codes)
        assert demodulation is not None
        bias = (self.activate.bias * LEAKY_GAIN)[None, :, None, None]
        strength = self.noise.weight * LEAKY_GAIN
        factor = (demodulation * LEAKY_GAIN)[:, :, None, None]
        if noise.shape[0] == 1:
            # The same noise for all images: one small map takes noise and bias together.
            shift = (bias + strength * noise).contiguous(memory_format=torch.channels_last)
            outputs = torch.addcmul(shift, outputs, factor)
        else:
            outputs = torch.addcmul(torch.addcmul(bias, outputs, factor), noise, strength)
        return functional.leaky_relu(outputs, LEAKY_SLOPE)


class ToRGB(nn.Module):
    """A modulated 1×1 convolution to RGB, added to the up-sampled image of the resolution before."""

    def __init__(self, in_channels: int, latent_dim: int, *, upsample: bool = True) -> None:
        super().__init__()
        self.conv = ModulatedConv2d(in_channels, 3, 1, latent_dim, demodulate=False)
        self.bias = nn.Parameter(torch.zeros(1, 3, 1, 1))
        self.upsample = Upsample() if upsample else None

    def forward(
        self,
        features: Float[Tensor, "batch in height width"],
        codes: Float[Tensor, "batch dim"],
        skip: Float[Tensor, "batch 3 height_before width_before"] | None = None,
    ) -> Float[Tensor, "batch 3 height width"]:
        image = self.conv(features, codes) + self.bias
        if skip is None:
            return image
        assert self.upsample is not None
        return image + self.upsample(skip)


class Generator(nn.Module):
    """z → w by the mapping network, W+ codes → image by the synthesis network."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        dim = architecture.latent_dim
        self.style = nn.Sequential(
            PixelNorm(),
            *(
                EqualLinear(dim, dim, lr_multiplier=_MAPPING_LR_MULTIPLIER, activated=True)
                for _ in range(architecture.num_mapping_layers)
            ),
        )
        width = architecture.channels[0]
        self.input = ConstantInput(width)
        self.conv1 = StyledConv(width, width, dim)
        self.to_rgb1 = ToRGB(width, dim, upsample=False)
        self.convs = nn.ModuleList()
        self.to_rgbs = nn.ModuleList()
        for wide in architecture.channels[1:]:
            self.convs += [StyledConv(width, wide, dim, upsample=True), StyledConv(wide, wide, dim)]
            self.to_rgbs.append(ToRGB(wide, dim))
            width = wide
        self.noises = nn.Module()
        for index, size in enumerate(self.noise_sizes):
            self.noises.register_buffer(f"noise_{index}", torch.randn(1, 1, size, size))

    @property
    def noise_sizes(self) -> list[int]:
        """Height of the noise map of each layer: 4, 8, 8, 16, 16, …"""
        return [4] + [size for size in resolutions(self.architecture.image_size)[1:] for _ in range(2)]

    def freeze(self) -> "Generator":
        """Fix all parameters for good and precompute what depends on them alone; returns self."""
        self.requires_grad_(False)
        for module in self.modules():
            if isinstance(module, ModulatedConv2d):
                module.freeze()
        return self

    def fixed_noise(self) -> list[Float[Tensor, "1 1 height height"]]:
        """The registered noise maps, which make an image a function of its codes."""
        return [self.noises.get_buffer(f"noise_{index}") for index in range(len(self.noise_sizes))]

    def draw_noise(self, num_images: int, rng: torch.Generator) -> list[Float[Tensor, "batch 1 height height"]]:
        """Draw a noise map a layer and image from N(0, 1) on the device of ``rng``."""
        sizes = self.noise_sizes
        flat = torch.randn(num_images, sum(size**2 for size in sizes), generator=rng, device=rng.device)
        maps = flat.split([size**2 for size in sizes], dim=1)
        return [values.reshape(num_images, 1, size, size) for values, size in zip(maps, sizes, strict=True)]

    def map(self, latents: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch dim"]:
        """Map z to w."""
        return self.style(latents)

    def synthesize(
        self, codes: Float[Tensor, "batch codes dim"], noise: Sequence[Float[Tensor, "batch_or_1 1 _ _"]]
    ) -> Float[Tensor, "batch 3 size size"]:
        """Make images, about [-1, 1] and not clamped, from W+ codes and one noise map a layer."""
        assert codes.shape[1:] == (self.architecture.num_codes, self.architecture.latent_dim), codes.shape
        start = self.input.input.expand(len(codes), -1, -1, -1).contiguous(memory_format=torch.channels_last)
        features = self.conv1(start, codes[:, 0], noise[0])
        image = self.to_rgb1(features, codes[:, 1])
        for block, to_rgb in enumerate(self.to_rgbs):
            first, second = 2 * block, 2 * block + 1
            features = self.convs[first](features, codes[:, first + 1], noise[first + 1])
            features = self.convs[second](features, codes[:, second + 1], noise[second + 1])
            # A block's to-RGB shares its code with the first convolution of the next block.
            image = to_rgb(features, codes[:, second + 2], image)
        return image
