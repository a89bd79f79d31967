"""What mean and standard deviation a channel of images may have. Torch-free, for checks before anything runs."""

import math
from typing import Any

CHANNELS = 3
# Smallest standard deviation that may be given: three grey levels. Inputs divided by less reach hundreds of σ.
SMALLEST_STD = 0.01
# A measured one is raised to this, and to a share of the widest channel's. Jitter mixes the channels, so it moves one
# that is (almost) constant by a part of what the widest spans, whatever its own spread.
LOWEST_MEASURED, SHARE_OF_WIDEST = 0.02, 0.25
MEANS = "null or three numbers from 0 to 1, one a channel, on the scale where a pixel is in [0, 1]"
STDS = f"null or three numbers from {SMALLEST_STD} to 1, one a channel, on the scale where a pixel is in [0, 1]"


def _numbers(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(
        isinstance(x, int | float) and not isinstance(x, bool) and math.isfinite(x) for x in value
    )


def is_mean(value: Any) -> bool:
    """Whether `value` is a mean a channel, of pixels in [0, 1]."""
    return _numbers(value) and len(value) == CHANNELS and all(0 <= x <= 1 for x in value)


def is_std(value: Any) -> bool:
    """Whether `value` is a standard deviation a channel, of pixels in [0, 1], by which images can be divided."""
    return _numbers(value) and len(value) == CHANNELS and all(SMALLEST_STD <= x <= 1 for x in value)


def divided_by_255(value: Any) -> str:
    """Advice for numbers that look like those of pixels in 0 … 255; empty for others."""
    if not (_numbers(value) and len(value) == CHANNELS and 1 < max(value) <= 255 and min(value) >= 0):
        return ""
    return f". These look like pixels in 0 … 255: give [{','.join(f'{x / 255:.4f}' for x in value)}]"


def bounded_std(std: tuple[float, float, float]) -> tuple[float, float, float]:
    """Measured standard deviations as images are divided by them: those of (almost) constant channels are raised.

    A channel is raised to a quarter of the widest channel's, at least to 0.02; photographs are far from either.
    """
    floor = max(LOWEST_MEASURED, SHARE_OF_WIDEST * max(std))
    red, green, blue = (max(value, floor) for value in std)
    return red, green, blue
