"""The view cache on disk, read through a memory map; a `RowWriter` fills it."""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from numpy.typing import NDArray
from torch import Tensor

from assimilate.data.placement import PlacedImages, Placement
from assimilate.graph.counted import counted
from assimilate.views.cached_files import IMAGES


class CachedViews:
    """Serves cached views while a model trains (a ViewSource): from behind a memory map, or where `place` puts them.

    Args:
        images: uint8 [N, n, 3, H, W].
        num_used: only the first so many views of each image are served; None: all n.

    Raises:
        ValueError: an array of another type or shape, or more views wanted than there are.
    """

    def __init__(self, images: NDArray[np.uint8], *, num_used: int | None = None) -> None:
        if images.dtype != np.uint8 or images.ndim != 5:
            raise ValueError(f"views are {images.dtype} {list(images.shape)}; needed is uint8 [N, n, 3, height, width]")
        self._num_stored = int(images.shape[1])
        self._num_views = self._num_stored if num_used is None else num_used
        if not 1 <= self._num_views <= self._num_stored:
            raise ValueError(f"num_used={num_used}: the cache holds {counted(self._num_stored, 'view')} of each image")
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
        """Draw distinct views of each image, uniformly.

        Args:
            indices: images of the data set.
            num_sampled: how many views of each, at most `num_views`.
            rng: source of the draw, on the CPU.
        """
        assert 1 <= num_sampled <= self.num_views, (num_sampled, self.num_views)
        if num_sampled == 1:  # the usual case, which needs no ranking of all views
            chosen = torch.randint(self.num_views, (len(indices), 1), generator=rng)
        else:
            chosen = torch.rand(len(indices), self.num_views, generator=rng).argsort(dim=1)[:, :num_sampled]
        flat = indices.cpu()[:, None] * self._num_stored + chosen
        views = self._placed.gather(flat.reshape(-1))
        return views.view(*chosen.shape, *views.shape[1:])
