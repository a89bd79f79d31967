"""The in-domain encoder e: image → W+ codes, with the reference code's state-dict keys and shapes."""

from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from assimilate.generator.architecture import resolutions
from assimilate.generator.discriminator import ConvLayer, ResBlock
from assimilate.generator.layers import EqualConv2d


@dataclass(frozen=True)
class InversionEncoderSpec:
    """``channels[i]`` is the width at resolution 4·2^i, as for the generator; codes are [num_codes, latent_dim]."""

    image_size: int
    num_codes: int
    latent_dim: int
    channels: tuple[int, ...]

    def __post_init__(self) -> None:
        assert len(self.channels) == len(resolutions(self.image_size)), (self.image_size, self.channels)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"channels": list(self.channels)}


class InversionEncoder(nn.Module):
    """From-RGB, residual blocks down to 4×4, one 4×4 valid convolution without bias to all codes."""

    def __init__(self, spec: InversionEncoderSpec) -> None:
        super().__init__()
        self.spec = spec
        widths = spec.channels[::-1]
        self.convs = nn.Sequential(
            ConvLayer(3, widths[0], 1),
            *(ResBlock(width, following) for width, following in pairwise(widths)),
            EqualConv2d(widths[-1], spec.num_codes * spec.latent_dim, 4),
        )

    def forward(self, images: Float[Tensor, "batch 3 size size"]) -> Float[Tensor, "batch codes dim"]:
        """Return pre-truncation codes of images in [-1, 1]."""
        codes = self.convs(images.contiguous(memory_format=torch.channels_last))
        return codes.reshape(len(images), self.spec.num_codes, self.spec.latent_dim)
