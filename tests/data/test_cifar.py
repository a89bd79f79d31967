import pickle
from pathlib import Path

import numpy as np
import pytest

from assimilate.data import cifar
from assimilate.data.cifar import prepare_cifar


def write_batches(root: Path, variant: str, num_train: int, num_test: int) -> tuple[np.ndarray, np.ndarray]:
    """Write files of CIFAR's format; returns training pixels [N, 3, 32, 32] and labels."""
    rng = np.random.default_rng(0)
    folder = root / ("cifar-10-batches-py" if variant == "cifar10" else "cifar-100-python")
    folder.mkdir(parents=True)
    key = "labels" if variant == "cifar10" else "fine_labels"
    pixels = rng.integers(0, 256, (num_train + num_test, 3 * 32 * 32), dtype=np.uint8)
    labels = rng.integers(0, 10, num_train + num_test)
    names = [f"class {i}" for i in range(10)]

    def write(name: str, rows: slice) -> None:
        (folder / name).write_bytes(pickle.dumps({"data": pixels[rows], key: labels[rows].tolist()}))

    if variant == "cifar10":
        share = num_train // 5
        for batch in range(5):
            write(f"data_batch_{batch + 1}", slice(batch * share, (batch + 1) * share))
        write("test_batch", slice(num_train, None))
        (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": names}))
    else:
        write("train", slice(0, num_train))
        write("test", slice(num_train, None))
        (folder / "meta").write_bytes(pickle.dumps({"fine_label_names": names}))
    return pixels[:num_train].reshape(-1, 3, 32, 32), labels[:num_train]


@pytest.fixture
def any_checksum(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda path, md5=None: Path(path).exists())
    monkeypatch.setattr(cifar, "_NUM_TRAIN", 20)
    monkeypatch.setattr(cifar, "_NUM_TEST", 6)


@pytest.mark.usefixtures("any_checksum")
@pytest.mark.parametrize("variant", ["cifar10", "cifar100"])
def test_batches_become_arrays_with_the_protocols_statistics(tmp_path: Path, variant: str) -> None:
    pixels, labels = write_batches(tmp_path / "root", variant, 20, 6)
    data = prepare_cifar(tmp_path / "prepared", tmp_path / "root", variant=variant, download=False)
    assert data.train.labels is not None
    assert data.test is not None
    assert np.array_equal(data.train.images, pixels)
    assert np.array_equal(data.train.labels, labels)
    assert len(data.test) == 6
    assert data.class_names == tuple(f"class {i}" for i in range(10))
    expected = {"cifar10": (0.4914, 0.4822, 0.4465), "cifar100": (0.5071, 0.4867, 0.4408)}
    assert data.mean == expected[variant]


@pytest.mark.usefixtures("any_checksum")
def test_a_wrong_number_of_images_is_refused(tmp_path: Path) -> None:
    write_batches(tmp_path, "cifar10", 15, 6)
    with pytest.raises(ValueError, match="holds 15 train images and 15 labels instead of 20"):
        prepare_cifar(tmp_path / "prepared", tmp_path, variant="cifar10", download=False)


def test_other_files_than_the_genuine_ones_are_refused(tmp_path: Path) -> None:
    write_batches(tmp_path, "cifar10", 20, 6)
    with pytest.raises(ValueError, match=r"dataset\.root=.*dataset\.download=true"):
        prepare_cifar(tmp_path / "prepared", tmp_path, variant="cifar10", download=False)


def test_a_missing_root_and_an_unknown_variant_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"cifar-100-python/ as dataset\.root"):
        prepare_cifar(tmp_path / "prepared", tmp_path / "nowhere", variant="cifar100", download=False)
    with pytest.raises(ValueError, match="cifar10, cifar100"):
        prepare_cifar(tmp_path / "prepared", tmp_path, variant="cifar1000", download=False)  # type: ignore[arg-type]
