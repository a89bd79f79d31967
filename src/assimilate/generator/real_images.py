"""Batches of real images for adversarial training: which images a step sees is a function of the seed and the step."""

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from assimilate.data.augmentation import Augmentation
from assimilate.data.images import ImageArrays
from assimilate.data.seeding import generator

_DEVICE_BYTES = 4 * 2**30


def to_unit_range(images: UInt8[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch 3 height width"]:
    """Map grey levels 0 … 255 to [-1, 1]."""
    return images.float() / 127.5 - 1.0


class RealImages:
    """An endless stream of batches in [-1, 1] that runs through the images in a new order each epoch.

    Images live on the device when they fit there, else they are gathered from their (memory-mapped) array.
    ``augmentation`` is applied to an image with ``augmentation_probability`` and is meant to leak into the generator
    (Appendix I).
    """

    def __init__(
        self,
        images: ImageArrays,
        *,
        batch_size: int,
        seed: int,
        flip_probability: float = 0.0,
        augmentation: Augmentation | None = None,
        augmentation_probability: float = 0.0,
        device: torch.device,
    ) -> None:
        self._array = images.images
        self._batch_size = batch_size
        self._seed = seed
        self._flip_probability = flip_probability
        self._augmentation = augmentation
        self._augmentation_probability = augmentation_probability
        self._device = device
        fits = self._array.nbytes <= _DEVICE_BYTES
        self._pixels = torch.from_numpy(np.array(self._array)).to(device) if fits else None
        self._order: tuple[int, np.ndarray] = (-1, np.empty(0, dtype=np.int64))

    def indices(self, step: int) -> np.ndarray:
        """Return the indices of the images of ``step``; a batch may end one epoch and begin the next."""
        positions = np.arange(step * self._batch_size, (step + 1) * self._batch_size)
        epochs, places = np.divmod(positions, len(self._array))
        return np.concatenate([self._order_of(int(epoch))[places[epochs == epoch]] for epoch in np.unique(epochs)])

    def batch(self, step: int) -> Float[Tensor, "batch 3 size size"]:
        """Return the images of ``step``, augmented."""
        pixels = self.gather(self.indices(step))
        rng = generator(self._seed, "real", step, device=self._device)
        images = to_unit_range(pixels)
        if self._augmentation is not None:
            chosen = torch.rand(len(images), generator=rng, device=self._device) < self._augmentation_probability
            augmented = self._augmentation(pixels, rng) * 2.0 - 1.0
            images = torch.where(chosen[:, None, None, None], augmented, images)
        if self._flip_probability > 0:
            flipped = torch.rand(len(images), generator=rng, device=self._device) < self._flip_probability
            images = torch.where(flipped[:, None, None, None], images.flip(3), images)
        return images

    def gather(self, indices: np.ndarray) -> UInt8[Tensor, "batch 3 size size"]:
        """Return the unchanged images at ``indices``, on the device."""
        if self._pixels is None:
            return torch.from_numpy(self._array[indices]).to(self._device, non_blocking=True)
        # A copy that blocks would wait for the step before.
        return self._pixels[torch.from_numpy(indices).to(self._device, non_blocking=True)]

    def _order_of(self, epoch: int) -> np.ndarray:
        if self._order[0] != epoch:
            permutation = torch.randperm(len(self._array), generator=generator(self._seed, "order", epoch))
            self._order = (epoch, permutation.numpy())
        return self._order[1]
