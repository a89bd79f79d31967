from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.neighbors import KNeighborsClassifier

from assimilate.data.digits import prepare_digits
from assimilate.data.images import ImageDataset


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> ImageDataset:
    return prepare_digits(tmp_path_factory.mktemp("digits"), image_size=16)


def test_the_split_is_1437_to_360_and_stratified(digits: ImageDataset) -> None:
    assert digits.test is not None
    assert digits.train.labels is not None
    assert digits.test.labels is not None
    assert digits.train.images.shape == (1437, 3, 16, 16)
    assert digits.test.images.shape == (360, 3, 16, 16)
    everything = Counter(load_digits().target.tolist())
    train, test = Counter(digits.train.labels.tolist()), Counter(digits.test.labels.tolist())
    assert train + test == everything
    for label, count in everything.items():
        assert abs(test[label] - count * 360 / 1797) < 1
    assert digits.class_names == tuple("0123456789")


def test_the_split_is_fixed_whatever_was_drawn_before(digits: ImageDataset, tmp_path: Path) -> None:
    np.random.seed(7)  # noqa: NPY002 (the global state must not matter)
    again = prepare_digits(tmp_path, image_size=16)
    assert again.fingerprint == digits.fingerprint
    # These labels were written down once; a change of the split changes every result on digits.
    assert digits.test is not None
    assert digits.test.labels is not None
    assert digits.test.labels[:20].tolist() == FIRST_TEST_LABELS


def test_pixels_are_the_scans_in_grey(digits: ImageDataset, tmp_path: Path) -> None:
    assert np.array_equal(digits.train.images[:, 0], digits.train.images[:, 2])
    small = prepare_digits(tmp_path, image_size=8)
    assert small.test is not None
    pixels = np.concatenate([small.train.images[:, 0], small.test.images[:, 0]]).astype(int)
    scans = np.rint(load_digits().images * 255 / 16).astype(int)
    assert sorted(map(bytes, pixels.astype(np.uint8))) == sorted(map(bytes, scans.astype(np.uint8)))


def test_labels_belong_to_their_pixels(digits: ImageDataset) -> None:
    assert digits.test is not None
    knn = KNeighborsClassifier(5).fit(digits.train.images[:, 0].reshape(1437, -1), digits.train.labels)
    assert knn.score(digits.test.images[:, 0].reshape(360, -1), digits.test.labels) > 0.95


def test_progress_ends_at_the_total(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    prepare_digits(tmp_path, image_size=8, progress=lambda done, total, values: calls.append((done, total)))
    assert calls[-1] == (1797, 1797)


def test_an_image_below_the_scans_size_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"dataset\.image_size is 4"):
        prepare_digits(tmp_path, image_size=4)


FIRST_TEST_LABELS = [7, 1, 8, 9, 9, 8, 9, 5, 8, 2, 3, 4, 9, 5, 2, 2, 9, 6, 4, 3]
