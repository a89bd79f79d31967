"""SimSiam (Chen & He, 2021) and A2-SimSiam (Appendix F, Eq. 16): no negatives, a predictor, a stop-gradient.

Nothing is contrasted, so nothing is gathered: under several ranks the mean of the ranks' losses is that of one process.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from assimilate.assimilation.alignment import LossTerms
from assimilate.assimilation.losses import in_full_precision
from assimilate.assimilation.method import Embedding, Images, Method
from assimilate.assimilation.view_passes import ViewPasses
from assimilate.encoder.encoder import Encoder


def mean_cosine(predictions: Embedding, targets: Embedding) -> Float[Tensor, ""]:
    """Mean cosine between predictions and targets, in fp32 (fp64 for fp64 inputs); no gradient flows to the targets."""
    with torch.autocast(predictions.device.type, enabled=False):
        return F.cosine_similarity(in_full_precision(predictions), in_full_precision(targets.detach()), dim=1).mean()


def simsiam_loss(p1: Embedding, p2: Embedding, z1: Embedding, z2: Embedding) -> Float[Tensor, ""]:
    """½D(p1, sg z2) + ½D(p2, sg z1), D minus the cosine: between −1 and 1.

    Args:
        p1, p2: the predictor's outputs of the two views, [batch, dim]; any scale.
        z1, z2: their projections, [batch, dim]; no gradient flows to them.
    """
    return -0.5 * (mean_cosine(p1, z2) + mean_cosine(p2, z1))


def simsiam_alignment(
    predictions: Sequence[Embedding], anchors: Sequence[Embedding], *, alpha: float = 0.5
) -> Float[Tensor, ""]:
    """What A2-SimSiam subtracts: −(α/|k|)·Σ_j mean over the anchors of D(p_j, sg z) (Eq. 16, read as an attraction).

    The appended views predict, the contrasted ones are the targets. Eq. 16's D is a similarity and is added as printed;
    with D = −cosine, as here and in the code, adding it pulls the views together.

    Args:
        predictions: of the |k| appended views, one or more of [batch, dim].
        anchors: projections of the contrasted views to align with, one or more of [batch, dim].
        alpha: α ≥ 0.

    Raises:
        ValueError: α is negative, or a side is empty.
    """
    if not predictions or not anchors:
        raise ValueError("alignment needs at least one appended view and one anchor")
    if not alpha >= 0:
        raise ValueError(f"loss.alpha={alpha} must be at least 0 (the paper uses 0.5)")
    cosines = [mean_cosine(prediction, anchor) for prediction in predictions for anchor in anchors]
    return alpha * torch.stack(cosines).mean()


class SimSiam(Method):
    """Views 0 and 1 predict each other's projection; every further view predicts both with weight α.

    The predictor's learning rate is constant.
    """

    def forward(self, encoder: Encoder, views: Sequence[Images], passes: ViewPasses) -> LossTerms:
        """Eq. 16 for the views of a step."""
        projections = passes.project(encoder, views)
        return self.of_projections(projections, passes.predict(encoder.needed_predictor, projections))

    def of_projections(self, projections: Sequence[Embedding], predictions: Sequence[Embedding]) -> LossTerms:
        """Eq. 16 for projections and predictions, not normalised, of at least two views."""
        base = simsiam_loss(predictions[0], predictions[1], projections[0], projections[1])
        if len(projections) == 2:
            return LossTerms(base, base, None)
        anchors = [projections[index] for index in self.alignment.align_anchors]
        aligned = simsiam_alignment(predictions[2:], anchors, alpha=self.alignment.alpha)
        return LossTerms(base - aligned, base, aligned)

    def unscheduled(self, encoder: Encoder) -> list[nn.Parameter]:
        """The predictor's."""
        return list(encoder.needed_predictor.parameters())
