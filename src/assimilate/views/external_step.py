"""Views that somebody else made: what decides them."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np

from assimilate.errors import UserError
from assimilate.graph.cost import Effort
from assimilate.graph.counted import counted
from assimilate.graph.place import Place, Progress, RowWork, Write
from assimilate.graph.settings import NEUTRAL, PATH, Allowed, Count, From
from assimilate.views.cached_files import IMAGES
from assimilate.views.external import ExternalViews, check_external, in_order, read_external, scan_external
from assimilate.views.pairing import describe_pairing
from assimilate.views.step import Cached


class External(Cached):
    """Views that somebody else made: a folder `<index>/<k>.png`, or an array.

    Attributes:
        path: a folder <index>/<k>.png or .jpg or <image's file>/<k>.png, or a uint8 array [N, n, 3, H, W] (.npy), in
            the order of the prepared training images.
        n_cached: views of an image to use, from the lowest k; null: as many as every image has.
    """

    title: ClassVar[str] = "views from elsewhere"
    ink: ClassVar[str] = "sky"
    path: Annotated[str, NEUTRAL, PATH, Allowed("a folder or a .npy file")]
    n_cached: Annotated[Count | None, NEUTRAL, Allowed("null (all) or a whole number ≥ 1")]  # type: ignore[assignment]
    image_size: Annotated[int, From("dataset.image_size")]

    def _found(self) -> ExternalViews:
        try:
            return scan_external(Path(self.path))
        except ValueError as error:
            raise UserError(str(error)) from error
        except OSError as error:
            raise UserError(f"view.path={self.path}: it cannot be read ({error.strerror})") from error

    @property
    def num_views(self) -> int:
        return self._found().num_views if self.n_cached is None else self.n_cached

    @property
    def num_used(self) -> int:
        """The first ones, all where no number is asked for.

        Raises:
            UserError: there are fewer.
        """
        there = self.num_views
        if self.n_used is not None and self.n_used > there:
            raise UserError(f"view.n_used={self.n_used} exceeds the {counted(there, 'view')} that every image has")
        return there if self.n_used is None else self.n_used

    def content(self) -> Mapping[str, Any]:
        return {"listing": self._found().key, "n_cached": self.num_views}

    def rows(self, at: Place) -> RowWork:
        """Checked against the data set, and packed.

        Raises:
            ValueError: images without views, views too few or of another size.
        """
        check_external(
            self._in_order(at), num_images=len(at.dataset.train), image_size=self.side, num_views=self.num_views
        )

        return replace(super().rows(at), title="Packing views")

    def doubt(self, folder: Path, at: Place) -> str | None:
        """Whether they may be views of other images."""
        return super().doubt(folder, at) or describe_pairing(
            at.dataset.train.images, np.load(folder / IMAGES, mmap_mode="r")
        )

    def _in_order(self, at: Place) -> ExternalViews:
        files = at.dataset.files
        return in_order(self._found(), None if files is None else files["train"])

    def fill(self, at: Place, write: Write, indices: list[int], progress: Progress) -> None:
        read_external(
            self._in_order(at), indices, write, image_size=self.side, num_views=self.num_views, progress=progress
        )

    @property
    def facts(self) -> Mapping[str, Any]:
        """Where they were."""
        return {"path": str(self._found().path)}

    def effort(self, images: int) -> Effort:
        """The pictures."""
        return Effort(0.0, images * self.num_views * 3 * self.side**2 / 1e6)
