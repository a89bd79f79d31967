"""SimCLR: two views of each image, contrasted (Eq. 1 or 12)."""

from assimilate.assimilation.contrastive import ContrastiveModule


class SimCLR(ContrastiveModule):
    """The baseline: both views are expert views (or whatever a replacement table puts in their place).

    Trains on batches of two views [batch, 3, height, width]; see `ContrastiveModule` for its arguments.
    """

    max_views = 2
