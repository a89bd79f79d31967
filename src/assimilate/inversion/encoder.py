"""The in-domain encoder e: image → W+ codes, with the reference code's state-dict keys and shapes.

Its checkpoints are the reference code's dict: e, d, e_optim, d_optim, args.
"""

import argparse
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from assimilate.files.plain_files import check_weights, save_plain
from assimilate.generator.architecture import resolutions
from assimilate.generator.checkpoint import load_strictly, name_a_few, read_checkpoint
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


_KEY = "inversion.checkpoint"


def inversion_encoder_content(encoder: InversionEncoder) -> dict[str, Any]:
    """What a checkpoint of the encoder holds: its weights under the key ``e``."""
    spec = encoder.spec
    arguments = argparse.Namespace(size=spec.image_size, latent=spec.latent_dim, channels=list(spec.channels))
    return {"e": encoder.state_dict(), "args": arguments}


def save_inversion_encoder(path: Path, encoder: InversionEncoder, **content: Any) -> None:
    """Write the encoder atomically; ``content`` (plain containers) goes beside it."""
    save_plain(path, inversion_encoder_content(encoder) | content)


def load_inversion_encoder(
    path: Path, *, image_size: int, num_codes: int | None, latent_dim: int | None
) -> InversionEncoder:
    """Load an encoder, ours or one made by another program, for a generator of the given size and latents, on the CPU.

    Where the latents of the generator are not known yet (None), one code of all its numbers stands for them. Raises
    ValueError (naming inversion.checkpoint) for a file that is unreadable, refused or unfit for the generator.
    """
    origin = f"{_KEY}={path}"
    content = read_checkpoint(path, key=_KEY, needed="a dict with the in-domain encoder's state dict under the key e")
    if content.get("e") is None:
        raise ValueError(f"{origin}: has no encoder under the key e, only {name_a_few(content)}")
    weights = check_weights(content["e"], origin=f"{origin}: e")
    size, channels, width = _shapes(weights, origin)
    if size != image_size:
        raise ValueError(f"{origin}: takes images of {size}×{size}, but the generator makes {image_size}×{image_size}")
    if num_codes is None or latent_dim is None:
        num_codes, latent_dim = 1, width
    if width != num_codes * latent_dim:
        raise ValueError(
            f"{origin}: gives {width} numbers an image, but the generator takes {num_codes} codes of {latent_dim} "
            f"({num_codes * latent_dim}); the encoder belongs to another generator"
        )
    with torch.random.fork_rng(devices=[]):
        encoder = InversionEncoder(InversionEncoderSpec(image_size, num_codes, latent_dim, channels))
    load_strictly(encoder, weights, origin=f"{origin}: e")
    return encoder


def _shapes(state_dict: Mapping[str, Tensor], origin: str) -> tuple[int, tuple[int, ...], int]:
    """Read image size, widths from 4×4 upwards, and numbers an image from a state dict."""
    num_blocks = sum(key.endswith(".conv2.1.weight") for key in state_dict)
    try:
        channels = [state_dict["convs.0.0.weight"].shape[0]]
        channels += [state_dict[f"convs.{block}.conv2.1.weight"].shape[0] for block in range(1, num_blocks + 1)]
        width = state_dict[f"convs.{num_blocks + 1}.weight"].shape[0]
    except (KeyError, IndexError) as error:
        raise ValueError(f"{origin}: e is not an encoder of the in-domain layout: {error} is missing") from None
    return 4 * 2**num_blocks, tuple(reversed(channels)), width
