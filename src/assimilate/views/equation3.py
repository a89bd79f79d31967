"""Eq. 3 as a problem: what is asked of the views of an anchor, what is found, and what any solver of it offers.

Anchors are seen in tiles of a fixed width, so that no image's bits depend on its neighbours.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any, ClassVar, Generic, Literal, TypeVar

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, UInt8
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from assimilate.generator.protocol import LatentGenerator
from assimilate.graph.place import Progress, silent
from assimilate.views.embedding import FrozenEmbedding, from_pixels
from assimilate.views.objective import OF_THE_MEAN, Hinge

Distances = Float64[np.ndarray, "anchors views"]
OfAnchors = Float64[np.ndarray, " anchors"]


@dataclass(frozen=True)
class FoundViews:
    """The views of one image, as they are stored."""

    index: int
    images: UInt8[Tensor, "views 3 height width"]
    latents: Float[Tensor, "views codes dim"]  # empty where nothing has codes
    distances: Float[Tensor, " views"]  # of the stored uint8 images to the anchor
    distances_original: Float[Tensor, " views"]  # and to the image itself
    spread: float  # mean distance between the stored views, 0 for one view
    steps: int
    converged: bool
    strengths: Float[Tensor, " views"] | None = None  # where they are found


@dataclass(frozen=True, kw_only=True)
class Equation3:
    """What is asked of the views of an anchor.

    Attributes:
        epsilon1: wanted distance to the anchor, 0 to 2.
        epsilon2: wanted mean distance among the views, 0 to 2.
        num_views: n, views an anchor.
        uniformity_weight: λ.
        hinge: "image" (Eq. 3) or "view" (reference code).
        anchor: "reconstruction" or "original".
        seed: with the image's index, the only source of randomness of what solves it.
    """

    epsilon1: float
    epsilon2: float
    num_views: int = 8
    uniformity_weight: float = 0.01
    hinge: Hinge = "image"
    anchor: str = "reconstruction"
    seed: int = 0

    # What is said of the anchors that did not converge, after "7% of the anchors"; and what an anchor's `steps` are.
    missed: ClassVar[str] = "did not converge"
    counted: ClassVar[str] = "steps"

    @property
    def of_the_image(self) -> bool:
        """Whether distances are to f of the image itself, rather than of its reconstruction."""
        return self.anchor == "original"

    @property
    def asks_convergence(self) -> bool:
        """Whether any anchor can count as converged."""
        return True

    def doubts(self) -> list[str]:
        """Why no anchor, or every one at its start, would converge; for people."""
        return []

    def within(self, distances: Distances, spread: OfAnchors) -> Bool[np.ndarray, " anchors"] | None:
        """Which anchors converged, judged by their stored views; None where that is not known, or nothing is asked.

        Args:
            distances: to the anchors.
            spread: mean distance among the views of each anchor.
        """
        return None

    def stored_losses(self, distances: Distances, spread: OfAnchors) -> tuple[OfAnchors | None, OfAnchors]:
        """Eq. 3 of stored views: the total, and its boundary term.

        The total is None where it needs the mean distances of single views, which are not stored.
        """
        boundary = ((distances - self.epsilon1) ** 2).mean(axis=1)
        if self.num_views == 1 or self.uniformity_weight == 0:
            return boundary, boundary
        if self.hinge not in OF_THE_MEAN:
            return None, boundary
        return boundary + self.uniformity_weight * np.maximum(0, self.epsilon2 - spread), boundary


S = TypeVar("S", bound=Equation3)


class Engine(ABC, Generic[S]):
    """Solves Eq. 3 for any number of anchors; the views of an image depend on (seed, image) alone.

    Args:
        generator: synthesises images in about [−1, 1] from W+ latents.
        embedding: f.
        settings: Eq. 3 and its solver.
        device: where to compute.
    """

    def __init__(
        self, generator: LatentGenerator, embedding: FrozenEmbedding, settings: S, *, device: str = "cpu"
    ) -> None:
        self._generator = generator
        self._embedding = embedding.to(device)
        self._settings = settings
        self._device = torch.device(device)

    def run(
        self,
        latents: NDArray[np.float32],
        images: NDArray[np.uint8],
        indices: Sequence[int],
        emit: Callable[[FoundViews], None],
        progress: Progress = silent,
    ) -> None:
        """Find the views of `indices`.

        Args:
            latents: inverted codes of the whole data set, [N, codes, dim], before truncation.
            images: the data set's images, uint8 [N, 3, H, W].
            indices: which of them to work on.
            emit: receives the views of an image once they are found; in no particular order.
            progress: called as images are finished.

        Raises:
            ValueError: an image is not finite, or no view reaches ε1 where that is asked.
        """
        for finished, views in enumerate(self._find(latents, images, indices), start=1):
            emit(views)
            progress(finished, len(indices), {})

    @abstractmethod
    def _find(
        self, latents: NDArray[np.float32], images: NDArray[np.uint8], indices: Sequence[int]
    ) -> Iterator[FoundViews]:
        """The views of `indices`, in no particular order."""


@dataclass(frozen=True, kw_only=True)
class InLatents(Equation3, ABC):
    """Eq. 3 for views that a generator makes of codes.

    Attributes:
        width: anchors, or lines, in flight.
        projection: "none", or "sphere": codes are scaled to norm 1, for generators whose latents live on the unit
            sphere.
        precision: of networks in the loop, "fp32" or "bf16"; what is stored is always measured in fp32.
        compiled: run the networks of the loop through torch.compile, in one of its modes if it is a word.
    """

    width: int = 16
    projection: Literal["none", "sphere"] = "none"
    precision: Literal["fp32", "bf16"] = "fp32"
    compiled: bool | str = False

    def projected(self, codes: Tensor) -> Tensor:
        """Codes where their generator's live."""
        return F.normalize(codes, dim=-1) if self.projection == "sphere" else codes

    def autocast(self, device: torch.device) -> torch.autocast:
        """In which the networks of the loop run."""
        return torch.autocast(device.type, dtype=torch.bfloat16, enabled=self.precision == "bf16")

    def built(self, networks: Callable[[Tensor], tuple[Tensor, Tensor]]) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
        """The networks of the loop, compiled if that is asked for."""
        if not self.compiled:
            return networks
        # CUDA graphs overwrite what they returned at the next pass; by then it has been copied.
        return torch.compile(networks, dynamic=False, mode=None if self.compiled is True else str(self.compiled))

    @abstractmethod
    def engine(self, generator: LatentGenerator, embedding: FrozenEmbedding, *, device: str = "cpu") -> "Engine[Any]":
        """What finds the views.

        Args:
            generator: synthesises images in about [−1, 1] from W+ latents.
            embedding: f.
            device: where to compute.
        """


