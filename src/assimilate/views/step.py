"""The kinds of generated view: what decides the pictures of each, cached or made while an encoder trains."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from assimilate.data.dataset import Images
from assimilate.data.transform import ExpertView, NoTransform, Transform
from assimilate.encoder.step import Encoder
from assimilate.errors import UserError
from assimilate.generator.step import Generator
from assimilate.graph.cost import Effort
from assimilate.graph.settings import (
    NAMED,
    NEUTRAL,
    PATH,
    Allowed,
    At,
    Count,
    Flag,
    From,
    NotNegative,
    Positive,
    Seed,
    Settings,
    When,
    Whole,
)
from assimilate.graph.step import Step
from assimilate.inversion.step import Latents
from assimilate.views.calibration_step import Calibration

if TYPE_CHECKING:
    from assimilate.views.synthesis import Move

# A Viewmaker halves images twice, and its first convolution reflects 4 pixels at their edges.
SMALLEST_OF_VIEWMAKER = 8
NOT_CACHED = "view.cached=false makes views while it trains"
Used = Annotated[Count | None, NEUTRAL, Allowed("null (all that are cached) or a whole number ≥ 1")]
NCached = Annotated[Count, Allowed("a whole number ≥ 1")]
Distance1 = Annotated[
    Annotated[float, Field(ge=0, le=2)] | Literal["auto"],
    Allowed("auto or a distance: 0 ≤ ε1 ≤ 2, f's outputs have norm 1"),
]
Distance2 = Annotated[Annotated[float, Field(ge=0)] | Literal["auto"], Allowed("auto or a distance ≥ 0")]


class View(Step):
    """Where a generated view comes from."""

    kind: ClassVar[str] = "views"
    stage: ClassVar[str] = "make_views"
    name: Annotated[str, NEUTRAL, NAMED]
    # Whether a training of another loss than a contrastive one can make these views itself.
    needs_contrastive_loss: ClassVar[bool] = False

    @property
    def label(self) -> str:
        """As its folder is called."""
        return self.name

    @classmethod
    def drawn_by(cls, take: Callable[[str], Any]) -> str | None:
        """The transformation of the image itself that draws the view anew, by its word; None for a generated view.

        Args:
            take: reads a key of the configuration.
        """
        return None

    @property
    def num_available(self) -> int | None:
        """Views of an image that a step can draw distinct ones from; None: as many as it asks for."""
        return None

    @property
    def available_as(self) -> str:
        """What limits `num_available`, for people."""
        return f"the {self.num_available} views that every image has"

    @property
    def looks_through_the_trained(self) -> bool:
        """Whether it looks at images through the encoder that is being trained."""
        return False

    @property
    def replaces(self) -> bool:
        """Whether an expert view can stand in its place now and then (`assim.probability`)."""
        return True

    @property
    def made_together(self) -> bool:
        """Whether views of an image depend on the other images of the cache."""
        return False

    @property
    def real(self) -> bool:
        """Whether its views are expert views of the image."""
        return False

    @property
    def uses_transform(self) -> bool:
        """Whether `assim.generated_transform` is applied to it."""
        return True


class Cached(View):
    """Views that are made once for all images and kept."""

    images: Images
    n_cached: NCached
    n_used: Used = None

    @property
    def side(self) -> int:
        """Of a view, in pixels."""
        raise NotImplementedError

    def effort(self, images: int) -> Effort:
        """The pictures."""
        count = images * self.n_cached
        return Effort(self.effort_of_a_view * count, count * 3 * self.side**2 / 1e6, self.effort_width)

    @property
    def effort_of_a_view(self) -> float:
        """GFLOP."""
        return 0.0

    @property
    def effort_width(self) -> float:
        """Of the networks that make a view, as a share of the published ones'."""
        return 1.0

    @property
    def num_used(self) -> int:
        """How many of an image's views a training reads, the first ones."""
        return self.n_cached if self.n_used is None else self.n_used

    @property
    def num_available(self) -> int | None:
        """Those of the cache."""
        return self.num_used if self.is_stored else None

    @property
    def available_as(self) -> str:
        """The key that says how many there are."""
        if self.n_used is not None:
            return f"view.n_used={self.n_used}"
        return super().available_as if self.n_cached is None else f"view.n_cached={self.n_cached}"

    @model_validator(mode="after")
    def _used_are_cached(self) -> "Cached":
        if self.n_used is not None and self.n_used > self.n_cached:
            raise ValueError(f"view.n_used={self.n_used} exceeds view.n_cached={self.n_cached}, all that there is")
        return self


