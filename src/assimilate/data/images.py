"""Stored images: uint8 arrays in a folder, read through a memory map."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assimilate.data.statistics import bounded_std

Statistics = tuple[float, float, float]
"""One number a channel, red, green, blue, on the scale where a pixel is in [0, 1]."""

FILES = "files.json"
# Pixels are read a block at a time, so that a memory map larger than the memory can be hashed and summed.
_BLOCK_BYTES = 64 * 2**20
# How much of the class names is printed.
_NAMES_SHOWN, _NAME_LENGTH = 10, 30


@dataclass(frozen=True)
class ImageArrays:
    """Images as uint8 [N, 3, H, W] (perhaps a memory map) and their labels as int64 [N], or None if unlabelled.

    Raises ValueError for arrays of another type or shape.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        if self.images.dtype != np.uint8 or self.images.ndim != 4 or self.images.shape[1] != 3:
            found = f"{self.images.dtype} {list(self.images.shape)}"
            raise ValueError(f"images are {found}; needed is uint8 [N, 3, height, width]")
        labels = self.labels
        if labels is not None and (labels.dtype != np.int64 or labels.shape != self.images.shape[:1]):
            raise ValueError(f"labels are {labels.dtype} {list(labels.shape)}; needed is int64 [{len(self.images)}]")

    def __len__(self) -> int:
        return len(self.images)

    @property
    def image_size(self) -> int:
        """Height of an image in pixels; images are square."""
        return int(self.images.shape[-1])

    def subset(self, indices: Sequence[int] | NDArray[np.int64]) -> "ImageArrays":
        """Return the images at ``indices``, in that order, copied into memory."""
        index = np.asarray(indices, dtype=np.int64)
        return ImageArrays(self.images[index], None if self.labels is None else self.labels[index])


@dataclass(frozen=True)
class ImageDataset:
    """A prepared data set. ``notes`` are sentences that a report must print, such as how the data was split.

    ``folder`` is where it lies.
    """

    name: str
    train: ImageArrays
    test: ImageArrays | None
    class_names: tuple[str, ...]
    fingerprint: str
    mean: Statistics
    std: Statistics
    notes: tuple[str, ...]
    folder: Path

    @property
    def files(self) -> dict[str, list[str]] | None:
        """The names of the images' files by part, in the order of the images; None where they have none."""
        return load_files(self.folder)

    @property
    def summary(self) -> str:
        """One line: how many classes, how they are called, how many images, and which classes have none."""
        counted = f"{len(self.train):,} training and {0 if self.test is None else len(self.test):,} test images"
        labels = self.train.labels
        if labels is None:
            return f"no classes; {counted}"
        held = np.bincount(labels, minlength=len(self.class_names)) > 0
        lost = [name for name, is_held in zip(self.class_names, held, strict=True) if not is_held]
        without = f"; no training image of {_shortened(lost)}" if lost else ""
        count = len(self.class_names)
        return f"{count} {'class' if count == 1 else 'classes'}: {_shortened(self.class_names)}; {counted}{without}"


def _shortened(names: Sequence[str]) -> str:
    """Return the first ten names, and how many more there are."""
    shown = [name if len(name) <= _NAME_LENGTH else f"{name[: _NAME_LENGTH - 1]}…" for name in names[:_NAMES_SHOWN]]
    return ", ".join(shown) + (f", … ({len(names) - _NAMES_SHOWN} more)" if len(names) > _NAMES_SHOWN else "")


