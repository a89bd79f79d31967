"""Metrics: what each is called, and a run's line for each against its floors, its baseline and the paper."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from assimilate.pages.numbers import NOTHING, signed
from assimilate.pages.run import Measured, Run, warning_of
from assimilate.probes.floors import UNTRAINED

# What stands in a metric's place whose probe diverged, and beside a number that classifiers of raw pixels exceed.
DIVERGED, BELOW = "diverged", "▽"
# The column of the run itself, and that of its differences from the baseline.
OWN, DIFFERENCE = "this run", "diff."
BELOW_PIXELS = "▽ is below what classifiers of raw pixels reach"


@dataclass(frozen=True)
class Metric:
    """How a metric is written.

    Attributes:
        title: the header of a column, as the paper writes it.
        sentence: what is measured and its unit, where the protocol's label does not say it.
        decimals: where the paper prints no number to go by.
        accuracy: whether more is better, in percent.
        column: whether tables without numbers of the paper show it.
    """

    title: str
    sentence: str = ""
    decimals: int = 2
    accuracy: bool = False
    column: bool = True


_METRICS = {
    "acc1": Metric("Acc@1", "linear probe, top-1 %", accuracy=True),
    "acc5": Metric("Acc@5", "linear probe, top-5 %", accuracy=True),
    "acc1_last": Metric("Acc@1, last epoch", "linear probe, last epoch, top-1 %"),
    "acc5_last": Metric("Acc@5, last epoch", "linear probe, last epoch, top-5 %", column=False),
    "knn5": Metric("5-NN", accuracy=True),
    "knn5_euclidean": Metric("5-NN, Euclidean", column=False),
    "knn200": Metric("200-NN, weighted", column=False),
    "mi": Metric("MI (nats)", "mutual information (MINE), nats"),
    "inner_product": Metric("inner product", "mean inner product", decimals=4),
    "l2": Metric("L2 distance", "mean L2 distance", decimals=4, column=False),
}


def metric(name: str) -> Metric:
    """How a metric is written; one that a probe of the user's own measures goes by its own name."""
    neighbours = re.fullmatch(r"knn(\d+)(_euclidean)?", name)
    own = name if neighbours is None else f"{neighbours[1]}-NN" + (", Euclidean" if neighbours[2] else "")
    return _METRICS.get(name, Metric(own))


def ordered(names: Iterable[str]) -> list[str]:
    """Metrics in the order of pages: known ones first."""
    names = list(dict.fromkeys(names))
    return [name for name in _METRICS if name in names] + [name for name in names if name not in _METRICS]


def probe_text(value: Measured | None, decimals: int) -> str:
    """ "92.90 ± 0.05" over probe seeds; a single value without a spread; "–" for nothing."""
    if value is None:
        return NOTHING
    return f"{value.mean:.{decimals}f}" + (f" ± {value.std:.{decimals}f}" if value.n > 1 else "")


def marked_text(run: Run, name: str, value: Measured | None) -> str:
    """`probe_text` of a run's metric, or of another encoder's on its images, with "▽" where it is below raw pixels."""
    below = value is not None and run.is_below_pixels(name, value.mean)
    return probe_text(value, metric(name).decimals) + (f" {BELOW}" if below else "")


def note_of(texts: Iterable[str]) -> str:
    """What "▽" means, where one of the texts has it; else ""."""
    return BELOW_PIXELS if any(BELOW in text for text in texts) else ""


def compare(run: Run) -> dict[str, list[str]]:
    """The table of a run's results, column by column, a line a metric; empty where nothing was measured.

    Beside the run stand its floors (or at least its random network), its baseline and the paper, as far as they are
    there; the difference is from the baseline that it is paired with. "▽" marks the run and its baseline alike.
    """
    names = ordered([*run.metrics, *run.diverged])
    forms = [metric(name) for name in names]
    others = [run.baseline.metrics.get(name) for name in names]
    ours = [run.metrics.get(name) for name in names]
    columns = {floor: [_plain(values.get(name)) for name in names] for floor, values in run.floors.items()}
    if UNTRAINED not in run.floors:
        columns[UNTRAINED] = [_plain(run.untrained.get(name)) for name in names]
    columns[run.baseline_title] = [marked_text(run, name, other) for name, other in zip(names, others, strict=True)]
    columns[OWN] = [
        DIVERGED if own is None else marked_text(run, name, own) for name, own in zip(names, ours, strict=True)
    ]
    columns[DIFFERENCE] = [
        NOTHING if own is None or other is None or not run.is_beside_its_baseline else signed(own.mean - other.mean, 2)
        for own, other in zip(ours, others, strict=True)
    ]
    # A number of another budget never stands beside the paper's.
    columns["paper"] = [NOTHING if warning_of(run.budget) else _printed(run.paper.get(name)) for name in names]
    # A column of dashes would push the numbers off a narrow screen.
    shown = {name: cells for name, cells in columns.items() if set(cells) != {NOTHING}}
    return {"": [form.title for form in forms], **shown} if names else {}


def _plain(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.2f}"


def _printed(value: object) -> str:
    """A number as a row file gives it: plain, or {mean, std}."""
    if isinstance(value, Mapping):
        return f"{value['mean']:.3f} ± {value['std']:.3f}"
    if not isinstance(value, int | float):
        return NOTHING
    return f"{value:.2f}" if round(value, 2) == value else f"{value}"  # 92.9 is printed as 92.90
