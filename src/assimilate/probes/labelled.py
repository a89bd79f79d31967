"""What is measured on labelled images of training and test."""

from typing import TYPE_CHECKING

from assimilate.data.dataset import Dataset, Images
from assimilate.errors import UserError
from assimilate.graph.place import Place
from assimilate.graph.step import Step

if TYPE_CHECKING:
    from assimilate.data.images import ImageDataset


class Labelled(Step):
    """A measurement on the run's images, or on those of `dataset.evaluation`."""

    images: Images
    evaluation: Dataset | None = None

    def images_at(self, at: Place) -> "ImageDataset":
        """The images that it uses: the run's, or those of `dataset.evaluation`.

        Raises:
            UserError: they have no labels, or no test images.
        """
        if self.evaluation is None:
            return at.dataset
        dataset: ImageDataset = at.load(self.evaluation)
        if dataset.train.labels is None or dataset.test is None:
            lacking = "labels" if dataset.train.labels is None else "test images"
            raise UserError(f"dataset.evaluation.name={dataset.name}: has no {lacking}, so nothing can be probed on it")
        return dataset
