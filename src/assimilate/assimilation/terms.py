"""The loss of a step and its parts."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class LossTerms:
    """The minimised `total` = (base − alignment)·scale, and its parts before that scale; numbers []."""

    total: "Tensor"
    base: "Tensor"
    alignment: "Tensor | None"
