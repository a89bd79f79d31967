"""The tables of the paper: their titles, what they hold, their rows' labels and the order of both."""

from collections.abc import Mapping
from dataclasses import dataclass, field

# The one budget whose numbers may stand beside the paper's.
COMPARABLE_BUDGET = "paper"
METRICS = {
    "acc1": "Acc@1",
    "acc5": "Acc@5",
    "acc1_last": "Acc@1, last epoch",
    "acc5_last": "Acc@5, last epoch",
    "knn5": "5-NN",
    "knn5_euclidean": "5-NN, Euclidean",
    "knn200": "200-NN, weighted",
    "mi": "MI (nats)",
    "inner_product": "inner product",
    "l2": "L2 distance",
}
DATASETS = {
    "cifar10": "CIFAR-10",
    "cifar100": "CIFAR-100",
    "tinyimagenet": "TinyImageNet",
    "imagenet": "ImageNet",
    "imagenet_fake": "ImageNet from a BigBiGAN",
    "digits": "digits",
}
# A run of each is one more accuracy: the sign of a difference says better or worse.
ACCURACIES = frozenset({"acc1", "acc5", "knn5"})


@dataclass(frozen=True)
class PaperTable:
    """One table of the paper.

    Attributes:
        group: the folder of its rows in experiments/.
        number: as the paper counts, e.g. "5a".
        title: what it is about, in a few words.
        caption: what a reader needs to know, in our words.
        columns: headers of the row labels.
        rows: name of each row's file to its labels, in the paper's order.
        measured_as: metric of the table to the metric of ours that is like it, where the names differ.
    """

    group: str
    number: str
    title: str
    caption: str
    columns: tuple[str, ...]
    rows: Mapping[str, tuple[str, ...]]
    measured_as: Mapping[str, str] = field(default_factory=dict)

    def labels_of(self, name: str) -> tuple[str, ...]:
        """A row's labels; its file's name for one that is not listed."""
        return self.rows.get(name, (name.replace("_", " "), *[""] * (len(self.columns) - 1)))
