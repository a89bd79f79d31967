"""Where a generated view comes from: what every kind has, cached or made while an encoder trains."""

import functools
import json
from abc import abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import model_validator

from assimilate.data.dataset import Images
from assimilate.data.transform import Transform
from assimilate.generator.step import Generator
from assimilate.graph.cost import Effort
from assimilate.graph.counted import counted
from assimilate.graph.place import Built, Place, Progress, RowWork, Write
from assimilate.graph.settings import NAMED, NEUTRAL, Allowed, Count, From
from assimilate.graph.step import Step
from assimilate.inversion.step import Latents
from assimilate.views.cached_files import IMAGES, SUMMARY

if TYPE_CHECKING:
    from assimilate.data.views import ViewSource

UNMEASURED = "not measured (NaN): these views are made without f"
Used = Annotated[Count | None, NEUTRAL, Allowed("null (all that are cached) or a whole number ≥ 1")]
Codes = np.ndarray[Any, np.dtype[np.float32]]
Pixels = np.ndarray[Any, np.dtype[np.uint8]]
Shown = Literal["image", "drawn", "inverted", "cached", "latents", "network"]
NCached = Annotated[Count, Allowed("a whole number ≥ 1")]


class View(Step):
    """Where a generated view comes from."""

    kind: ClassVar[str] = "views"
    stage: ClassVar[str] = "make_views"
    whole: ClassVar[str] = "cache"
    name: Annotated[str, NEUTRAL, NAMED]
    # The dotted path of the LightningModule that trains on its views, where the arrangement's own does not.
    trained_by: ClassVar[str | None] = None
    # How a figure comes by them: the image itself, draws of a transformation, g of the image's latent, a cache, a cache
    # of views that have latents too, or a network that a training left; None: not at all.
    shown: ClassVar[Shown | None] = None
    # Whether its views are what SimCLR contrasts, so that the title of a run names the others.
    usual: ClassVar[bool] = False
    # Over a column of pictures in figures; None: its title.
    heading: ClassVar[str | None] = None
    # Its colour in figures.
    ink: ClassVar[str] = "grey"
    # Whether a training of another loss than a contrastive one can make these views itself.
    needs_contrastive_loss: ClassVar[bool] = False
    # Whether an expert view can stand in its place now and then (`assim.probability`).
    replaces: ClassVar[bool] = True
    # Whether its views are expert views of the image.
    real: ClassVar[bool] = False
    # Whether `assim.generated_transform` is applied to it.
    uses_transform: ClassVar[bool] = True

    @property
    def label(self) -> str:
        return self.name

    @property
    def doing(self) -> str:
        return f"Making views by {self.title or self.name}"

    @classmethod
    def drawn_by(cls, take: Callable[[str], Any]) -> str | None:
        """The transformation of the image itself that draws the view anew, by its word; None for a generated view.

        Args:
            take: reads a key of the configuration.
        """
        return None

    @classmethod
    def titled(cls, select: Callable[[str], Any]) -> str:
        """What titles of runs call it under its settings; "" for one without a title.

        Args:
            select: reads a key of the configuration.
        """
        return cls.title

    @property
    def num_available(self) -> int | None:
        """Views of an image that a step can draw distinct ones from; None: as many as it asks for."""
        return None

    @property
    def available_as(self) -> str:
        """What limits `num_available`, for people."""
        return f"the {counted(self.num_available or 0, 'view')} that every image has"

    @property
    def looks_through_the_trained(self) -> bool:
        """Whether it looks at images through the encoder that is being trained."""
        return False

    @property
    def made_together(self) -> bool:
        """Whether views of an image depend on the other images of the cache."""
        return False

    @property
    def given_images(self) -> Transform | None:
        """How the images look that a training step makes these views of; None where they come from a `source`."""
        return None

    def distance_asked(self, at: Place) -> float | None:
        """ε1, of a kind that is made for a distance."""
        return None

    def source(self, at: Place) -> "ViewSource | None":
        """What serves these views to a training; None where each of its steps makes them (`trained_by`)."""
        return None

    @property
    def lacking(self) -> str | None:
        """What its class would need for a training to come by its views; None where nothing is missing."""
        if self.trained_by is not None:
            return None
        if self.training:
            return "trained_by, the LightningModule that takes what its `training` gives"
        served = type(self).source is not View.source
        return None if served or self.given_images is not None else "trained_by, source or given_images"

    def drawn_again(self, at: Place, encoder: Path) -> "ViewSource | None":
        """What makes views such as a training that is over saw, for its page; None where nothing can.

        Args:
            at: the job.
            encoder: the folder of the trained encoder.
        """
        return self.source(at)

    def seen_of(self, images: Pixels, drawn: Pixels) -> list[list[str]]:
        """What a page says of views that were drawn again, (what, how much), beside the images that they are of."""
        return []

    def effort_in_training(self, gflop: float) -> float:
        """What making one of its views within a training step takes, in GFLOP, for an encoder of so many an image."""
        return 0.0

    @property
    def training(self) -> Mapping[str, Any]:
        """The arguments of `trained_by` beside those of every LightningModule."""
        return {}

    def equip(self, module: Any, at: Place, transform: Transform | None) -> None:
        """Give the LightningModule what it needs of other artifacts.

        Args:
            module: of the class `trained_by`.
            at: the job.
            transform: what is done to a view.
        """


