"""Prepared images with a run's mean and std, within its limits, and a count of twins."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from assimilate.data.directory import in_line
from assimilate.data.images import (
    ImageDataset,
    Statistics,
    add_notes,
    describe_twins,
    load_files,
    save_prepared,
    set_statistics,
)
from assimilate.data.order import subset_of_classes


def finish(
    folder: Path,
    dataset: ImageDataset,
    *,
    mean: Statistics | None,
    std: Statistics | None,
    limits: Mapping[str, int | None],
) -> ImageDataset:
    """The data set that was prepared in a folder, changed there as is asked for.

    Args:
        folder: holds the data set.
        dataset: what it holds.
        mean, std: a channel, instead of its own.
        limits: largest number of images of "train" and "test".
    """
    if (mean is not None and mean != dataset.mean) or (std is not None and std != dataset.std):
        dataset = set_statistics(folder, mean or dataset.mean, std or dataset.std)
    dataset = _limited(folder, dataset, limits)
    if (twins := describe_twins(dataset.train, dataset.test)) is not None:
        dataset = add_notes(folder, [twins])
    return dataset


def _limited(folder: Path, dataset: ImageDataset, limits: Mapping[str, int | None]) -> ImageDataset:
    """Written anew if it has more images of a part than its limit."""
    parts = {"train": dataset.train} | ({} if dataset.test is None else {"test": dataset.test})
    chosen = {part: np.arange(len(arrays)) for part, arrays in parts.items()}
    notes, files = list(dataset.notes), load_files(folder)
    for part, arrays in parts.items():
        limit, what = limits[part], {"train": "training", "test": "test"}[part]
        if limit is None or limit >= len(arrays):
            continue
        chosen[part] = subset_of_classes(arrays.labels, len(arrays), limit)
        notes.append(f"A fixed random subset of {limit} of the {len(arrays)} {what} images is used.")
        if arrays.labels is not None and (lost := set(arrays.labels) - set(arrays.labels[chosen[part]])):
            names = in_line([dataset.class_names[label] for label in sorted(lost)])
            notes.append(f"The {limit} {what} images are too few for all classes: none is of {names}.")
    if all(len(chosen[part]) == len(arrays) for part, arrays in parts.items()):
        return dataset
    copies = {part: arrays.subset(chosen[part]) for part, arrays in parts.items()}
    for stale in folder.glob("*.npy"):
        stale.unlink()
    return save_prepared(
        folder,
        name=dataset.name,
        train=copies["train"],
        test=copies.get("test"),
        class_names=dataset.class_names,
        mean=dataset.mean,
        std=dataset.std,
        notes=notes,
        files=None if files is None else {part: [files[part][i] for i in chosen[part]] for part in parts},
    )
