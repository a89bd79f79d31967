"""Views of the image itself, by a transformation: what decides them."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, ClassVar, Literal

from assimilate.data.transform import ExpertView
from assimilate.graph.place import Place, Progress, Write
from assimilate.graph.settings import NEUTRAL, At, Count, Flag, Seed
from assimilate.views.step import Cached, Shown, View


class CachedExpert(Cached):
    """Expert views, drawn once.

    Attributes:
        seed: seed of the cache.
        cached: true: n_cached draws of an image are kept (what Table 3 and Table 6's ✗ row did).
        draws: draws of a cache: independent, or shared, where draw_batch images in turn share their draws (the code
            behind Table 3).
        draw_batch: images that share their draws.
    """

    title: ClassVar[str] = "expert"
    usual: ClassVar[bool] = True
    shown: ClassVar[Shown | None] = "drawn"
    ink: ClassVar[str] = "green"
    real: ClassVar[bool] = True
    seed: Seed
    cached: Annotated[Flag, NEUTRAL]
    draws: Literal["independent", "shared"]
    draw_batch: Count
    transform: Annotated[ExpertView, At("")]

    @property
    def side(self) -> int:
        return self.transform.crop_size or self.transform.image_size

    @property
    def _shared_by(self) -> int | None:
        return self.draw_batch if self.draws == "shared" else None

    def fill(self, at: Place, write: Write, indices: list[int], progress: Progress) -> None:
        from assimilate.views.expert_views import draw_expert_views

        draw_expert_views(
            at.dataset.train.images,
            indices,
            self.transform.augmentation(),
            write,
            num_views=self.n_cached,
            seed=self.seed,
            shared_by=self._shared_by,
            progress=progress,
        )

    @property
    def facts(self) -> Mapping[str, Any]:
        """Whose draws they are."""
        shared = self._shared_by
        return {"draws": "independent for every image" if shared is None else f"shared by {shared} images in turn"}

    def unused(self) -> Mapping[str, str]:
        if self._shared_by is not None:
            return {}
        return {"draw_batch": "view.draws=independent shares no draws"}

    @classmethod
    def drawn_by(cls, take: Callable[[str], Any]) -> str | None:
        return None if take("view.cached") else "expert"


class Drawn(View):
    """A view of the real image, drawn anew by a transformation that has the view's name."""

    shown: ClassVar[Shown | None] = "drawn"

    @classmethod
    def drawn_by(cls, take: Callable[[str], Any]) -> str | None:
        return str(take("view.name"))


class Original(View):
    """The image itself, under `assim.generated_transform`."""

    shown: ClassVar[Shown | None] = "image"

    @classmethod
    def drawn_by(cls, take: Callable[[str], Any]) -> str | None:
        return str(take("assim.generated_transform"))
