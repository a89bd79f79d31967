"""Eq. 3 by rays: from the anchor's codes along random directions of W+, until f sees the view at ε1.

Along a direction u the distance d(t) = ‖f(g(w + t·u)) − f(anchor)‖ grows almost linearly, so a bracketed secant finds
d(t) = ε1 in a few forward passes, and nothing is differentiated. Eq. 3's other term, the spread of the views, is served
by choice: of more candidates than views, those that lie farthest apart are kept.

Everything about an image depends on (seed, image) alone. The first guess comes from anchors that are drawn from the
whole data set, and those of an image's later views from its earlier ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import inf
from typing import ClassVar, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from assimilate.data.seeding import generator as seeded
from assimilate.generator.protocol import LatentGenerator
from assimilate.views.directions import Direction, Isotropic
from assimilate.views.embedding import FrozenEmbedding
from assimilate.views.equation3 import FoundViews
from assimilate.views.farthest import farthest_apart
from assimilate.views.line_engine import LineAnchor, LineEngine, LineEquation, checked, usual_length
from assimilate.views.lines import LineSettings, Point, Work
from assimilate.views.objective import search_loss

# Mapped codes that directions are made of.
NUM_MAPPED = 4096


@dataclass(frozen=True, kw_only=True)
class RaySettings(LineEquation):
    """Eq. 3, with ε1 above 0, and how rays solve it; the defaults are those of conf/view/wsearch.yaml.

    Attributes:
        direction: how a ray's direction is drawn. It is scaled to root mean square 1, so that t compares with
            W-perturb's σ.
        opposite: every second ray of an image goes the opposite way of the one before, which spreads its views for
            nothing: what f sees of two opposite moves is nearly opposite.
        layers: codes that move; None: all.
        layer_share: probability with which each of them moves on a ray, in (0, 1]; at least one does.
        redraws: directions that are tried after one that does not reach ε1.
        reach: the longest ray, as a multiple of the first guess, at least 1.
        candidates: m ≥ n; views that are made where λ > 0 and the first n spread less than ε2; None: n.
        projection, precision, compiled: see `LineSettings`.
    """

    uniformity_weight: float = 0.01
    calibration: int = 256
    direction: Direction = field(default_factory=Isotropic)
    opposite: bool = False
    layers: Sequence[int] | None = None
    layer_share: float = 1.0
    redraws: int = 4
    reach: float = 16.0
    candidates: int | None = None
    projection: Literal["none", "sphere"] = "none"
    precision: Literal["fp32", "bf16"] = "fp32"
    compiled: bool = False

    missed: ClassVar[str] = "have a view that no ray of view.ray.redraws + 1 brought to ε1; the nearest is kept"

    @property
    def lines(self) -> LineSettings:
        """Rays, one view each."""
        return replace(super().lines, projection=self.projection, precision=self.precision, compiled=self.compiled)

    def engine(self, generator: LatentGenerator, embedding: FrozenEmbedding, *, device: str = "cpu") -> "RayEngine":
        """Rays."""
        return RayEngine(generator, embedding, self, device=device)


@dataclass(frozen=True)
class _Candidate:
    """A ray, and the best point on it."""

    direction: Tensor
    point: Point


class RayEngine(LineEngine[RaySettings]):
    """Runs Eq. 3 along rays; see `LineEngine`."""

    _longest = inf
    _advice = "another view.ray.direction or more view.ray.passes"

    @cached_property
    def _mapped(self) -> Float[Tensor, "samples dim"]:
        """Mapped codes, on the CPU."""
        latents = self._generator.sample_latents(NUM_MAPPED, seeded(self._settings.seed, "ray codes"))
        with torch.no_grad():
            return self._generator.map(latents.to(self._device)).cpu()

    def _sample(self, anchor: LineAnchor) -> Float[Tensor, "rows codes dim"]:
        return self._direction(anchor.codes, seeded(self._settings.seed, "ray calibration", anchor.index))[None]

    def _views_of(self, anchor: LineAnchor, guess: float) -> Work[FoundViews]:
        """The views of an image, one candidate after the other."""
        settings = self._settings
        found: list[_Candidate] = []
        passes = 0
        for number in range(max(settings.num_views, settings.candidates or 0)):
            if number == settings.num_views and not self._is_open(anchor, found):
                break
            tried: list[_Candidate] = []
            first = usual_length([candidate.point for candidate in found], guess)
            for attempt in range(1 + settings.redraws):
                rng = seeded(settings.seed, "ray", anchor.index, number, attempt)
                if settings.opposite and number % 2 and attempt == 0:
                    direction = -found[-1].direction
                else:
                    direction = self._direction(anchor.codes, rng)
                point = yield anchor.line(direction[None], first, settings.reach * guess)
                passes += point.passes
                tried.append(_Candidate(direction, point))
                if point.reached:
                    break
            best = min(tried, key=lambda candidate: candidate.point.error)
            checked(anchor, best.point)
            found.append(best)
        chosen = self._chosen(found)
        points, directions = zip(*((candidate.point, candidate.direction[None]) for candidate in chosen), strict=True)
        return self._stored(anchor, points, directions, passes)

    def _direction(self, codes: Tensor, rng: torch.Generator) -> Float[Tensor, "codes dim"]:
        """Of root mean square 1, in the layers that move."""
        settings = self._settings
        direction = settings.direction.draw(codes, self._mapped.to(codes.dtype), rng)
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

    def _is_open(self, anchor: LineAnchor, found: list[_Candidate]) -> bool:
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
