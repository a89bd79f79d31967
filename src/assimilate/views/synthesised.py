"""Views that take one forward pass of the generator: what decides them."""

from abc import abstractmethod
from collections.abc import Mapping
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import model_validator

from assimilate.encoder.step import Encoder
from assimilate.graph.place import Place, Progress, Write
from assimilate.graph.settings import (
    NEUTRAL,
    Allowed,
    Count,
    Flag,
    NotNegative,
    Positive,
    Probability,
    Seed,
    When,
    Whole,
)
from assimilate.views.calibration_step import Calibration
from assimilate.views.step import Codes, FromLatents, Pixels, Shown
from assimilate.views.strength import AUTO, WithStrength

if TYPE_CHECKING:
    from assimilate.data.views import ViewSource
    from assimilate.views.search_cache import SearchCache
    from assimilate.views.synthesis import Move

NOT_CACHED = "view.cached=false makes views while it trains"


class Synthesised(FromLatents):
    """Views that need the generator alone, so that a training can make them too.

    Attributes:
        cached: false: new views at every step, made while training (Table 6's "on the fly").
        batch: views synthesised at once; a fixed number, so part of a cache's identity.
        seed: seed of the cache.
    """

    cached: Annotated[Flag, NEUTRAL]
    batch: Count
    seed: Seed = 0

    @property
    def is_stored(self) -> bool:
        """Whether they are cached."""
        return self.cached

    @abstractmethod
    def move(self) -> "Move":
        """How a latent becomes that of a view."""

    @property
    def _synthesis(self) -> ModuleType:
        from assimilate.views import synthesis

        return synthesis

    def fill(self, at: Place, write: Write, indices: list[int], progress: Progress) -> None:
        self._synthesis.synthesize_views(
            at.load(self.generator),
            at.load(self.latents),
            indices,
            self.move(),
            write,
            num_views=self.n_cached,
            batch=self.batch,
            seed=self.seed,
            device=at.device,
            progress=progress,
        )

    def codes_and_views(self, at: Place, indices: list[int], count: int, progress: Progress) -> tuple[Codes, Pixels]:
        codes: Codes = self._synthesis.moved_again(
            at.load(self.generator),
            at.load(self.latents),
            indices,
            self.move(),
            num_views=self.n_cached,
            count=count,
            seed=self.seed,
            device=at.device,
        )
        views: dict[int, Pixels] = {}
        self.fill(at, lambda index, made: views.update({index: np.asarray(made)[:count]}), indices, progress)
        return codes, np.stack([views[index] for index in indices])

    def source(self, at: Place) -> "ViewSource | None":
        if self.cached:
            return super().source(at)
        return self._synthesis.FreshViews(at.load(self.generator), at.load(self.latents), self.move())

    def unused(self) -> Mapping[str, str]:
        """What a cache alone has."""
        return {} if self.cached else dict.fromkeys(("n_cached", "n_used", "seed", "batch"), NOT_CACHED)


class Tuned(WithStrength, Synthesised):
    """A move away from the reconstruction whose strength is given or found.

    Attributes:
        redraws: of a strength that is found, draws tried in place of one with which none reaches ε1; a view that none
            reaches is kept and counted.
    """

    redraws: Whole

    @property
    def _strength(self) -> Any:
        """As it is given; that of a whole move where it is found."""
        return 1.0 if self.is_tuned else getattr(self, self.tuned)

    def _search(self, at: Place) -> "SearchCache":
        from assimilate.views.search_cache import SearchCache
        from assimilate.views.tuned import TunedMove

        epsilon1 = self.distance_asked(at)
        assert epsilon1 is not None
        wanted = TunedMove(
            epsilon1=epsilon1,
            move=self.move(),
            most=self.most,
            num_views=self.n_cached,
            seed=self.seed,
            width=self.batch,
            redraws=self.redraws,
            **self._asked,
        )
        return SearchCache.in_latents(at, wanted, self)

    def fill(self, at: Place, write: Write, indices: list[int], progress: Progress) -> None:
        """One forward pass a view, or a few until ε1 is reached."""
        (self._search(at).fill if self.is_tuned else partial(super().fill, at))(write, indices, progress)

    def codes_and_views(self, at: Place, indices: list[int], count: int, progress: Progress) -> tuple[Codes, Pixels]:
        if self.is_tuned:
            return self._search(at).again(indices, count, progress)
        return super().codes_and_views(at, indices, count, progress)

    @property
    def effort_of_a_view(self) -> float:
        """One pass; about four of generator and f where the strength is found."""
        once = super().effort_of_a_view
        return once if self.reference is None else 4 * (once + self.reference.gflop)

    def unused(self) -> Mapping[str, str]:
        redraws = {} if self.is_tuned else {"redraws": f"view.{self.tuned}=auto alone draws again"}
        return {**super().unused(), **redraws}

    @model_validator(mode="after")
    def _can_be_tuned(self) -> "Tuned":
        if self.is_tuned and not self.cached:
            raise ValueError(
                f"view.{self.tuned}=auto cannot be used with view.cached=false: the strength is found for views "
                "that are kept; give view.cached=true or a number"
            )
        return self


