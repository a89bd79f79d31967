"""One's own images: a folder of image files, decoded once into uint8 arrays."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from assimilate.data.bulk_decoding import decode_into, forget_progress, part_of
from assimilate.data.decoding import WHITE, decode_image
from assimilate.data.images import ImageArrays, ImageDataset, Statistics, save_prepared
from assimilate.data.listing import FolderListing, ImageFile, bullets, scan_folder
from assimilate.data.progress import Progress, silent

__all__ = ["FolderListing", "prepare_folder", "scan_folder"]


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
    and those of ``scan_folder``. After a kill the same call goes on where it stopped.
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
    parts = [("train", train)] + ([("test", test)] if test is not None else [])
    total, done, unreadable = len(train) + len(test or ()), 0, list[str]()
    arrays: dict[str, ImageArrays] = {}
    for part, files in parts:
        images, reasons = decode_into(
            folder / f"{part}_images.npy",
            [file.path for file in files],
            lambda path: decode_image(listing.root / path, image_size, background=background),
            image_size=image_size,
            progress=part_of(progress, done, total),
        )
        done += len(files)
        unreadable += reasons
        arrays[part] = ImageArrays(images, _labels(files) if listing.class_names else None)
    if unreadable:
        raise ValueError(
            f"dataset.root: {len(unreadable)} of {total} images cannot be read; repair or remove them:"
            f"{bullets(unreadable)}"
        )
    dataset = save_prepared(
        folder,
        name=name,
        train=arrays["train"],
        test=arrays.get("test"),
        class_names=listing.class_names,
        mean=mean,
        std=std,
        notes=notes,
    )
    forget_progress(folder)
    return dataset


def _labels(files: Sequence[ImageFile]) -> np.ndarray:
    return np.array([file.label for file in files], dtype=np.int64)
