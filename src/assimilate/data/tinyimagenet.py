"""TinyImageNet: 200 classes of 64x64 images, from the archive of Stanford's CS231n or the folder it unpacks to."""

import io
import os
import zipfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from assimilate.data.bulk_decoding import decode_parts, forget_progress
from assimilate.data.decoding import Decoded, decode_image
from assimilate.data.directory import in_line
from assimilate.data.download import download as fetch
from assimilate.data.images import ImageArrays, ImageDataset, Statistics, save_prepared
from assimilate.data.listing import bullets
from assimilate.graph.place import Progress, silent

IMAGE_SIZE = 64
NAME = "tiny-imagenet-200"
URL = f"http://cs231n.stanford.edu/{NAME}.zip"
MD5 = "90528d7ca1a48142e341f4ef8d21d0de"
# SupContrast's.
MEAN: Statistics = (0.480, 0.448, 0.398)
STD: Statistics = (0.277, 0.269, 0.282)
_NUM_CLASSES, _TRAIN_OF_CLASS, _NUM_VAL = 200, 500, 10_000


class _LabelledFile(NamedTuple):
    path: str  # below tiny-imagenet-200/
    label: int


class _Source(Protocol):
    """The files below tiny-imagenet-200/, packed or not."""

    place: Path

    def names(self) -> set[str]: ...

    def read(self, name: str) -> bytes: ...


class _Folder:
    def __init__(self, place: Path) -> None:
        self.place = place

    def names(self) -> set[str]:
        found = {"wnids.txt", "val/val_annotations.txt"}
        found = {name for name in found if (self.place / name).is_file()}
        train, val = self.place / "train", self.place / "val" / "images"
        folders = sorted(os.listdir(train)) if train.is_dir() else []
        for wnid in folders:
            images = train / wnid / "images"
            if images.is_dir():
                found |= {f"train/{wnid}/images/{name}" for name in os.listdir(images)}
        return found | ({f"val/images/{name}" for name in os.listdir(val)} if val.is_dir() else set())

    def read(self, name: str) -> bytes:
        return (self.place / name).read_bytes()


class _Archive:
    """Read as it is: members may be read from several threads at once."""

    def __init__(self, place: Path) -> None:
        self.place = place
        try:
            self._zip = zipfile.ZipFile(place)
        except (zipfile.BadZipFile, OSError) as error:
            raise ValueError(
                f"dataset.root: {place} is a damaged archive ({error}); remove it and set dataset.download=true, or "
                "put the genuine one there"
            ) from error

    def names(self) -> set[str]:
        prefix = f"{NAME}/"
        return {name.removeprefix(prefix) for name in self._zip.namelist() if name.startswith(prefix)}

    def read(self, name: str) -> bytes:
        return self._zip.read(f"{NAME}/{name}")


def prepare_tinyimagenet(
    folder: Path,
    root: Path | str,
    *,
    download: bool,
    mean: Statistics = MEAN,
    std: Statistics = STD,
    progress: Progress = silent,
) -> ImageDataset:
    """Write TinyImageNet to ``folder``: its 100,000 training images, and as test set its 10,000 validation images.

    Looked for in this order: the unpacked folder (``root/tiny-imagenet-200``, or ``root`` itself if it holds
    wnids.txt), the archive ``root/tiny-imagenet-200.zip``, which is read without being unpacked, and, with
    ``download``, the network, from where the archive goes to ``root``. Classes are the ids of wnids.txt in
    alphabetical order; validation images get theirs from val_annotations.txt. Grey images become RGB. Decoding is
    parallel, and after a kill the same call goes on where it stopped. Raises one ValueError, naming ``dataset.root``,
    for whatever is missing, damaged, labelled inconsistently or of another number.
    """
    source = _find(Path(root).expanduser(), download=download, progress=progress)
    wnids, train, val = _list_images(source)
    parts = {"train": train, "test": val}
    images, unreadable, _ = decode_parts(
        folder,
        {part: [file.path for file in files] for part, files in parts.items()},
        lambda name: Decoded(_decode(source.read(name))),
        image_size=IMAGE_SIZE,
        progress=progress,
    )
    if unreadable:
        raise ValueError(
            f"dataset.root: {len(unreadable)} of {len(train) + len(val)} images in {source.place} cannot be read; "
            f"unpack or download it again:{bullets(unreadable)}"
        )
    arrays = {
        part: ImageArrays(images[part], np.array([file.label for file in files], dtype=np.int64))
        for part, files in parts.items()
    }
    dataset = save_prepared(
        folder,
        name="tinyimagenet",
        train=arrays["train"],
        test=arrays["test"],
        class_names=wnids,
        mean=mean,
        std=std,
        notes=[
            f"tinyimagenet: {len(train):,} training images; the {len(val):,} validation images are the test set, "
            "because the labels of the test images were never published."
        ],
    )
    forget_progress(folder)
    return dataset


