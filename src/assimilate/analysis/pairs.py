"""What f sees of an image and of views of it: embeddings a pass at a time, and what two of them have in common."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from assimilate.analysis.mine import MineEstimate, MineSettings, estimate_mutual_information
from assimilate.data.augmentation import Augmentation
from assimilate.data.seeding import generator as seeded
from assimilate.graph.place import Progress, silent
from assimilate.views.calibration import moments
from assimilate.views.embedding import FrozenEmbedding, from_pixels

ORIGINAL, EXPERT, GENERATED = "original", "expert", "generated"


class SeenViews:
    """Embeddings of whole data sets, one view an image: normalised, nothing else done to them.

    Args:
        embedding: f, in eval mode.
        images: uint8 [N, 3, H, W].
        transform: the expert transformation.
        cached: uint8 [N, n, 3, H, W], generated views of each image; None where none are asked for.
        seed: of the expert draws, and of the choice among the n.
        batch_size: images at once.
        device: where to compute.
    """

    def __init__(
        self,
        embedding: FrozenEmbedding,
        images: NDArray[np.uint8],
        transform: Augmentation,
        cached: NDArray[np.uint8] | None,
        *,
        seed: int,
        batch_size: int = 256,
        device: str = "cpu",
    ) -> None:
        self._embedding, self._images, self._transform = embedding.to(device), images, transform
        self._cached, self._seed = cached, seed
        self._batch_size, self._device = batch_size, device
        self._originals: Tensor | None = None

    @torch.no_grad()
    def embed(self, name: str, number: int) -> Float[Tensor, "images dim"]:
        """Embeddings of norm 1, on the device.

        Args:
            name: "original": the image itself | "expert": an expert view | "generated": one of its generated views,
                at random.
            number: the pass. Views are drawn anew in each, and are the same in the same pass.
        """
        if name == ORIGINAL and self._originals is not None:
            return self._originals
        parts = []
        for begin in range(0, len(self._images), self._batch_size):
            rng = seeded(self._seed, f"{name} view", number, begin)
            parts.append(self._embedding(self._views(name, begin, rng)))
        embedded = torch.cat(parts)
        if name == ORIGINAL:
            self._originals = embedded
        return embedded

    def _views(self, name: str, begin: int, rng: torch.Generator) -> Tensor:
        """A batch of views in [−1, 1]."""
        rows = slice(begin, begin + self._batch_size)
        if name == GENERATED:
            assert self._cached is not None
            views = self._cached[rows]
            chosen = torch.randint(views.shape[1], (len(views),), generator=rng).numpy()
            pixels = np.array(views[np.arange(len(views)), chosen])
            return from_pixels(torch.from_numpy(pixels).to(self._device))
        images = torch.from_numpy(np.array(self._images[rows])).to(self._device)
        if name == EXPERT:
            return self._transform(images, rng) * 2 - 1
        assert name == ORIGINAL, name
        return from_pixels(images)


@dataclass(frozen=True)
class PairMeasurement:
    """Two views of every image compared: MINE's estimate, and {"mean", "std"} over the images of either distance."""

    information: MineEstimate
    inner_product: Mapping[str, float]
    l2: Mapping[str, float]


def measure_pair(
    views: SeenViews,
    pair: tuple[str, str],
    settings: MineSettings,
    *,
    seed: int,
    device: str = "cpu",
    progress: Progress = silent,
) -> PairMeasurement:
    """One line of Table 1.

    Its header names the inner product and its caption the L2 distance [≠]: both are measured, on the pass of views that
    MINE's estimate is reported for.

    Args:
        views: of the data set.
        pair: two of the names that `views` knows.
        settings: of MINE.
        seed: of MINE.
        device: where MINE is trained.
        progress: called after each pass.

    Raises:
        ValueError: fewer images than a batch of MINE, or a bound that is not finite.
    """
    last: list[tuple[Tensor, Tensor]] = []

    def passes(number: int) -> tuple[Tensor, Tensor]:
        last[:] = [(views.embed(pair[0], number), views.embed(pair[1], number))]
        return last[0]

    information = estimate_mutual_information(passes, settings, seed=seed, device=device, progress=progress)
    x, y = (part.double() for part in last[0])
    return PairMeasurement(information, moments((x * y).sum(dim=1)), moments(torch.linalg.vector_norm(x - y, dim=1)))