def save_prepared(
    folder: Path,
    *,
    name: str,
    train: ImageArrays,
    test: ImageArrays | None,
    class_names: Sequence[str],
    mean: Statistics | None = None,
    std: Statistics | None = None,
    notes: Sequence[str] = (),
    files: Mapping[str, Sequence[str]] | None = None,
) -> ImageDataset:
    """Write a data set to ``folder`` and return it as ``load_prepared`` reads it.

    ``mean`` and ``std`` are measured on the training pixels unless given (`bounded_std`). ``files`` are the names of
    the images' files by part ("train", "test"), in the order of the images. ``dataset.json`` is written last: a folder
    that holds it is complete. The caller makes the folder appear atomically.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for part, arrays in (("train", train), ("test", test)):
        if arrays is None:
            continue
        target = folder / f"{part}_images.npy"
        # A part that was decoded straight into its memory map in this folder is already where it belongs.
        if not _is_memory_map_of(arrays.images, target):
            np.save(target, arrays.images)
        if arrays.labels is not None:
            np.save(folder / f"{part}_labels.npy", arrays.labels)
    notes = list(notes)
    if mean is None or std is None:
        measured_mean, measured_std = measure_statistics(train.images)
        if std is None:
            std = bounded_std(measured_std)
            notes += _raised(measured_std, std)
        mean = mean or measured_mean
    if files is not None:
        (folder / FILES).write_text(json.dumps(files, indent=0, ensure_ascii=False) + "\n", encoding="utf-8")
    description = {
        "schema": 1,
        "name": name,
        "class_names": list(class_names),
        "fingerprint": fingerprint_of(train, test),
        "mean": list(mean),
        "std": list(std),
        "notes": notes,
    }
    return _describe(folder, description)


def _describe(folder: Path, description: Mapping[str, Any]) -> ImageDataset:
    (folder / "dataset.json").write_text(json.dumps(description, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return load_prepared(folder)


def _description(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "dataset.json").read_text(encoding="utf-8"))


def load_prepared(folder: Path) -> ImageDataset:
    """Read what ``save_prepared`` wrote; pixels stay on disk behind a read-only memory map.

    Raises ValueError if the folder holds no complete data set or its arrays do not fit together.
    """
    try:
        description = _description(folder)
        return ImageDataset(
            name=description["name"],
            train=_load_part(folder, "train"),
            test=_load_part(folder, "test") if (folder / "test_images.npy").exists() else None,
            class_names=tuple(description["class_names"]),
            fingerprint=description["fingerprint"],
            mean=_three(description["mean"]),
            std=_three(description["std"]),
            notes=tuple(description["notes"]),
            folder=folder,
        )
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(
            f"{folder} holds no complete prepared data set ({error}); remove it to build it again"
        ) from error


def load_files(folder: Path) -> dict[str, list[str]] | None:
    """Return the names of the images' files by part, as ``save_prepared`` was given them; None if it was not."""
    path = folder / FILES
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def add_notes(folder: Path, notes: Sequence[str]) -> ImageDataset:
    """Append sentences to the notes of a prepared data set."""
    description = _description(folder)
    return _describe(folder, description | {"notes": [*description["notes"], *notes]})


def set_statistics(folder: Path, mean: Sequence[float], std: Sequence[float]) -> ImageDataset:
    """Replace the normalisation of a prepared data set; its pixels and fingerprint stay."""
    return _describe(folder, _description(folder) | {"mean": list(_three(mean)), "std": list(_three(std))})


def fingerprint_of(train: ImageArrays, test: ImageArrays | None) -> str:
    """Return the sha256 (hex) of both parts: shapes, pixel bytes and labels. Names and notes do not count."""
    digest = hashlib.sha256()
    for part, arrays in (("train", train), ("test", test)):
        digest.update(f"{part} {None if arrays is None else arrays.images.shape}\n".encode())
        if arrays is None:
            continue
        for block in _blocks(arrays.images):
            digest.update(np.ascontiguousarray(block).data)
        digest.update(b"unlabelled" if arrays.labels is None else arrays.labels.astype("<i8").tobytes())
    return digest.hexdigest()


def measure_statistics(images: NDArray[np.uint8]) -> tuple[Statistics, Statistics]:
    """Return mean and standard deviation a channel over all pixels, in [0, 1] units, exact to rounding."""
    histogram = np.zeros((3, 256), dtype=np.int64)
    for block in _blocks(images):
        for channel in range(3):
            histogram[channel] += np.bincount(block[:, channel].reshape(-1), minlength=256)
    levels = np.arange(256) / 255.0
    weights = histogram / histogram.sum(axis=1, keepdims=True)
    mean = weights @ levels
    variance = (weights * (levels - mean[:, None]) ** 2).sum(axis=1)
    return _three(mean), _three(np.sqrt(variance))


def _raised(measured: Statistics, std: Statistics) -> list[str]:
    """A note on the channels whose standard deviation is not the one that was measured."""
    raised = [
        f"{name} {was:.4f} → {now:.4f}"
        for name, was, now in zip(("red", "green", "blue"), measured, std, strict=True)
        if was != now
    ]
    if not raised:
        return []
    return [
        f"Channels that are (almost) constant in the training images are divided by more than their standard "
        f"deviation: {', '.join(raised)}; jitter would carry them to hundreds of it."
    ]


def _three(values: Sequence[float] | NDArray[np.float64]) -> Statistics:
    red, green, blue = (round(float(value), 6) for value in values)
    return red, green, blue


def _load_part(folder: Path, part: str) -> ImageArrays:
    images = np.load(folder / f"{part}_images.npy", mmap_mode="r")
    labels_path = folder / f"{part}_labels.npy"
    return ImageArrays(images, np.load(labels_path) if labels_path.exists() else None)


def _blocks(images: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
    rows = max(1, _BLOCK_BYTES // max(1, int(np.prod(images.shape[1:]))))
    for start in range(0, len(images), rows):
        yield images[start : start + rows]


def _is_memory_map_of(images: NDArray[np.uint8], path: Path) -> bool:
    return isinstance(images, np.memmap) and images.filename is not None and Path(images.filename) == path.resolve()


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
