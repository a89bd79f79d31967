"""One image file to square uint8 RGB pixels."""

from pathlib import Path
from typing import BinaryIO

import numpy as np
from jaxtyping import UInt8
from numpy.typing import NDArray
from PIL import Image, ImageOps

WHITE = (255, 255, 255)
_SIXTEEN_BIT = 65535


def decode_image(
    source: Path | BinaryIO, image_size: int, *, background: tuple[int, int, int] = WHITE
) -> UInt8[np.ndarray, "3 size size"]:
    """Return the image as uint8 [3, image_size, image_size].

    Turned upright by its EXIF orientation; the first frame if there are several; transparency over ``background``
    (white, as a page shows it: dark drawings on a transparent ground would vanish on black); palette, grey, CMYK and
    1-bit images become RGB; 16-bit grey maps its full range to 0..255, and floats must be in [0, 1]. The shorter side
    is resized to ``image_size`` (bicubic, antialiased) and the centre is cut out. Raises whatever the decoder raises
    for a damaged file, and ValueError for pixel values without a known range.
    """
    with Image.open(source) as opened:
        upright = ImageOps.exif_transpose(opened)
        rgb = _to_rgb(upright, background)
    width, height = rgb.size
    short = min(width, height)
    if (width, height) != (image_size, image_size):
        resized = (max(image_size, image_size * width // short), max(image_size, image_size * height // short))
        left, top = round((resized[0] - image_size) / 2), round((resized[1] - image_size) / 2)
        # Resizing and cutting with the box of the centre in one call would move the sampling grid by a fraction.
        rgb = rgb.resize(resized, Image.Resampling.BICUBIC)
        rgb = rgb.crop((left, top, left + image_size, top + image_size))
    return np.ascontiguousarray(np.asarray(rgb).transpose(2, 0, 1))


def _to_rgb(image: Image.Image, background: tuple[int, int, int]) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        return Image.fromarray(_to_bytes(image)).convert("RGB")
    if image.has_transparency_data:
        ground = Image.new("RGBA", image.size, (*background, 255))
        return Image.alpha_composite(ground, image.convert("RGBA")).convert("RGB")
    return image.convert("RGB")


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