class FromLatents(Cached):
    """Views that a generator makes from the image's latent."""

    generator: Generator
    latents: Latents
    truncation: Annotated[float | None, From("generator.truncation")] = None
    image_size: Annotated[int, NEUTRAL, From("dataset.image_size")]

    @property
    def side(self) -> int:
        """As large as the images."""
        return self.image_size

    @property
    def starts_from_reconstruction(self) -> bool:
        """Whether a view is a move away from the reconstruction."""
        return True

    @property
    def effort_of_a_view(self) -> float:
        """A forward pass of the generator."""
        return self.generator.synthesis_gflop

    @property
    def effort_width(self) -> float:
        """Of the generator."""
        return self.generator.width

    @property
    def num_codes(self) -> int:
        """Of a StyleGAN2 (PROTOCOLS 4)."""
        return 2 * int(math.log2(self.image_size)) - 2


class Search(Settings):
    """How W-search moves the latents."""

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


class WSearch(FromLatents):
    """Equation 3: the latent moves until f sees the view at ε1 from the anchor."""

    title: ClassVar[str] = "W-search"
    reference: Encoder
    calibration: Annotated[Calibration | None, When("epsilon1", "auto")] = None
    seed: Seed
    epsilon1: Distance1
    epsilon2: Distance2
    uniformity_weight: Annotated[NotNegative, Field(alias="lambda")]
    anchor: Literal["reconstruction", "original"]
    hinge: Literal["image", "view"]
    search: Search

    @property
    def effort_of_a_view(self) -> float:
        """Most anchors converge within about a seventh of the steps that they may take."""
        steps = max(1, self.search.iterations / 7)
        return steps * (self.generator.synthesis_gflop + self.reference.gflop) * 2

    @property
    def made_together(self) -> bool:
        """With stop=batch (the reference code)."""
        return self.search.stop == "batch"

    @property
    def starts_from_reconstruction(self) -> bool:
        """Whether the anchor is f(g(w)) (PROTOCOLS 17)."""
        return self.anchor == "reconstruction"

    @model_validator(mode="after")
    def _tolerance_is_of_something(self) -> "WSearch":
        if self.epsilon1 == 0 and self.search.tolerance_relative is not None:
            raise ValueError(
                f"view.search.tolerance_relative={self.search.tolerance_relative} cannot be used with view.epsilon1=0, "
                "of which it is a share: give view.search.tolerance_relative=null view.search.tolerance=0.001"
            )
        return self


class Synthesised(FromLatents):
    """Views that need the generator alone, so that a training can make them too."""

    cached: Annotated[Flag, NEUTRAL]
    batch: Count
    seed: Seed = 0

    @property
    def is_stored(self) -> bool:
        """Whether they are cached."""
        return self.cached

    def move(self) -> "Move":
        """How a latent becomes that of a view."""
        raise NotImplementedError

    @property
    def moved_by(self) -> dict[str, Any]:
        """The settings of the move, for the summary of a cache."""
        return {}

    def unused(self) -> Mapping[str, str]:
        """What a cache alone has."""
        return {} if self.cached else dict.fromkeys(("n_cached", "n_used", "seed", "batch"), NOT_CACHED)


