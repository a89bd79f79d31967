"""Eq. 3 by rays: from the anchor's codes along random directions of W+, until f sees the view at ε1.

Along a direction u the distance d(t) = ‖f(g(w + t·u)) − f(anchor)‖ grows almost linearly, so a bracketed secant finds
d(t) = ε1 in a few forward passes, and nothing is differentiated. Eq. 3's other term, the spread of the views, is served
by choice: of more candidates than views, those that lie farthest apart are kept.

Everything about an image depends on (seed, image) alone. The first guess comes from anchors that are drawn from the
whole data set, and those of an image's later views from its earlier ones.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from math import inf
from statistics import median
from typing import ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from assimilate.data.seeding import generator as seeded
from assimilate.generator.protocol import LatentGenerator
from assimilate.graph.progress import Progress, silent
from assimilate.views.anchors import anchor_tiles
from assimilate.views.directions import Direction, Isotropic
from assimilate.views.embedding import FrozenEmbedding
from assimilate.views.equation3 import Equation3, FoundViews
from assimilate.views.farthest import farthest_apart
from assimilate.views.lines import Line, LineSearch, LineSettings, Point, Work
from assimilate.views.objective import pairwise_distances, search_loss

# Mapped codes that directions are made of.
NUM_MAPPED = 4096
NOT_FINITE = "are not finite: another generator.checkpoint or other inversion.latents helps"
# The first guess of the first guess: this share of the distance of the codes from the mean code.
FIRST_SHARE = 0.25
SMALLEST_GUESS = 1e-3


@dataclass(frozen=True, kw_only=True)
class RaySettings(Equation3):
    """Eq. 3, with ε1 above 0, and how rays solve it; the defaults are those of conf/view/wsearch.yaml.

    Attributes:
        direction: how a ray's direction is drawn. It is scaled to root mean square 1, so that t compares with
            W-perturb's σ.
        layers: codes that move; None: all.
        layer_share: probability with which each of them moves on a ray, in (0, 1]; at least one does.
        width: rays in flight.
        tolerance: a view has converged when its distance, as it is stored, is off by at most this share of ε1.
        passes: most forward passes of a ray.
        redraws: directions that are tried after one that does not reach ε1.
        reach: the longest ray, as a multiple of the first guess, at least 1.
        calibration: anchors that the first guess is measured on.
        candidates: m ≥ n; views that are made where λ > 0 and the first n spread less than ε2; None: n.
        projection, precision, compiled: see `LineSettings`.
    """

    direction: Direction = field(default_factory=Isotropic)
    layers: Sequence[int] | None = None
    layer_share: float = 1.0
    width: int = 128
    tolerance: float = 0.05
    passes: int = 12
    redraws: int = 4
    reach: float = 16.0
    calibration: int = 256
    candidates: int | None = None
    projection: Literal["none", "sphere"] = "none"
    precision: Literal["fp32", "bf16"] = "fp32"
    compiled: bool = False

    missed: ClassVar[str] = "have a view that no ray of view.ray.redraws + 1 brought to ε1; the nearest is kept"
    counted: ClassVar[str] = "forward passes an image"

    def engine(self, generator: LatentGenerator, embedding: FrozenEmbedding, *, device: str = "cpu") -> "RayEngine":
        """Rays."""
        return RayEngine(generator, embedding, self, device=device)

    def within(
        self, distances: Float64[np.ndarray, "anchors views"], spread: Float64[np.ndarray, " anchors"]
    ) -> Bool[np.ndarray, " anchors"]:
        """Those whose views are all at ε1, up to the tolerance."""
        return np.abs(distances - self.epsilon1).max(axis=1) <= self.tolerance * self.epsilon1


@dataclass(frozen=True)
class _Anchor:
    """An image and where its rays begin, on the CPU."""

    index: int
    codes: Tensor
    embedding: Tensor  # f of the anchor
    original: Tensor  # f of the image
    at_zero: float  # distance of the reconstruction to the anchor

    def line(self, direction: Tensor, guess: float, reach: float) -> Line:
        """The line of a ray."""
        return Line(self.codes, direction[None], self.embedding, self.at_zero, guess, reach)


@dataclass(frozen=True)
class _Candidate:
    """A ray, and the best point on it."""

    direction: Tensor
    point: Point


class RayEngine:
    """Runs Eq. 3 over any number of anchors.

    Args:
        generator: synthesises images in about [−1, 1] from W+ latents.
        embedding: f.
        settings: Eq. 3 and how it is solved.
        device: where to compute.

    Attributes:
        view_passes: forward passes of one view so far, those of the first guess included, padding not counted.
    """

    def __init__(
        self, generator: LatentGenerator, embedding: FrozenEmbedding, settings: RaySettings, *, device: str = "cpu"
    ) -> None:
        self._generator = generator
        self._embedding = embedding.to(device)
        self._settings = settings
        self._device = torch.device(device)
        self.view_passes = 0

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
            ValueError: no ray reaches ε1 where the first guess is measured, or images are not finite.
        """
        search = self._search()
        mapped = self._mapped()
        guess = self._first_guess(search, latents, images, mapped)
        finished = 0

        def deliver(found: FoundViews) -> None:
            nonlocal finished
            emit(found)
            finished += 1
            progress(finished, len(indices), {})

        search.run(
            (self._views_of(anchor, mapped, guess) for anchor in self._anchors(latents, images, indices)), deliver
        )
        self.view_passes += search.evaluated

    def _search(self) -> LineSearch:
        settings = self._settings
        lines = LineSettings(
            wanted=settings.epsilon1,
            tolerance=settings.tolerance,
            passes=settings.passes,
            width=settings.width,
            projection=settings.projection,
            precision=settings.precision,
            compiled=settings.compiled,
        )
        return LineSearch(self._generator, self._embedding, lines, device=self._device)

    def _anchors(
        self, latents: NDArray[np.float32], images: NDArray[np.uint8], indices: Sequence[int]
    ) -> Iterator[_Anchor]:
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
                yield _Anchor(index, codes[row], targets[row], originals[row], at_zero[row])

    @torch.no_grad()
    def _mapped(self) -> Float[Tensor, "samples dim"]:
        """Mapped codes, on the CPU."""
        latents = self._generator.sample_latents(NUM_MAPPED, seeded(self._settings.seed, "ray codes"))
        return self._generator.map(latents.to(self._device)).cpu()

    # -------------------------------------------------------------------------------------------------- one image

    def _views_of(self, anchor: _Anchor, mapped: Tensor, guess: float) -> Work[FoundViews]:
        """The views of an image, one candidate after the other."""
        settings = self._settings
        found: list[_Candidate] = []
        passes = 0
        for number in range(max(settings.num_views, settings.candidates or 0)):
            if number == settings.num_views and not self._is_open(anchor, found):
                break
            tried: list[_Candidate] = []
            # Lengths differ between images more than between the rays of one.
            lengths = [candidate.point.t for candidate in found if candidate.point.reached]
            for attempt in range(1 + settings.redraws):
                rng = seeded(settings.seed, "ray", anchor.index, number, attempt)
                direction = self._direction(anchor.codes, mapped, rng)
                first = median(lengths) if lengths else guess
                point = yield anchor.line(direction, first, settings.reach * guess)
                passes += point.passes
                tried.append(_Candidate(direction, point))
                if point.reached:
                    break
            best = min(tried, key=lambda candidate: candidate.point.error)
            if best.point.error == inf:
                raise ValueError(f"views of image {anchor.index} {NOT_FINITE}")
            found.append(best)
        return self._stored(anchor, self._chosen(found), passes)

    def _direction(self, codes: Tensor, mapped: Tensor, rng: torch.Generator) -> Float[Tensor, "codes dim"]:
        """Of root mean square 1, in the layers that move."""
        settings = self._settings
        direction = settings.direction.draw(codes, mapped.to(codes.dtype), rng)
        if settings.layers is not None or settings.layer_share < 1:
            direction = direction * self._moving(len(codes), rng)[:, None]
        norm = torch.linalg.vector_norm(direction)
        return direction * (direction.numel() ** 0.5 / norm.clamp_min(torch.finfo(norm.dtype).tiny))

    def _moving(self, num_codes: int, rng: torch.Generator) -> Bool[Tensor, " codes"]:
        """The codes that move on a ray."""
        settings = self._settings
        if settings.layers is not None and max(settings.layers) >= num_codes:
            raise ValueError(f"view.ray.layers={settings.layers}: the generator has codes 0 to {num_codes - 1}")
        moving = torch.zeros(num_codes, dtype=torch.bool)
        moving[list(range(num_codes) if settings.layers is None else settings.layers)] = True
        draws = torch.rand(num_codes, generator=rng).masked_fill(~moving, inf)
        return draws <= max(settings.layer_share, float(draws.min()))

    def _is_open(self, anchor: _Anchor, found: list[_Candidate]) -> bool:
        """Whether Eq. 3 asks these views to lie farther apart."""
        settings = self._settings
        if settings.uniformity_weight == 0:
            return False
        loss = search_loss(
            torch.cat([candidate.point.embedded for candidate in found])[None], anchor.embedding[None],
            epsilon1=settings.epsilon1, epsilon2=settings.epsilon2, uniformity_weight=1.0, hinge=settings.hinge,
        )  # fmt: skip
        return bool(loss.uniformity > 0)

    def _chosen(self, found: list[_Candidate]) -> list[_Candidate]:
        """n of the candidates: the farthest apart of those that reached ε1; of too few, the nearest misses as well."""
        count = self._settings.num_views
        if len(found) == count:
            return found
        ranked = sorted(found, key=lambda candidate: 0.0 if candidate.point.reached else candidate.point.error)
        eligible = ranked[: max(count, sum(candidate.point.reached for candidate in found))]
        rows = farthest_apart(torch.cat([candidate.point.embedded for candidate in eligible]), count)
        return [eligible[row] for row in rows]

    def _stored(self, anchor: _Anchor, chosen: list[_Candidate], passes: int) -> FoundViews:
        points = [candidate.point for candidate in chosen]
        embedded = torch.cat([point.embedded for point in points])
        latents = torch.stack([anchor.codes + candidate.point.t * candidate.direction for candidate in chosen])
        if self._settings.projection == "sphere":
            latents = F.normalize(latents, dim=-1)
        pairs = max(1, len(points) * (len(points) - 1))
        return FoundViews(
            index=anchor.index,
            images=torch.cat([point.images for point in points]),
            latents=latents,
            distances=torch.cat([point.distances for point in points]).to(embedded.dtype),
            distances_original=torch.linalg.vector_norm(embedded - anchor.original, dim=1),
            spread=float(pairwise_distances(embedded[None]).sum() / pairs),
            steps=passes,
            converged=all(point.reached for point in points),
        )

    # --------------------------------------------------------------------------------------------- the first guess

    def _first_guess(
        self, search: LineSearch, latents: NDArray[np.float32], images: NDArray[np.uint8], mapped: Tensor
    ) -> float:
        """How far rays go that reach ε1: the median over one ray each of some anchors of the whole data set."""
        settings = self._settings
        order = torch.randperm(len(latents), generator=seeded(settings.seed, "ray calibration"))
        indices = order[: settings.calibration].tolist()
        mean = self._generator.latent_mean.cpu()

        def one_ray(anchor: _Anchor) -> Work[Point]:
            direction = self._direction(anchor.codes, mapped, seeded(settings.seed, "ray calibration", anchor.index))
            spread = float((anchor.codes - mean).square().mean().sqrt())
            point = yield anchor.line(direction, max(FIRST_SHARE * spread, SMALLEST_GUESS), inf)
            return point

        points: list[Point] = []
        search.run((one_ray(anchor) for anchor in self._anchors(latents, images, indices)), points.append)
        lengths = [point.t for point in points if point.reached]
        if not lengths:
            raise ValueError(
                f"no ray of {len(points)} reaches ε1 = {settings.epsilon1:.4g}: another view.epsilon1, another "
                "view.ray.direction or more view.ray.passes may help"
            )
        return median(lengths)
