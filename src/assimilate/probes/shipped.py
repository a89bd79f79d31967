"""The measurements that ship: neighbours and the linear classifier, of every probe, and the spread of features."""

from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar

from assimilate.probes.metric import Metric, Reading, Seen
from assimilate.probes.protocol import PROTOCOLS

if TYPE_CHECKING:
    from torch import Tensor

CURVE_LABEL = "5-NN, majority vote, cosine, backbone features, un-augmented"


class Neighbours(Metric):
    """Accuracies of k-nearest-neighbour classifiers among the training images, in percent.

    Attributes:
        further: k of majority votes beside k = 5.
    """

    is_accuracy: ClassVar[bool] = True
    further: Sequence[int] = ()

    def measure(self, seen: Seen) -> Mapping[str, float]:
        """By what metrics.json calls them."""
        return self.among(seen.bank, seen.bank_labels, seen.queries, seen.labels)

    def among(self, bank: "Tensor", bank_labels: "Tensor", queries: "Tensor", labels: "Tensor") -> dict[str, float]:
        """The same of any vectors, [n, dim] and [m, dim], and their labels."""
        names = {f"knn{k}_cosine": f"knn{k}" for k in {*range(1, 6), *self.further}} | {"knn200_weighted": "knn200"}
        found = _computed().knn_metrics(bank, bank_labels, queries, labels, k=min(5, len(bank)), further=self.further)
        return {names.get(name, name): value for name, value in found.items()}

    def readings(self, name: str, seen: Seen) -> dict[str, Reading]:
        labels = {
            **{f"knn{k}": CURVE_LABEL.replace("5", str(k), 1) for k in {*range(1, 6), *self.further}},
            **{
                f"knn{k}_euclidean": f"{k}-NN, majority vote, Euclidean, un-normalised backbone features"
                for k in range(1, 6)
            },
            "knn200": "200-NN, cosine, weight exp(s/.1): what the E-SSL code calls kNN",
        }
        return {key: Reading((value,), labels.get(key, "")) for key, value in self.measure(seen).items()}

    def names(self, name: str, num_classes: int) -> Sequence[str]:
        """Few images may lack knn200."""
        return tuple(dict.fromkeys([*(f"knn{k}" for k in sorted({5, *self.further})), "knn5_euclidean", "knn200"]))

    def accuracies(self, name: str, num_classes: int) -> Sequence[str]:
        """Those of fewer than 5 training images as well, where k is their number."""
        few = [name for k in range(1, 5) for name in (f"knn{k}", f"knn{k}_euclidean")]
        return tuple(dict.fromkeys([*self.names(name, num_classes), *few]))


class Linear(Metric):
    """Accuracies of a linear classifier on frozen features, one a seed, in percent.

    Attributes:
        settings: of `linear_probe`.
        departures: what it does otherwise than its protocol, for its label.
    """

    of_untrained: ClassVar[bool] = False
    is_accuracy: ClassVar[bool] = True
    settings: dict[str, Any]
    departures: Sequence[str] = ()

    def measure(self, seen: Seen) -> Mapping[str, float]:
        """Their means over the seeds."""
        return {key: sum(value.values) / len(value.values) for key, value in self.readings("", seen).items()}

    def readings(self, name: str, seen: Seen) -> dict[str, Reading]:
        probe = _computed().linear_probe(
            seen.encoder,
            seen.dataset.train,
            seen.dataset.test,
            num_classes=len(seen.dataset.class_names),
            progress=seen.progress,
            **self.settings,
        )
        here = f" (here: {', '.join(self.departures)})" if self.departures else ""
        return {metric: Reading(values, probe.labels[metric] + here) for metric, values in probe.values.items()}

    def names(self, name: str, num_classes: int) -> Sequence[str]:
        """acc5 needs more than 5 classes; a protocol that reports its best epoch has the last one's too."""
        found = ("acc1", "acc5") if num_classes > 5 else ("acc1",)
        best = PROTOCOLS[self.settings["preset"]].reports_best
        return (*found, *(f"{metric}_last" for metric in found)) if best else found


class Spread(Metric):
    """How far the directions of features differ (`spread_of`): near 0 where they have collapsed."""

    title: ClassVar[str] = "directions of un-augmented training images' features"

    def measure(self, seen: Seen) -> Mapping[str, float]:
        """Spread, 0 to 1, and effective rank, 1 to the features' dimension."""
        computed = _computed()
        return computed.spread_of(computed.some(seen.bank))

    def names(self, name: str, num_classes: int) -> Sequence[str]:
        return (f"{name}_spread", f"{name}_effective_rank")


def _computed() -> ModuleType:
    from assimilate.probes import computed

    return computed