class WPerturb(Synthesised):
    """Noise in W+ (Section 3.1)."""

    title: ClassVar[str] = "W-perturb"
    sigma: Annotated[NotNegative | list[NotNegative], Allowed("a standard deviation ≥ 0, or a list with one a code")]
    noise_limit: Annotated[Positive | None, Allowed("null (a normal distribution) or standard deviations > 0")]
    projected: Flag

    def move(self) -> "Move":
        """Noise in W+."""
        from assimilate.views.perturbation import Perturbation

        sigma = tuple(self.sigma) if isinstance(self.sigma, list) else float(self.sigma)
        return Perturbation(sigma, self.projected, self.noise_limit)

    @property
    def moved_by(self) -> dict[str, Any]:
        """The noise."""
        return {"sigma": self.sigma, "projected": self.projected, "noise_limit": self.noise_limit}

    @model_validator(mode="after")
    def _fits(self) -> "WPerturb":
        if self.projected and self.noise_limit is not None:
            raise ValueError(
                f"view.noise_limit={self.noise_limit} cannot be used with view.projected=true, which fixes the radius "
                "of the noise: give view.noise_limit=null or view.projected=false"
            )
        codes = self.generator_codes()
        if codes is not None and isinstance(self.sigma, list) and len(self.sigma) not in (1, codes):
            raise ValueError(
                f"view.sigma={self.sigma} has {len(self.sigma)} numbers, but the generator has {codes} codes: give one "
                "number, or one a code"
            )
        return self

    def generator_codes(self) -> int | None:
        """Codes of the generator; None where it is not known before it is loaded."""
        return self.num_codes


class WMix(Synthesised):
    """The codes of another image from `split` on."""

    title: ClassVar[str] = "W-mix"
    split: Annotated[Whole, Allowed("a whole number of codes ≥ 0, at most 2·log2(image_size) − 2")]

    def move(self) -> "Move":
        """The codes of another image."""
        from assimilate.views.mixing import Mixing

        return Mixing(self.split)

    @property
    def moved_by(self) -> dict[str, Any]:
        """Where the other image's codes begin."""
        return {"split": self.split}

    @model_validator(mode="after")
    def _fits(self) -> "WMix":
        if self.split > self.num_codes:
            raise ValueError(
                f"view.split={self.split}: the generator has {self.num_codes} codes, allowed is 0 to {self.num_codes}"
            )
        return self


class Reconstruction(Synthesised):
    """g(w) of the inverted latent."""

    title: ClassVar[str] = "reconstructions"

    def move(self) -> "Move":
        """None."""
        from assimilate.views.perturbation import Perturbation

        return Perturbation(0.0)


class External(Cached):
    """Views that somebody else made: a folder `<index>/<k>.png`, or an array."""

    title: ClassVar[str] = "views from elsewhere"
    path: Annotated[str, NEUTRAL, PATH, Allowed("a folder or a .npy file")]
    n_cached: Annotated[Count | None, NEUTRAL, Allowed("null (all) or a whole number ≥ 1")]  # type: ignore[assignment]
    image_size: Annotated[int, From("dataset.image_size")]

    @property
    def side(self) -> int:
        """As large as the images."""
        return self.image_size

    def _found(self) -> Any:
        from assimilate.views.external import scan_external

        try:
            return scan_external(Path(self.path))
        except ValueError as error:
            raise UserError(str(error)) from error
        except OSError as error:
            raise UserError(f"view.path={self.path}: it cannot be read ({error.strerror})") from error

    @property
    def num_views(self) -> int:
        """Views of an image: as many as are asked for, or as there are."""
        return int(self._found().num_views) if self.n_cached is None else self.n_cached

    @property
    def num_used(self) -> int:
        """All of them."""
        return self.num_views

    def content(self) -> Mapping[str, Any]:
        """The listing of the folder, or of the array."""
        return {"listing": self._found().key, "n_cached": self.num_views}

    def effort(self, images: int) -> Effort:
        """The pictures."""
        return Effort(0.0, images * self.num_views * 3 * self.side**2 / 1e6)


