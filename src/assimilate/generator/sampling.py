"""A data set that a generator makes: images beside the codes they were made from (Table 4, PROTOCOLS 12)."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from assimilate.data.array_file import ArrayFile
from assimilate.data.progress import Progress, silent
from assimilate.data.seeding import generator as seeded
from assimilate.generator.pixels import to_pixels
from assimilate.generator.protocol import LatentGenerator

LATENTS = "latents.npy"
DONE = "sampled.npy"
# Images between two flushes: what a kill may cost.
FLUSH_EVERY = 512


@dataclass(frozen=True)
class SamplingSettings:
    """``num_images`` images of ``seed``; ``tile`` are synthesised at once, always that many, so the same bits."""

    num_images: int
    tile: int
    seed: int


def sample_images(
    generator: LatentGenerator,
    images_path: Path,
    settings: SamplingSettings,
    *,
    device: torch.device | str = "cpu",
    progress: Progress = silent,
) -> NDArray[np.uint8]:
    """Fill ``images_path`` (.npy) with uint8 images [N, 3, S, S] and ``LATENTS`` beside it with codes [N, L, D].

    Image i is a function of (seed, i) alone: neither of N nor of an interruption. The map ``DONE`` beside them says
    which tiles are safely on disk; the same call goes on from there. Codes are float32 and pre-truncation. Returns the
    images behind a read-only memory map. Raises ValueError if an image is not finite.
    """
    folder, count, tile = images_path.parent, settings.num_images, settings.tile
    size, shape = generator.image_size, (count, generator.num_codes, generator.latent_dim)
    num_tiles = -(-count // tile)
    if not (images_path.exists() and (folder / LATENTS).exists()):
        (folder / DONE).unlink(missing_ok=True)
    images = ArrayFile(images_path, (count, 3, size, size), "|u1")
    codes_file = ArrayFile(folder / LATENTS, shape, "<f4")
    done_file = ArrayFile(folder / DONE, (num_tiles,), "|u1")
    pending = np.flatnonzero(np.load(folder / DONE) == 0).tolist()
    unsynced: list[int] = []
    mark = np.ones((), dtype=np.uint8)

    def flush() -> None:
        # First the images, then the word that they are there: the map never promises what is not on disk.
        images.sync()
        codes_file.sync()
        for index in unsynced:
            done_file.write(index, mark)
        done_file.sync()
        unsynced.clear()

    try:
        progress((num_tiles - len(pending)) * tile, count, {})
        for position, index in enumerate(pending, start=num_tiles - len(pending) + 1):
            codes, pixels = _make_tile(generator, index * tile, settings, device)
            for place in range(min(tile, count - index * tile)):
                images.write(index * tile + place, pixels[place])
                codes_file.write(index * tile + place, codes[place])
            unsynced.append(index)
            if len(unsynced) * tile >= FLUSH_EVERY:
                flush()
            progress(min(position * tile, count), count, {})
        flush()
    finally:
        for file in (images, codes_file, done_file):
            file.close()
    result: NDArray[np.uint8] = np.load(images_path, mmap_mode="r")
    return result


def _make_tile(
    generator: LatentGenerator, begin: int, settings: SamplingSettings, device: torch.device | str
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Codes and images of ``begin`` … ``begin + tile − 1``; the last tile is whole too, whatever N is."""
    with torch.no_grad():
        codes = draw_codes(generator, range(begin, begin + settings.tile), settings.seed, device)
        made = generator.synthesize(codes)
    if not bool(torch.isfinite(made).all()):
        last = begin + settings.tile - 1
        raise ValueError(
            f"the generator's images {begin}…{last} are not finite: another generator.checkpoint or a smaller "
            "generator.truncation helps"
        )
    return codes.cpu().numpy(), to_pixels(made).cpu().numpy()


def draw_codes(
    generator: LatentGenerator, indices: range, seed: int, device: torch.device | str
) -> Float[Tensor, "batch codes dim"]:
    """Codes of the images ``indices``: a latent each from its own source, mapped, the same for every layer."""
    latents = [generator.sample_latents(1, seeded(seed, "sampled image", index)) for index in indices]
    codes = generator.map(torch.cat(latents).to(device))
    return codes[:, None].repeat(1, generator.num_codes, 1).float()
