from pathlib import Path

import numpy as np
import pytest
from stand_ins import cifar_files, md5, pack_tar, write_tree
from torchvision.datasets import CIFAR10, CIFAR100

from assimilate.data import cifar
from assimilate.data.dataset import CIFAR10 as CIFAR10Step
from assimilate.data.dataset import CIFAR100 as CIFAR100Step
from assimilate.graph.place import silent

STEPS = {"cifar10": CIFAR10Step, "cifar100": CIFAR100Step}
FOLDER = {"cifar10": "cifar-10-batches-py", "cifar100": "cifar-100-python"}
ARCHIVE = {"cifar10": "cifar-10-python.tar.gz", "cifar100": "cifar-100-python.tar.gz"}


@pytest.fixture
def genuine(monkeypatch: pytest.MonkeyPatch):
    """Makes stand-ins of 20 + 6 images count as genuine; returns a function that makes other files count so."""
    monkeypatch.setattr(cifar, "_NUM_TRAIN", 20)
    monkeypatch.setattr(cifar, "_NUM_TEST", 6)

    def believe(variant: str, files: dict[str, bytes]) -> None:
        source = CIFAR10 if variant == "cifar10" else CIFAR100
        for name in ("train_list", "test_list"):
            monkeypatch.setattr(source, name, [[file, md5(files[file])] for file, _ in getattr(source, name)])
        monkeypatch.setattr(source, "meta", source.meta | {"md5": md5(files[source.meta["filename"]])})

    for variant in FOLDER:
        believe(variant, cifar_files(variant, 20, 6)[0])
    return believe


def prepare_cifar(folder: Path, root: Path, *, variant: str, download: bool, progress=silent):
    step = STEPS[variant](name=variant, image_size=32, max_train_images=None, root=str(root), download=download)
    folder.mkdir(parents=True, exist_ok=True)
    return step.prepare(folder, progress)


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr("urllib.request.urlopen", fail)


@pytest.mark.usefixtures("genuine", "no_network")
@pytest.mark.parametrize("place", ["folder", "the folder itself", "archive"])
@pytest.mark.parametrize("variant", ["cifar10", "cifar100"])
def test_local_files_become_arrays_with_the_protocols_statistics(tmp_path: Path, variant: str, place: str) -> None:
    files, pixels, labels = cifar_files(variant, 20, 6)
    root = tmp_path / "root"
    if place == "archive":
        pack_tar(root / ARCHIVE[variant], FOLDER[variant], files)
    else:
        write_tree(root / FOLDER[variant], files)
    given = root / FOLDER[variant] if place == "the folder itself" else root
    data = prepare_cifar(tmp_path / "prepared", given, variant=variant, download=True)
    assert data.train.labels is not None
    assert data.test is not None
    assert np.array_equal(data.train.images, pixels)
    assert np.array_equal(data.train.labels, labels)
    assert len(data.test) == 6
    assert data.class_names == tuple(f"class {i}" for i in range(10))
    expected = {"cifar10": (0.4914, 0.4822, 0.4465), "cifar100": (0.5071, 0.4867, 0.4408)}
    assert data.mean == expected[variant]


@pytest.mark.parametrize("variant", ["cifar10", "cifar100"])
def test_pixels_and_labels_are_torchvisions(tmp_path: Path, variant: str, genuine) -> None:
    write_tree(tmp_path / FOLDER[variant], cifar_files(variant, 20, 6)[0])
    data = prepare_cifar(tmp_path / "prepared", tmp_path, variant=variant, download=False)
    reference = (CIFAR10 if variant == "cifar10" else CIFAR100)(str(tmp_path), train=False)
    assert data.test is not None
    assert np.array_equal(data.test.images.transpose(0, 2, 3, 1), reference.data)
    assert data.test.labels is not None
    assert data.test.labels.tolist() == reference.targets
    assert list(data.class_names) == reference.classes


def test_a_download_is_checked_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, genuine) -> None:
    pack_tar(tmp_path / "server.tar.gz", FOLDER["cifar10"], cifar_files("cifar10", 20, 6)[0])
    monkeypatch.setattr(CIFAR10, "url", (tmp_path / "server.tar.gz").as_uri())
    root = tmp_path / "new" / "root"
    with pytest.raises(ValueError, match=r"has MD5 .* instead of .*dataset\.root="):
        prepare_cifar(tmp_path / "prepared", root, variant="cifar10", download=True)
    assert not list(root.iterdir())
    monkeypatch.setattr(CIFAR10, "tgz_md5", md5((tmp_path / "server.tar.gz").read_bytes()))
    told: list[tuple[int, int]] = []
    data = prepare_cifar(
        tmp_path / "prepared",
        root,
        variant="cifar10",
        download=True,
        progress=lambda done, all_, _: told.append((done, all_)),
    )
    assert len(data.train) == 20
    assert told[-1][0] == told[-1][1]
    assert [path.name for path in root.iterdir()] == [ARCHIVE["cifar10"]]


@pytest.mark.usefixtures("no_network")
def test_without_network_the_key_that_helps_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"cifar100 is not below dataset\.root=.*nowhere.*\(no network\)"):
        prepare_cifar(tmp_path / "prepared", tmp_path / "nowhere", variant="cifar100", download=True)
    assert not (tmp_path / "nowhere").exists()
    with pytest.raises(ValueError, match=r"dataset\.root=.*nowhere.*cifar-100-python.*dataset\.download=true"):
        prepare_cifar(tmp_path / "prepared", tmp_path / "nowhere", variant="cifar100", download=False)


def test_a_wrong_number_of_images_is_refused(tmp_path: Path, genuine) -> None:
    files = cifar_files("cifar10", 15, 6)[0]
    genuine("cifar10", files)
    write_tree(tmp_path / FOLDER["cifar10"], files)
    with pytest.raises(ValueError, match="holds 15 training images and 15 labels instead of 20"):
        prepare_cifar(tmp_path / "prepared", tmp_path, variant="cifar10", download=False)


def test_files_that_are_not_the_genuine_ones_are_never_unpickled(tmp_path: Path) -> None:
    files = cifar_files("cifar10", 20, 6)[0]
    del files["data_batch_2"]
    write_tree(tmp_path / FOLDER["cifar10"], files | {"data_batch_1": b"cos\nsystem\n(S'false'\ntR."})
    with pytest.raises(ValueError, match=r"(?s)dataset\.root: .*data_batch_2: missing.*data_batch_1: damaged"):
        prepare_cifar(tmp_path / "prepared", tmp_path, variant="cifar10", download=False)


@pytest.mark.usefixtures("genuine")
def test_another_archive_and_a_cut_one_are_refused(tmp_path: Path) -> None:
    pack_tar(tmp_path / ARCHIVE["cifar10"], FOLDER["cifar100"], cifar_files("cifar100", 20, 6)[0])
    with pytest.raises(ValueError, match=r"is not the genuine cifar10 \(data_batch_1: missing; .*and 4 more\)"):
        prepare_cifar(tmp_path / "prepared", tmp_path, variant="cifar10", download=False)
    pack_tar(tmp_path / ARCHIVE["cifar10"], FOLDER["cifar10"], cifar_files("cifar10", 20, 6)[0])
    whole = (tmp_path / ARCHIVE["cifar10"]).read_bytes()
    (tmp_path / ARCHIVE["cifar10"]).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"dataset\.root: .*cifar-10-python\.tar\.gz is a damaged archive"):
        prepare_cifar(tmp_path / "prepared", tmp_path, variant="cifar10", download=False)
