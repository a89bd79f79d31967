"""Inversion of a whole data set: train the encoder, then optimise the codes of each image."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from assimilate.data.images import ImageArrays
from assimilate.generator.discriminator import Discriminator
from assimilate.generator.protocol import LatentGenerator
from assimilate.generator.real_images import to_unit_range
from assimilate.graph.progress import Progress, silent
from assimilate.inversion.encoder import InversionEncoder
from assimilate.inversion.optimization import optimize_codes
from assimilate.inversion.perceptual import FeatureExtractor
from assimilate.inversion.settings import EncoderSettings, OptimizationSettings
from assimilate.inversion.tiles import Codes, Errors, TileFolder
from assimilate.inversion.training import train_inversion_encoder


@dataclass(frozen=True)
class Inversion:
    """Pre-truncation codes float32 [N, L, D], a read-only memory map, and the mean squared error of each image.

    Errors are of clamped images on the scale of [-1, 1]; ``initial_errors`` are those of the encoder's guess.
    ``history`` is the record of the encoder's training, empty where a trained encoder was given.
    """

    latents: Codes
    errors: Errors
    initial_errors: Errors
    encoder: InversionEncoder
    history: list[dict[str, float]]


def invert(
    generator: LatentGenerator,
    images: ImageArrays,
    *,
    encoder_settings: EncoderSettings,
    optimization_settings: OptimizationSettings,
    encoder_channels: tuple[int, ...],
    features: FeatureExtractor,
    discriminator: Discriminator | None,
    workdir: Path,
    seed: int,
    encoder: InversionEncoder | None = None,
    discriminator_optimizer: Mapping[str, Any] | None = None,
    device: torch.device | str = "cpu",
    encoder_progress: Progress = silent,
    progress: Progress = silent,
) -> Inversion:
    """Train an in-domain encoder (or take ``encoder``), optimise the codes of every image, and return them.

    ``progress`` counts images. Generator and ``features`` are frozen and on ``device``. Both parts go on from what
    ``workdir`` holds. Raises ValueError as ``train_inversion_encoder`` does, and if a reconstruction is not finite.
    """
    history: list[dict[str, float]] = []
    if encoder is None:
        encoder, history = train_inversion_encoder(
            generator,
            images,
            channels=encoder_channels,
            settings=encoder_settings,
            features=features,
            discriminator=discriminator,
            discriminator_optimizer=discriminator_optimizer,
            workdir=workdir,
            seed=seed,
            device=device,
            progress=encoder_progress,
        )
    encoder = encoder.to(device).eval().requires_grad_(False)
    folder = optimize_tiles(
        generator, encoder, features, images, optimization_settings, workdir, device=device, progress=progress
    )
    num_tiles = -(-len(images) // optimization_settings.tile)
    shape = (len(images), generator.num_codes, generator.latent_dim)
    latents, errors, initial_errors = folder.merge(num_tiles, shape, workdir / "latents.npy")
    return Inversion(latents, errors, initial_errors, encoder, history)


def optimize_tiles(
    generator: LatentGenerator,
    encoder: InversionEncoder,
    features: FeatureExtractor,
    images: ImageArrays,
    settings: OptimizationSettings,
    workdir: Path,
    *,
    shard: tuple[int, int] = (0, 1),
    device: torch.device | str = "cpu",
    progress: Progress = silent,
) -> TileFolder:
    """Optimise the codes of every image, or of one shard's, into ``workdir``/tiles; tiles that are there are kept.

    A tile is written whole or not at all and depends on its images alone, so any number of processes may work on one
    folder: ``shard`` (k, n) is the tiles k, k + n, k + 2n, …. Raises ValueError if a reconstruction is not finite.
    """
    size = settings.tile
    num_tiles = -(-len(images) // size)
    identity = settings.identity() | {"encoder": _digest(encoder), "num_images": len(images)}
    folder = TileFolder(workdir / "tiles", identity)
    first, step = shard
    chosen_tiles = range(first, num_tiles, step)
    total = sum(min((tile + 1) * size, len(images)) - tile * size for tile in chosen_tiles)
    done = 0
    for tile in chosen_tiles:
        begin, end = tile * size, min((tile + 1) * size, len(images))
        done += end - begin
        if folder.has(tile):
            progress(done, total, {})
            continue
        # The last tile is filled up with its own last image: kernels see the same shape for every image.
        chosen = np.minimum(np.arange(begin, begin + size), end - 1)
        pixels = torch.from_numpy(np.array(images.images[chosen])).to(torch.device(device))
        optimized = optimize_codes(generator, encoder, features, to_unit_range(pixels), settings)
        error = float(optimized.errors[: end - begin].mean())
        # A comparison with NaN is false: codes that became NaN would be the encoder's guess, unnoticed.
        if not np.isfinite(error) or not bool(torch.isfinite(optimized.losses).all()):
            raise ValueError(
                f"inversion.optimization.lr={settings.lr}: images {begin}…{end - 1} have no finite reconstruction or "
                "loss; finished tiles are kept; a lower inversion.optimization.lr or another generator.checkpoint helps"
            )
        folder.save(tile, optimized, end - begin)
        progress(done, total, {"mse": error})
    return folder


def _digest(encoder: InversionEncoder) -> str:
    digest = hashlib.sha256()
    for name, value in encoder.state_dict().items():
        digest.update(name.encode())
        digest.update(_bytes(value))
    return digest.hexdigest()


def _bytes(value: Tensor) -> bytes:
    return value.detach().cpu().contiguous().numpy().tobytes()
