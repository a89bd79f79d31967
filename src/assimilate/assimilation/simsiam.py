"""SimSiam and A2-SimSiam (Appendix F, Eq. 16): no negatives, a predictor, a stop-gradient."""

from collections.abc import Sequence

from torch import Tensor

from assimilate.assimilation.contrastive import ContrastiveModule
from assimilate.assimilation.objective import LossTerms, compute_loss


class SimSiam(ContrastiveModule):
    """Views 0 and 1 predict each other's projection; every further view predicts both with weight α (A2-SimSiam).

    The predictor's learning rate is constant, whatever the schedule does to the rest (PROTOCOLS 11). Trains on batches
    of two or more views [batch, 3, height, width]; see `ContrastiveModule` for its arguments.
    """

    def loss_terms(self, views: Sequence[Tensor]) -> LossTerms:
        """Eq. 16 for the views of a step."""
        projections = self.embed(views)
        return compute_loss(projections, self.loss_spec, predictions=self.predict(projections))