@dataclass(frozen=True, kw_only=True)
class AtEpsilon1(Equation3):
    """Eq. 3 with ε1 above 0, at which every view is to be, found by a secant.

    Attributes:
        tolerance: a view has converged when its distance, as it is stored, is off by at most this share of ε1.
        passes: most forward passes of a view.
        calibration: anchors that the first guess is measured on.
        most: the largest strength of a view, or t on its line.
    """

    epsilon2: float = 0.0
    uniformity_weight: float = 0.0
    tolerance: float = 0.05
    passes: int = 12
    calibration: int = 64
    most: float = inf

    missed: ClassVar[str] = "have a view that no strength brings to ε1; the nearest is kept"
    counted: ClassVar[str] = "forward passes an image"

    def within(self, distances: Distances, spread: OfAnchors) -> Bool[np.ndarray, " anchors"]:
        """Those whose views are all at ε1, up to the tolerance."""
        return np.abs(distances - self.epsilon1).max(axis=1) <= self.tolerance * self.epsilon1


@dataclass(frozen=True)
class AnchorTile:
    """Some images of a data set; rows beyond them are copies of the last.

    Attributes:
        indices: which images.
        codes: inverted, [width, codes, dim], before truncation, on the device.
        originals: f of the images, [width, dim].
        reconstructions: f of what the generator makes of the codes, not rounded to pixels; None where not asked for.
    """

    indices: list[int]
    codes: Float[Tensor, "width codes dim"]
    originals: Float[Tensor, "width dim"]
    reconstructions: Float[Tensor, "width dim"] | None


@torch.no_grad()
def anchor_tiles(
    generator: LatentGenerator,
    embedding: FrozenEmbedding,
    latents: NDArray[np.float32],
    images: NDArray[np.uint8],
    indices: Sequence[int],
    *,
    width: int,
    device: torch.device,
    reconstructed: bool,
) -> Iterator[AnchorTile]:
    """The images `indices`, `width` at a time.

    Args:
        generator: of the codes.
        embedding: f.
        latents: inverted codes of the whole data set, [N, codes, dim].
        images: the data set's images, uint8 [N, 3, H, W].
        indices: which of them.
        width: of a tile; the last one is padded.
        device: where the networks are.
        reconstructed: whether reconstructions are wanted.
    """
    dtype = torch.from_numpy(latents[:0].copy()).dtype
    for begin in range(0, len(indices), width):
        chosen = [int(index) for index in indices[begin : begin + width]]
        padded = np.array(chosen + [chosen[-1]] * (width - len(chosen)))
        codes = torch.from_numpy(np.array(latents[padded])).to(device, non_blocking=True)
        originals = embedding(pixels_on(images[padded], device, dtype))
        seen = embedding(generator.synthesize(codes).clamp(-1, 1)) if reconstructed else None
        yield AnchorTile(chosen, codes, originals, seen)


def pixels_on(
    images: "NDArray[np.uint8] | UInt8[Tensor, '... 3 height width']", device: torch.device, dtype: torch.dtype
) -> Float[Tensor, "... 3 height width"]:
    """Images uint8 as f takes them, floats in [−1, 1] on the device."""
    pixels = images if isinstance(images, Tensor) else torch.from_numpy(np.array(images))
    return from_pixels(pixels.to(device, non_blocking=True), dtype)
