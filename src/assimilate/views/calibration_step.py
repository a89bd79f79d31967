"""ε1 as a step: the mean distance at which f sees an image's expert views (Section 5.1)."""

from typing import Annotated, ClassVar

from assimilate.data.dataset import Images
from assimilate.data.transform import ExpertView
from assimilate.encoder.step import Encoder
from assimilate.graph.settings import At
from assimilate.graph.step import Step


class Calibration(Step):
    """ε1, measured."""

    kind: ClassVar[str] = "calibrations"
    title: ClassVar[str] = "Measuring ε1"
    reference: Encoder
    images: Images
    transform: Annotated[ExpertView, At("")]

    @property
    def label(self) -> str:
        """What it measures."""
        return "epsilon1"
