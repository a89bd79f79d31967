"""The transformations of images by name: what decides the views that each draws."""

from abc import abstractmethod
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field

from assimilate.graph.settings import Allowed, At, Count, From, Positive, Probability, Settings

if TYPE_CHECKING:
    from assimilate.data.augmentation import Augmentation


def _range(values: tuple[float, float]) -> tuple[float, float]:
    if not 0 < values[0] <= values[1]:
        raise ValueError("not in order")
    return values


Side = Annotated[Count | None, Allowed("null or a whole number ≥ 1")]
Strength = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Expert(Settings):
    """RandomResizedCrop, flip, ColorJitter, grayscale (PROTOCOLS 1-3).

    Attributes:
        crop_scale: area of the crop.
        crop_ratio: aspect of the crop.
        jitter: strengths of ColorJitter.
        jitter_probability: probability of ColorJitter.
        grayscale_probability: probability of turning grey.
        interpolation: interpolation of the crop's resize.
        order: crop_first: crop, flip, jitter, gray; jitter_first: jitter, gray, crop, flip.
    """

    absent: ClassVar[str] = "nothing in this run draws an expert view"
    crop_scale: Annotated[
        tuple[Annotated[float, Field(gt=0, le=1)], Annotated[float, Field(gt=0, le=1)]],
        AfterValidator(_range),
        Allowed("[low, high], shares of the image's area with 0 < low ≤ high ≤ 1"),
    ]
    crop_ratio: Annotated[
        tuple[Positive, Positive], AfterValidator(_range), Allowed("[low, high], width over height with 0 < low ≤ high")
    ]
    jitter: Annotated[
        tuple[Strength, Strength, Strength, Annotated[float, Field(ge=0, le=0.5)]],
        Allowed("[brightness, contrast, saturation, hue], each ≥ 0 and the last at most 0.5"),
    ]
    jitter_probability: Probability
    grayscale_probability: Probability
    interpolation: Literal["bilinear", "bicubic"]
    order: Literal["crop_first", "jitter_first"]


class Transform(Settings):
    """Turns stored images into views. Subclasses are chosen by their word, or by a dotted path.

    Attributes:
        shows_whole_images: whether its views are as large as the images, so that they cannot stand beside larger crops.
        crop_size: side of the expert, basic and cropped views; null: dataset.image_size. GenRep: 112 of 128.
    """

    shows_whole_images: ClassVar[bool] = False
    image_size: Annotated[int, From("dataset.image_size")]
    crop_size: Annotated[Side, From("data.crop_size")]

    @property
    def size(self) -> int:
        """Side of its views, in pixels; of whole images at most."""
        return self.crop_size or self.image_size

    @abstractmethod
    def augmentation(self, *, compiled: bool = False) -> "Augmentation":
        """What draws the views: (uint8 [B, 3, H, W], generator) → float [B, 3, size, size] in [0, 1].

        Args:
            compiled: through torch.compile, where that is of use.
        """


class Shipped(Transform):
    """A transformation of the protocols."""

    @property
    def settings(self) -> dict[str, Any]:
        """What it draws by, beside the size."""
        return {"flip": 0.0, "expert": {}}

    def augmentation(self, *, compiled: bool = False) -> "Augmentation":
        """As the room of augmentation makes it."""
        from assimilate.data.augmentation import make_transform

        assert self.word is not None
        return make_transform(self.word, self.size, **self.settings, compiled=compiled)


class Flipping(Shipped):
    """A transformation that flips images as the data set may be."""

    flip: Annotated[Probability, From("dataset.flip")]

    @property
    def settings(self) -> dict[str, Any]:
        """The flip."""
        return {"flip": self.flip, "expert": {}}


class ExpertView(Flipping, word="expert"):
    """The expert view."""

    expert: Annotated[Expert, At("data.expert")]

    @property
    def settings(self) -> dict[str, Any]:
        """The flip, and the expert transformation."""
        return {"flip": self.flip, "expert": self.expert.model_dump()}


class BasicView(Flipping, word="basic"):
    """RandomResizedCrop and flip (PROTOCOLS 8)."""


class Crop50(Flipping, word="crop50"):
    """A crop of at least half the area, and a flip."""


class Crop70(Flipping, word="crop70"):
    """A crop of at least 70% of the area, and a flip."""


class Crop90(Flipping, word="crop90"):
    """A crop of at least 90% of the area, and a flip."""


class WeakCrop(Flipping, word="weak_crop"):
    """A1's crop of at least 90% of the area, and a flip (Section 4)."""


class Flip(Flipping, word="flip"):
    """A flip alone."""

    shows_whole_images: ClassVar[bool] = True


class NoTransform(Shipped, word="none"):
    """The image as it is."""

    shows_whole_images: ClassVar[bool] = True
