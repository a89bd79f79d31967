"""Views that somebody else made: what decides them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar

from assimilate.errors import UserError
from assimilate.graph.cost import Effort
from assimilate.graph.settings import (
    NEUTRAL,
    PATH,
    Allowed,
    Count,
    From,
)
from assimilate.views.step import Cached


class External(Cached):
    """Views that somebody else made: a folder `<index>/<k>.png`, or an array.

    Attributes:
        path: a folder <index>/<k>.png or .jpg or <image's file>/<k>.png, or a uint8 array [N, n, 3, H, W] (.npy), in
            the order of the prepared training images.
        n_cached: views of an image to use, from the lowest k; null: as many as every image has.
    """

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
