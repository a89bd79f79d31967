"""ε1 as a step: the mean distance at which f sees an image's expert views (Section 5.1)."""

from typing import Annotated, ClassVar

from assimilate.data.dataset import Images
from assimilate.data.transform import ExpertView
from assimilate.encoder.step import Encoder
from assimilate.graph.cost import Effort
from assimilate.graph.settings import At
from assimilate.graph.step import Step


class Calibration(Step):
    """ε1, measured."""

    kind: ClassVar[str] = "calibrations"
    stage: ClassVar[str] = "calibrate"
    title: ClassVar[str] = "Measuring ε1"
    reference: Encoder
    images: Images
    transform: Annotated[ExpertView, At("")]

    def effort(self, images: int) -> Effort:
        """Three forward passes an image."""
        return Effort(images * 3 * self.reference.gflop, width=self.reference.width)

    @property
    def label(self) -> str:
        """What it measures."""
        return "epsilon1"
