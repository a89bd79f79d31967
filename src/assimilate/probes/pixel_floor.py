"""The floor of raw pixels as a step."""

import json
from pathlib import Path
from typing import Annotated, Any, ClassVar

from assimilate.graph.cost import Effort
from assimilate.graph.place import Built, Place
from assimilate.graph.settings import NEUTRAL, From
from assimilate.probes.floors import MOST_FOR_C, MOST_ITERATIONS, MOST_TEST, MOST_TRAIN, NUM_FOLDS, SIDE, STRENGTHS
from assimilate.probes.labelled import Labelled

# Of a finished artifact: what it measured.
FLOOR = "floor.json"


class PixelFloor(Labelled):
    """Accuracies of a logistic regression and of nearest neighbours on pixels, once for all runs on the images."""

    kind: ClassVar[str] = "floors"
    stage: ClassVar[str] = "evaluate"
    title: ClassVar[str] = "Measuring raw pixels"
    image_size: Annotated[int, NEUTRAL, From("dataset.image_size")]

    @property
    def label(self) -> str:
        """What it measures."""
        return "pixels"

    def build(self, into: Path, at: Place) -> Built:
        """Fit and measure (`measure_pixels`)."""
        from assimilate.probes.pixels import measure_pixels

        with at.bar(self.title) as progress:
            found = measure_pixels(self.images_at(at), device=at.device, progress=progress)
        (into / FLOOR).write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        return Built({name: value["mean"] for name, value in found["metrics"].items() if name in ("acc1", "knn5")})

    def load(self, folder: Path, at: Place) -> dict[str, Any]:
        """`metrics`, {name: {"mean": percent}}, and `note`: what was done, in words."""
        return json.loads((folder / FLOOR).read_text(encoding="utf-8"))

    def effort(self, images: int) -> Effort:
        """Some hundred passes over the pixels, of ten classes, and the distances to as many test images as may be."""
        size = self.image_size if self.evaluation is None else self.evaluation.image_size
        images, dim = min(images, MOST_TRAIN), 3 * min(size, SIDE) ** 2
        fitted = images + (NUM_FOLDS - 1) * len(STRENGTHS) * min(images, MOST_FOR_C)
        products = fitted * dim * 10 * MOST_ITERATIONS * 2 / 3 + 3 * images * min(images, MOST_TEST) * dim
        return Effort(2e-9 * products)
