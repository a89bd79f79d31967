"""The order in which a training run sees its images: a function of (seed, epoch), the same for any number of ranks."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Int64
from numpy.typing import NDArray
from torch import Tensor

from assimilate.data.seeding import generator


class IndexBatch(NamedTuple):
    """One rank's part of one global batch: which images, and where in the run, for the draws that belong to it."""

    indices: Int64[Tensor, " batch"]
    epoch: int
    batch: int


def fixed_subset(total: int, count: int) -> NDArray[np.int64]:
    """Return ``count`` of ``total`` indices, ascending: one fixed random choice, and a part of every larger choice."""
    assert 0 < count <= total, (count, total)
    chosen = torch.randperm(total, generator=generator("fixed subset", total))[:count]
    return np.sort(chosen.numpy())


def subset_of_classes(labels: NDArray[np.int64] | None, total: int, count: int) -> NDArray[np.int64]:
    """Return ``fixed_subset(total, count)``, unless it lacks a class and ``count`` has room for one image of each.

    Then every class gives its share, at least one image, in the order of one fixed permutation.
    """
    chosen = fixed_subset(total, count)
    if labels is None or len(np.unique(labels)) > count or len(np.unique(labels[chosen])) == len(np.unique(labels)):
        return chosen
    order = torch.randperm(total, generator=generator("fixed subset", total)).numpy()
    sizes, seen = np.bincount(labels), np.zeros(labels.max() + 1, dtype=np.int64)
    place = np.empty(total)
    for index in order:  # the k-th image of a class of n stands at (k + 1/2) / n, its first before all others
        label = labels[index]
        place[index] = (seen[label] + 0.5) / sizes[label] if seen[label] else 0
        seen[label] += 1
    return np.sort(order[np.argsort(place[order], kind="stable")[:count]])


class IndexBatches:
    """An endless run of epochs of index batches that goes on exactly where its state says.

    Iterating yields what is left of the current epoch. Lightning saves ``state_dict()`` with a checkpoint and loads it
    before it resumes; the state counts batches *handed out*, holds no number of ranks, and fits any. An iteration that
    was left in the middle is not taken up again by the next one unless the state was loaded.
    """

    def __init__(
        self,
        indices: NDArray[np.int64],
        *,
        batch_size: int,
        seed: int,
        drop_last: bool,
        rank: int = 0,
        world_size: int = 1,
        limit: int | float | None = None,
        repeat: bool = False,
    ) -> None:
        """``batch_size`` is global.

        ``limit`` ends an epoch after so many batches, a float after that share of them; with ``repeat`` every epoch
        has the order of the first, and so the same images.

        Without ``drop_last`` an epoch ends with what is left, less what the ranks cannot share evenly (gathering wants
        equal parts), and less a single image, which has nothing to be contrasted with. Raises ValueError where no batch
        is possible.
        """
        assert 0 <= rank < world_size, (rank, world_size)
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}; allowed: at least 1")
        if batch_size % world_size:
            raise ValueError(
                f"batch_size is {batch_size}, the batch of all {world_size} ranks together: "
                f"it must be a multiple of {world_size}"
            )
        if drop_last and batch_size > len(indices):
            raise ValueError(
                f"batch_size is {batch_size}, but there are only {len(indices)} training images and drop_last is true, "
                "so there would be no batch: lower batch_size or set drop_last=false"
            )
        remainder = len(indices) % batch_size
        last = 0 if drop_last else remainder // world_size * world_size
        if last == 1:
            last = 0
        if len(indices) - remainder + last == 0:
            raise ValueError(f"{len(indices)} training images make no batch for {world_size} ranks: use fewer ranks")
        self.num_left_out = remainder - last
        """Images that an epoch does not show; which they are changes with the epoch."""
        self._indices = torch.from_numpy(np.asarray(indices, dtype=np.int64).copy())
        self._batch_size, self._seed, self._drop_last = batch_size, seed, drop_last
        self._rank, self._world_size = rank, world_size
        self._limit, self._repeat = limit, repeat
        self._epoch, self._batch = 0, 0
        self._restored = False

    def __len__(self) -> int:
        """Batches of an epoch."""
        whole = -(-(len(self._indices) - self.num_left_out) // self._batch_size)
        limit = max(1, int(whole * self._limit)) if isinstance(self._limit, float) else self._limit
        return whole if limit is None else min(whole, limit)

    def __iter__(self) -> Iterator[IndexBatch]:
        # Nothing happens before the first batch is asked for: Lightning makes an iterator more than once.
        if self._batch and not self._restored:
            self._epoch, self._batch = self._epoch + 1, 0
        self._restored = False
        epoch = self._epoch
        order = self._epoch_order(0 if self._repeat else epoch)[: len(self._indices) - self.num_left_out]
        for batch in range(self._batch, len(self)):
            # The state moves on before the batch is handed out: Lightning saves it while the batch is in use, and
            # after the last batch of an epoch it does not ask for another.
            last = batch + 1 == len(self)
            self._epoch, self._batch = (epoch + 1, 0) if last else (epoch, batch + 1)
            whole = order[batch * self._batch_size : (batch + 1) * self._batch_size]
            share = len(whole) // self._world_size
            yield IndexBatch(whole[self._rank * share : (self._rank + 1) * share], epoch, batch)

    def state_dict(self) -> dict[str, Any]:
        """Return where the next batch comes from, and what the order depends on."""
        return {"epoch": self._epoch, "batch": self._batch, **self._identity()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from ``state``. Raises ValueError if it belongs to a run with another order."""
        for key, own in self._identity().items():
            if state[key] != own:
                raise ValueError(
                    f"the checkpoint was written with {key}={state[key]}, this run has {key}={own}: "
                    "its order of images cannot be continued; resume with the same settings, or start anew"
                )
        self._epoch, self._batch = int(state["epoch"]), int(state["batch"])
        self._restored = True

    def _identity(self) -> dict[str, Any]:
        return {
            "seed": self._seed,
            "batch_size": self._batch_size,
            "num_samples": len(self._indices),
            "drop_last": self._drop_last,
        }

    def _epoch_order(self, epoch: int) -> Int64[Tensor, " num_samples"]:
        shuffled = torch.randperm(len(self._indices), generator=generator(self._seed, "order", epoch))
        return self._indices[shuffled]
