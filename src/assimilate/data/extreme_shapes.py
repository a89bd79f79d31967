"""Resize only the centre of a very wide or very tall picture, bit for bit as Pillow does."""

import numpy as np
import PIL
from jaxtyping import UInt8
from numpy.typing import NDArray
from PIL import Image

# Pillow's fixed-point weights of 8-bit images: 22 fractional bits.
_FRACTION_BITS = 22
_SUPPORT = 2.0
# Pillow rounds to bytes between the two passes. It resizes along the rows first, but from 13.0 on along the columns of
# what is taller than wide and shrinks.
_COLUMNS_MAY_BE_FIRST = int(PIL.__version__.split(".")[0]) >= 13


def resized_centre(
    rgb: Image.Image, resized: tuple[int, int], left: int, top: int, size: int
) -> UInt8[np.ndarray, "size size 3"]:
    """Return ``rgb.resize(resized, BICUBIC)`` cut to ``size`` x ``size`` at (left, top), from the pixels that it needs.

    60,000 x 1 pixels resized to a height of 256 would be 4 billion, of which all but 65,536 are cut off.
    """
    columns = [_weights(rgb.width, resized[0], index) for index in range(left, left + size)]
    rows = [_weights(rgb.height, resized[1], index) for index in range(top, top + size)]
    first, last = columns[0][0], max(start + len(weights) for start, weights in columns)
    upper, lower = rows[0][0], max(start + len(weights) for start, weights in rows)
    pixels = np.asarray(rgb.crop((first, upper, last, lower)))
    if _COLUMNS_MAY_BE_FIRST and rgb.height > rgb.width > resized[0]:
        return _apply(_apply(pixels, rows, upper).swapaxes(0, 1), columns, first).swapaxes(0, 1)
    return _apply(_apply(pixels.swapaxes(0, 1), columns, first).swapaxes(0, 1), rows, upper)


def _weights(in_size: int, out_size: int, index: int) -> tuple[int, NDArray[np.int64]]:
    """Return the first source pixel of an output pixel and the weights of the pixels from there (Keys, a = -1/2)."""
    scale = in_size / out_size
    stretch = max(scale, 1.0)
    centre, reach = (index + 0.5) * scale, _SUPPORT * stretch
    start, stop = max(0, int(centre - reach + 0.5)), min(in_size, int(centre + reach + 0.5))
    raw = [_cubic((position - centre + 0.5) * (1.0 / stretch)) for position in range(start, stop)]
    total = 0.0
    for weight in raw:  # in this order: numpy's sum rounds differently
        total += weight
    scaled = [weight * (1.0 / total) * (1 << _FRACTION_BITS) for weight in raw]
    return start, np.array([int(weight + (0.5 if weight >= 0 else -0.5)) for weight in scaled], dtype=np.int64)


def _cubic(x: float) -> float:
    a, x = -0.5, abs(x)
    if x < 1.0:
        return ((a + 2.0) * x - (a + 3.0)) * x * x + 1
    return (((x - 5) * x + 8) * x - 4) * a if x < 2.0 else 0.0


def _apply(pixels: NDArray[np.uint8], taps: list[tuple[int, NDArray[np.int64]]], origin: int) -> NDArray[np.uint8]:
    """Return the weighted sums over the first axis, whose first entry is source pixel ``origin``, one for each tap."""
    sums = [
        np.tensordot(weights, pixels[start - origin : start - origin + len(weights)].astype(np.int64), axes=1)
        for start, weights in taps
    ]
    rounded = (np.stack(sums) + (1 << (_FRACTION_BITS - 1))) >> _FRACTION_BITS
    return np.clip(rounded, 0, 255).astype(np.uint8)
