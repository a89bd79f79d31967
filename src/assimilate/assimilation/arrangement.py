"""How the views of a step are arranged: two are contrasted, a third may be appended and aligned (Section 4)."""

from typing import Annotated, ClassVar

from pydantic import Field, model_validator

from assimilate.data.transform import Transform
from assimilate.graph.settings import NAMED, NEUTRAL, Allowed, Chooses, Count, Settings

GENERATED = "generated"


class Arrangement(Settings):
    """The views of a step by their words: a transformation of the image, or `generated`.

    Attributes:
        aligns: whether a third view is appended.
        view1: first of the two contrasted views: generated, or the name of a transformation.
        view2: the second contrasted view.
        view3: the view that is appended and aligned with both; null: none.
    """

    aligns: ClassVar[bool] = False
    # The LightningModule that trains on the views, by its dotted path; a view may have one of its own.
    trained_by: ClassVar[str] = "assimilate.assimilation.contrastive.SimCLR"
    # What a report calls a run of it; "" where the method alone names it.
    title: ClassVar[str] = ""
    contrasting: ClassVar[str] = "SimCLR"  # what contrasting views is called, where the loss has no title of its own
    name: Annotated[str, NEUTRAL, NAMED]
    view1: Annotated[str | None, Chooses(Transform, (GENERATED,))]
    view2: Annotated[str | None, Chooses(Transform, (GENERATED,))]
    view3: Annotated[str | None, Chooses(Transform, ("null", GENERATED))] = None

    @property
    def words(self) -> tuple[str | None, ...]:
        """The views in order."""
        return (self.view1, self.view2) if self.view3 is None else (self.view1, self.view2, self.view3)

    @model_validator(mode="after")
    def _as_many_as_it_has(self) -> "Arrangement":
        if self.aligns and self.view3 is None:
            raise ValueError(
                f"assim.view3=null cannot be used with assim={self.name}, which aligns a third view: take assim=simclr"
            )
        if not self.aligns and self.view3 is not None:
            raise ValueError(
                f"assim.view3={self.view3} cannot be used with assim={self.name}, which has two views: take assim=a2"
            )
        return self


class SimCLRViews(Arrangement):
    """Two views of the image."""


class A1Views(Arrangement):
    """A1: a generated view takes the place of one of the two."""

    title: ClassVar[str] = "A1"
    trained_by: ClassVar[str] = "assimilate.assimilation.contrastive.A1"

    @model_validator(mode="after")
    def _one_is_generated(self) -> "A1Views":
        if GENERATED not in self.words:
            raise ValueError(
                f"assim.view1={self.view1} and assim.view2={self.view2} leave assim={self.name} without a generated "
                "view: give one of them as generated, or take assim=simclr"
            )
        return self


class A2Views(Arrangement):
    """A2: a third view is appended and aligned with the two (Eq. 4)."""

    aligns: ClassVar[bool] = True
    title: ClassVar[str] = "A2"
    trained_by: ClassVar[str] = "assimilate.assimilation.contrastive.A2"


class Drawing(Settings):
    """How many of an image's generated views a step has, where they are appended (Section 5.3).

    Attributes:
        n_sampled: views of an image that a step draws, out of those that there are.
    """

    n_sampled: Count


class GeneratedTransform(Settings):
    """What is done to a generated view.

    Attributes:
        generated_transform: transformation of a generated view. A2's reference code flips only; Section 4 names a weak
            crop and a flip for A1 (the author's CIFAR-10 code only flips).
    """

    absent: ClassVar[str] = "no view of this run is a generated one"
    generated_transform: Annotated[str, Chooses(Transform)]


class Replacement(Settings):
    """Whether a view is replaced, drawn anew for every image at every step; else it is an expert one.

    Attributes:
        probability: probability that a view is replaced.
    """

    probability: Annotated[float, Field(gt=0, le=1), Allowed("a probability above 0, up to 1")] = 1.0
