"""Moves at a strength of each view's own: the one at which f sees the view at ε1 from its anchor.

The move leaves the anchor's codes w along one fixed random direction a view, w + t·(moved − w). The distance to the
anchor grows almost linearly in t: a bracketed secant takes a few passes.
"""

from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from assimilate.data.seeding import generator as seeded
from assimilate.generator.protocol import LatentGenerator
from assimilate.views.embedding import FrozenEmbedding
from assimilate.views.equation3 import FoundViews
from assimilate.views.line_engine import FoundOnLines, LineAnchor, LineEngine, usual_length
from assimilate.views.lines import LineEquation, Work
from assimilate.views.moves import Perturbation
from assimilate.views.synthesis import Move

# No strength exceeds this many times the median.
LONGEST = 16.0


@dataclass(frozen=True, kw_only=True)
class TunedMove(LineEquation):
    """A move whose strength, at most `LONGEST` times the median, brings each view to ε1: Eq. 3 without uniformity.

    Attributes:
        move: at strength 1.
        redraws: draws that are tried after one with which no strength reaches ε1.
    """

    move: Move = field(default_factory=lambda: Perturbation(1.0))
    redraws: int = 0

    def engine(self, generator: LatentGenerator, embedding: FrozenEmbedding, *, device: str = "cpu") -> "TunedEngine":
        return TunedEngine(generator, embedding, self, device=device)


class TunedEngine(LineEngine[TunedMove]):
    """Finds the strength of each view's move; see `LineEngine`."""

    _advice = "another move or more view.passes"

    @torch.no_grad()
    def _directions(self, anchor: LineAnchor, attempt: int = 0) -> Float[Tensor, "views codes dim"]:
        """From the anchor to the moved codes of its views; the first draws are those of a given strength."""
        settings, shape = self._settings, anchor.codes.shape
        rng = seeded(settings.seed, settings.move.purpose, anchor.index, *([attempt] if attempt else []))
        drawn = settings.move.draw(self._generator, settings.num_views, shape, rng).to(self._device)
        codes = anchor.codes.to(self._device).expand(settings.num_views, *shape)
        return (settings.move.apply(self._generator, codes, drawn) - codes).cpu()

    def _sample(self, anchor: LineAnchor) -> Float[Tensor, "codes dim"]:
        return self._directions(anchor)[0]

    def _views_of(self, anchor: LineAnchor, guess: float) -> Work[FoundViews]:
        settings, longest = self._settings, min(self._settings.most, LONGEST * guess)
        found: list[FoundOnLines] = []
        for view in range(settings.num_views):
            directions = (self._directions(anchor, attempt)[view] for attempt in range(1 + settings.redraws))
            found.append((yield from self._try(anchor, directions, usual_length(found, guess), longest)))
        strengths = torch.tensor([each.point.t for each in found])
        return self._stored(anchor, found, sum(each.passes for each in found), strengths)
