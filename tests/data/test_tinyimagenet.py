import io
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from stand_ins import WNIDS, jpeg, md5, pack_zip, tinyimagenet_files, write_tree

from assimilate.data import tinyimagenet
from assimilate.data.tinyimagenet import prepare_tinyimagenet

FOLDER = "tiny-imagenet-200"
Files = dict[str, bytes]


@pytest.fixture(autouse=True)
def _three_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tinyimagenet, "_NUM_CLASSES", 3)
    monkeypatch.setattr(tinyimagenet, "_TRAIN_OF_CLASS", 4)
    monkeypatch.setattr(tinyimagenet, "_NUM_VAL", 6)


@pytest.mark.parametrize("place", ["folder", "the folder itself", "archive", "download"])
def test_images_get_the_labels_of_their_files(tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    files, root = tinyimagenet_files(), tmp_path / "root"
    if place in ("archive", "download"):
        pack_zip((root if place == "archive" else tmp_path) / f"{FOLDER}.zip", FOLDER, files)
    else:
        write_tree(root / FOLDER, files)
    if place == "download":
        archive = tmp_path / f"{FOLDER}.zip"
        monkeypatch.setattr(tinyimagenet, "URL", archive.as_uri())
        monkeypatch.setattr(tinyimagenet, "MD5", md5(archive.read_bytes()))
    given = root / FOLDER if place == "the folder itself" else root
    data = prepare_tinyimagenet(tmp_path / "prepared", given, download=place == "download")
    assert data.class_names == tuple(sorted(WNIDS))
    assert (data.mean, data.std) == ((0.480, 0.448, 0.398), (0.277, 0.269, 0.282))
    train = [(name, name.split("/")[1]) for name in sorted(files) if re.match(r"train/.*JPEG", name)]
    lines = [line.split("\t") for line in files["val/val_annotations.txt"].decode().splitlines()]
    val = sorted(((f"val/images/{line[0]}", line[1]) for line in lines), key=lambda pair: (pair[1], pair[0]))
    assert data.test is not None
    for part, expected in ((data.train, train), (data.test, val)):
        assert part.images.shape == (len(expected), 3, 64, 64)
        assert part.labels is not None
        for row, (name, wnid) in enumerate(expected):
            assert data.class_names[part.labels[row]] == wnid
            pixels = np.asarray(Image.open(io.BytesIO(files[name])).convert("RGB"))
            assert np.array_equal(part.images[row].transpose(1, 2, 0), pixels)
    assert not list((tmp_path / "prepared").glob(".*"))


def without_ids(files: Files) -> None:
    del files["wnids.txt"]


def without_annotations(files: Files) -> None:
    del files["val/val_annotations.txt"]


def a_class_less(files: Files) -> None:
    files["wnids.txt"] = "\n".join(WNIDS[:2]).encode()


def another_class(files: Files) -> None:
    files["train/n99999999/images/n99999999_0.JPEG"] = b""


def an_image_less(files: Files) -> None:
    del files[f"train/{WNIDS[1]}/images/{WNIDS[1]}_3.JPEG"]


def replace_line(line: str) -> Callable[[Files], None]:
    def change(files: Files) -> None:
        lines = files["val/val_annotations.txt"].decode().splitlines()
        files["val/val_annotations.txt"] = "\n".join([lines[0], line, *lines[2:]]).encode()

    return change


def a_validation_image_less(files: Files) -> None:
    del files["val/images/val_5.JPEG"]
    files["val/val_annotations.txt"] = b"\n".join(files["val/val_annotations.txt"].splitlines()[:-1])


def broken_images(files: Files) -> None:
    files[f"train/{WNIDS[0]}/images/{WNIDS[0]}_2.JPEG"] = b"not an image"
    files["val/images/val_3.JPEG"] = jpeg(np.random.default_rng(0), 32, 64)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (without_ids, r"wnids\.txt is missing"),
        (without_annotations, r"val_annotations\.txt is missing"),
        (a_class_less, "names 2 classes, not 3"),
        (another_class, r"wnids\.txt lacks: n99999999"),
        (an_image_less, rf"4 training images: {WNIDS[1]}: 3"),
        (replace_line(""), r"val_1\.JPEG has no line"),
        (replace_line("val_1.JPEG\tn00000000\t0"), r"line 2: class n00000000 is not in wnids\.txt"),
        (replace_line("val_9.JPEG\tn01443537\t0"), r"line 2: there is no val/images/val_9\.JPEG"),
        (replace_line("val_0.JPEG\tn01443537\t0"), r"line 2: val_0\.JPEG is named twice"),
        (replace_line("nonsense"), r"line 2: class \(none\)"),
        (a_validation_image_less, "5 validation images instead of 6"),
        (broken_images, r"2 of 18 images .*_2\.JPEG: .*val_3\.JPEG: it is 32x64, not 64x64"),
    ],
)
def test_what_does_not_fit_together_is_one_error(tmp_path: Path, harm: Callable, message: str, packed: bool) -> None:
    files = tinyimagenet_files()
    harm(files)
    if packed:
        pack_zip(tmp_path / f"{FOLDER}.zip", FOLDER, files)
    else:
        write_tree(tmp_path / FOLDER, files)
    with pytest.raises(ValueError, match=rf"(?s)^dataset\.root: .*{message}"):
        prepare_tinyimagenet(tmp_path / "prepared", tmp_path, download=False)


def test_a_cut_archive_another_one_and_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = tmp_path / f"{FOLDER}.zip"
    with pytest.raises(ValueError, match=r"dataset\.root=.*dataset\.download=true"):
        prepare_tinyimagenet(tmp_path / "prepared", tmp_path, download=False)
    monkeypatch.setattr(tinyimagenet, "URL", (tmp_path / "nothing.zip").as_uri())
    with pytest.raises(ValueError, match=r"not below dataset\.root=.*cannot be downloaded"):
        prepare_tinyimagenet(tmp_path / "prepared", tmp_path, download=True)
    pack_zip(archive, "imagenette", tinyimagenet_files())
    with pytest.raises(ValueError, match=r"is not tiny-imagenet-200: wnids\.txt is missing"):
        prepare_tinyimagenet(tmp_path / "prepared", tmp_path, download=False)
    pack_zip(archive, FOLDER, tinyimagenet_files())
    archive.write_bytes(archive.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"dataset\.root: .*damaged archive"):
        prepare_tinyimagenet(tmp_path / "prepared", tmp_path, download=False)
