"""One's own images: a folder of image files, decoded once into uint8 arrays."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.lib.format import open_memmap

from assimilate.data.decoding import WHITE, decode_image
from assimilate.data.images import ImageArrays, ImageDataset, Statistics, save_prepared
from assimilate.data.listing import FolderListing, ImageFile, bullets, scan_folder
from assimilate.data.progress import Progress, silent

__all__ = ["FolderListing", "prepare_folder", "scan_folder"]

# Images handed to the threads at a time: bounds what is queued, and how often progress is told.
_BLOCK = 256


def prepare_folder(
    folder: Path,
    root: Path | str,
    *,
    image_size: int,
    test_fraction: float,
    name: str = "folder",
    mean: Statistics | None = None,
    std: Statistics | None = None,
    background: tuple[int, int, int] = WHITE,
    progress: Progress = silent,
) -> ImageDataset:
    """Decode the images below ``root`` into ``folder`` (layouts: ``scan_folder``; pixels: ``decode_image``).

    Without a test folder, ``test_fraction`` of every class is held out by a hash of the file names. ``mean`` and
    ``std`` are measured on the training pixels unless given. Raises one ValueError that lists all unreadable images,
    and those of ``scan_folder``.
    """
    if image_size < 1:
        raise ValueError(f"dataset.image_size is {image_size}; allowed: at least 1")
    listing = scan_folder(root)
    train, test = listing.split(test_fraction)
    notes = list(listing.notes)
    if listing.test is None and test is not None:
        notes.append(
            f"folder: no test folder, so {len(test)} of {len(train) + len(test)} images were held out for testing "
            f"({test_fraction:g} of every class, chosen by a hash of the file names)."
        )
    notes.append(f"folder: shorter side resized to {image_size} (bicubic), centre {image_size}x{image_size} cut out.")
    folder.mkdir(parents=True, exist_ok=True)
    parts = [("train", train)] + ([("test", test)] if test is not None else [])
    total, done, unreadable = len(train) + len(test or ()), 0, list[str]()
    arrays: dict[str, ImageArrays] = {}
    with ThreadPoolExecutor(max_workers=_num_threads()) as threads:
        for part, files in parts:
            images = _allocate(folder / f"{part}_images.npy", (len(files), 3, image_size, image_size))
            for start in range(0, len(files), _BLOCK):
                block = files[start : start + _BLOCK]
                outcomes = threads.map(
                    lambda file: _decode_or_reason(listing.root, file, image_size, background), block
                )
                for position, outcome in enumerate(outcomes, start):
                    if isinstance(outcome, str):
                        unreadable.append(outcome)
                    else:
                        images[position] = outcome
                done += len(block)
                progress(done, total, {})
            images.flush()
            arrays[part] = ImageArrays(images, _labels(files) if listing.class_names else None)
    if unreadable:
        raise ValueError(
            f"dataset.root: {len(unreadable)} of {total} images cannot be read; repair or remove them:"
            f"{bullets(unreadable)}"
        )
    return save_prepared(
        folder,
        name=name,
        train=arrays["train"],
        test=arrays.get("test"),
        class_names=listing.class_names,
        mean=mean,
        std=std,
        notes=notes,
    )


def _decode_or_reason(
    root: Path, file: ImageFile, image_size: int, background: tuple[int, int, int]
) -> np.ndarray | str:
    try:
        return decode_image(root / file.path, image_size, background=background)
    except Exception as error:  # a damaged file can make a decoder raise anything; all of them are listed together
        return f"{file.path}: {error}".splitlines()[0]


def _labels(files: Sequence[ImageFile]) -> np.ndarray:
    return np.array([file.label for file in files], dtype=np.int64)


def _allocate(path: Path, shape: tuple[int, ...]) -> np.memmap:
    """Make an array file whose blocks are reserved: a full disk is an OSError now, not a SIGBUS while writing."""
    images = open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
    if hasattr(os, "posix_fallocate"):  # macOS has no such call
        with open(path, "r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return images


def _num_threads() -> int:
    # Pillow decodes and resizes without the interpreter's lock.
    return min(16, os.cpu_count() or 1)
