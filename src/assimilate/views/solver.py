"""What solves Eq. 3: the settings of each solver."""

import pkgutil
from abc import abstractmethod
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from assimilate.graph.settings import Allowed, Compiling, Count, Flag, Positive, Settings, Whole
from assimilate.views.directions import Direction

if TYPE_CHECKING:  # settings are declared without torch
    from assimilate.views.equation3 import InLatents


class Solver(Settings):
    """How Eq. 3 is solved."""

    # What titles of runs add to the view's; "" for the paper's own solver.
    title: ClassVar[str] = ""
    # The dotted path of the class of Eq. 3 that has these settings too, and an engine; it loads torch.
    solves: ClassVar[str]

    @property
    @abstractmethod
    def effort_of_a_view(self) -> float:
        """Forward passes of generator and f that a view takes, about."""

    @property
    def made_together(self) -> bool:
        """Whether views of an image depend on the other images of the cache."""
        return False

    def check(self, *, epsilon1: Any, num_views: int, num_codes: int | None, weight: float) -> None:
        """See that the settings fit what is asked.

        Args:
            epsilon1: as in the configuration, a number or "auto".
            num_views: views an image.
            num_codes: of the generator; None: not known before it is read.
            weight: of the uniformity term, λ.

        Raises:
            ValueError: they do not; one line that says what helps.
        """

    def solving(self, **equation: Any) -> "InLatents":
        """Eq. 3 and this solver of it.

        Args:
            equation: fields of `Equation3`.
        """
        settings = {name: getattr(self, name) for name in type(self).model_fields}
        return pkgutil.resolve_name(self.solves)(**equation, compiled=settings.pop("compile", False), **settings)


class Ray(Solver, word="ray", node="ray"):
    """Forward passes alone: along random directions of W+ to where f sees the view at ε1, found by a bracketed secant.

    Attributes:
        direction: where rays go: isotropic: any direction of W+ alike; shared: any of W, the same in all layers;
            toward: to the code of a random latent; difference: from the code of one random latent to that of another.
        opposite: every second ray of an image goes the opposite way of the one before, so that its views lie farther
            apart at no cost; with n_cached=1 there is no second.
        layers: the codes that move, counted from 0, the coarsest; null: all.
        layer_share: the probability with which each of them moves on a ray; at least one does.
        width: rays in flight; kernels always run at this width, so it is part of a cache's identity.
        tolerance: how far a stored view's distance may be from ε1, as a share of ε1.
        passes: forward passes of a ray at most.
        redraws: directions tried after one that does not reach ε1; a view that none reaches is kept and counted.
        reach: the longest ray, as a multiple of the median length.
        calibration: anchors on which the first guess, the median length, is measured.
        candidates: views made of an image whose first n_cached are closer to each other than ε2 (and lambda > 0); the
            n_cached farthest apart are kept. null: n_cached.
        projection: sphere: codes are scaled to norm 1, for latents that live on the unit sphere.
        precision: bf16: the generator under autocast, for GPUs that have it; f measures in fp32.
        compile: torch.compile of the networks: takes minutes at the start, then passes are faster on a GPU;
            reduce-overhead: as a CUDA graph, which saves a pass's launches.
    """

    title: ClassVar[str] = "rays"
    solves: ClassVar[str] = "assimilate.views.rays.RaySettings"
    direction: Direction
    opposite: Flag = False  # what was always done, so that caches of that time keep their keys; conf/view says true
    layers: Annotated[list[Whole] | None, Allowed("null (all) or a list of whole numbers ≥ 0")]
    layer_share: Annotated[Positive, Field(le=1), Allowed("a probability > 0, at most 1")]
    width: Count
    tolerance: Annotated[Positive, Field(lt=1), Allowed("a share of ε1: > 0 and < 1")]
    passes: Count
    redraws: Whole
    reach: Annotated[Positive, Field(ge=1), Allowed("a number ≥ 1")]
    calibration: Count
    candidates: Annotated[Count | None, Allowed("null or a whole number ≥ view.n_cached")]
    projection: Literal["none", "sphere"]
    precision: Literal["fp32", "bf16"]
    compile: Compiling

    @property
    def effort_of_a_view(self) -> float:
        """Three and a half passes."""
        return 3.5

    def check(self, *, epsilon1: Any, num_views: int, num_codes: int | None, weight: float) -> None:
        """A ray starts at the anchor; candidates are at least the views; there are only so many codes."""
        if epsilon1 == 0:
            raise ValueError(
                "view.epsilon1=0 cannot be used with view.solver=ray, which leaves the anchor: give a distance > 0, or "
                "view.solver=gradient"
            )
        if self.candidates is not None and self.candidates < num_views:
            raise ValueError(
                f"view.ray.candidates={self.candidates} is less than view.n_cached={num_views}, the views chosen from "
                "them: give null or at least as many"
            )
        if self.candidates is not None and (num_views == 1 or weight == 0):
            why = "view.n_cached=1" if num_views == 1 else "view.lambda=0"
            raise ValueError(
                f"view.ray.candidates={self.candidates} would be ignored with {why}, which asks nothing of the "
                "distances between views: give null"
            )
        if self.layers is not None and (not self.layers or (num_codes is not None and max(self.layers) >= num_codes)):
            codes = "" if num_codes is None else f" 0 to {num_codes - 1}"
            raise ValueError(f"view.ray.layers={self.layers}: allowed is null, or some of the generator's codes{codes}")
