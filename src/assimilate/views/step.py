"""Where a generated view comes from: what every kind has, cached or made while an encoder trains."""

import math
from collections.abc import Callable
from typing import Annotated, Any, ClassVar

from pydantic import model_validator

from assimilate.data.dataset import Images
from assimilate.generator.step import Generator
from assimilate.graph.cost import Effort
from assimilate.graph.settings import (
    NAMED,
    NEUTRAL,
    Allowed,
    Count,
    From,
)
from assimilate.graph.step import Step
from assimilate.inversion.step import Latents

Used = Annotated[Count | None, NEUTRAL, Allowed("null (all that are cached) or a whole number ≥ 1")]
NCached = Annotated[Count, Allowed("a whole number ≥ 1")]


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
    """Views that are made once for all images and kept.

    Attributes:
        n_cached: views of an image in the cache (Section 5.3 has 8).
        n_used: how many of the cached views a run reads, the first ones (Table 7); null: all.
    """

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
    def num_views(self) -> int:
        """How many views of an image the cache holds."""
        return self.n_cached

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
