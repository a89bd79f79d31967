"""scikit-learn's 1,797 scans of handwritten digits, 8x8 pixels each: a real data set that needs no download."""

from collections import Counter
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits

from assimilate.data.images import ImageArrays, ImageDataset, save_prepared
from assimilate.data.seed import derive_seed
from assimilate.graph.place import Progress, silent

NUM_TRAIN, NUM_TEST = 1437, 360
# The scans hold 17 grey levels, 0 to 16.
_WHITE = 16


def prepare_digits(folder: Path, *, image_size: int = 16, progress: Progress = silent) -> ImageDataset:
    """Write the digits to ``folder``: enlarged bicubically to ``image_size``, replicated to RGB, split 1,437/360.

    The split is stratified and fixed: it depends on no seed of a run. Raises ValueError if ``image_size`` is below 8,
    the size of the scans.
    """
    if image_size < 8:
        raise ValueError(f"dataset.image_size is {image_size}; allowed for digits: at least 8, the size of the scans")
    digits = load_digits()
    labels = digits.target.astype(np.int64)
    scans = np.rint(digits.images * (255 / _WHITE)).astype(np.uint8)
    images = np.empty((len(scans), 3, image_size, image_size), dtype=np.uint8)
    for index, scan in enumerate(scans):
        # Pillow resizes bytes in integer arithmetic: the same pixels, and fingerprint, on every machine.
        images[index] = np.asarray(Image.fromarray(scan).resize((image_size, image_size), Image.Resampling.BICUBIC))
        if index % 256 == 255 or index + 1 == len(scans):
            progress(index + 1, len(scans), {})
    is_test = _stratified_test_mask(labels, NUM_TEST)
    return save_prepared(
        folder,
        name="digits",
        train=ImageArrays(images[~is_test], labels[~is_test]),
        test=ImageArrays(images[is_test], labels[is_test]),
        class_names=[str(name) for name in digits.target_names],
        notes=[
            f"digits: 1,797 scans of 8x8 pixels from scikit-learn, enlarged to {image_size}x{image_size} (bicubic), "
            f"in a fixed stratified split of {NUM_TRAIN} training and {NUM_TEST} test images."
        ],
    )


def _stratified_test_mask(labels: NDArray[np.int64], num_test: int) -> NDArray[np.bool_]:
    """Mark ``num_test`` images: each class's share, the largest remainders first, chosen by a hash of the index."""
    counts = Counter(labels.tolist())
    shares = {label: count * num_test / len(labels) for label, count in counts.items()}
    quota = {label: int(share) for label, share in shares.items()}
    by_remainder = sorted(shares, key=lambda label: (quota[label] - shares[label], label))
    for label in by_remainder[: num_test - sum(quota.values())]:
        quota[label] += 1
    mask = np.zeros(len(labels), dtype=bool)
    for label in sorted(counts):
        members = np.flatnonzero(labels == label).tolist()
        members.sort(key=lambda index: derive_seed("digits split", index))
        mask[members[: quota[label]]] = True
    return mask
