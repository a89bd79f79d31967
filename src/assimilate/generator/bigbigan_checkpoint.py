"""BigBiGAN on disk: a bare state dict with the keys of its PyTorch port."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from assimilate.files.plain_files import save_plain
from assimilate.generator.bigbigan import BigBiGAN, bigbigan_architecture_of
from assimilate.generator.checkpoint import load_strictly, read_checkpoint


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
    if image_size is not None and architecture.image_size != image_size:
        raise ValueError(
            f"{origin}: makes images of {architecture.image_size}×{architecture.image_size}, but dataset.image_size="
            f"{image_size}; set dataset.image_size={architecture.image_size} or give another checkpoint"
        )
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
