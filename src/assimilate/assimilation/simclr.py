"""SimCLR: two views of each image, contrasted (Eq. 1 or 12)."""

from assimilate.assimilation.contrastive import ContrastiveModule


class SimCLR(ContrastiveModule):
    """The baseline: both views are expert views (or whatever a replacement table puts in their place)."""

    max_views = 2