class CachedExpert(Cached):
    """Expert views, drawn once."""

    title: ClassVar[str] = "expert"
    seed: Seed
    cached: Annotated[Flag, NEUTRAL]
    draws: Literal["independent", "shared"]
    draw_batch: Count
    transform: Annotated[ExpertView, At("")]

    @property
    def side(self) -> int:
        """As large as the crops."""
        return self.transform.crop_size or self.transform.image_size

    def unused(self) -> Mapping[str, str]:
        """The batch of shared draws where there are none."""
        if self.draws == "shared":
            return {}
        return {"draw_batch": "view.draws=independent shares no draws"}

    @classmethod
    def drawn_by(cls, take: Callable[[str], Any]) -> str | None:
        """By the expert transformation, unless it is cached."""
        return None if take("view.cached") else "expert"

    @property
    def made_together(self) -> bool:
        """Whether views of an image depend on the other images of the cache."""
        return False

    @property
    def real(self) -> bool:
        """They are."""
        return True


class Drawn(View):
    """A view of the real image, drawn anew by a transformation that has the view's name."""

    @classmethod
    def drawn_by(cls, take: Callable[[str], Any]) -> str | None:
        """By the transformation of the same name."""
        return str(take("view.name"))


class Original(View):
    """The image itself, under `assim.generated_transform`."""

    @classmethod
    def drawn_by(cls, take: Callable[[str], Any]) -> str | None:
        """By that transformation."""
        return str(take("assim.generated_transform"))


class LearnedView(View):
    """A view that is made within the training step."""

    needs_contrastive_loss: ClassVar[bool] = True

    @property
    def replaces(self) -> bool:
        """It is in every step."""
        return False

    @property
    def is_stored(self) -> bool:
        """It leaves no cache."""
        return False

    @property
    def given_images(self) -> Transform:
        """How the images look that it makes views of."""
        raise NotImplementedError


class Viewmaker(LearnedView):
    """Learned perturbations (Tamkin et al. 2021; PROTOCOLS 10)."""

    title: ClassVar[str] = "Viewmaker"
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
    def uses_transform(self) -> bool:
        """It has `view.transform` instead, before the Viewmaker."""
        return False


class OnlineSearch(LearnedView):
    """A search with the encoder that is being trained (Appendix E)."""

    title: ClassVar[str] = "online W-search"
    generator: Generator
    latents: Latents
    truncation: Annotated[float | None, From("generator.truncation")] = None
    reference: Annotated[Encoder | None, When("frozen", True)] = None
    frozen: Flag
    objective: Literal["cosine", "eq3"]
    threshold: Annotated[float, Field(ge=-1, le=1), Allowed("a cosine, −1 to 1")]
    step_size: Positive
    initial_noise: Annotated[NotNegative, Allowed("a standard deviation ≥ 0")]
    epsilon1: Distance1
    epsilon2: Distance2
    uniformity_weight: Annotated[NotNegative, Field(alias="lambda")]
    hinge: Literal["image", "view"]
    as_stored: Annotated[NoTransform, NEUTRAL, At("")]

    @property
    def given_images(self) -> Transform:
        """As they are stored."""
        return self.as_stored

    @property
    def looks_through_the_trained(self) -> bool:
        """Unless f is asked for instead."""
        return not self.frozen

    @model_validator(mode="after")
    def _has_distances(self) -> "OnlineSearch":
        for name in ("epsilon1", "epsilon2"):
            if getattr(self, name) == "auto":
                raise ValueError(
                    f"view.{name}=auto cannot be used with view={self.name}: give a number "
                    "(python -m assimilate.calibrate view=wsearch view.epsilon1=auto measures ε1)"
                )
        return self

    @property
    def settings(self) -> dict[str, Any]:
        """As the training module takes them."""
        names = ("objective", "threshold", "step_size", "initial_noise", "epsilon1", "epsilon2", "hinge")
        return {**{name: getattr(self, name) for name in names}, "uniformity_weight": self.uniformity_weight}

    def unused(self) -> Mapping[str, str]:
        """What the other objective has."""
        if self.objective == "eq3":
            return {"threshold": "view.objective=eq3 has no threshold"}
        why = f"view.objective={self.objective} has a threshold alone; these are eq3's"
        return dict.fromkeys(("epsilon1", "epsilon2", "uniformity_weight", "hinge"), why)
