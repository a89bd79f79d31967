"""Backbone and projector as one network f, rebuilt from a plain description."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from assimilate.encoder.backbone import make_backbone, measured_dim
from assimilate.encoder.projector import make_predictor, make_projector

Normalization = tuple[float, float, float]
"""One number a channel, red, green, blue, for images in [0, 1]."""


@dataclass(frozen=True)
class EncoderSpec:
    """All that determines an encoder's architecture; see `make_backbone` and `make_projector` for the values.

    `hidden_dim` and `output_dim` of None stand for the sizes that the projector's protocol uses. `predictor_dim` is the
    width of SimSiam's predictor; None stands for no predictor. Images are resized to `input_size` before the backbone
    reads them; None leaves them as they are. A timm model (backbone "timm/…") has a width and a stem of its own:
    `width` is not used, and `stem` is "own". A backbone or projector of the user's is a mapping of `_target_` and its
    settings.
    """

    backbone: str | Mapping[str, Any] = "resnet18"
    width: int = 64
    stem: str = "cifar"
    projector: str | Mapping[str, Any] = "essl"
    hidden_dim: int | None = None
    output_dim: int | None = None
    predictor_dim: int | None = None
    input_size: int | None = None
    initialization: str = "fan_out"

    @property
    def name(self) -> str:
        """The backbone's."""
        return self.backbone if isinstance(self.backbone, str) else str(self.backbone["_target_"])

    def to_dict(self) -> dict[str, Any]:
        """A plain dict that `from_dict` reads; the default initialization is left out, as in older files."""
        values = asdict(self)
        usual: dict[str, Any] = {"initialization": "fan_out"}
        if not isinstance(self.backbone, str):  # these are a ResNet's
            usual |= {"width": 64, "stem": "cifar"}
        return {name: value for name, value in values.items() if name not in usual or value != usual[name]}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "EncoderSpec":
        """Reads a mapping.

        Raises:
            ValueError: a key that no encoder has.
        """
        known = [field.name for field in fields(cls)]
        unknown = sorted(set(values) - set(known))
        if unknown:
            raise ValueError(f"encoder has no key {', '.join(map(repr, unknown))}; its keys are {', '.join(known)}")
        return cls(**values)


class Encoder(nn.Module):
    """f: images [batch, 3, height, width], already normalised by (mean, std), to features h and projections z.

    Args:
        spec: the architecture. Parameters are drawn from torch's global generator: use `from_spec` for a seed.

    Attributes:
        mean, std: the normalisation of its inputs a channel, for images in [0, 1]; 0 and 1 until it is set.
        output_dim: dimensions of the projections.
    """

    def __init__(self, spec: EncoderSpec) -> None:
        super().__init__()
        self.spec = spec
        self.mean: Normalization = (0.0, 0.0, 0.0)
        self.std: Normalization = (1.0, 1.0, 1.0)
        self.backbone = make_backbone(
            spec.backbone, width=spec.width, stem=spec.stem, initialization=spec.initialization
        )
        self.projector = make_projector(spec.projector, self.feature_dim, spec.hidden_dim, spec.output_dim)
        self.output_dim = self._measured_output_dim()
        # Last, so that an encoder's other parameters are the same with and without it.
        self.predictor: nn.Module | None = None
        if spec.predictor_dim is not None:
            self.predictor = make_predictor(self.output_dim, spec.predictor_dim)

    @classmethod
    def from_spec(cls, spec: EncoderSpec | Mapping[str, Any], *, init_seed: int = 0) -> "Encoder":
        """Builds an encoder whose parameters depend on (spec, init_seed) alone; the global generator is untouched."""
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(init_seed)
            return cls(spec if isinstance(spec, EncoderSpec) else EncoderSpec.from_dict(spec))

    @property
    def feature_dim(self) -> int:
        """Dimensions of the features."""
        return int(self.backbone.feature_dim)  # type: ignore[arg-type]

    def _measured_output_dim(self) -> int:
        head = f"encoder.projector: {type(self.projector).__name__}"
        return measured_dim(
            self.projector,
            torch.zeros(2, self.feature_dim),
            cannot=f"{head} cannot project features of {self.feature_dim} dimensions",
            wrong=f"{head} gives no embeddings [batch, output_dim] for features [batch, feature_dim]",
        )

    @property
    def projects(self) -> bool:
        """Whether there is a projector, rather than the features themselves."""
        return any(True for _ in self.projector.parameters())

    @property
    def needed_predictor(self) -> nn.Module:
        """The predictor, for a method that requires one."""
        assert self.predictor is not None, "the encoder has no predictor"
        return self.predictor

    def features(self, x: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch feature_dim"]:
        """The backbone's output h, on which probes work."""
        size = self.spec.input_size
        if size is not None and x.shape[-2:] != (size, size):
            # antialias=True selects Pillow's cubic. Normalised images may be resized: weights of a pixel sum to 1.
            x = F.interpolate(x, size=(size, size), mode="bicubic", antialias=True)
        return self.backbone(x)

    def forward(self, x: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch output_dim"]:
        """The projector's output z, not normalised; the losses normalise it."""
        return self.projector(self.features(x))

    def embedding(self, x: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch output_dim"]:
        """Where distances are measured: the predictor's output if there is one, else the projector's."""
        z = self(x)
        return z if self.predictor is None else self.predictor(z)


class EmbeddingOf(nn.Module):
    """An encoder whose forward is its `embedding`: f as W-search and MINE use it."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, x: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch output_dim"]:
        """The predictor's output if there is one, else the projector's."""
        return self.encoder.embedding(x)


class PixelFeatures(nn.Module):
    """uint8 images to the backbone's features h; ``mean`` and ``std`` are those of images in [0, 1], a channel."""

    mean: Tensor
    std: Tensor

    def __init__(self, encoder: Encoder, *, mean: tuple[float, float, float], std: tuple[float, float, float]) -> None:
        super().__init__()
        self.backbone = encoder.backbone
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1))

    def forward(self, images: UInt8[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch feature_dim"]:
        return self.backbone((images.float() / 255 - self.mean) / self.std)
