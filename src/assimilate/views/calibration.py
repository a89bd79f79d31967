"""ε1 as the paper defines it: how far f sees an image from its expert views, on average (Section 5.1)."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from assimilate.data.augmentation import Augmentation
from assimilate.data.seeding import generator as seeded
from assimilate.graph.place import Progress, silent
from assimilate.views.embedding import FrozenEmbedding

PAIRS = ("original_expert1", "original_expert2", "expert1_expert2")


@dataclass(frozen=True)
class Calibration:
    """Distances and cosines of the three pairs, {pair: {"mean", "std"}}; `epsilon1` is the first pair's distance."""

    distance: dict[str, dict[str, float]]
    cosine: dict[str, dict[str, float]]

    @property
    def epsilon1(self) -> float:
        """Mean ‖f(x) − f(t(x))‖₂."""
        return self.distance[PAIRS[0]]["mean"]


def measure_epsilon1(
    embedding: FrozenEmbedding,
    images: NDArray[np.uint8],
    transform: Augmentation,
    *,
    seed: int = 0,
    batch_size: int = 256,
    device: str = "cpu",
    progress: Progress = silent,
) -> Calibration:
    """How far f sees images from their expert views: one pass over them with two views each.

    Args:
        embedding: f.
        images: uint8 [N, 3, H, W].
        transform: the expert transformation t.
        seed: of the draws.
        batch_size: images at once.
        device: where to compute.
        progress: called as images are finished.

    Returns:
        Mean and (population) standard deviation over the images, for distance and cosine.
    """
    embedding = embedding.to(device)
    values: dict[str, list[Tensor]] = {pair: [] for pair in PAIRS}
    for begin in range(0, len(images), batch_size):
        pixels = torch.from_numpy(np.array(images[begin : begin + batch_size])).to(device)
        rng = seeded(seed, "calibrate", begin)
        views = [pixels.float() / 255, transform(pixels, rng), transform(pixels, rng)]
        with torch.no_grad():
            original, first, second = (embedding(view * 2 - 1) for view in views)
        for pair, (one, other) in zip(PAIRS, ((original, first), (original, second), (first, second)), strict=True):
            values[pair].append((one.double() - other.double()).square().sum(dim=1).cpu())
        progress(min(begin + batch_size, len(images)), len(images), {})
    squared = {pair: torch.cat(parts) for pair, parts in values.items()}
    # On the unit sphere ‖a − b‖² = 2 − 2 cos.
    return Calibration(
        distance={pair: moments(value.sqrt()) for pair, value in squared.items()},
        cosine={pair: moments(1 - value / 2) for pair, value in squared.items()},
    )


def moments(values: Tensor) -> dict[str, float]:
    """Mean and standard deviation of some numbers."""
    return {"mean": float(values.mean()), "std": float(values.std(correction=0))}
