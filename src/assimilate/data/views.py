"""Where the views of a training step come from: the real image or a source of generated ones, and a transform."""

from dataclasses import dataclass
from typing import Literal, Protocol, get_args, runtime_checkable

import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from assimilate.data.augmentation import Augmentation
from assimilate.data.placement import Placement

Source = Literal["image", "generated"]


class ViewSource(Protocol):
    """Generated views of the images of a data set, addressed by the index of the image."""

    @property
    def num_views(self) -> int:
        """How many views of an image there are to choose from."""
        ...

    def gather(
        self, indices: Int64[Tensor, " batch"], num_sampled: int, rng: torch.Generator
    ) -> UInt8[Tensor, "batch num_sampled 3 height width"]:
        """Draw ``num_sampled`` distinct views of each image, uniformly and without replacement.

        ``rng`` lives on the CPU, whatever the device of ``indices``: which views are drawn does not depend on
        where they are kept. The result may live on any device.
        """
        ...


@runtime_checkable
class PlaceableViewSource(ViewSource, Protocol):
    """A source whose views are stored, and can be stored where they are wanted."""

    def place(self, device: torch.device, *, placement: Placement, num_sharing: int) -> None:
        """Keep the views on ``device`` if ``placement`` says so (``PlacedImages``); gather them onto it in any case."""
        ...


@dataclass(frozen=True)
class ViewSlot:
    """One view of a training step: the real image or a generated view of it, and what is done to it.

    With ``probability`` below 1 it is this view of an image that often, anew at every access, and else the image under
    ``otherwise``.
    """

    source: Source
    transform: Augmentation
    probability: float = 1.0
    otherwise: Augmentation | None = None

    def __post_init__(self) -> None:
        if not 0 < self.probability <= 1:
            raise ValueError(f"assim.probability is {self.probability}; allowed: above 0, up to 1")
        if self.probability < 1 and self.otherwise is None:
            raise ValueError("a view with a probability below 1 needs `otherwise`, the view in its place")
        if self.source not in get_args(Source):
            raise ValueError(f"the source of a view is {self.source!r}; allowed: image, generated")

    @property
    def is_generated(self) -> bool:
        """Whether it shows a generated view."""
        return self.source == "generated"
