"""What is measured of a trained encoder: one class a measurement, shipped or from outside."""

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from assimilate.graph.place import Progress, silent
from assimilate.graph.settings import Settings

if TYPE_CHECKING:
    from torch import Tensor

    from assimilate.data.images import ImageDataset
    from assimilate.encoder.encoder import Encoder


@dataclass(frozen=True)
class Seen:
    """An encoder, and what it makes of the images.

    Attributes:
        encoder: frozen, on the device.
        dataset: labelled images, of training and test.
        bank: backbone features of the un-augmented training images, [n, dim].
        queries: of the test images, [m, dim].
        bank_labels, labels: int64, [n] and [m].
        progress: hears of a measurement's epochs.
    """

    encoder: "Encoder"
    dataset: "ImageDataset"
    bank: "Tensor"
    queries: "Tensor"
    bank_labels: "Tensor"
    labels: "Tensor"
    progress: Progress = silent


@dataclass(frozen=True)
class Reading:
    """One number of metrics.json.

    Attributes:
        values: one a seed, or one.
        label: how it was measured, in words.
    """

    values: tuple[float, ...]
    label: str


def summary(values: Sequence[float]) -> dict[str, Any]:
    """mean, std (population), n and values, as metrics.json holds them."""
    mean = math.fsum(values) / len(values)
    std = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / len(values))
    return {"mean": mean, "std": std, "n": len(values), "values": list(values)}


class DivergedError(ValueError):
    """A measurement did not stay finite: its numbers are left out, with this reason, and others are kept."""


class Metric(Settings):
    """A measurement. One from outside is metrics.<name>._target_=module.Class, and reported under that name."""

    # How it is measured, in words; "" for the class's name.
    title: ClassVar[str] = ""
    # Whether a random network, the encoder before its training, is measured beside it.
    of_untrained: ClassVar[bool] = True
    # Whether its numbers are accuracies in percent, which the share of the commonest class is a floor of.
    is_accuracy: ClassVar[bool] = False

    @abstractmethod
    def measure(self, seen: Seen) -> float | Mapping[str, float]:
        """The number, or several by name; these are reported as <name of the metric>_<name>."""

    def readings(self, name: str, seen: Seen) -> dict[str, Reading]:
        """What it contributes to metrics.json.

        Args:
            name: the metric's.
            seen: what is measured.

        Raises:
            DivergedError: it did not stay finite.
        """
        found, label = self.measure(seen), self.title or type(self).__name__
        if not isinstance(found, Mapping):
            return {name: Reading((float(found),), label)}
        return {f"{name}_{key}": Reading((float(value),), label) for key, value in found.items()}

    def names(self, name: str, num_classes: int) -> Sequence[str]:
        """The numbers that it may leave in metrics.json."""
        return (name,)

    def accuracies(self, name: str, num_classes: int) -> Sequence[str]:
        """Those of its numbers, rare ones included, that are accuracies."""
        return self.names(name, num_classes) if self.is_accuracy else ()
