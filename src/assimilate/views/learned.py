"""Views that are made within the training step: what decides them."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
from pydantic import model_validator

from assimilate.data.transform import NoTransform, Transform
from assimilate.encoder.step import Encoder
from assimilate.generator.step import Generator
from assimilate.graph.place import Place
from assimilate.graph.settings import BESIDE, NEUTRAL, Allowed, At, Count, Flag, From, Positive, When
from assimilate.graph.wiring import find_class
from assimilate.inversion.step import Latents
from assimilate.views.online import OnlineSolver
from assimilate.views.step import Pixels, Shown, View

if TYPE_CHECKING:
    from assimilate.data.views import ViewSource

# A Viewmaker halves images twice, and its first convolution reflects 4 pixels at their edges.
SMALLEST_OF_VIEWMAKER = 8
# Beside the encoder that was trained with it.
VIEWMAKER = "viewmaker.pt"


class LearnedView(View):
    """A view that is made within the training step."""

    needs_contrastive_loss: ClassVar[bool] = True
    replaces: ClassVar[bool] = False

    @property
    def is_stored(self) -> bool:
        return False


class Viewmaker(LearnedView):
    """Learned perturbations (Tamkin et al. 2021).

    Attributes:
        transform: transformation of the image before the Viewmaker sees it; none in its authors' code.
        distortion_budget: mean absolute change of a pixel in [0, 1], before clamping.
        width: channels of the first layer; 32 is the published network.
        lr: learning rate of Adam, constant.
    """

    title: ClassVar[str] = "Viewmaker"
    shown: ClassVar[Shown | None] = "network"
    ink: ClassVar[str] = "orange"
    trained_by: ClassVar[str | None] = "assimilate.assimilation.adversarial.ViewmakerTraining"
    uses_transform: ClassVar[bool] = False  # it has `view.transform` instead, before the Viewmaker
    transform: Transform
    image_size: Annotated[int, NEUTRAL, From("dataset.image_size")]
    crop_size: Annotated[int | None, NEUTRAL, From("data.crop_size")]
    distortion_budget: Annotated[Positive, Allowed("a mean change of a pixel in [0, 1], above 0")]
    width: Count
    lr: Positive

    @model_validator(mode="after")
    def _can_be_halved_twice(self) -> "Viewmaker":
        side = self.crop_size or self.image_size
        if side % 4 or side < SMALLEST_OF_VIEWMAKER:
            key = "dataset.image_size" if self.crop_size is None else "data.crop_size"
            raise ValueError(
                f"{key}={side} cannot be used with view={self.name}, which halves images twice: allowed is a multiple "
                f"of 4, at least {SMALLEST_OF_VIEWMAKER}"
            )
        return self

    @property
    def given_images(self) -> Transform:
        """Under `view.transform`."""
        return self.transform

    @property
    def training(self) -> Mapping[str, Any]:
        viewmaker = {"distortion_budget": self.distortion_budget, "width": self.width}
        return {"viewmaker": viewmaker, "viewmaker_lr": self.lr}

    def drawn_again(self, at: Place, encoder: Path) -> "ViewSource | None":
        from assimilate.views.viewmaker import Perturbing, load_viewmaker

        return Perturbing(load_viewmaker(encoder / VIEWMAKER), at.dataset.train.images)

    def seen_of(self, images: Pixels, drawn: Pixels) -> list[list[str]]:
        change = float(np.abs(drawn.astype(np.float64) - images[:, None]).mean() / 255)
        return [
            ["mean change of a pixel in [0, 1], asked for", f"{self.distortion_budget:.4f}"],
            ["of these pictures, clamped and rounded", f"{change:.4f}"],
        ]


class OnlineSearch(LearnedView):
    """A search with the encoder that is being trained (Appendix E).

    Attributes:
        frozen: false: look through the encoder as it learns, in train mode; true: through f of the data set's SimCLR
            row.
        solver: gradient: one signed step down an objective; ray: forward passes alone, along random directions of W+ to
            where the encoder sees the view as far from the reconstruction as expert views are from their image.
    """

    title: ClassVar[str] = "online W-search"
    generator: Generator
    latents: Latents
    truncation: Annotated[float | None, From("generator.truncation")] = None
    reference: Annotated[Encoder | None, When("frozen", True)] = None
    frozen: Flag
    solver: Annotated[OnlineSolver, BESIDE]
    as_stored: Annotated[NoTransform, NEUTRAL, At("")]

    @classmethod
    def titled(cls, select: Callable[[str], Any]) -> str:
        """With the solver's title in brackets, where it has one."""
        solver = find_class("view.solver", select("view.solver"), OnlineSolver).title
        return f"{cls.title} ({solver})" if solver else cls.title

    @property
    def trained_by(self) -> str:  # type: ignore[override]
        """That of its solver."""
        return self.solver.trained_by

    @property
    def given_images(self) -> Transform:
        return self.as_stored

    @property
    def looks_through_the_trained(self) -> bool:
        return not self.frozen

    @property
    def training(self) -> Mapping[str, Any]:
        return {"online": self.solver}

    def effort_in_training(self, gflop: float) -> float:
        """Of generator and encoder."""
        return self.solver.passes_of_a_step * (self.generator.synthesis_gflop + gflop)

    def equip(self, module: Any, at: Place, transform: Transform | None) -> None:
        from assimilate.views.embedding import FrozenEmbedding

        assert transform is not None
        frozen = None if self.reference is None else FrozenEmbedding.of(at.load(self.reference)).to(at.device)
        module.attach(at.load(self.generator), at.load(self.latents), transform.augmentation(), frozen)
