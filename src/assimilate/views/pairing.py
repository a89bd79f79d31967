"""Check that views belong to the images that they are paired with, which only their order tells."""

import itertools

import numpy as np
from jaxtyping import Float, UInt8
from numpy.typing import NDArray

# Images that are looked at, and how many others each is compared with.
NUM_SAMPLED, NUM_OTHERS = 256, 8
# With fewer the share says nothing.
FEWEST = 32
# A view of another image is nearer half of the time; three standard errors of 256 images are a tenth.
LOWEST_SHARE = 0.6
_SIDE = 8


def describe_pairing(images: UInt8[np.ndarray, "n 3 h w"], views: UInt8[np.ndarray, "n views 3 h2 w2"]) -> str | None:
    """Return a warning if the views do not look like views of their images; None if they do, or are too few to say.

    For a sample of images i, the first view of i should be nearer to image i than to image j. j is drawn at random, for
    an order that was shuffled, and is the neighbour of i, for one that is off by one. Nearer: squared distance of
    8 x 8 pixels, without mean and contrast, of the view or its mirror image, as they are or moved by one pixel.
    """
    count = len(images)
    if count < FEWEST:
        return None
    rng = np.random.default_rng(0)
    sampled = np.unique(np.linspace(0, count - 1, min(count, NUM_SAMPLED)).astype(np.int64))
    seen = _coarse(np.asarray(views[sampled, 0]))
    matched = _distance(seen, _coarse(np.asarray(images[sampled])))

    def share(others: NDArray[np.int64]) -> float:
        distance = _distance(seen, _coarse(np.asarray(images[others])))
        return float(((matched < distance) + 0.5 * (matched == distance)).mean())

    apart = [(sampled + rng.integers(1, count, len(sampled))) % count for _ in range(NUM_OTHERS)]
    at_random = float(np.mean([share(others) for others in apart]))
    beside = min(share((sampled + 1) % count), share((sampled - 1) % count))
    if min(at_random, beside) >= LOWEST_SHARE:
        return None
    return (
        f"The views may not belong to their images: of {len(sampled)} views {100 * at_random:.0f} % are nearer to "
        f"their own image than to another, and {100 * beside:.0f} % than to the next one (50 % where the order is "
        "lost). View i belongs to row i of the prepared train_images.npy; folders called by the names in files.json "
        "need no order."
    )


def _coarse(images: UInt8[np.ndarray, "n 3 h w"]) -> Float[np.ndarray, "n 3 side side"]:
    """Return block means of side x side, with mean 0 and standard deviation 1 for each image."""
    pixels = images.astype(np.float64)
    for axis in (2, 3):
        size = pixels.shape[axis]
        starts = np.arange(min(_SIDE, size)) * size // min(_SIDE, size)
        counts = np.diff(np.append(starts, size))
        pixels = np.moveaxis(np.add.reduceat(np.moveaxis(pixels, axis, -1), starts, axis=-1) / counts, -1, axis)
    pixels -= pixels.mean(axis=(1, 2, 3), keepdims=True)
    return pixels / np.maximum(pixels.std(axis=(1, 2, 3), keepdims=True), 1e-9)


def _distance(
    views: Float[np.ndarray, "n 3 side side"], images: Float[np.ndarray, "n 3 side side"]
) -> Float[np.ndarray, " n"]:
    nearest = np.full(len(views), np.inf)
    for mirrored in (views, views[..., ::-1]):
        for shift in itertools.product((-1, 0, 1), repeat=2):
            moved = np.roll(mirrored, shift, axis=(2, 3))
            nearest = np.minimum(nearest, ((moved - images) ** 2).mean(axis=(1, 2, 3)))
    return nearest
