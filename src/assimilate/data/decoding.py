"""One image file to square uint8 RGB pixels.

Of a very wide or very tall picture only the centre is resized, bit for bit as Pillow does.
"""

import contextlib
import os
import stat
import threading
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import PIL
from jaxtyping import UInt8
from numpy.typing import NDArray
from PIL import Image, ImageOps, PngImagePlugin

WHITE = (255, 255, 255)
_SIXTEEN_BIT = 65535
# Pillow refuses more than 179 megapixels and 1 MB of text in a PNG, and programs that draw pictures write more. Ours
# are bounds on memory: 12 bytes a pixel in half of the machine's, and pictures above 64 megapixels one at a time.
Image.MAX_IMAGE_PIXELS = None
PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY = 16 * 2**20, 128 * 2**20
_MOST_PIXELS = max(178_956_970, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 24)
_LARGE_PIXELS = 64 * 10**6
_large_picture = threading.Lock()
# From this ratio of the sides on, what is cut off is not resized first.
_EXTREME_RATIO = 16


class Decoded(NamedTuple):
    """A picture, and how much of its container it uses."""

    pixels: UInt8[np.ndarray, "3 size size"]
    bits: int = 0
    """Bits of the largest value if the file has more than 8 for a value (32,768 has 16); otherwise 0."""


def decode_image(
    source: Path | BinaryIO, image_size: int, *, background: tuple[int, int, int] = WHITE
) -> UInt8[np.ndarray, "3 size size"]:
    """Return the image as uint8 [3, image_size, image_size]; ``decode_deep`` without what it says of deep files."""
    return decode_deep(source, image_size, background=background).pixels


def decode_deep(source: Path | BinaryIO, image_size: int, *, background: tuple[int, int, int] = WHITE) -> Decoded:
    """Return the image as uint8 [3, image_size, image_size].

    Turned upright by its EXIF orientation; the first frame if there are several; transparency over ``background``
    (white, as a page shows it: dark drawings on a transparent ground would vanish on black); palette, grey, CMYK and
    1-bit images become RGB; 16 bits map their full range to 0..255, whatever part of it is used, and floats must be in
    [0, 1]. The shorter side is resized to ``image_size`` (bicubic, antialiased) and the centre is cut out. Raises
    whatever the decoder raises for a damaged file, and ValueError for pixel values without a known range, for more
    pixels than the memory can hold, and for what is no file.
    """
    if isinstance(source, Path) and not stat.S_ISREG(os.stat(source).st_mode):
        raise ValueError("it is no file but a pipe, socket, device or folder")
    with contextlib.ExitStack() as stack:
        opened = stack.enter_context(Image.open(source))
        width, height = opened.size
        if width * height > _MOST_PIXELS:
            raise ValueError(
                f"it has {width}x{height} pixels; at most {_MOST_PIXELS // 10**6} megapixels fit into this machine"
            )
        if width * height > _LARGE_PIXELS:
            stack.enter_context(_large_picture)
        bits = _bits_used(opened)
        ImageOps.exif_transpose(opened, in_place=True)
        rgb = _to_rgb(opened, background)
        width, height = rgb.size
        short = min(width, height)
        if (width, height) != (image_size, image_size):
            resized = (max(image_size, image_size * width // short), max(image_size, image_size * height // short))
            left, top = round((resized[0] - image_size) / 2), round((resized[1] - image_size) / 2)
            if max(resized) > _EXTREME_RATIO * image_size:
                return Decoded(_planes(resized_centre(rgb, resized, left, top, image_size)), bits)
            # Resizing and cutting with the box of the centre in one call would move the sampling grid by a fraction.
            rgb = rgb.resize(resized, Image.Resampling.BICUBIC)
            rgb = rgb.crop((left, top, left + image_size, top + image_size))
        return Decoded(_planes(np.asarray(rgb)), bits)


def _planes(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _bits_used(image: Image.Image) -> int:
    """Return the bits of the largest value of an image whose file has more than 8 for a value; 0 for another."""
    if image.mode.startswith("I"):
        return int(np.asarray(image).max()).bit_length()
    # Of 16-bit colours Pillow keeps the upper byte; until the image is loaded, it says what the file holds.
    if image.mode not in ("RGB", "RGBA", "LA") or not any(";16" in str(tile[3]) for tile in getattr(image, "tile", ())):
        return 0
    colours = np.asarray(image)[..., : 1 if image.mode == "LA" else 3]
    return 8 + int(colours.max()).bit_length()


def _to_rgb(image: Image.Image, background: tuple[int, int, int]) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        return Image.fromarray(_to_bytes(image)).convert("RGB")
    if image.has_transparency_data:
        ground = Image.new("RGBA", image.size, (*background, 255))
        return Image.alpha_composite(ground, image.convert("RGBA")).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _to_bytes(image: Image.Image) -> NDArray[np.uint8]:
    values = np.asarray(image).astype(np.float64)
    if not np.isfinite(values).all():
        raise ValueError("it holds values that are not finite")
    low, high = float(values.min()), float(values.max())
    if image.mode == "F":
        if low < 0 or high > 1:
            raise ValueError(f"it holds floats from {low:g} to {high:g}; allowed: 0 to 1")
        return np.rint(values * 255).astype(np.uint8)
    if low < 0 or high > _SIXTEEN_BIT:
        raise ValueError(f"it holds integers from {low:g} to {high:g}; allowed: 0 to {_SIXTEEN_BIT} (16 bits)")
    return np.rint(values * (255 / _SIXTEEN_BIT)).astype(np.uint8)


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
