"""BigBiGAN's generator, BigGAN at 128² with class 0 throughout, with its PyTorch port's keys and shapes.

On disk it is a bare state dict.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from assimilate.files.plain_files import save_plain
from assimilate.generator.bigbigan_blocks import (
    OutputBatchNorm,
    SelfAttention,
    SpectralConv2d,
    SpectralLinear,
    SpectralWeight,
    UpsamplingBlock,
)
from assimilate.generator.checkpoint import check_image_size, load_strictly, read_checkpoint


@dataclass(frozen=True)
class BigBiGANArchitecture:
    """Shape of a BigBiGAN generator; the defaults are the published model's.

    ``widths[i]`` is the number of channels at resolution 4·2^i, the last one at the image's own; block i leads from i
    to i + 1, and the one after which attention stands is ``attention_block``. A latent has one chunk of ``chunk_dim``
    for the first layer and one for each block.
    """

    widths: tuple[int, ...] = (1536, 1536, 768, 384, 192, 96)
    chunk_dim: int = 20
    shared_dim: int = 128
    num_classes: int = 1000
    attention_block: int | None = 3

    def __post_init__(self) -> None:
        if len(self.widths) < 2 or min(*self.widths, self.chunk_dim, self.shared_dim, self.num_classes) < 1:
            raise ValueError(f"no BigBiGAN generator: {self}")
        if self.attention_block is not None and self.widths[self.attention_block + 1] < 8:
            raise ValueError("a BigBiGAN generator needs at least 8 channels where its attention stands")

    @property
    def num_blocks(self) -> int:
        return len(self.widths) - 1

    @property
    def image_size(self) -> int:
        return 4 * 2**self.num_blocks

    @property
    def latent_dim(self) -> int:
        """Width of a latent: 120 = 6·20."""
        return self.chunk_dim * (self.num_blocks + 1)


class BigBiGAN(nn.Module):
    """z → image. Always in evaluation mode: it normalises by the statistics that it was stored with."""

    def __init__(self, architecture: BigBiGANArchitecture) -> None:
        super().__init__()
        self.architecture = architecture
        widths, condition_dim = architecture.widths, architecture.shared_dim + architecture.chunk_dim
        self.shared = nn.Embedding(architecture.num_classes, architecture.shared_dim)
        self.linear = SpectralLinear(architecture.chunk_dim, widths[0] * 4 * 4)
        self.blocks = nn.ModuleList()
        for index, (before, after) in enumerate(pairwise(widths)):
            stage: list[nn.Module] = [UpsamplingBlock(before, after, condition_dim)]
            if index == architecture.attention_block:
                stage.append(SelfAttention(after))
            self.blocks.append(nn.ModuleList(stage))
        self.output_layer = nn.Sequential(OutputBatchNorm(widths[-1]), nn.ReLU(), SpectralConv2d(widths[-1], 3, 3))

    def freeze(self) -> "BigBiGAN":
        """Fix all parameters for good and normalise the weights once; returns self."""
        self.requires_grad_(False)
        for module in self.modules():
            if isinstance(module, SpectralWeight):
                module.freeze()
        return self

    def forward(self, latents: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch 3 size size"]:
        """Make images in [-1, 1] from latents z."""
        assert latents.shape[1] == self.architecture.latent_dim, latents.shape
        first, *chunks = latents.split(self.architecture.chunk_dim, dim=1)
        label = self.shared.weight[:1].expand(len(latents), -1)
        features = self.linear(first).unflatten(1, (-1, 4, 4)).contiguous(memory_format=torch.channels_last)
        for stage, chunk in zip(self.blocks, chunks, strict=True):
            assert isinstance(stage, nn.ModuleList)
            features = stage[0](features, torch.cat([label, chunk], dim=1))
            for attention in stage[1:]:
                features = attention(features)
        return functional.tanh(self.output_layer(features))


def bigbigan_architecture_of(state_dict: Mapping[str, Tensor]) -> BigBiGANArchitecture:
    """Read the architecture from the shapes of a state dict. Raises ValueError if it is none of BigBiGAN's."""
    blocks = sorted({key.split(".")[1] for key in map(str, state_dict) if key.startswith("blocks.")}, key=len)
    try:
        attention = [index for index in range(len(blocks)) if f"blocks.{index}.1.gamma" in state_dict]
        if len(attention) > 1:
            raise ValueError(f"no BigBiGAN in the layout of its PyTorch port: attention after blocks {attention}")
        inner = [state_dict[f"blocks.{index}.0.conv1.weight"].shape[0] for index in range(len(blocks))]
        linear, shared = state_dict["linear.weight"], state_dict["shared.weight"]
        (first, chunk_dim), (num_classes, shared_dim) = linear.shape, shared.shape
    except (KeyError, IndexError, AttributeError, TypeError) as error:
        raise ValueError(f"no BigBiGAN in the layout of its PyTorch port: {error} is missing") from None
    return BigBiGANArchitecture(
        widths=(first // 16, *inner),
        chunk_dim=chunk_dim,
        shared_dim=shared_dim,
        num_classes=num_classes,
        attention_block=attention[0] if attention else None,
    )


def save_bigbigan(path: Path, network: BigBiGAN) -> None:
    """Write the state dict atomically."""
    save_plain(path, dict(network.state_dict()))


def is_bigbigan(content: Mapping[str, Any]) -> bool:
    """Whether a checkpoint is a BigBiGAN's, by the names in it."""
    return "shared.weight" in content


def load_bigbigan(path: Path, *, image_size: int | None = None, latent_dim: int | None = None) -> BigBiGAN:
    """Load a BigBiGAN generator on the CPU, reading its widths from the shapes.

    Raises ValueError (naming generator.checkpoint) for what ``read_checkpoint`` and ``load_strictly`` refuse, keys or
    shapes that are not those of its PyTorch port, and, where given, another ``image_size`` or ``latent_dim``.
    """
    origin = f"generator.checkpoint={path}"
    content = read_checkpoint(path, key="generator.checkpoint", needed="a BigBiGAN state dict")
    try:
        architecture = bigbigan_architecture_of(content)
    except ValueError as error:
        raise ValueError(f"{origin}: {error}") from None
    check_image_size(architecture.image_size, image_size, origin=origin)
    if latent_dim is not None and architecture.latent_dim != latent_dim:
        raise ValueError(
            f"{origin}: its latents have {architecture.latent_dim} numbers, but generator.latent_width={latent_dim}; "
            f"set generator.latent_width={architecture.latent_dim} or give another checkpoint"
        )
    # Building a network draws initial weights, which must not move the caller's random state.
    with torch.random.fork_rng(devices=[]):
        network = BigBiGAN(architecture)
    load_strictly(network, content, origin=origin)
    return network.eval()
