"""What a number has to beat before it says anything of an encoder."""

from collections.abc import Hashable, Iterable, Mapping
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Group = TypeVar("Group", bound=Hashable)
# Of one run: floor -> metric -> percent.
Floors = Mapping[str, Mapping[str, float]]
COMMONEST_CLASS, PIXELS, UNTRAINED = "commonest class", "raw pixels", "random network"
# Larger images are averaged to this side. So many training images are used, so many of them to choose C, and so many
# test images; and no more than an iteration of so many multiplications takes: 1,000 classes leave 10,000 images.
SIDE, MOST_TRAIN, MOST_FOR_C, MOST_TEST = 32, 50_000, 10_000, 10_000
MOST_PRODUCTS = 3.1e10
NUM_FOLDS, STRENGTHS, MOST_ITERATIONS = 3, (1e-3, 1e-2, 0.1, 1.0, 10.0), 300


def commonest_class(labels: NDArray[np.int64], metrics: Iterable[str]) -> dict[str, float]:
    """The best accuracy in percent of an answer that never looks at the image, for each metric.

    That is the share of the commonest class, and of the five commonest together where five answers count (acc5).

    Args:
        labels: [N] of the test images.
        metrics: names of accuracies.
    """
    shares = np.sort(np.bincount(labels))[::-1] * (100.0 / len(labels))
    return {metric: float(shares[: 5 if metric.startswith("acc5") else 1].sum()) for metric in metrics}


def named_as(metrics: Iterable[str], values: dict[str, float]) -> dict[str, float]:
    """Of a floor's values those of the given metrics; the last epoch's accuracy has the floor of the best one's."""
    found = {metric: values.get(metric, values.get(metric.removesuffix("_last"))) for metric in metrics}
    return {metric: value for metric, value in found.items() if value is not None}


def below(metrics: Mapping[str, float], floor: Mapping[str, float]) -> list[str]:
    """The metrics that do not reach a floor."""
    return [name for name, value in metrics.items() if value < floor.get(name, -np.inf)]


def below_pixels(metric: str, value: float, found: Iterable[Floors]) -> bool:
    """Whether a value, e.g. the mean over runs, does not reach the raw pixels of one of its runs."""
    return any(below({metric: value}, floors.get(PIXELS, {})) for floors in found)


def texts_by_group(found: Iterable[tuple[Group, Floors]]) -> dict[Group, dict[str, dict[str, str]]]:
    """The texts of floors in tables: group -> floor -> metric -> "85.00", or "60.00 to 85.00" where runs differ.

    Runs of one group may differ in a floor: a random network is of the run's own encoder and seed.

    Args:
        found: of each run its group, which holds what its lines stand under (data set, budget), and its floors.
    """
    values: dict[Group, dict[str, dict[str, list[float]]]] = {}
    for group, floors in found:
        for floor, of in floors.items():
            for metric, value in of.items():
                values.setdefault(group, {}).setdefault(floor, {}).setdefault(metric, []).append(value)
    return {
        group: {floor: {metric: _range(each) for metric, each in of.items()} for floor, of in floors.items()}
        for group, floors in values.items()
    }


def _range(values: list[float]) -> str:
    return " to ".join(dict.fromkeys(f"{value:.2f}" for value in (min(values), max(values))))
