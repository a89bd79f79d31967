"""The loss of a step and its parts, and how appended views are aligned with the two contrasted ones."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from assimilate.graph.settings import Allowed, NotNegative, Settings

if TYPE_CHECKING:
    from torch import Tensor

NO_ALIGNMENT = "appended views need loss.alpha and loss.align_anchors"


class Alignment(Settings):
    """α and the anchors of Eq. 4's alignment of appended views.

    Attributes:
        alpha: weight of the alignment, α ≥ 0.
        align_anchors: which of the two contrasted views are aligned; [0, 1] is Eq. 4, [0] the authors' CIFAR-10 code.
    """

    absent: ClassVar[str] = "this run aligns no appended view"
    alpha: NotNegative = 0.5
    align_anchors: Annotated[
        list[Literal[0, 1]], Field(min_length=1), Allowed("[0, 1] (Eq. 4), [0] (the reference code) or [1]")
    ] = Field(default=[0, 1])


@dataclass(frozen=True)
class LossTerms:
    """The minimised `total` = (base − alignment)·scale, and its parts before that scale; numbers []."""

    total: "Tensor"
    base: "Tensor"
    alignment: "Tensor | None"
