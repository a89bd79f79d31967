"""Multiview (A2, Section 4, Eq. 4): generated views are appended and aligned with the two contrasted ones."""

from assimilate.assimilation.contrastive import ContrastiveModule


class A2(ContrastiveModule):
    """Views 0 and 1 are contrasted; every further view is aligned with them with weight α, never a negative.

    The loss says what that means in its own terms (`Loss.aligned`, `Loss.method`). With `FullNTXent` all views contrast
    with all others instead (A2-full, Eq. 13). Trains on batches of three or more views [batch, 3, height, width]; see
    `ContrastiveModule` for its arguments.
    """

    min_views = 3
