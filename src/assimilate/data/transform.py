"""The transformations of images by name: what decides the views that each draws."""

from abc import abstractmethod
from collections.abc import Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field

from assimilate.graph.settings import Allowed, At, Count, From, Positive, Probability, Settings, choices

if TYPE_CHECKING:
    from assimilate.data.augmentation import Augmentation


def _range(values: tuple[float, float]) -> tuple[float, float]:
    if not 0 < values[0] <= values[1]:
        raise ValueError("not in order")
    return values


Side = Annotated[Count | None, Allowed("null or a whole number ≥ 1")]
Strength = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Expert(Settings):
    """RandomResizedCrop, flip, ColorJitter, grayscale.

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
    # Whether both views of SimCLR are such, so that the title of a run names the others.
    usual: ClassVar[bool] = False
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

    @classmethod
    @abstractmethod
    def drawn(cls, size: int, given: Mapping[str, Any]) -> "Augmentation":
        """What draws its views of a side, out of `flip`, `expert` and `compiled`, in so far as it has use for them."""

    def augmentation(self, *, compiled: bool = False) -> "Augmentation":
        return self.drawn(self.size, {**self.model_dump(include={"flip", "expert"}), "compiled": compiled})


class Flipping(Shipped):
    """A transformation that flips images as the data set may be."""

    flip: Annotated[Probability, From("dataset.flip")]


class ExpertView(Flipping, word="expert"):
    """The expert view."""

    usual: ClassVar[bool] = True
    expert: Annotated[Expert, At("data.expert")]

    @classmethod
    def drawn(cls, size: int, given: Mapping[str, Any]) -> "Augmentation":
        from assimilate.data.expert import ExpertAugmentation

        settings: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in given["expert"].items()
        }
        return ExpertAugmentation(size, flip=given["flip"], compiled=given["compiled"], **settings)


class Cropping(Flipping):
    """A crop and a flip, whatever the expert view is."""

    scale: ClassVar[tuple[float, float]]
    ratio: ClassVar[tuple[float, float]] = (0.9, 1.1)

    @classmethod
    def drawn(cls, size: int, given: Mapping[str, Any]) -> "Augmentation":
        """Crop and flip; too cheap to gain by a compiler."""
        return _augmentation().BasicAugmentation(size, cls.scale, cls.ratio, given["flip"])


class BasicView(Cropping, word="basic"):
    """RandomResizedCrop and flip."""

    scale: ClassVar[tuple[float, float]] = (0.2, 1.0)
    ratio: ClassVar[tuple[float, float]] = (3 / 4, 4 / 3)


class Crop50(Cropping, word="crop50"):
    """A crop of at least half the area, and a flip."""

    scale: ClassVar[tuple[float, float]] = (0.5, 1.0)


class Crop70(Cropping, word="crop70"):
    """A crop of at least 70% of the area, and a flip."""

    scale: ClassVar[tuple[float, float]] = (0.7, 1.0)


class Crop90(Cropping, word="crop90"):
    """A crop of at least 90% of the area, and a flip."""

    scale: ClassVar[tuple[float, float]] = (0.9, 1.0)


class WeakCrop(Cropping, word="weak_crop"):
    """A1's crop of at least 90% of the area, and a flip (Section 4)."""

    scale: ClassVar[tuple[float, float]] = (0.9, 1.0)


class Flip(Flipping, word="flip"):
    """A flip alone; of what is larger, the centre."""

    shows_whole_images: ClassVar[bool] = True

    @classmethod
    def drawn(cls, size: int, given: Mapping[str, Any]) -> "Augmentation":
        return _augmentation().FlipAugmentation(given["flip"], size)


class NoTransform(Shipped, word="none"):
    """The image as it is; of what is larger, the centre."""

    shows_whole_images: ClassVar[bool] = True

    @classmethod
    def drawn(cls, size: int, given: Mapping[str, Any]) -> "Augmentation":
        return _augmentation().Identity(size)


def make_transform(
    name: str, image_size: int, *, flip: float = 0.5, expert: Mapping[str, Any] | None = None, compiled: bool = False
) -> "Augmentation":
    """Return the transform called ``name``: expert, basic, crop50, crop70, crop90, weak_crop, flip or none.

    Calling it takes uint8 [batch, 3, height, width] to views [batch, 3, image_size, image_size] in [0, 1].

    ``flip`` is the data set's flip probability and holds for every transform but none (digits: 0). ``expert`` holds
    keyword arguments of ``ExpertAugmentation``; basic is the same whatever they are. ``compiled`` is for
    expert; the others are too cheap to gain. flip and none cannot enlarge: smaller images stay as they are.

    Raises ValueError for an unknown name or setting.
    """
    known = {word: cls for word, cls in choices(Shipped).items() if issubclass(cls, Shipped)}
    if name not in known:
        raise ValueError(f"no transform is called {name!r}; allowed: {', '.join(known)}")
    if unknown := set(expert or {}) - set(Expert.model_fields):
        raise ValueError(
            f"the expert augmentation has no setting {', '.join(sorted(unknown))}; "
            f"allowed: {', '.join(sorted(Expert.model_fields))}"
        )
    return known[name].drawn(image_size, {"flip": flip, "expert": expert or {}, "compiled": compiled})


def _augmentation() -> ModuleType:
    from assimilate.data import augmentation  # and with it torch

    return augmentation
