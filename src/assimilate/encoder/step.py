"""Encoders: what decides the network, and the step whose artifact is a trained one."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from assimilate.data.dataset import Images
from assimilate.graph.settings import Allowed, Count, File, Settings
from assimilate.graph.step import Step

Width = Annotated[Count | None, Allowed("null (the projector's own) or a whole number ≥ 1")]


class Network(Settings):
    """Backbone, projector and predictor."""

    backbone: Literal["resnet18", "resnet34", "resnet50"]
    width: Count
    stem: Literal["cifar", "cifar_maxpool", "imagenet"]
    initialization: Literal["fan_out", "default_stem", "default"] = "fan_out"
    projector: Literal["essl", "simsiam", "supcontrast", "htdt", "dkobak", "clsp", "linear", "none"]
    hidden_dim: Width
    output_dim: Width
    predictor_dim: Annotated[Count | None, Allowed("null or a whole number ≥ 1")]

    def unused(self) -> Mapping[str, str]:
        """Widths of layers that the projector has not."""
        if self.projector == "none":
            return dict.fromkeys(("hidden_dim", "output_dim"), "encoder.projector=none leaves the features as they are")
        if self.projector == "linear":
            return {"hidden_dim": "encoder.projector=linear has no hidden layer"}
        return {}


class Encoder(Step):
    """An encoder: a backbone with a projector, and how its inputs are normalised."""

    kind: ClassVar[str] = "encoders"
    title: ClassVar[str] = "Training encoder"


class ImportedEncoder(Encoder):
    """f from a file of the user's (`view.encoder.checkpoint`)."""

    images: Images
    checkpoint: File

    @property
    def label(self) -> str:
        """As its folder is called."""
        return "imported"
