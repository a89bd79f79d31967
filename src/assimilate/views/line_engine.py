"""What finds views on lines in W+ for any number of anchors: the lines themselves are a subclass's.

Everything about an image depends on (seed, image) alone: the first guess comes from anchors that are drawn from the
whole data set, whichever of its images are asked for.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import inf
from statistics import median
from typing import Generic, TypeVar

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from assimilate.data.seeding import generator as seeded
from assimilate.generator.protocol import LatentGenerator
from assimilate.graph.progress import Progress, silent
from assimilate.views.anchors import anchor_tiles
from assimilate.views.embedding import FrozenEmbedding
from assimilate.views.equation3 import AtEpsilon1, FoundViews, InLatents
from assimilate.views.lines import Line, LineSearch, LineSettings, Point, Work
from assimilate.views.objective import pairwise_distances

# The first guess of the first guess: this share of the distance of the codes from the mean code.
FIRST_SHARE = 0.25
SMALLEST_GUESS = 1e-3
_NOT_FINITE = "are not finite: another generator.checkpoint or other inversion.latents helps"


@dataclass(frozen=True)
class LineAnchor:
    """An image and where its lines begin, on the CPU.

    Attributes:
        index: of the image.
        codes: inverted, [codes, dim], before truncation.
        embedding: f of the anchor.
        original: f of the image.
        at_zero: distance of the reconstruction to the anchor.
    """

    index: int
    codes: Float[Tensor, "codes dim"]
    embedding: Float[Tensor, " dim"]
    original: Float[Tensor, " dim"]
    at_zero: float

    def line(self, directions: Float[Tensor, "rows codes dim"], guess: float, reach: float) -> Line:
        """A line that begins here."""
        return Line(self.codes, directions, self.embedding, self.at_zero, guess, reach)


@dataclass(frozen=True, kw_only=True)
class LineEquation(AtEpsilon1, InLatents):
    """Eq. 3 on lines.

    Attributes:
        width: lines in flight.
    """

    width: int = 128

    @property
    def lines(self) -> LineSettings:
        """How they are searched."""
        return LineSettings(wanted=self.epsilon1, tolerance=self.tolerance, passes=self.passes, width=self.width)


S = TypeVar("S", bound=LineEquation)


class LineEngine(ABC, Generic[S]):
    """Runs Eq. 3 on lines, for any number of anchors.

    Args:
        generator: synthesises images in about [−1, 1] from W+ latents.
        embedding: f.
        settings: Eq. 3 and how it is solved.
        device: where to compute.

    Attributes:
        view_passes: forward passes of one view so far, those of the first guess included, padding not counted.
    """

    def __init__(
        self, generator: LatentGenerator, embedding: FrozenEmbedding, settings: S, *, device: str = "cpu"
    ) -> None:
        self._generator = generator
        self._embedding = embedding.to(device)
        self._settings = settings
        self._device = torch.device(device)
        self.view_passes = 0

    @abstractmethod
    def _sample(self, anchor: LineAnchor) -> Float[Tensor, "rows codes dim"]:
        """The directions of a line on which the first guess is measured."""

    @abstractmethod
    def _views_of(self, anchor: LineAnchor, guess: float) -> Work[FoundViews]:
        """The views of an image, one line after the other."""

    @property
    @abstractmethod
    def _longest(self) -> float:
        """The t that no line exceeds."""

    @property
    @abstractmethod
    def _advice(self) -> str:
        """What to change where no line reaches ε1."""

    def run(
        self,
        latents: NDArray[np.float32],
        images: NDArray[np.uint8],
        indices: Sequence[int],
        emit: Callable[[FoundViews], None],
        progress: Progress = silent,
    ) -> None:
        """Find the views of `indices`, as `Engine.run` says.

        Raises:
            ValueError: no line reaches ε1 where the first guess is measured, or images are not finite.
        """
        search = LineSearch(self._generator, self._embedding, self._settings.lines, device=self._device)
        guess = self._first_guess(search, latents, images)
        finished = 0

        def deliver(found: FoundViews) -> None:
            nonlocal finished
            emit(found)
            finished += 1
            progress(finished, len(indices), {})

        search.run((self._views_of(anchor, guess) for anchor in self._anchors(latents, images, indices)), deliver)
        self.view_passes += search.evaluated * self._settings.lines.rows

    def _anchors(
        self, latents: NDArray[np.float32], images: NDArray[np.uint8], indices: Sequence[int]
    ) -> Iterator[LineAnchor]:
        tiles = anchor_tiles(
            self._generator, self._embedding, latents, images, indices,
            width=self._settings.width, device=self._device, reconstructed=True,
        )  # fmt: skip
        for tile in tiles:
            assert tile.reconstructions is not None
            codes, originals, seen = (each.cpu() for each in (tile.codes, tile.originals, tile.reconstructions))
            targets = originals if self._settings.anchor == "original" else seen
            at_zero = torch.linalg.vector_norm(seen.double() - targets.double(), dim=1).tolist()
            for row, index in enumerate(tile.indices):
                yield LineAnchor(index, codes[row], targets[row], originals[row], at_zero[row])

    def _first_guess(self, search: LineSearch, latents: NDArray[np.float32], images: NDArray[np.uint8]) -> float:
        """How far lines go that reach ε1: the median over one line each of some anchors of the whole data set."""
        settings = self._settings
        order = torch.randperm(len(latents), generator=seeded(settings.seed, "ray calibration"))
        indices = order[: settings.calibration].tolist()
        mean = self._generator.latent_mean.cpu()

        def one_line(anchor: LineAnchor) -> Work[Point]:
            spread = float((anchor.codes - mean).square().mean().sqrt())
            guess = max(FIRST_SHARE * spread, SMALLEST_GUESS)
            point = yield anchor.line(self._sample(anchor), guess, self._longest)
            return point

        points: list[Point] = []
        search.run((one_line(anchor) for anchor in self._anchors(latents, images, indices)), points.append)
        lengths = [point.t for point in points if point.reached]
        if not lengths:
            raise ValueError(
                f"no view of {len(points)} images reaches ε1 = {settings.epsilon1:.4g}: another view.epsilon1, "
                f"{self._advice} may help"
            )
        return median(lengths)

    def _stored(
        self,
        anchor: LineAnchor,
        points: Sequence[Point],
        directions: Sequence[Float[Tensor, "rows codes dim"]],
        passes: int,
        strengths: Float[Tensor, " views"] | None = None,
    ) -> FoundViews:
        """The views at the points of some lines."""
        embedded = torch.cat([point.embedded for point in points])
        latents = torch.cat([anchor.codes + point.t * each for point, each in zip(points, directions, strict=True)])
        if self._settings.lines.projection == "sphere":
            latents = F.normalize(latents, dim=-1)
        pairs = max(1, len(embedded) * (len(embedded) - 1))
        return FoundViews(
            index=anchor.index,
            images=torch.cat([point.images for point in points]),
            latents=latents,
            distances=torch.cat([point.distances for point in points]).to(embedded.dtype),
            distances_original=torch.linalg.vector_norm(embedded - anchor.original, dim=1),
            spread=float(pairwise_distances(embedded[None]).sum() / pairs),
            steps=passes,
            converged=all(point.reached for point in points),
            strengths=strengths,
        )


def usual_length(points: Sequence[Point], guess: float) -> float:
    """The first guess of a further line of an image: lengths differ between images more than between its lines."""
    lengths = [point.t for point in points if point.reached]
    return median(lengths) if lengths else guess


def checked(anchor: LineAnchor, point: Point) -> Point:
    """A point that was found.

    Raises:
        ValueError: its images are not finite.
    """
    if point.error == inf:
        raise ValueError(f"views of image {anchor.index} {_NOT_FINITE}")
    return point
