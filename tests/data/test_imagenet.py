import io
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from stand_ins import WNIDS, imagenet_files, write_tree
from torchvision.transforms import CenterCrop, InterpolationMode, Resize

from assimilate.data import imagenet
from assimilate.data.imagenet import prepare_imagenet, scan_imagenet


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_tree(tmp_path / "root", imagenet_files())
    return tmp_path / "root"


@pytest.mark.parametrize("image_size", [16, 32])
def test_pixels_are_torchvisions_resize_and_centre_crop(root: Path, tmp_path: Path, image_size: int) -> None:
    data = prepare_imagenet(tmp_path / "prepared", root, image_size=image_size)
    files = imagenet_files()
    assert isinstance(data.train.images, np.memmap)
    assert data.class_names == tuple(sorted(WNIDS))
    assert data.test is not None
    for part, arrays in (("train", data.train), ("val", data.test)):
        names = sorted(name for name in files if name.startswith(part))
        assert len(arrays) == len(names)
        assert arrays.labels is not None
        assert [data.class_names[label] for label in arrays.labels] == [name.split("/")[1] for name in names]
        for row, name in enumerate(names):
            picture = Image.open(io.BytesIO(files[name])).convert("RGB")
            expected = CenterCrop(image_size)(Resize(image_size, InterpolationMode.BICUBIC)(picture))
            assert np.array_equal(arrays.images[row].transpose(1, 2, 0), np.asarray(expected))
    assert "3 of the 1,000 classes" in data.notes[1]
    assert not list((tmp_path / "prepared").glob(".*"))


def test_a_subset_is_chosen_before_anything_is_decoded(root: Path, tmp_path: Path) -> None:
    whole = prepare_imagenet(tmp_path / "whole", root, image_size=16)
    told: list[int] = []
    part = prepare_imagenet(
        tmp_path / "part", root, image_size=16, max_train_images=7, progress=lambda done, total, _: told.append(total)
    )
    assert told[-1] == 7 + 6
    assert len(part.train) == 7
    assert any("7 of the 15 training images" in note for note in part.notes)
    rows = {image.tobytes(): int(label) for image, label in zip(whole.train.images, whole.train.labels, strict=True)}
    assert all(
        rows[image.tobytes()] == label for image, label in zip(part.train.images, part.train.labels, strict=True)
    )


def test_the_key_follows_the_names_and_not_the_place(root: Path, tmp_path: Path) -> None:
    key = scan_imagenet(root).key
    shutil.copytree(root, tmp_path / "copy")
    assert scan_imagenet(tmp_path / "copy").key == key
    path = next((root / "train").rglob("*.JPEG"))
    path.rename(path.with_name("renamed.JPEG"))
    assert scan_imagenet(root).key != key


def no_val(root: Path) -> None:
    shutil.rmtree(root / "val")


def flat_val(root: Path) -> None:
    for path in list((root / "val").rglob("*.JPEG")):
        path.rename(root / "val" / f"{path.parent.name}_{path.name}")


def a_class_less(root: Path) -> None:
    shutil.rmtree(root / "train" / WNIDS[0])


def an_empty_class(root: Path) -> None:
    for path in (root / "val" / WNIDS[1]).iterdir():
        path.unlink()


def other_names(root: Path) -> None:
    for part in ("train", "val"):
        (root / part / WNIDS[2]).rename(root / part / "bee")


def no_classes(root: Path) -> None:
    shutil.rmtree(root / "train")
    (root / "train").mkdir()


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (shutil.rmtree, "train does not exist"),
        (no_val, "val does not exist"),
        (no_classes, "holds no class folders"),
        (flat_val, "6 images outside class folders"),
        (a_class_less, rf"different classes:\n  {WNIDS[0]}: only in val/"),
        (an_empty_class, rf"hold no image:\n  val/{WNIDS[1]}"),
        (other_names, r"no WordNet ids like n01440764; .*dataset=folder:\n  bee"),
    ],
)
def test_another_layout_is_one_error(root: Path, harm: Callable[[Path], None], message: str) -> None:
    harm(root)
    with pytest.raises(ValueError, match=rf"(?s)^dataset\.root: .*{message}"):
        scan_imagenet(root)


def test_all_classes_must_have_all_images(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imagenet, "_NUM_CLASSES", 3)
    with pytest.raises(ValueError, match=r"15 training and 6 validation images .* instead of 1,281,167 and 50,000"):
        scan_imagenet(root)


def test_unreadable_images_are_listed_and_only_they_are_decoded_again(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = prepare_imagenet(tmp_path / "whole", root, image_size=16)
    broken = [root / "train" / WNIDS[0] / f"{WNIDS[0]}_2.JPEG", root / "val" / WNIDS[2] / f"{WNIDS[2]}_0.JPEG"]
    contents = [path.read_bytes() for path in broken]
    for path in broken:
        path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(ValueError, match=rf"(?s)2 of 21 images .*{broken[0].name}: .*{broken[1].name}: "):
        prepare_imagenet(tmp_path / "prepared", root, image_size=16)
    assert not (tmp_path / "prepared" / "dataset.json").exists()
    for path, content in zip(broken, contents, strict=True):
        path.write_bytes(content)
    decoded: list[str] = []
    decode = imagenet.decode_image
    monkeypatch.setattr(imagenet, "decode_image", lambda path, size: decoded.append(path.name) or decode(path, size))
    repaired = prepare_imagenet(tmp_path / "prepared", root, image_size=16)
    assert sorted(decoded) == sorted(path.name for path in broken)
    assert repaired.fingerprint == whole.fingerprint


def test_mean_and_std_can_be_given(root: Path, tmp_path: Path) -> None:
    data = prepare_imagenet(tmp_path / "prepared", root, image_size=16, mean=(0.1, 0.2, 0.3))
    assert (data.mean, data.std) == ((0.1, 0.2, 0.3), imagenet.STD)
