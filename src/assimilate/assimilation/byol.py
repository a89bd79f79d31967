"""BYOL (Grill et al., 2020) and its alignment with appended views: a predictor, and a target that follows slowly."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from assimilate.assimilation.alignment import Alignment, LossTerms
from assimilate.assimilation.method import Embedding, Images, Method, copy_to_follow, follow
from assimilate.assimilation.simsiam import mean_cosine
from assimilate.assimilation.view_passes import ViewPasses
from assimilate.encoder.encoder import Encoder


class BYOL(Method):
    """Each of views 0 and 1 predicts the target's projection of the other; every further view predicts both.

    With d(p, z) = ‖p/‖p‖ − sg(z/‖z‖)‖² = 2 − 2·cos(p, z), a mean over the batch, p of the predictor, z of the target:

        total = d(p₀, z₁) + d(p₁, z₀) + 2α · mean over appended views j and anchors a of d(p_j, z_a)

    The first two terms are Eq. 2 of the paper, symmetrised. The last is Eq. 16's with its predictor and stop-gradient:
    both anchors and α = 1 weigh an appended view as much as a contrasted one. It never passes the target. Nothing is
    gathered: the mean over ranks is the loss of the whole batch.

    Args:
        encoder: starts the target.
        alignment: α and the anchors.
        momentum: of the target at the first step, τ_base; τ = 1 − (1 − τ_base)·(cos(πk/K) + 1)/2 at step k of K.
    """

    def __init__(self, encoder: Encoder, alignment: Alignment | None = None, *, momentum: float) -> None:
        super().__init__(alignment)
        self.momentum = momentum
        self.target = copy_to_follow(encoder)

    def forward(self, encoder: Encoder, views: Sequence[Images], passes: ViewPasses) -> LossTerms:
        """The loss of a step's views."""
        predictions = passes.predict(encoder.needed_predictor, passes.project(encoder, views))
        with torch.no_grad():
            targets = passes.project(self.target, views[:2])
        return self.of_projections(predictions, targets)

    def of_projections(self, predictions: Sequence[Embedding], targets: Sequence[Embedding]) -> LossTerms:
        """The loss of the predictions for all views, and of the target's projections of the two contrasted ones."""
        base = _distance(predictions[0], targets[1]) + _distance(predictions[1], targets[0])
        if len(predictions) == 2:
            return LossTerms(base, base, None)
        distances = [
            _distance(prediction, targets[a]) for prediction in predictions[2:] for a in self.alignment.align_anchors
        ]
        aligned = -2 * self.alignment.alpha * torch.stack(distances).mean()
        return LossTerms(base - aligned, base, aligned)

    def after_step(self, encoder: Encoder, *, progress: float) -> None:
        """The target follows; the further the training is, the more slowly."""
        momentum = 1 - (1 - self.momentum) * (math.cos(math.pi * progress) + 1) / 2
        follow(self.target, encoder, momentum=momentum)


def _distance(predictions: Embedding, targets: Embedding) -> Float[Tensor, ""]:
    return 2 - 2 * mean_cosine(predictions, targets)
