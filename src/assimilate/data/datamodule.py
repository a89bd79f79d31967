"""The Lightning data module of contrastive training: indices in, normalised views of whole batches out."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64
from lightning.pytorch import LightningDataModule
from torch import Tensor

from assimilate.data.augmentation import Augmentation, normalize
from assimilate.data.images import ImageArrays, Statistics
from assimilate.data.order import IndexBatch, IndexBatches, fixed_subset
from assimilate.data.placement import PlacedImages, Placement
from assimilate.data.seeding import generator
from assimilate.data.views import PlaceableViewSource, ViewSlot, ViewSource


class ContrastiveBatch(NamedTuple):
    """The views of a training step, one tensor a slot, row i of each showing the image ``indices[i]``."""

    views: tuple[Float[Tensor, "batch 3 height width"], ...]
    indices: Int64[Tensor, " batch"]


class ContrastiveDataModule(LightningDataModule):
    """Serves ``ContrastiveBatch`` es of normalised views, one [batch, 3, height, width] a slot.

    The loader yields indices; ``on_after_batch_transfer`` gathers uint8 images and generated views, augments all
    slots of one transform in one call on the model's device, and normalises. Every draw comes from a generator named
    by (seed, purpose, epoch, batch, rank), so a run that resumes from a checkpoint continues exactly. Give the
    Trainer ``use_distributed_sampler=False``; the ranks share a global batch here.
    """

    def __init__(
        self,
        dataset: ImageArrays,
        *,
        mean: Statistics,
        std: Statistics,
        slots: Sequence[ViewSlot],
        batch_size: int,
        seed: int = 0,
        view_source: ViewSource | None = None,
        drop_last: bool = True,
        placement: Placement = "auto",
        num_samples: int | None = None,
    ) -> None:
        """``batch_size`` is global; ``num_samples`` trains on ``fixed_subset(len(dataset), num_samples)``.

        Raises ValueError for settings that contradict each other or the data.
        """
        super().__init__()
        if not slots:
            raise ValueError("a training step needs at least one view")
        self._num_generated = sum(slot.is_generated for slot in slots)
        if self._num_generated and view_source is None:
            raise ValueError("a slot takes generated views, but there is no source of them: choose one with view=")
        if view_source is not None and self._num_generated > view_source.num_views:
            raise ValueError(
                f"{self._num_generated} generated views an image are wanted, but the source holds "
                f"{view_source.num_views}; raise view.n_cached or lower view.n_sampled"
            )
        if num_samples is not None and not 0 < num_samples <= len(dataset):
            raise ValueError(f"data.num_samples is {num_samples}; allowed: 1 to {len(dataset)}, the training images")
        self._dataset, self._mean, self._std = dataset, mean, std
        self._slots, self._view_source = tuple(slots), view_source
        self._batch_size, self._seed, self._drop_last = batch_size, seed, drop_last
        self._placement: Placement = placement
        self._indices = np.arange(len(dataset)) if num_samples is None else fixed_subset(len(dataset), num_samples)
        self._limit: int | float | None = None
        self._repeat = False
        self._placed: PlacedImages | None = None
        # Before any rank starts: an impossible batch size is an error of the settings, not of the training.
        self.index_batches(rank=0, world_size=1)

    @property
    def image_size(self) -> int:
        """Side of the stored images, in pixels."""
        return int(self._dataset.images.shape[-1])

    def index_batches(self, *, rank: int, world_size: int) -> IndexBatches:
        """Return the index batches of one rank, at the start of the run."""
        return IndexBatches(
            self._indices,
            batch_size=self._batch_size,
            seed=self._seed,
            drop_last=self._drop_last,
            rank=rank,
            world_size=world_size,
            limit=self._limit,
            repeat=self._repeat,
        )

    def shorten(self, limit: int | float, *, repeat: bool) -> None:
        """End each epoch after so many batches, a float: that share of them; ``repeat``: the same in every epoch."""
        self._limit, self._repeat = limit, repeat

    def describe_left_out(self, world_size: int) -> str | None:
        """A sentence about images that an epoch leaves out although ``drop_last`` is false; None if there are none."""
        batches = self.index_batches(rank=0, world_size=world_size)
        if self._drop_last or not batches.num_left_out:
            return None
        why = f"{world_size} ranks share every batch evenly" if world_size > 1 else "one image alone has no negatives"
        return (
            f"drop_last=false, but {batches.num_left_out} of {len(self._indices)} images are left out of each epoch "
            f"(other ones each time): {why}"
        )

    def train_dataloader(self) -> IndexBatches:
        return self.index_batches(rank=self._rank, world_size=self._world_size)

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Note the device; the indices stay where they are until it is known where the images live."""
        if not isinstance(batch, IndexBatch):
            return super().transfer_batch_to_device(batch, device, dataloader_idx)
        if self._placed is None or self._placed.device != device:
            sharing = self._world_size if device.type == "cpu" else 1
            self._placed = PlacedImages(self._dataset.images, device, placement=self._placement, num_sharing=sharing)
            if isinstance(self._view_source, PlaceableViewSource):
                self._view_source.place(device, placement=self._placement, num_sharing=sharing)
        return batch

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        return self.serve(batch) if isinstance(batch, IndexBatch) else batch

    @torch.no_grad()
    def serve(self, batch: IndexBatch) -> ContrastiveBatch:
        """Return the views of ``batch`` on the device of the last transfer."""
        assert self._placed is not None, "transfer_batch_to_device comes first"
        device, place = self._placed.device, (batch.epoch, batch.batch, self._rank)
        indices = batch.indices.to(device, non_blocking=True)
        images = self._placed.gather(batch.indices)
        generated: list[Tensor] = []
        if self._num_generated:
            assert self._view_source is not None
            views_rng = generator(self._seed, "views", *place)
            # On the CPU: a source behind a memory map needs the indices there, one on the device moves them.
            gathered = self._view_source.gather(batch.indices, self._num_generated, views_rng)
            generated = list(gathered.to(device, non_blocking=True).unbind(dim=1))
        sources = [generated.pop(0) if slot.is_generated else images for slot in self._slots]
        augment_rng = generator(self._seed, "augment", *place)
        views: list[Tensor] = [images] * len(self._slots)
        for transform, members in self._slots_of_one_transform(sources):
            augmented = transform(torch.cat([sources[member] for member in members]), augment_rng)
            # In place: on a CPU the page faults of a second buffer cost as much as the arithmetic.
            parts = normalize(augmented, self._mean, self._std, out=augmented).chunk(len(members))
            for member, part in zip(members, parts, strict=True):
                views[member] = part
        self._replace(views, images, place)
        return ContrastiveBatch(tuple(views), indices)

    def _replace(self, views: list[Tensor], images: Tensor, place: tuple[int, int, int]) -> None:
        """Put the other view of an image where a slot's own is not drawn."""
        for member, slot in enumerate(self._slots):
            if slot.probability == 1:
                continue
            assert slot.otherwise is not None
            drawn = torch.rand(len(images), generator=generator(self._seed, "replace", *place, member))
            other = slot.otherwise(images, generator(self._seed, "augment otherwise", *place, member))
            kept = (drawn < slot.probability).to(images.device, non_blocking=True)[:, None, None, None]
            views[member] = torch.where(kept, views[member], normalize(other, self._mean, self._std))

    def _slots_of_one_transform(self, sources: Sequence[Tensor]) -> list[tuple[Augmentation, list[int]]]:
        """Group slots whose transform is equal and whose stored images are equally large."""
        groups: list[tuple[Augmentation, list[int]]] = []
        for member, slot in enumerate(self._slots):
            for transform, members in groups:
                if transform == slot.transform and sources[members[0]].shape == sources[member].shape:
                    members.append(member)
                    break
            else:
                groups.append((slot.transform, [member]))
        return groups

    @property
    def _rank(self) -> int:
        return 0 if self.trainer is None else self.trainer.global_rank

    @property
    def _world_size(self) -> int:
        return 1 if self.trainer is None else self.trainer.world_size
