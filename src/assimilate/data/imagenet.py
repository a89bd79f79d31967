"""ImageNet (ILSVRC 2012) or a part of its classes, from the usual folders, decoded once to the size asked."""

import hashlib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from assimilate.data.bulk_decoding import decode_parts, forget_progress
from assimilate.data.decoding import Decoded, decode_image
from assimilate.data.directory import clutter, displayed
from assimilate.data.images import ImageArrays, ImageDataset, Statistics, save_prepared
from assimilate.data.listing import bullets
from assimilate.data.order import subset_of_classes
from assimilate.graph.counted import counted
from assimilate.graph.place import Progress, silent

MEAN: Statistics = (0.485, 0.456, 0.406)
STD: Statistics = (0.229, 0.224, 0.225)
# Of all classes; a part of them has no number that could be checked.
_NUM_CLASSES, _NUM_TRAIN, _NUM_VAL = 1000, 1_281_167, 50_000
_WNID = re.compile(r"n\d{8}")
_SUFFIXES = (".jpeg", ".jpg", ".png")


@dataclass(frozen=True)
class ImageNetListing:
    """The images of both parts: (path below the root, label), by class and then by name."""

    root: Path
    train: tuple[tuple[str, int], ...]
    val: tuple[tuple[str, int], ...]
    wnids: tuple[str, ...]

    @property
    def key(self) -> str:
        """Digest of the names of all files: a copy at another place is the same data set."""
        digest = hashlib.sha256()
        for path, _ in (*self.train, *self.val):
            digest.update(path.encode(errors="surrogateescape") + b"\n")
        return digest.hexdigest()


def scan_imagenet(root: Path | str) -> ImageNetListing:
    """List train/<wnid>/* and val/<wnid>/* below ``root``; no file is touched, so this takes seconds.

    Raises ValueError, naming ``dataset.root``, if a part or its class folders are missing, the classes of the parts
    differ, a class is empty, or all 1,000 classes are there and their images are not 1,281,167 and 50,000.
    """
    root = Path(root).expanduser().absolute()
    train_classes, val_classes = _classes(root, "train"), _classes(root, "val")
    if train_classes != val_classes:
        only = [f"{wnid}: only in train/" for wnid in sorted(set(train_classes) - set(val_classes))]
        only += [f"{wnid}: only in val/" for wnid in sorted(set(val_classes) - set(train_classes))]
        raise ValueError(f"dataset.root: train/ and val/ of {root} have different classes:{bullets(only)}")
    parts: list[tuple[tuple[str, int], ...]] = []
    for part in ("train", "val"):
        files, empty = list[tuple[str, int]](), list[str]()
        for label, wnid in enumerate(train_classes):
            with os.scandir(root / part / wnid) as entries:
                names = sorted(entry.name for entry in entries if entry.name.lower().endswith(_SUFFIXES))
            files += [(f"{part}/{wnid}/{name}", label) for name in names]
            if not names:
                empty.append(f"{part}/{wnid}")
        if empty:
            raise ValueError(f"dataset.root: these class folders of {root} hold no image:{bullets(empty)}")
        parts.append(tuple(files))
    train, val = parts
    if len(train_classes) == _NUM_CLASSES and (len(train), len(val)) != (_NUM_TRAIN, _NUM_VAL):
        raise ValueError(
            f"dataset.root: {root} has {len(train):,} training and {len(val):,} validation images of all "
            f"{_NUM_CLASSES:,} classes instead of {_NUM_TRAIN:,} and {_NUM_VAL:,}: an archive was not unpacked to its "
            "end; for a subset of your own, use dataset=folder"
        )
    return ImageNetListing(root, train, val, tuple(train_classes))


def prepare_imagenet(
    folder: Path,
    root: Path | str,
    *,
    image_size: int,
    max_train_images: int | None = None,
    max_test_images: int | None = None,
    mean: Statistics = MEAN,
    std: Statistics = STD,
    progress: Progress = silent,
) -> ImageDataset:
    """Decode the images below ``root`` into ``folder``; the test set is val/.

    The shorter side is resized to ``image_size`` (Pillow's bicubic, antialiased) and the centre is cut out. Decoding is
    parallel, straight into a memory map, and after a kill the same call goes on where it stopped. ``max_*_images``
    choose a fixed random subset before anything is decoded. Raises one ValueError that lists all unreadable images, and
    those of ``scan_imagenet``.
    """
    listing = scan_imagenet(root)
    notes = [
        f"imagenet: shorter side resized to {image_size} (bicubic, antialiased), centre {image_size}x{image_size} cut "
        "out; the validation images are the test set."
    ]
    if len(listing.wnids) != _NUM_CLASSES:
        notes.append(f"imagenet: {len(listing.wnids)} of the {_NUM_CLASSES:,} classes.")
    parts = {
        "train": _limited(listing.train, max_train_images, "training", notes),
        "test": _limited(listing.val, max_test_images, "test", notes),
    }
    images, unreadable, _ = decode_parts(
        folder,
        {part: [path for path, _ in files] for part, files in parts.items()},
        lambda path: Decoded(decode_image(listing.root / path, image_size)),
        image_size=image_size,
        progress=progress,
    )
    if unreadable:
        raise ValueError(
            f"dataset.root: {len(unreadable)} of {sum(map(len, parts.values()))} images cannot be read; put whole "
            f"copies in their places, and the same command goes on:{bullets(unreadable)}"
        )
    arrays = {
        part: ImageArrays(images[part], np.array([label for _, label in files], dtype=np.int64))
        for part, files in parts.items()
    }
    dataset = save_prepared(
        folder,
        name="imagenet",
        train=arrays["train"],
        test=arrays["test"],
        class_names=listing.wnids,
        mean=mean,
        std=std,
        notes=notes,
        files={part: [displayed(path) for path, _ in files] for part, files in parts.items()},
    )
    forget_progress(folder)
    return dataset


def _classes(root: Path, part: str) -> list[str]:
    folder = root / part
    if not folder.is_dir():
        raise ValueError(
            f"dataset.root: {folder} does not exist; give the folder that holds train/<class>/*.JPEG and "
            "val/<class>/*.JPEG"
        )
    with os.scandir(folder) as entries:
        visible = [entry for entry in entries if not clutter(entry.name)]
        folders = sorted(entry.name for entry in visible if entry.is_dir())
        loose = sorted(entry.name for entry in visible if entry.name.lower().endswith(_SUFFIXES))
    if loose:
        raise ValueError(
            f"dataset.root: {folder} holds {counted(len(loose), 'image')} outside class folders ({loose[0]}, …); "
            f"move them into {part}/<class>/, as torchvision and timm want them too"
        )
    if not folders:
        raise ValueError(f"dataset.root: {folder} holds no class folders")
    if strange := [name for name in folders if not _WNID.fullmatch(name)]:
        raise ValueError(
            f"dataset.root: {folder} holds folders that are no WordNet ids like n01440764; for other classes use "
            f"dataset=folder:{bullets(strange)}"
        )
    return folders


def _limited(
    files: Sequence[tuple[str, int]], limit: int | None, what: str, notes: list[str]
) -> Sequence[tuple[str, int]]:
    if limit is None or limit >= len(files):
        return files
    notes.append(f"A fixed random subset of {limit} of the {len(files)} {what} images is used.")
    labels = np.array([label for _, label in files])
    return [files[index] for index in subset_of_classes(labels, len(files), limit)]