class WPerturb(Tuned):
    """Noise in W+ (Section 3.1).

    Attributes:
        sigma: standard deviation of the noise: one number, or a list with one a code (layer), coarse to fine; auto: one
            number for each view, at which f sees it at ε1.
        noise_limit: truncates the noise at ±noise_limit·sigma; null: a normal distribution.
        projected: rescale the noise to radius σ√(L·D) (Table 16).
    """

    title: ClassVar[str] = "W-perturb"
    ink: ClassVar[str] = "vermilion"
    tuned: ClassVar[str] = "sigma"
    reference: Annotated[Encoder | None, When("sigma", AUTO)] = None
    calibration: Annotated[Calibration | None, When("sigma", AUTO), When("epsilon1", AUTO)] = None
    sigma: Annotated[
        NotNegative | list[NotNegative] | Literal["auto"],
        Allowed("auto, a standard deviation ≥ 0, or a list with one a code"),
    ]
    noise_limit: Annotated[Positive | None, Allowed("null (a normal distribution) or standard deviations > 0")]
    projected: Flag

    def move(self) -> "Move":
        """Noise in W+."""
        sigma = tuple(self.sigma) if isinstance(self.sigma, list) else float(self._strength)
        return self._synthesis.Perturbation(sigma, self.projected, self.noise_limit)

    @property
    def facts(self) -> Mapping[str, Any]:
        return {"sigma": self.sigma, "projected": self.projected, "noise_limit": self.noise_limit}

    @model_validator(mode="after")
    def _fits(self) -> "WPerturb":
        if self.projected and self.noise_limit is not None:
            raise ValueError(
                f"view.noise_limit={self.noise_limit} cannot be used with view.projected=true, which fixes the radius "
                "of the noise: give view.noise_limit=null or view.projected=false"
            )
        codes = self.num_codes
        if codes is not None and isinstance(self.sigma, list) and len(self.sigma) not in (1, codes):
            raise ValueError(
                f"view.sigma={self.sigma} has {len(self.sigma)} numbers, but the generator has {codes} codes: give one "
                "number, or one a code"
            )
        return self


class WMix(Tuned):
    """The codes of another image from `split` on.

    Attributes:
        split: codes (layers) that stay the image's, from the coarsest; there are 2·log2(size) − 2.
        strength: how far the other codes go to those of the random latent, 0 to 1; auto: one number for each view, at
            which f sees it at ε1, or 1 where that is still nearer.
    """

    title: ClassVar[str] = "W-mix"
    ink: ClassVar[str] = "purple"
    most: ClassVar[float] = 1.0
    reference: Annotated[Encoder | None, When("strength", AUTO)] = None
    calibration: Annotated[Calibration | None, When("strength", AUTO), When("epsilon1", AUTO)] = None
    split: Annotated[Whole, Allowed("a whole number of codes ≥ 0, at most 2·log2(image_size) − 2")]
    strength: Annotated[Probability | Literal["auto"], Allowed("auto or a number from 0 to 1")] = 1.0

    def move(self) -> "Move":
        return self._synthesis.Mixing(self.split, float(self._strength))

    @property
    def facts(self) -> Mapping[str, Any]:
        """Where the other image's codes begin."""
        return {"split": self.split, "strength": self.strength}

    @model_validator(mode="after")
    def _fits(self) -> "WMix":
        if self.num_codes is not None and self.split > self.num_codes:
            raise ValueError(
                f"view.split={self.split}: the generator has {self.num_codes} codes, allowed is 0 to {self.num_codes}"
            )
        return self


class Reconstruction(Synthesised):
    """g(w) of the inverted latent."""

    title: ClassVar[str] = "reconstruction"
    heading: ClassVar[str | None] = "reconstr."
    shown: ClassVar[Shown | None] = "inverted"

    def move(self) -> "Move":
        return self._synthesis.Perturbation(0.0)
