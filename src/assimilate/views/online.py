"""How views move with the encoder that is being trained: a step down a gradient, or along rays."""

from abc import abstractmethod
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from assimilate.graph.settings import BESIDE, Allowed, Count, NotNegative, Part, Positive
from assimilate.views.calibration_step import Distance1, Distance2

if TYPE_CHECKING:  # settings are declared without torch
    from jaxtyping import Float
    from torch import Tensor


class OnlineObjective(Part):
    """What a step of the latents lowers."""

    role: ClassVar[str] = "objective"

    @abstractmethod
    def loss(self, views: "Float[Tensor, 'batch views dim']", anchors: "Float[Tensor, 'batch dim']") -> "Tensor":
        """A mean over the batch.

        Args:
            views: f(g(w)), norm 1.
            anchors: f(x), norm 1.
        """


class Cosine(OnlineObjective, word="cosine"):
    """Mean (cos(f(g(w)), f(x)) − threshold)⁺, which pushes views away until they are that far (Appendix E).

    Attributes:
        threshold: cosine above which the objective counts.
    """

    threshold: Annotated[float, Field(ge=-1, le=1), Allowed("a cosine, −1 to 1")]

    def loss(self, views: "Float[Tensor, 'batch views dim']", anchors: "Float[Tensor, 'batch dim']") -> "Tensor":
        return ((views * anchors[:, None]).sum(-1) - self.threshold).relu().mean()


class OnlineEquation3(OnlineObjective, word="eq3"):
    """The search's own objective, Eq. 3.

    Attributes:
        epsilon1: ε1 of Eq. 3, the wanted distance from the anchor.
        epsilon2: ε2 of Eq. 3, the wanted mean distance between the views.
        uniformity_weight: λ of Eq. 3.
        hinge: hinge of Eq. 3, as in W-search.
    """

    epsilon1: Distance1
    epsilon2: Distance2
    uniformity_weight: Annotated[NotNegative, Field(alias="lambda")]
    hinge: Literal["image", "view"]

    @model_validator(mode="after")
    def _has_distances(self) -> "OnlineEquation3":
        for name in ("epsilon1", "epsilon2"):
            if isinstance(getattr(self, name), str):
                raise ValueError(
                    f"view.{name}=auto cannot be used with view=online: give a number "
                    "(python -m assimilate.calibrate view=wsearch view.epsilon1=auto measures ε1)"
                )
        return self

    def loss(self, views: "Float[Tensor, 'batch views dim']", anchors: "Float[Tensor, 'batch dim']") -> "Tensor":
        from assimilate.views.objective import search_loss

        asked = {name: getattr(self, name) for name in type(self).model_fields}
        return search_loss(views, anchors, **asked).total.mean()


class OnlineSolver(Part):
    """How the views of a batch are found."""

    role: ClassVar[str] = "solver"
    # What titles of runs add to the view's; "" for the paper's own solver.
    title: ClassVar[str] = ""
    # The dotted path of the LightningModule that does it, which takes these settings as `online`.
    trained_by: ClassVar[str]

    @property
    @abstractmethod
    def passes_of_a_step(self) -> int:
        """Forward passes of generator and encoder that a view takes; a backward pass counts as two."""


class Gradient(OnlineSolver, word="gradient"):
    """One signed step down the gradient of an objective, w ← w − η·sign(∇w) (Appendix E).

    Attributes:
        objective: cosine: mean (cos(f(g(w)), f(x)) − threshold)⁺; eq3: the search's objective.
        step_size: η of w ← w − η·sign(∇w).
        initial_noise: noise on the start, in W+; at 0 all views of an image are the same.
    """

    trained_by: ClassVar[str] = "assimilate.assimilation.online.OnlineSteps"
    objective: Annotated[OnlineObjective, BESIDE]
    step_size: Positive
    initial_noise: Annotated[NotNegative, Allowed("a standard deviation ≥ 0")]

    @cached_property
    def identity(self) -> dict[str, Any]:
        """It came first: a run without a word of its solver has it."""
        return {name: value for name, value in super().identity.items() if name != self.role}

    @property
    def passes_of_a_step(self) -> int:
        """Two forward and a backward one."""
        return 4


class OnlineRay(OnlineSolver, word="ray"):
    """Forward passes alone, along random directions of W+ to where the encoder sees the view at a measured ε1.

    Attributes:
        passes: of rays, forward passes of each; with that of the reconstruction, what a step costs.
        measure_every: of rays, steps after which that distance is measured again.
    """

    title: ClassVar[str] = "rays"
    trained_by: ClassVar[str] = "assimilate.assimilation.online.OnlineRays"
    passes: Count = 4
    measure_every: Count = 100

    @property
    def passes_of_a_step(self) -> int:
        """And that of the reconstruction."""
        return self.passes + 1
