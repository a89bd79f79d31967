"""The losses of a run by name: which contrast two views, and how appended views are aligned (Table 11)."""

from typing import Annotated, ClassVar, Literal

from assimilate.graph.settings import Allowed, NotNegative, Positive, Settings


class Loss(Settings):
    """What a training minimises.

    Attributes:
        aligns: whether appended views have a term of their own, α times their alignment.
        needs_predictor: whether the encoder has a predictor.
        contrasts: whether views of other images are negatives.
    """

    aligns: ClassVar[bool] = True
    needs_predictor: ClassVar[bool] = False
    contrasts: ClassVar[bool] = True


class ContrastiveLoss(Loss):
    """A loss with a temperature."""

    temperature: Positive
    base_temperature: Annotated[Positive | None, Allowed("null or a number > 0")] = None


class InfoNCE(ContrastiveLoss, word="infonce"):
    """Equation 12."""


class NTXent(ContrastiveLoss, word="ntxent"):
    """Equation 1."""


class FullNTXent(ContrastiveLoss, word="full"):
    """Equation 13: every view contrasts with every other, so appended views need no term of their own."""

    aligns: ClassVar[bool] = False


class ViewmakerLoss(ContrastiveLoss, word="viewmaker"):
    """Viewmaker's (PROTOCOLS 10)."""


class SimSiamLoss(Loss, word="simsiam"):
    """Equation 16 without its last term: no negatives, a predictor (PROTOCOLS 11)."""

    needs_predictor: ClassVar[bool] = True
    contrasts: ClassVar[bool] = False


class Alignment(Settings):
    """α and the anchors of Eq. 4's alignment of appended views."""

    absent: ClassVar[str] = "this run aligns no appended view"
    alpha: NotNegative
    align_anchors: Annotated[list[Literal[0, 1]], Allowed("[0, 1] (Eq. 4), [0] (the reference code) or [1]")]