class Cached(View):
    """Views that are made once for all images and kept: a subclass has `fill`.

    The artifact holds `images.npy` uint8 [N, n, 3, side, side], `distances.npy` and `distances_original.npy` float32
    [N, n] and `steps.npy`, and what `summarize` measured in `summary.json`.

    Attributes:
        n_cached: views of an image in the cache (Section 5.3 has 8).
        n_used: how many of the cached views a run reads, the first ones (Table 7); null: all.
    """

    shown: ClassVar[Shown | None] = "cached"
    images: Images
    image_size: Annotated[int, NEUTRAL, From("dataset.image_size")]
    n_cached: NCached
    n_used: Used = None

    @property
    def side(self) -> int:
        """Of a view, in pixels."""
        return self.image_size

    @abstractmethod
    def fill(self, at: Place, write: Write, indices: list[int], progress: Progress) -> None:
        """Make the views of some images. Those of an image depend on the image and the settings alone.

        Args:
            at: the job: `at.dataset.train.images` are uint8 [N, 3, H, W].
            write: takes (index of the image, its views as uint8 [num_views, 3, side, side]), in any order, and by name
                what was measured of them.
            indices: of the images.
            progress: called with (images done, images, {}).

        Raises:
            ValueError: the views cannot be made; says why, in one line.
        """

    @property
    def measured(self) -> Mapping[str, tuple[tuple[int, ...], str]]:
        """What is stored beside an image's views, (shape, dtype) by file stem: NaN or 0 where `fill` gives none."""
        each = (self.num_views,)
        return {"distances": (each, "<f4"), "distances_original": (each, "<f4"), "steps": ((), "<i4")}

    @property
    def facts(self) -> Mapping[str, Any]:
        """What `summarize` says of the settings."""
        return {}

    def summarize(self, folder: Path, at: Place) -> dict[str, Any]:
        """What the arrays of a finished cache say, for `summary.json`, the manifest and the report."""
        path = folder / "distances.npy"
        distances = np.load(path).astype(np.float64) if path.exists() else np.array(np.nan)
        seen: dict[str, Any] = {"distances": UNMEASURED}
        if not np.isnan(distances).all():
            seen = {"distance_mean": float(np.nanmean(distances)), "distance_std": float(np.nanstd(distances))}
        return {"view": self.name, **seen, **self.facts}

    def doubt(self, folder: Path, at: Place) -> str | None:
        """A warning about a finished cache; None where there is nothing to say."""
        views = np.load(folder / IMAGES, mmap_mode="r")
        some = np.asarray(views[:: max(1, len(views) // 64)])
        if self.num_views > 1 and (some == some[:, :1]).all():
            return (
                f"the {self.num_views} views of an image are all the same picture: nothing random is drawn for each, "
                "or its strength is 0. One view an image would do as well"
            )
        return None

    def rows(self, at: Place) -> RowWork:
        """The work of filling the cache, in parts that processes may share.

        Raises:
            ValueError: it cannot be filled.
        """
        shape, measured = (self.num_views, 3, self.side, self.side), self.measured
        blank = {
            name: np.full(row, np.nan if np.dtype(kind).kind == "f" else 0, kind)
            for name, (row, kind) in measured.items()
        }

        def fill(write: Write, indices: list[int], progress: Progress) -> None:
            def put(index: int, views: Any, **given: Any) -> None:
                views = np.asarray(views)
                if views.dtype != np.uint8 or views.shape != shape:
                    raise ValueError(
                        f"view={self.name}: views of image {index} are {views.dtype} {list(views.shape)}; needed is "
                        f"uint8 {list(shape)}"
                    )
                write(index, views, **{**blank, **given})

            self.fill(at, put, indices, progress)

        return RowWork(
            self.doing,
            len(at.dataset.train),
            shape,
            measured,
            fill,
            functools.partial(self.summarize, at=at),
            functools.partial(self.doubt, at=at),
        )

    def build(self, into: Path, at: Place) -> Built:
        """The views of every training image; what an interrupted run or a shard made is taken over.

        Raises:
            OSError: the disk is full; what is there stays.
            UserError: a shard was made from other networks than those that lie here.
        """
        work = self.rows(at)
        at.fill_rows(self, work, into)
        summary = work.summarize(into)
        (into / SUMMARY).write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
        doubt = work.doubt(into)
        if doubt is not None:
            at.say(f"warning: {doubt}")
            summary["notes"] = [doubt]  # of the manifest alone: a sentence of ours decides no byte of the cache
        return Built(summary)

    def load(self, folder: Path, at: Place) -> "ViewSource":
        """Serves the views that a training reads."""
        from assimilate.views.cache import CachedViews

        return CachedViews.open(folder, num_used=self.num_used)

    def source(self, at: Place) -> "ViewSource | None":
        return at.load(self)

    def counted(self, at: Place) -> str:
        """What an image's `steps` are, where some are measured: "steps", "forward passes an image"."""
        return "steps"

    def summary(self, at: Place) -> dict[str, Any]:
        """What was measured when the cache was filled."""
        return json.loads((at.folder(self) / SUMMARY).read_text(encoding="utf-8"))

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
        return self.num_used if self.is_stored else None

    @property
    def available_as(self) -> str:
        if self.n_used is not None:
            return f"view.n_used={self.n_used}"
        return super().available_as if self.n_cached is None else f"view.n_cached={self.n_cached}"

    @model_validator(mode="after")
    def _used_are_cached(self) -> "Cached":
        if self.n_used is not None and self.n_cached is not None and self.n_used > self.n_cached:
            raise ValueError(f"view.n_used={self.n_used} exceeds view.n_cached={self.n_cached}, all that there is")
        return self


class FromLatents(Cached):
    """Views that a generator makes from the image's latent."""

    shown: ClassVar[Shown | None] = "latents"
    slow_imports: ClassVar[tuple[str, ...]] = ("assimilate.encoder.encoder", *Generator.slow_imports)
    generator: Generator
    latents: Latents
    truncation: Annotated[float | None, From("generator.truncation")] = None

    def codes_and_views(self, at: Place, indices: list[int], count: int, progress: Progress) -> tuple[Codes, Pixels]:
        """The first views of some images, as the cache holds them, with their codes, which it does not hold.

        Args:
            at: the job.
            indices: of the M images.
            count: views of each.
            progress: called as images are done.

        Returns:
            Codes before truncation [M, count, codes, dim] and views [M, count, 3, H, W].

        Raises:
            ValueError: this kind cannot tell the codes of its views.
        """
        raise ValueError(f"view={self.name} has no latents of its views to show")

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
    def num_codes(self) -> int | None:
        """Codes of an image; None where that is known once the generator is read."""
        shape = self.generator.code_shape
        return None if shape is None else shape[0]
