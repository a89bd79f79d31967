"""Eq. 3 by rays: from the anchor's codes along random directions of W+, until f sees the view at ε1.

Along a direction u the distance d(t) = ‖f(g(w + t·u)) − f(anchor)‖ grows almost linearly, so a bracketed secant finds
d(t) = ε1 in a few forward passes, and nothing is differentiated. Eq. 3's other term, the spread of the views, is served
by choice: of more candidates than views, those that lie farthest apart are kept.

Everything about an image depends on (seed, image) alone. The first guess comes from anchors that are drawn from the
whole data set, and those of an image's later views from its earlier ones.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import inf
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from assimilate.data.seeding import generator as seeded
from assimilate.generator.protocol import LatentGenerator
from assimilate.views.directions import Difference, Direction
from assimilate.views.embedding import FrozenEmbedding
from assimilate.views.equation3 import FoundViews
from assimilate.views.line_engine import FoundOnLines, LineAnchor, LineEngine, usual_length
from assimilate.views.lines import LineEquation, Work
from assimilate.views.objective import pairwise_distances, search_loss

# Mapped codes that directions are made of.
NUM_MAPPED = 4096


@dataclass(frozen=True, kw_only=True)
class RaySettings(LineEquation):
    """Eq. 3, with ε1 above 0, and how rays solve it: fields mean what they mean in `assimilate.views.solver.Ray`.

    The defaults are those of conf/view/wsearch.yaml. A direction is scaled to root mean square 1, so that t compares
    with W-perturb's σ. `reach` is a multiple of the first guess.
    """

    uniformity_weight: float = 0.01
    calibration: int = 256
    direction: Direction = field(default_factory=Difference)
    opposite: bool = True
    layers: Sequence[int] | None = None
    layer_share: float = 1.0
    redraws: int = 4
    reach: float = 16.0
    candidates: int | None = None

    missed: ClassVar[str] = "have a view that no ray of view.ray.redraws + 1 brought to ε1; the nearest is kept"

    def engine(self, generator: LatentGenerator, embedding: FrozenEmbedding, *, device: str = "cpu") -> "RayEngine":
        return RayEngine(generator, embedding, self, device=device)


class RayEngine(LineEngine[RaySettings]):
    """Runs Eq. 3 along rays; see `LineEngine`."""

    _advice = "another view.ray.direction or more view.ray.passes"

    @cached_property
    def _mapped(self) -> Float[Tensor, "samples dim"]:
        """Mapped codes, on the CPU."""
        latents = self._generator.sample_latents(NUM_MAPPED, seeded(self._settings.seed, "ray codes"))
        with torch.no_grad():
            return self._generator.map(latents.to(self._device)).cpu()

    def _sample(self, anchor: LineAnchor) -> Float[Tensor, "codes dim"]:
        return self._direction(anchor.codes, seeded(self._settings.seed, "ray calibration", anchor.index))

    def _views_of(self, anchor: LineAnchor, guess: float) -> Work[FoundViews]:
        settings = self._settings
        found: list[FoundOnLines] = []
        for number in range(max(settings.num_views, settings.candidates or 0)):
            if number == settings.num_views and not self._is_open(anchor, found):
                break
            directions = self._directions(anchor, number, found)
            found.append((yield from self._try(anchor, directions, usual_length(found, guess), settings.reach * guess)))
        return self._stored(anchor, self._chosen(found), sum(candidate.passes for candidate in found))

    def _directions(self, anchor: LineAnchor, number: int, found: list[FoundOnLines]) -> Iterator[Tensor]:
        """Those to try for a candidate."""
        settings = self._settings
        for attempt in range(1 + settings.redraws):
            if settings.opposite and number % 2 and attempt == 0:
                yield -found[-1].direction
            else:
                rng = seeded(settings.seed, "ray", anchor.index, number, attempt)
                yield self._direction(anchor.codes, rng)

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

    def _is_open(self, anchor: LineAnchor, found: list[FoundOnLines]) -> bool:
        """Whether Eq. 3 asks these views to lie farther apart."""
        settings = self._settings
        if settings.uniformity_weight == 0:
            return False
        loss = search_loss(
            torch.stack([candidate.point.embedded for candidate in found])[None], anchor.embedding[None],
            epsilon1=settings.epsilon1, epsilon2=settings.epsilon2, uniformity_weight=1.0, hinge=settings.hinge,
        )  # fmt: skip
        return bool(loss.uniformity > 0)

    def _chosen(self, found: list[FoundOnLines]) -> list[FoundOnLines]:
        """n of the candidates: the farthest apart of those that reached ε1; of too few, the nearest misses as well."""
        count = self._settings.num_views
        if len(found) == count:
            return found
        ranked = sorted(found, key=lambda candidate: 0.0 if candidate.point.reached else candidate.point.error)
        eligible = ranked[: max(count, sum(candidate.point.reached for candidate in found))]
        rows = farthest_apart(torch.stack([candidate.point.embedded for candidate in eligible]), count)
        return [eligible[row] for row in rows]


def farthest_apart(points: Float[Tensor, "points dim"], count: int) -> list[int]:
    """Rows that lie far from each other: the two farthest, then always the one whose nearest chosen row is farthest.

    Greedy max-min (Gonzalez, 1985), at least half as good as the best choice by the smallest distance between two.
    """
    distances = pairwise_distances(points[None])[0].fill_diagonal_(-1)  # a point is no pair, wherever all lie
    if count == 1:
        return [0]
    first, second = divmod(int(distances.argmax()), len(points))
    chosen = [first, second]
    while len(chosen) < count:
        nearest = distances[chosen].min(dim=0).values
        nearest[chosen] = -1
        chosen.append(int(nearest.argmax()))
    return chosen
