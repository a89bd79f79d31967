"""A run against its baseline and against the paper, as rows of text."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from assimilate.tables.paper_tables import names_of_ours

METRIC_NAMES = {
    "acc1": "linear probe, top-1 %",
    "acc5": "linear probe, top-5 %",
    "acc1_last": "linear probe, last epoch, top-1 %",
    "acc5_last": "linear probe, last epoch, top-5 %",
    "knn5": "5-NN, cosine %",
    "knn5_euclidean": "5-NN, Euclidean %",
    "knn200": "200-NN, weighted %",
    "mi": "mutual information (MINE), nats",
    "inner_product": "mean inner product",
    "l2": "mean L2 distance",
}
# What stands in a metric's place whose probe diverged.
DIVERGED = "diverged"
DECIMALS = {"inner_product": 4, "l2": 4}


@dataclass(frozen=True)
class Line:
    """One metric: its floors, what the random initialisation, the baseline and the run reach, what the paper prints."""

    metric: str
    untrained: str
    baseline: str
    run: str
    difference: str
    paper: str
    floors: Mapping[str, str]


def number(value: Mapping[str, Any] | None, decimals: int = 2) -> str:
    """ "92.90 ± 0.05"; a single value without a spread; "–" for nothing."""
    if value is None:
        return "–"
    if value.get("n", 1) == 1:
        return f"{value['mean']:.{decimals}f}"
    return f"{value['mean']:.{decimals}f} ± {value['std']:.{decimals}f}"


def paper_number(value: Any) -> str:
    """A number as a row file gives it: plain, or {mean, std}."""
    if value is None:
        return "–"
    if isinstance(value, Mapping):
        return f"{value['mean']:.3f} ± {value['std']:.3f}"
    return f"{value:.2f}" if round(value, 2) == value else f"{value}"  # 92.9 is printed as 92.90


def compare(result: Mapping[str, Any]) -> list[Line]:
    """Lines of a metrics.json, for every metric that the run has."""
    baseline = result.get("baseline", {}).get("metrics", {})
    measured_as = names_of_ours(str(result.get("row")))
    printed = {measured_as.get(name, name): value for name, value in result.get("paper", {}).items()}
    lines = []
    for metric, name in METRIC_NAMES.items():
        own = result["metrics"].get(metric)
        if own is None and metric not in result.get("diverged", {}):
            continue
        other = baseline.get(metric)
        start = result.get("untrained", {}).get(metric)
        lines.append(
            Line(
                metric=name,
                untrained="–" if start is None else f"{start:.2f}",
                baseline=number(other),
                run=DIVERGED if own is None else number(own, DECIMALS.get(metric, 2)),
                difference="–" if other is None or own is None else f"{own['mean'] - other['mean']:+.2f}",
                paper=paper_number(printed.get(metric)),
                floors={
                    floor: f"{values[metric]:.2f}" if metric in values else "–"
                    for floor, values in result.get("floors", {}).items()
                },
            )
        )
    return lines
