"""Views at a strength that is given, or found so that f sees each view at ε1: the settings."""

from abc import abstractmethod
from collections.abc import Mapping
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field, model_validator

from assimilate.encoder.step import Encoder
from assimilate.graph.place import Place
from assimilate.graph.settings import Allowed, Count, Positive
from assimilate.views.calibration_step import Calibration, Distance1, wanted_distance
from assimilate.views.step import Cached

if TYPE_CHECKING:
    from assimilate.views.search_cache import SearchCache

AUTO = "auto"


class WithStrength(Cached):
    """A strength that is given, or "auto": each view's own, at which f sees the view at ε1.

    One strength takes some views much farther than others (Figure 2's misalignment), and one an image is not enough:
    on the digits demo, views of one image lie as far apart in distance as those of different images, and with their
    mean at ε1 the single view is off by 49% of ε1 (rms). So each view has its own, from the same draw as where
    the strength is given. It is found like a ray's length.

    Attributes:
        epsilon1: where the strength is auto, the wanted distance of a view from its anchor; auto: the mean of that of
            the expert views, measured.
        tolerance: how far a stored view's distance may be from ε1, as a share of ε1.
        passes: forward passes of a view at most.
        calibration_images: images on which the first guess, the median strength, is measured.
    """

    reference: Encoder | None = None
    calibration: Calibration | None = None
    epsilon1: Distance1 = "auto"
    tolerance: Annotated[Positive, Field(lt=1), Allowed("a share of ε1: > 0 and < 1")] = 0.05
    passes: Count = 12
    calibration_images: Count = 64

    # The field that holds the strength, and the largest that there is.
    tuned: ClassVar[str] = "strength"
    most: ClassVar[float] = inf

    @property
    def is_tuned(self) -> bool:
        """Whether each view has a strength of its own."""
        return bool(getattr(self, self.tuned) == AUTO)

    @abstractmethod
    def _search(self, at: Place) -> "SearchCache":
        """What finds the strengths."""

    @property
    def _asked(self) -> Mapping[str, Any]:
        """Of views whose strength is found, the settings that `AtEpsilon1` has."""
        names = ("tolerance", "passes")
        return {name: getattr(self, name) for name in names} | {"calibration": self.calibration_images}

    def distance_asked(self, at: Place) -> float | None:
        """ε1, where the strength is found."""
        return wanted_distance(self.epsilon1, self.calibration, at) if self.is_tuned else None

    def counted(self, at: Place) -> str:
        """Those that find the strengths."""
        return self._search(at).counted if self.is_tuned else super().counted(at)

    @property
    def measured(self) -> Mapping[str, tuple[tuple[int, ...], str]]:
        """And what was found, where it was looked for."""
        found = {"spread": ((), "<f4"), "converged": ((), "|u1"), "strengths": ((self.num_views,), "<f4")}
        return {**super().measured, **(found if self.is_tuned else {})}

    def summarize(self, folder: Path, at: Place) -> dict[str, Any]:
        """And the distances that were reached, where they were asked for."""
        settings = super().summarize(folder, at)
        return {**settings, **self._search(at).summarize(folder)} if self.is_tuned else settings

    def unused(self) -> Mapping[str, str]:
        """What is asked of a strength that is found."""
        if self.is_tuned:
            return super().unused()
        why = f"view.{self.tuned}=auto alone looks through f, at ε1"
        return {**super().unused(), **dict.fromkeys(set(WithStrength.model_fields) - set(Cached.model_fields), why)}

    @model_validator(mode="after")
    def _leaves_the_anchor(self) -> "WithStrength":
        if self.is_tuned and self.epsilon1 == 0:
            raise ValueError(
                f"view.epsilon1=0 cannot be used with view.{self.tuned}=auto, which leaves the anchor: give a "
                "distance > 0"
            )
        return self
