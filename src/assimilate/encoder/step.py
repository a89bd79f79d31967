"""Encoders: what decides the network, and the step whose artifact is a trained one."""

from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from assimilate.data.dataset import Images, Three
from assimilate.encoder.backbones import Backbone, ResNet
from assimilate.encoder.projectors import NoProjector, Projector
from assimilate.graph.cost import Effort
from assimilate.graph.place import Built, Place
from assimilate.graph.settings import BESIDE, NEUTRAL, Allowed, Count, File, Settings
from assimilate.graph.step import Step
from assimilate.graph.wiring import as_plain

if TYPE_CHECKING:
    from assimilate.encoder.encoder import Encoder as EncoderNetwork

# Of a finished artifact.
ENCODER = "encoder.pt"


class Network(Settings):
    """Backbone, projector and predictor.

    Attributes:
        backbone: the network whose features are probed; a class of your own by its dotted path.
        projector: the head of a code base, a linear layer, or none.
        predictor_dim: width of the predictor that SimSiam and BYOL train; null: none.
    """

    # A part from outside may name its settings as another part's are named.
    backbone: Annotated[Backbone, BESIDE]
    projector: Annotated[Projector, BESIDE]
    predictor_dim: Annotated[Count | None, Allowed("null or a whole number ≥ 1")]

    @property
    def plain(self) -> dict[str, Any]:
        """What `EncoderSpec.from_dict` reads."""
        heads: dict[str, Any] = {"projector": as_plain(self.projector), "predictor_dim": self.predictor_dim}
        if self.projector.word is not None:
            heads |= {"projector": self.projector.word, **self.projector.model_dump()}
        if (
            isinstance(self.backbone, ResNet) and self.backbone.word is not None
        ):  # whose settings `EncoderSpec` has fields for
            return {"backbone": self.backbone.word, **self.backbone.model_dump(), **heads}
        return {"backbone": as_plain(self.backbone), **heads}


class Encoder(Step):
    """An encoder: a backbone with a projector, and how its inputs are normalised."""

    kind: ClassVar[str] = "encoders"
    stage: ClassVar[str] = "train"
    title: ClassVar[str] = "Training encoder"

    @property
    def _importing(self) -> ModuleType:
        from assimilate.encoder import importing  # and with it torch

        return importing

    def load(self, folder: Path, at: Place) -> "EncoderNetwork":
        """The network on the CPU, in eval mode, with its `mean` and `std`."""
        from assimilate.encoder.checkpoint import load_encoder

        return load_encoder(folder / ENCODER)

    def doubts(self, folder: Path, num_images: int) -> list[str]:
        """Sentences on what takes the meaning from its numbers.

        Args:
            folder: of the finished artifact.
            num_images: that it was trained on.
        """
        return []

    @property
    def init_seed(self) -> int | None:
        """Of the random network that probes measure beside it; None where it is that itself."""
        return 0

    @property
    def untrained(self) -> "Untrained | None":
        """The same backbone as it is drawn; None where the architecture is not known before a file is read."""
        return None

    @property
    def gflop(self) -> float:
        """Of one image, forward; as much as a ResNet-18's where the network is not known before it is read."""
        return 2.0

    @property
    def width(self) -> float:
        """Of the network, as a share of the published one's."""
        return 1.0


class Untrained(Encoder):
    """A network as it is drawn from seed 0, which nothing has trained. It is never stored."""

    stage: ClassVar[str] = "evaluate"
    backbone: Backbone
    mean: Three
    std: Three
    image_size: Annotated[int, NEUTRAL]

    def load(self, folder: Path, at: Place) -> "EncoderNetwork":
        """The network, without a projector."""
        from assimilate.encoder.encoder import Encoder as EncoderNetwork

        features = NoProjector(hidden_dim=None, output_dim=None)
        bare = Network(backbone=self.backbone, projector=features, predictor_dim=None)
        network = EncoderNetwork.from_spec(bare.plain, init_seed=0)
        network.mean, network.std = self.mean, self.std
        return network

    @property
    def is_stored(self) -> bool:
        return False

    @property
    def init_seed(self) -> None:
        """It is one."""

    @property
    def gflop(self) -> float:
        return self.backbone.gflop(self.image_size)

    @property
    def width(self) -> float:
        """As the published network has 64 channels."""
        return self.backbone.share


class GivenEncoder(Encoder):
    """Weights from elsewhere, to be probed in place of a row's own (`checkpoint=`)."""

    stage: ClassVar[str] = "evaluate"
    title: ClassVar[str] = "Importing encoder"
    images: Images
    weights: Mapping[str, str]
    reading: Mapping[str, Any]  # how they read images (`input`)
    mean: Three | None
    std: Three | None

    def build(self, into: Path, at: Place) -> Built:
        statistics = None if self.mean is None or self.std is None else (self.mean, self.std)
        given = str(at.settings.checkpoint)
        return Built(
            {"weights": self._importing.import_given(given, self.reading, into / ENCODER, at, statistics=statistics)}
        )

    @property
    def label(self) -> str:
        return "given"

    def effort(self, images: int) -> Effort:
        """A ResNet-50; nothing is trained."""
        return Effort(megabytes=100.0)


class ImportedEncoder(Encoder):
    """f from a file of the user's (`view.encoder.checkpoint`).

    Attributes:
        checkpoint: f from a file of your own; null: f is trained.
    """

    title: ClassVar[str] = "Importing encoder"
    absent: ClassVar[str] = "this run looks at nothing through f"
    images: Images
    checkpoint: Annotated[File, Allowed("null or a path")]

    def build(self, into: Path, at: Place) -> Built:
        try:
            self._importing.copy_encoder(self.checkpoint.path, into / ENCODER)
        except ValueError as error:
            raise ValueError(f"view.encoder.checkpoint: {error}") from error
        return Built({"imported": True})

    @property
    def is_brought(self) -> bool:
        return True

    @property
    def label(self) -> str:
        return "imported"
