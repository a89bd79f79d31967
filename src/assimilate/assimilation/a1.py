"""Replacement (A1, Section 4): the second of the two contrasted views is a generated one."""

from assimilate.assimilation.contrastive import ContrastiveModule


class A1(ContrastiveModule):
    """The ordinary loss on (expert, generated): the data module's slots make the difference to SimCLR.

    Trains on batches of two views [batch, 3, height, width]; see `ContrastiveModule` for its arguments.
    """

    max_views = 2
