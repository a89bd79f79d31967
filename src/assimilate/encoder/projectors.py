"""The projection heads of the protocols: one class a head, chosen by encoder.projector, its widths beside it."""

from abc import abstractmethod
from collections.abc import Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, ClassVar

from assimilate.graph.settings import Allowed, Count, Part

if TYPE_CHECKING:
    from torch import nn

Width = Annotated[Count | None, Allowed("null (the projector's own) or a whole number ≥ 1")]


class Projector(Part):
    """A head from features [batch, feature_dim] to embeddings [batch, output_dim], not normalised.

    Attributes:
        hidden_dim: hidden width of the projector; null: the projector's own, or as wide as the features.
        output_dim: width of the projection; null: the projector's own.
    """

    role: ClassVar[str] = "projector"
    # The widths of its protocol; a hidden layer of None is as wide as the features.
    own_hidden: ClassVar[int | None] = None
    own_output: ClassVar[int] = 128
    hidden_dim: Width
    output_dim: Width

    @abstractmethod
    def build(self, feature_dim: int) -> "nn.Module":
        """The head, its parameters drawn from torch's global generator."""

    def widths(self, feature_dim: int) -> tuple[int, int]:
        """Of the hidden layer and of the output."""
        return self.hidden_dim or self.own_hidden or feature_dim, self.output_dim or self.own_output


class ESSL(Projector, word="essl"):
    """Two bias-free layers with BatchNorm, the last without affine; Table 9's 2048."""

    own_hidden, own_output = 2048, 2048

    def build(self, feature_dim: int) -> "nn.Module":
        layers, (hidden, output) = _layers(), self.widths(feature_dim)
        return layers.Sequential(
            layers.Linear(feature_dim, hidden, bias=False),
            layers.BatchNorm1d(hidden),
            layers.ReLU(inplace=True),
            layers.Linear(hidden, output, bias=False),
            layers.BatchNorm1d(output, affine=False),
        )


class SimSiamProjector(ESSL, word="simsiam"):
    """E-SSL's."""


class SupContrast(Projector, word="supcontrast"):
    """Linear-ReLU-Linear, as wide as the features."""

    def build(self, feature_dim: int) -> "nn.Module":
        layers, (hidden, output) = _layers(), self.widths(feature_dim)
        return layers.Sequential(
            layers.Linear(feature_dim, hidden), layers.ReLU(inplace=True), layers.Linear(hidden, output)
        )


class Dkobak(SupContrast, word="dkobak"):
    """Linear-ReLU-Linear."""

    own_hidden = 1024


class CLSP(SupContrast, word="clsp"):
    """Linear-ReLU-Linear."""

    own_hidden, own_output = 4096, 256


class HTDT(Projector, word="htdt"):
    """Two layers, each with BatchNorm."""

    own_hidden = 1024

    def build(self, feature_dim: int) -> "nn.Module":
        layers, (hidden, output) = _layers(), self.widths(feature_dim)
        return layers.Sequential(
            layers.Linear(feature_dim, hidden),
            layers.BatchNorm1d(hidden),
            layers.ReLU(inplace=True),
            layers.Linear(hidden, output),
            layers.BatchNorm1d(output),
        )


class LinearProjector(Projector, word="linear"):
    """One linear layer."""

    def build(self, feature_dim: int) -> "nn.Module":
        layers, (_, output) = _layers(), self.widths(feature_dim)
        return layers.Sequential(layers.Linear(feature_dim, output))

    def unused(self) -> Mapping[str, str]:
        return {"hidden_dim": "encoder.projector=linear has no hidden layer"}


class NoProjector(Projector, word="none"):
    """The features themselves, for a backbone that was trained without a projector or whose projector was dropped."""

    def build(self, feature_dim: int) -> "nn.Module":
        return _layers().Sequential()

    def unused(self) -> Mapping[str, str]:
        return dict.fromkeys(("hidden_dim", "output_dim"), "encoder.projector=none leaves the features as they are")


def _layers() -> ModuleType:
    from torch import nn as layers

    return layers
