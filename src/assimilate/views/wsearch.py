"""W-search: what decides its views (Eq. 3)."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from assimilate.encoder.step import Encoder
from assimilate.graph.counted import counted
from assimilate.graph.place import Place, Progress, RowWork, Write
from assimilate.graph.settings import Allowed, Count, Flag, NotNegative, Positive, Seed, When, Whole
from assimilate.graph.wiring import find_class
from assimilate.views.calibration_step import Calibration, Distance1, Distance2, usual_epsilon2, wanted_distance
from assimilate.views.solver import Solver
from assimilate.views.step import Codes, FromLatents, Pixels

if TYPE_CHECKING:
    from assimilate.views.search_cache import SearchCache


# Of an anchor of the demo (docs/benchmarks.md); with fewer that are allowed, all are used up.
USUAL_STEPS = 28


class Search(Solver, word="gradient", node="search"):
    """Latents move down the gradient of Eq. 3, as in the paper.

    Attributes:
        width: anchors in flight; kernels always run at this width, so it is part of a cache's identity.
        optimizer: optimiser of the latents (Table 18 has sgd).
        lr: learning rate of the latents.
        iterations: steps at most.
        tolerance: stop when the anchor's total loss is at most this (the reference averages over a batch); null: no
            such limit.
        tolerance_relative: also ask that the rms of ‖·‖ − ε1 over an anchor's views be at most this share of ε1; null:
            no such limit.
        stop: anchor: each on its own; batch: width anchors together, on the mean of their losses (reference code).
        space: wplus: a code a layer; w: one code for all layers, from the mean of the inverted ones.
        projection: sphere: codes are scaled to norm 1 after every step, for latents that live on the unit sphere.
        precision: bf16: the loop's networks under autocast, for GPUs that have it.
        compile: torch.compile of the loop's networks: takes minutes at the start, then steps are faster on a GPU.
        initial_noise: noise on the start; .005 on CIFAR-100 and TinyImageNet.
        noise_first_view: false: the first view starts at the anchor, where the uniformity term alone moves it.
    """

    solves: ClassVar[str] = "assimilate.views.search.SearchSettings"
    width: Count
    optimizer: Literal["adam", "sgd"]
    lr: Positive
    iterations: Whole
    tolerance: Annotated[NotNegative | None, Allowed("null or a number ≥ 0")]
    tolerance_relative: Annotated[Positive | None, Allowed("null or a number > 0")]
    stop: Literal["anchor", "batch"]
    space: Literal["wplus", "w"]
    projection: Literal["none", "sphere"]
    precision: Literal["fp32", "bf16"]
    compile: Flag
    initial_noise: Annotated[NotNegative, Allowed("a standard deviation ≥ 0")]
    noise_first_view: Flag

    @property
    def effort_of_a_view(self) -> float:
        """Most anchors converge within a seventh of the steps of the paper; a backward pass is one more."""
        return 2 * min(self.iterations, max(USUAL_STEPS, self.iterations / 7))

    @property
    def made_together(self) -> bool:
        """With stop=batch (the reference code)."""
        return self.stop == "batch"

    def check(self, *, epsilon1: Any, num_views: int, num_codes: int | None, weight: float) -> None:
        """A share needs something that it is a share of."""
        if epsilon1 == 0 and self.tolerance_relative is not None:
            raise ValueError(
                f"view.search.tolerance_relative={self.tolerance_relative} cannot be used with view.epsilon1=0, "
                "of which it is a share: give view.search.tolerance_relative=null view.search.tolerance=0.001"
            )


class WSearch(FromLatents):
    """Equation 3: the latent moves until f sees the view at ε1 from the anchor.

    Attributes:
        seed: seed of the cache.
        epsilon1: the wanted distance from the anchor. auto: the mean of ‖f(x) − f(t(x))‖ over the expert views t
            (Section 5.1), measured.
        epsilon2: the wanted mean distance between the views; auto: 5/3·ε1.
        uniformity_weight: λ, the weight of the uniformity term; 0.01 on CIFAR-10, not stated elsewhere.
        anchor: reconstruction: f(g(w)), the reference code's; original: f(x0), Eq. 3's.
        hinge: image: one on the mean pair distance (Eq. 3); view: one a view (the reference code).
        search: what solves it: gradient: Adam or SGD, whose settings are in view.search (the paper); ray: forward
            passes along random directions, whose settings are in view.ray.
    """

    title: ClassVar[str] = "W-search"
    ink: ClassVar[str] = "blue"
    reference: Encoder
    calibration: Annotated[Calibration | None, When("epsilon1", "auto")] = None
    seed: Seed
    epsilon1: Distance1
    epsilon2: Distance2
    uniformity_weight: Annotated[NotNegative, Field(alias="lambda")]
    anchor: Literal["reconstruction", "original"]
    hinge: Literal["image", "view"]
    search: Annotated[Solver, Field(alias="solver")]

    @classmethod
    def titled(cls, select: Callable[[str], Any]) -> str:
        """With the solver's title in brackets, where it has one."""
        solver = find_class("view.solver", select("view.solver"), Solver).title
        return f"{cls.title} ({solver})" if solver else cls.title

    def epsilons(self, at: Place) -> tuple[float, float]:
        """ε1 and ε2: the settings' numbers, or measured and 5/3·ε1 where they are "auto"."""
        epsilon1 = wanted_distance(self.epsilon1, self.calibration, at)
        return epsilon1, usual_epsilon2(epsilon1) if self.epsilon2 == "auto" else float(self.epsilon2)

    def distance_asked(self, at: Place) -> float | None:
        """ε1."""
        return self.epsilons(at)[0]

    def _search(self, at: Place) -> "SearchCache":
        from assimilate.views.search_cache import SearchCache

        epsilon1, epsilon2 = self.epsilons(at)
        equation = self.search.solving(
            num_views=self.n_cached,
            epsilon1=epsilon1,
            epsilon2=epsilon2,
            uniformity_weight=self.uniformity_weight,
            hinge=self.hinge,
            anchor=self.anchor,
            seed=self.seed,
        )
        return SearchCache.in_latents(at, equation, self)

    def counted(self, at: Place) -> str:
        """As its solver counts."""
        return self._search(at).counted

    @property
    def measured(self) -> Mapping[str, tuple[tuple[int, ...], str]]:
        """And how far an image's views are from each other on average, and whether the tolerance was reached."""
        return {**super().measured, "spread": ((), "<f4"), "converged": ((), "|u1")}

    def rows(self, at: Place) -> RowWork:
        epsilon1, epsilon2 = self.epsilons(at)
        at.say(f"  {self.title}: ε1 = {epsilon1:.4f}, ε2 = {epsilon2:.4f}, {counted(self.n_cached, 'view')} an image")
        for doubt in self._search(at).doubts:
            at.say(f"  warning: {doubt}")
        return super().rows(at)

    def fill(self, at: Place, write: Write, indices: list[int], progress: Progress) -> None:
        self._search(at).fill(write, indices, progress)

    def summarize(self, folder: Path, at: Place) -> dict[str, Any]:
        """The distances that were reached, measured on what is stored, and the steps that it took."""
        return {"view": self.name, **self._search(at).summarize(folder)}

    def codes_and_views(self, at: Place, indices: list[int], count: int, progress: Progress) -> tuple[Codes, Pixels]:
        return self._search(at).again(indices, count, progress)

    @property
    def effort_of_a_view(self) -> float:
        """That of its solver."""
        return self.search.effort_of_a_view * (self.generator.synthesis_gflop + self.reference.gflop)

    @property
    def made_together(self) -> bool:
        """Whether its solver stops anchors together."""
        return self.search.made_together

    @property
    def starts_from_reconstruction(self) -> bool:
        """Whether the anchor is f(g(w))."""
        return self.anchor == "reconstruction"

    @model_validator(mode="after")
    def _solver_fits(self) -> "WSearch":
        self.search.check(
            epsilon1=self.epsilon1, num_views=self.n_cached, num_codes=self.num_codes, weight=self.uniformity_weight
        )
        return self
