"""A folder of image files, decoded once into uint8 arrays."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from assimilate.data.array_file import ArrayFile
from assimilate.data.bulk_decoding import decode_parts, forget_progress
from assimilate.data.decoding import WHITE, decode_deep
from assimilate.data.directory import displayed
from assimilate.data.images import ImageArrays, ImageDataset, Statistics, pixel_digests, save_prepared
from assimilate.data.listing import ImageFile, bullets, scan_folder
from assimilate.graph.place import Progress, silent

# 16-bit images that use no more than these leave three quarters of their range empty.
_SHALLOW_BITS = 14


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
    out: Path | None = None,
    progress: Progress = silent,
) -> ImageDataset:
    """Decode the images below ``root`` into ``folder`` (layouts: ``scan_folder``; pixels: ``decode_deep``).

    Without a test folder, ``test_fraction`` of every class is held out by a hash of the file names, and images of the
    same pixels stay together. ``out`` is where results go, which are no images. ``mean`` and
    ``std`` are measured on the training pixels unless given. Raises one ValueError that lists all unreadable images,
    and those of ``scan_folder``. After a kill the same call goes on where it stopped.
    """
    if image_size < 1:
        raise ValueError(f"dataset.image_size is {image_size}; allowed: at least 1")
    listing = scan_folder(root, out=out)
    train, test = listing.split(test_fraction)
    total = len(train) + len(test or ())
    images, unreadable, bits = decode_parts(
        folder,
        {
            part: [file.path for file in files]
            for part, files in (("train", train), ("test", test))
            if files is not None
        },
        lambda path: decode_deep(listing.root / path, image_size, background=background),
        image_size=image_size,
        progress=progress,
    )
    if unreadable:
        raise ValueError(
            f"dataset.root: {len(unreadable)} of {total} images cannot be read; repair or remove them:"
            f"{bullets(unreadable)}"
        )
    notes = [*listing.notes, *_depth_note(bits)]
    if listing.test is None and test is not None:
        digests = pixel_digests(images["train"]) + pixel_digests(images["test"])
        names = [file.path for file in (*train, *test)]
        if set(digests[: len(train)]) & set(digests[len(train) :]):
            regrouped = listing.split(test_fraction, twins=dict(zip(names, digests, strict=True)))
            if regrouped[1] is not None:  # else no image is without a twin in another class, and copies are counted
                images = _moved(folder, images, names, regrouped)
                train, test = regrouped
                copies = len(names) - len(set(digests))
                notes.append(f"folder: identical images are kept on one side of the split ({copies} copies).")
        notes.append(
            f"folder: no test folder, so {len(test or ())} of {total} images were held out for testing "
            f"({test_fraction:g} of every class, chosen by a hash of the file names)."
        )
    notes.append(
        f"folder: shorter side resized to {image_size} (bicubic), cropped to the central {image_size}x{image_size}."
    )
    parts = {"train": train} | ({} if test is None else {"test": test})
    arrays = {
        part: ImageArrays(images[part], _labels(files) if listing.class_names else None)
        for part, files in parts.items()
    }
    dataset = save_prepared(
        folder,
        name=name,
        train=arrays["train"],
        test=arrays.get("test"),
        class_names=listing.class_names,
        mean=mean,
        std=std,
        notes=notes,
        files={part: [displayed(file.path) for file in files] for part, files in parts.items()},
    )
    forget_progress(folder)
    return dataset


def _moved(
    folder: Path,
    images: Mapping[str, NDArray[np.uint8]],
    names: Sequence[str],
    parts: tuple[Sequence[ImageFile], Sequence[ImageFile] | None],
) -> dict[str, NDArray[np.uint8]]:
    """Write the images of a split anew, from the parts of another; a kill in between costs the decoding."""
    place = {name: index for index, name in enumerate(names)}
    count = len(images["train"])
    moved: dict[str, Path] = {}
    for part, files in zip(("train", "test"), parts, strict=True):
        if not files:
            continue
        moved[part] = folder / f".{part}_moved.npy"
        moved[part].unlink(missing_ok=True)
        array = ArrayFile(moved[part], (len(files), *images["train"].shape[1:]), "|u1")
        for row, file in enumerate(files):
            index = place[file.path]
            array.write(row, images["train"][index] if index < count else images["test"][index - count])
        array.sync()
        array.close()
    forget_progress(folder)
    for part in ("train", "test"):
        (folder / f"{part}_images.npy").unlink()
    for part, path in moved.items():
        path.rename(folder / f"{part}_images.npy")
    return {part: np.load(folder / f"{part}_images.npy", mmap_mode="r") for part in moved}


def _depth_note(bits: NDArray[np.uint8]) -> list[str]:
    """Say that images use a small part of their files' range, as 12-bit data in 16-bit files do."""
    deep, low = int((bits > 0).sum()), bits[(bits > 0) & (bits <= _SHALLOW_BITS)]
    largest = 2 ** int(low.max(initial=0)) - 1
    if not len(low):
        return []
    return [
        f"folder: {len(low)} of the {deep} images of 16 bits hold no value above {largest:,} of 65,535, "
        "so they are dark and most of their grey levels are lost: 16 bits are read as their full range. Scale the "
        "values to it first, or save 8 bits."
    ]


def _labels(files: Sequence[ImageFile]) -> np.ndarray:
    return np.array([file.label for file in files], dtype=np.int64)
