"""The view cache on disk: written an image at a time so that a killed run goes on, read through a memory map."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from numpy.typing import NDArray
from torch import Tensor

from assimilate.data.array_file import ArrayFile
from assimilate.data.placement import PlacedImages, Placement

IMAGES = "images.npy"
DONE = "done.npy"
# Hidden, so that it is no part of the finished cache: its manifest says it then.
ORIGIN = ".made_from.json"
# Entries are flushed to disk, then marked as done, this many images at a time.
FLUSH_EVERY = 64


def start_over_unless_made_from(folder: Path, made_from: Mapping[str, str]) -> bool:
    """Forget what an interrupted run left in `folder` if it worked from other bytes than `made_from`.

    A generator that was trained again has the key of the first one and other bytes: views of both in one cache would be
    of neither.

    Args:
        folder: of a cache that may have been begun.
        made_from: digest of each artifact that the views come from, by role.

    Returns:
        Whether views were there and are forgotten.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        same = json.loads((folder / ORIGIN).read_text()) == dict(made_from)
    except (OSError, ValueError):
        same = False
    if same:
        return False
    begun = (folder / DONE).exists()
    (folder / DONE).unlink(missing_ok=True)  # first: without it nothing counts as done
    beside = folder / f"{ORIGIN}.new"
    beside.write_text(json.dumps(dict(made_from)))
    beside.replace(folder / ORIGIN)
    return begun


class ViewCacheWriter:
    """Fills a cache folder, possibly one that an interrupted run began.

    The map of what is done is made after the arrays: one that lacks an array is begun again.

    Args:
        folder: where the arrays go.
        image_shape: (N, n, 3, H, W).
        fields: further arrays by file stem: (shape, dtype), the first axis being N.
        first: the image that the first row belongs to; not 0 in a part of a cache.

    Raises:
        ValueError: the folder holds arrays of other shapes.
        OSError: the disk is full.
    """

    def __init__(
        self,
        folder: Path,
        image_shape: tuple[int, ...],
        fields: Mapping[str, tuple[tuple[int, ...], str]],
        *,
        first: int = 0,
    ) -> None:
        self._first = first
        folder.mkdir(parents=True, exist_ok=True)
        if not all((folder / name).exists() for name in (IMAGES, *(f"{field}.npy" for field in fields))):
            (folder / DONE).unlink(missing_ok=True)
        self._images = ArrayFile(folder / IMAGES, image_shape, "|u1")
        self._fields = {
            name: ArrayFile(folder / f"{name}.npy", shape, dtype) for name, (shape, dtype) in fields.items()
        }
        self._done_file = ArrayFile(folder / DONE, (image_shape[0],), "|u1")
        self.done: NDArray[np.bool_] = np.load(folder / DONE).astype(bool)
        self._unsynced: list[int] = []

    def pending(self) -> list[int]:
        """Images whose views are not there yet, in order."""
        return [self._first + int(row) for row in np.flatnonzero(~self.done)]

    def write(self, index: int, images: NDArray[np.uint8], **fields: NDArray[np.generic]) -> None:
        """Store the views of one image."""
        assert fields.keys() == self._fields.keys(), (fields.keys(), self._fields.keys())
        position = index - self._first
        self._images.write(position, images)
        for name, row in fields.items():
            self._fields[name].write(position, row)
        self._unsynced.append(position)
        if len(self._unsynced) >= FLUSH_EVERY:
            self.flush()

    def flush(self) -> None:
        """Bring what was written to disk, then mark it as done: the map never promises what is not there."""
        for file in (self._images, *self._fields.values()):
            file.sync()
        for position in self._unsynced:
            self._done_file.write(position, np.ones((), dtype=np.uint8))
            self.done[position] = True
        self._done_file.sync()
        self._unsynced.clear()

    def __enter__(self) -> "ViewCacheWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        """Flush, except on a full disk, and release the files. What was flushed before stays."""
        try:
            if not isinstance(error, OSError):
                self.flush()
        finally:
            for file in (self._images, *self._fields.values(), self._done_file):
                file.close()


class CachedViews:
    """Serves views from an array [N, n, 3, H, W]: behind its memory map, or where `place` puts it (a ViewSource).

    Args:
        images: uint8 [N, n, 3, H, W].
        num_used: only the first so many views of each image are served; None: all n.
    """

    def __init__(self, images: NDArray[np.uint8], *, num_used: int | None = None) -> None:
        assert images.dtype == np.uint8, images.dtype
        assert images.ndim == 5, images.shape
        self._num_stored = int(images.shape[1])
        self._num_views = self._num_stored if num_used is None else num_used
        assert 1 <= self._num_views <= self._num_stored, (num_used, self._num_stored)
        self._images = images.reshape(-1, *images.shape[2:])
        self.place(torch.device("cpu"), placement="host")

    @classmethod
    def open(cls, folder: Path, *, num_used: int | None = None) -> "CachedViews":
        """Open a finished cache folder, or the first `num_used` views of each of its images."""
        return cls(np.load(folder / IMAGES, mmap_mode="r"), num_used=num_used)

    def place(self, device: torch.device, *, placement: Placement, num_sharing: int = 1) -> None:
        """Keep the whole array on `device` if `placement` says so and it fits; gather onto `device` in any case.

        Raises:
            ValueError: `placement` is "device" and the array cannot fit.
        """
        self._placed = PlacedImages(
            self._images, device, placement=placement, num_sharing=num_sharing, what="cached views"
        )

    @property
    def num_views(self) -> int:
        """Views an image that are served."""
        return self._num_views

    def gather(
        self, indices: Int64[Tensor, " batch"], num_sampled: int, rng: torch.Generator
    ) -> UInt8[Tensor, "batch num_sampled 3 height width"]:
        """Draw distinct views of each image, uniformly (PROTOCOLS 8).

        Args:
            indices: images of the data set.
            num_sampled: how many views of each, at most `num_views`.
            rng: source of the draw, on the CPU.
        """
        assert 1 <= num_sampled <= self.num_views, (num_sampled, self.num_views)
        drawn = torch.rand(len(indices), self.num_views, generator=rng)
        # One view an image is the usual case, in which the smallest is found faster than by sorting.
        chosen = drawn.argmin(dim=1, keepdim=True) if num_sampled == 1 else drawn.argsort(dim=1)[:, :num_sampled]
        flat = indices.cpu()[:, None] * self._num_stored + chosen
        views = self._placed.gather(flat.reshape(-1))
        return views.view(*chosen.shape, *views.shape[1:])
