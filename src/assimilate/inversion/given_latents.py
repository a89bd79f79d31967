"""Latents of the user's, read from an array file."""

import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

# Images whose codes are in memory at once.
_BLOCK = 4096
# Codes are of order 1 to 100, whatever network maps them; a number beyond this is of something else.
LARGEST_CODE = 1e6


def read_given_latents(
    path: Path, *, num_images: int, num_codes: int | None, latent_dim: int | None
) -> NDArray[np.float32]:
    """Return pre-truncation codes [num_images, num_codes, latent_dim] behind a memory map; None: not known yet.

    Raises ValueError (naming inversion.latents) for a file that is no array, another shape or type, and values that are
    not finite or beyond ±1e6.
    """
    origin = f"inversion.latents={path}"
    try:
        given = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{origin} cannot be read as an array: {' '.join(str(error).split())}") from None
    if not isinstance(given, np.ndarray):
        raise ValueError(f"{origin} holds several arrays; needed is one, a .npy file")
    needed = (num_images, num_codes, latent_dim)
    fits = given.ndim == 3 and all(size in (None, found) for size, found in zip(needed, given.shape, strict=True))
    if not fits or given.dtype != np.float32:
        shape = ", ".join("any" if size is None else str(size) for size in needed)
        raise ValueError(
            f"{origin} holds {given.dtype} {list(given.shape)}; needed is float32 [{shape}]: "
            "[training images, codes, latent width]"
        )
    for begin in range(0, len(given), _BLOCK):
        largest = np.abs(given[begin : begin + _BLOCK]).max(axis=(1, 2), initial=0)
        sound = largest <= LARGEST_CODE  # NaN is not
        if not sound.all():
            first = int(np.argmin(sound))
            finite = np.isfinite(largest[first])
            what = f"reach {largest[first]:.3g}, and codes never exceed 1e6" if finite else "are not finite (NaN or ∞)"
            raise ValueError(
                f"{origin}: the latents of image {begin + first} {what}, as may be those of others; invert these "
                "images again"
            )
    return given