def _find(root: Path, *, download: bool, progress: Progress) -> _Source:
    if (root / "wnids.txt").is_file():
        return _Folder(root)
    if (root / NAME).is_dir():
        return _Folder(root / NAME)
    archive = root / f"{NAME}.zip"
    if not archive.is_file():
        if not download:
            raise ValueError(
                f"tinyimagenet is not below dataset.root={root}: neither {NAME}/ nor {NAME}.zip is there; set "
                "dataset.download=true, or give the folder that holds one of them as dataset.root"
            )
        fetch(URL, archive, md5=MD5, what="tinyimagenet", progress=progress)
    return _Archive(archive)


def _list_images(source: _Source) -> tuple[list[str], list[_LabelledFile], list[_LabelledFile]]:
    """Return (class ids, training files, validation files) after checking that they fit together."""
    names = source.names()
    for needed in ("wnids.txt", "val/val_annotations.txt"):
        if needed not in names:
            raise ValueError(
                f"dataset.root: {source.place} is not {NAME}: {needed} is missing; give an untouched copy, or read "
                "class folders with dataset=folder"
            )
    wnids = sorted(source.read("wnids.txt").decode().split())
    label_of = {wnid: label for label, wnid in enumerate(wnids)}
    if len(label_of) != _NUM_CLASSES or len(wnids) != _NUM_CLASSES:
        raise ValueError(f"dataset.root: wnids.txt of {source.place} names {len(label_of)} classes, not {_NUM_CLASSES}")
    images = sorted(name for name in names if name.lower().endswith((".jpeg", ".jpg")))
    train = [name.split("/") for name in images if name.startswith("train/")]
    counts = Counter(parts[1] for parts in train)
    if strange := sorted(set(counts) - set(wnids)):
        raise ValueError(f"dataset.root: {source.place} has training classes that wnids.txt lacks: {in_line(strange)}")
    wrong = [f"{wnid}: {counts[wnid]}" for wnid in wnids if counts[wnid] != _TRAIN_OF_CLASS]
    if wrong:
        raise ValueError(
            f"dataset.root: {source.place} is incomplete: {len(wrong)} classes do not have {_TRAIN_OF_CLASS} training "
            f"images: {in_line(wrong)}"
        )
    training = [_LabelledFile("/".join(parts), label_of[parts[1]]) for parts in train]
    annotations = source.read("val/val_annotations.txt").decode()
    found = [name.removeprefix("val/images/") for name in images if name.startswith("val/images/")]
    return wnids, training, _validation(annotations, found, label_of, source.place)


def _validation(annotations: str, found: Sequence[str], label_of: dict[str, int], place: Path) -> list[_LabelledFile]:
    """Return the validation files with the labels of val_annotations.txt (name, class, box; separated by tabs)."""
    labels: dict[str, int] = {}
    problems: list[str] = []
    images = set(found)
    for number, line in enumerate(annotations.splitlines(), 1):
        if not line.strip():
            continue
        name, _, rest = line.partition("\t")
        wnid = rest.split("\t")[0].strip()
        if wnid not in label_of:
            problems.append(f"line {number}: class {wnid or '(none)'} is not in wnids.txt")
        elif name in labels:
            problems.append(f"line {number}: {name} is named twice")
        elif name not in images:
            problems.append(f"line {number}: there is no val/images/{name}")
        else:
            labels[name] = label_of[wnid]
    problems += [f"val/images/{name} has no line" for name in found if name not in labels and not problems]
    if problems:
        raise ValueError(
            f"dataset.root: val_annotations.txt of {place} does not match the images "
            f"({len(problems)} differences: {in_line(problems)}); give an untouched copy"
        )
    if len(labels) != _NUM_VAL:
        raise ValueError(f"dataset.root: {place} has {len(labels)} validation images instead of {_NUM_VAL}")
    # Grouped by class, as the training images are.
    files = [_LabelledFile(f"val/images/{name}", label) for name, label in labels.items()]
    return sorted(files, key=lambda file: (file.label, file.path))


def _decode(content: bytes) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(content)) as image:
        if image.size != (IMAGE_SIZE, IMAGE_SIZE):
            raise ValueError(f"it is {image.width}x{image.height}, not {IMAGE_SIZE}x{IMAGE_SIZE}")
    return decode_image(io.BytesIO(content), IMAGE_SIZE)
