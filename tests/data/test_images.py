import json
from pathlib import Path

import numpy as np
import pytest
import torch

from assimilate.data.augmentation import normalize
from assimilate.data.expert import ExpertAugmentation
from assimilate.data.images import (
    ImageArrays,
    fingerprint_of,
    load_prepared,
    measure_statistics,
    save_prepared,
)


def arrays(count: int, seed: int, *, labelled: bool = True) -> ImageArrays:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, count) if labelled else None
    return ImageArrays(rng.integers(0, 256, (count, 3, 8, 8), dtype=np.uint8), labels)


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    train, test = arrays(10, 0), arrays(4, 1)
    saved = save_prepared(
        tmp_path / "new", name="n", train=train, test=test, class_names=["a", "b", "ç"], notes=["split so"]
    )
    loaded = load_prepared(tmp_path / "new")
    assert isinstance(loaded.train.images, np.memmap)
    assert loaded.test is not None
    for own, read in ((train, loaded.train), (test, loaded.test)):
        assert np.array_equal(own.images, read.images)
        assert read.labels is not None
        assert np.array_equal(own.labels, read.labels)
    assert (loaded.name, loaded.class_names, loaded.notes) == ("n", ("a", "b", "ç"), ("split so",))
    assert (loaded.fingerprint, loaded.mean, loaded.std) == (saved.fingerprint, saved.mean, saved.std)


def test_an_unlabelled_set_without_test_images(tmp_path: Path) -> None:
    save_prepared(tmp_path, name="n", train=arrays(5, 0, labelled=False), test=None, class_names=[])
    loaded = load_prepared(tmp_path)
    assert loaded.train.labels is None
    assert loaded.test is None


def test_pixels_already_in_their_memory_map_are_kept(tmp_path: Path) -> None:
    images = np.lib.format.open_memmap(tmp_path / "train_images.npy", mode="w+", dtype=np.uint8, shape=(3, 3, 8, 8))
    images[:] = 7
    save_prepared(tmp_path, name="n", train=ImageArrays(images, None), test=None, class_names=[])
    assert (load_prepared(tmp_path).train.images == 7).all()


def test_the_fingerprint_sees_pixels_labels_shape_and_part_and_not_names() -> None:
    train, test = arrays(10, 0), arrays(4, 1)
    pixel = train.images.copy()
    pixel[3, 1, 2, 5] ^= 1
    assert train.labels is not None
    label = train.labels.copy()
    label[2] = (label[2] + 1) % 3
    variants = [
        (train, test),
        (train, None),
        (test, train),
        (ImageArrays(pixel, train.labels), test),
        (ImageArrays(train.images, label), test),
        (ImageArrays(train.images, None), test),
        (ImageArrays(train.images.reshape(10, 3, 4, 16), train.labels), test),
    ]
    assert len({fingerprint_of(*variant) for variant in variants}) == len(variants)
    copy = ImageArrays(np.array(train.images, order="F"), train.labels)
    assert fingerprint_of(copy, test) == fingerprint_of(train, test)


def test_statistics_equal_numpys_in_float64() -> None:
    images = arrays(50, 3).images
    mean, std = measure_statistics(images)
    np.testing.assert_allclose(mean, (images / 255).mean(axis=(0, 2, 3)), atol=1e-6)
    np.testing.assert_allclose(std, (images / 255).std(axis=(0, 2, 3)), atol=1e-6)


@pytest.mark.parametrize("constant", [(0, 2), (1,), (0, 1, 2)])
def test_jitter_keeps_constant_channels_within_a_few_standard_deviations(tmp_path: Path, constant: tuple[int]) -> None:
    images = arrays(64, 3).images.copy()
    for channel in constant:
        images[:, channel] = 127
        images[0, channel, 0, 0] = 130  # almost constant
    saved = save_prepared(tmp_path, name="n", train=ImageArrays(images, None), test=None, class_names=[])
    assert saved.notes[0].count("→") == len(constant)
    assert "(almost) constant" in saved.notes[0]
    rng = torch.Generator().manual_seed(0)
    views = normalize(ExpertAugmentation(images.shape[-1])(torch.from_numpy(images), rng), saved.mean, saved.std)
    assert float(views.abs().max()) < 26  # ½ / .02; half a grey level of spread would be 255


def test_ordinary_images_are_divided_by_their_own_deviation(tmp_path: Path) -> None:
    images = (arrays(50, 3).images * np.array([1.0, 0.3, 0.5])[:, None, None]).astype(np.uint8)
    saved = save_prepared(tmp_path, name="n", train=ImageArrays(images, None), test=None, class_names=[])
    assert saved.std == measure_statistics(images)[1]
    assert not saved.notes
    np.testing.assert_allclose(saved.std, (images / 255).std(axis=(0, 2, 3)), atol=1e-6)


def test_given_statistics_are_kept(tmp_path: Path) -> None:
    saved = save_prepared(
        tmp_path, name="n", train=arrays(3, 0), test=None, class_names=["a", "b", "c"], mean=(0.1, 0.2, 0.3),
        std=(1, 1, 1),
    )  # fmt: skip
    assert (saved.mean, saved.std) == ((0.1, 0.2, 0.3), (1.0, 1.0, 1.0))


@pytest.mark.parametrize("damage", ["nothing", "no description", "truncated pixels", "fewer labels", "broken json"])
def test_an_incomplete_folder_is_refused(tmp_path: Path, damage: str) -> None:
    if damage != "nothing":
        save_prepared(tmp_path, name="n", train=arrays(9, 0), test=None, class_names=["a", "b", "c"])
    if damage == "no description":
        (tmp_path / "dataset.json").unlink()
    if damage == "truncated pixels":
        pixels = tmp_path / "train_images.npy"
        pixels.write_bytes(pixels.read_bytes()[:-100])
    if damage == "fewer labels":
        np.save(tmp_path / "train_labels.npy", np.zeros(4, dtype=np.int64))
    if damage == "broken json":
        (tmp_path / "dataset.json").write_text(json.dumps({"name": "n"}))
    with pytest.raises(ValueError, match="no complete prepared data set"):
        load_prepared(tmp_path)


def test_a_subset_keeps_labels_beside_images() -> None:
    whole = arrays(10, 0)
    part = whole.subset([7, 2])
    assert whole.labels is not None
    assert part.labels is not None
    assert np.array_equal(part.images, whole.images[[7, 2]])
    assert part.labels.tolist() == [whole.labels[7], whole.labels[2]]
