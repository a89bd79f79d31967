"""What finds views on lines in W+ for any number of anchors: the lines themselves are a subclass's.

Everything about an image depends on (seed, image) alone: the first guess comes from anchors that are drawn from the
whole data set, whichever of its images are asked for.
"""

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import inf
from statistics import median
from typing import ClassVar, TypeVar

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from assimilate.data.seeding import generator as seeded
from assimilate.views.equation3 import Engine, FoundViews, anchor_tiles
from assimilate.views.lines import Line, LineEquation, LineSearch, Point, Work
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

    def line(self, direction: Float[Tensor, "codes dim"], guess: float, reach: float) -> Line:
        """A line that begins here."""
        return Line(self.codes, direction, self.embedding, self.at_zero, guess, reach)


@dataclass(frozen=True)
class FoundOnLines:
    """A view.

    Attributes:
        direction: of its line, [codes, dim].
        point: the best one on it.
        passes: points that were evaluated, with those of lines that were tried before.
    """

    direction: Float[Tensor, "codes dim"]
    point: Point
    passes: int


S = TypeVar("S", bound=LineEquation)


class LineEngine(Engine[S]):
    """Solves Eq. 3 on lines; see `Engine`.

    Attributes:
        view_passes: forward passes of one view so far, those of the first guess included, padding not counted.
    """

    view_passes = 0
    # What to change where no line reaches ε1.
    _advice: ClassVar[str]

    @abstractmethod
    def _sample(self, anchor: LineAnchor) -> Float[Tensor, "codes dim"]:
        """The direction of a line on which the first guess is measured."""

    @abstractmethod
    def _views_of(self, anchor: LineAnchor, guess: float) -> Work[FoundViews]:
        """The views of an image, one line after the other."""

    def _find(
        self, latents: NDArray[np.float32], images: NDArray[np.uint8], indices: Sequence[int]
    ) -> Iterator[FoundViews]:
        search = LineSearch(self._generator, self._embedding, self._settings, device=self._device)
        guess = self._first_guess(search, latents, images)
        yield from search.run(self._views_of(anchor, guess) for anchor in self._anchors(latents, images, indices))
        self.view_passes += search.evaluated

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
            targets = originals if self._settings.of_the_image else seen
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
            point = yield anchor.line(self._sample(anchor), guess, settings.most)
            return point

        points = list(search.run(one_line(anchor) for anchor in self._anchors(latents, images, indices)))
        lengths = [point.t for point in points if point.reached]
        if not lengths:
            raise ValueError(
                f"no view of {len(points)} images reaches ε1 = {settings.epsilon1:.4g}: another view.epsilon1, "
                f"{self._advice} may help"
            )
        return median(lengths)

    def _try(
        self, anchor: LineAnchor, directions: Iterable[Float[Tensor, "codes dim"]], guess: float, reach: float
    ) -> Work[FoundOnLines]:
        """The best point of several lines, one after the other until one reaches ε1.

        Raises:
            ValueError: no image of any of them is finite.
        """
        tried: list[tuple[Tensor, Point]] = []
        for direction in directions:
            point = yield anchor.line(direction, guess, reach)
            tried.append((direction, point))
            if point.reached:
                break
        direction, best = min(tried, key=lambda each: each[1].error)
        if best.error == inf:
            raise ValueError(f"views of image {anchor.index} {_NOT_FINITE}")
        return FoundOnLines(direction, best, sum(point.passes for _, point in tried))

    def _stored(
        self,
        anchor: LineAnchor,
        found: Sequence[FoundOnLines],
        passes: int,
        strengths: Float[Tensor, " views"] | None = None,
    ) -> FoundViews:
        """The views that were found on some lines."""
        points = [each.point for each in found]
        embedded = torch.stack([point.embedded for point in points])
        latents = [anchor.codes + each.point.t * each.direction for each in found]
        pairs = max(1, len(embedded) * (len(embedded) - 1))
        return FoundViews(
            index=anchor.index,
            images=torch.stack([point.image for point in points]),
            latents=self._settings.projected(torch.stack(latents)),
            distances=torch.stack([point.distance for point in points]).to(embedded.dtype),
            distances_original=torch.linalg.vector_norm(embedded - anchor.original, dim=1),
            spread=float(pairwise_distances(embedded[None]).sum() / pairs),
            steps=passes,
            converged=all(point.reached for point in points),
            strengths=strengths,
        )


def usual_length(found: Sequence[FoundOnLines], guess: float) -> float:
    """The first guess of a further line of an image: lengths differ between images more than between its lines."""
    lengths = [each.point.t for each in found if each.point.reached]
    return median(lengths) if lengths else guess
