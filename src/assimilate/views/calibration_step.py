"""ε1 and ε2 as settings, and ε1 as a step: the mean distance at which f sees an image's expert views (Section 5.1)."""

import json
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from assimilate.data.dataset import Images
from assimilate.data.transform import ExpertView
from assimilate.encoder.step import Encoder
from assimilate.graph.cost import Effort
from assimilate.graph.place import Built, Place
from assimilate.graph.settings import Allowed, At
from assimilate.graph.step import Step

Distance1 = Annotated[
    Annotated[float, Field(ge=0, le=2)] | Literal["auto"],
    Allowed("auto or a distance: 0 ≤ ε1 ≤ 2, f's outputs have norm 1"),
]
Distance2 = Annotated[Annotated[float, Field(ge=0)] | Literal["auto"], Allowed("auto or a distance ≥ 0")]


def usual_epsilon2(epsilon1: float) -> float:
    """ε2 where it is not given, 5/3·ε1 (Section 5.1)."""
    return 5 / 3 * epsilon1


CALIBRATION = "calibration.json"


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

    def build(self, into: Path, at: Place) -> Built:
        """The distances and cosines of three kinds of pairs."""
        from assimilate.views.calibration import FrozenEmbedding, measure_epsilon1

        with at.bar("Measuring ε1") as progress:
            measured = measure_epsilon1(
                FrozenEmbedding.of(at.load(self.reference)).to(at.device),
                at.dataset.train.images,
                self.transform.augmentation(),
                seed=0,
                device=at.device,
                progress=progress,
            )
        values = {"epsilon1": measured.epsilon1, "distance": measured.distance, "cosine": measured.cosine}
        (into / CALIBRATION).write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
        return Built({"epsilon1": measured.epsilon1})

    def load(self, folder: Path, at: Place) -> dict[str, Any]:
        """What was measured: `epsilon1`, and mean and std of `distance` and `cosine` by pair."""
        return json.loads((folder / CALIBRATION).read_text(encoding="utf-8"))


def wanted_distance(epsilon1: float | str, calibration: Calibration | None, at: Place) -> float:
    """ε1 of a setting: its number, or what was measured where it is "auto"."""
    return float(at.load(calibration)["epsilon1"] if epsilon1 == "auto" else epsilon1)
