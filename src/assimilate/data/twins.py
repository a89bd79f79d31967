"""Images with equal pixels, which make a test set too easy when they are in both parts of a split."""

import hashlib

import numpy as np
from numpy.typing import NDArray

from assimilate.data.images import ImageArrays


def pixel_digests(images: NDArray[np.uint8]) -> list[bytes]:
    """Return 16 bytes for each image [N, 3, H, W]; equal pixels have equal ones. A gigabyte takes about a second."""
    return [hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=16).digest() for image in images]


def describe_twins(train: ImageArrays, test: ImageArrays | None) -> str | None:
    """Return a sentence that counts the test images that are training images too; None if there are none."""
    if test is None:
        return None
    trained = set(pixel_digests(train.images))
    count = sum(digest in trained for digest in pixel_digests(test.images))
    if not count:
        return None
    verb = "has an identical twin" if count == 1 else "have identical twins"
    return f"{count} of {len(test)} test images {verb} among the training images, so accuracies are too high by them."
