"""Runs of no row: settings that differ in more than their seed, in tables whose numbers were measured alike."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from assimilate.tables.numbers import Spread, hours_text, shared_seconds, spread
from assimilate.tables.results import Run


@dataclass(frozen=True)
class Setting:
    """Runs of no row that differ in nothing but their seed."""

    budget: str
    name: str
    dataset: str
    words: tuple[str, ...]
    runs: tuple[Run, ...]

    def measured(self, metric: str) -> Spread | None:
        """Over training seeds; None where no run has the metric."""
        values = [run.metrics[metric].mean for run in self.runs if metric in run.metrics]
        return spread(values) if values else None

    def of_baseline(self, metric: str) -> Spread | None:
        """The same of f, the SimCLR runs that the views come from: each once, however many runs use it."""
        found = {}
        for run in self.runs:
            baseline = run.raw.get("baseline") or {}
            measured = baseline.get("metrics", {}).get(metric)
            # f's number beside the run's own must have been measured alike.
            if measured and baseline.get("protocols", {}).get(metric) == run.protocols.get(metric):
                found[str(baseline.get("artifact"))] = float(measured["mean"])
        return spread(list(found.values())) if found else None

    @property
    def hours(self) -> str:
        """Hours for all its seeds, upstream included, what they share counted once."""
        return hours_text(shared_seconds([run.costs for run in self.runs]))


@dataclass(frozen=True)
class SettingsTable:
    """Settings of one data set that were measured by the same protocols, so that their numbers may share a column."""

    budget: str
    dataset: str
    metrics: tuple[str, ...]
    protocols: Mapping[str, str]
    settings: tuple[Setting, ...]

    @property
    def columns(self) -> list[tuple[str, bool]]:
        """(metric, whether f's): every metric, and before it f's where any run has a SimCLR run to compare with."""
        found = []
        for metric in self.metrics:
            if any(setting.of_baseline(metric) for setting in self.settings):
                found.append((metric, True))
            found.append((metric, False))
        return found

    @property
    def notes(self) -> list[tuple[tuple[str, ...], str]]:
        """Each protocol with the metrics that it measures."""
        found: dict[str, list[str]] = {}
        for metric, label in self.protocols.items():
            if label:
                found.setdefault(label, []).append(metric)
        return [(tuple(metrics), label) for label, metrics in found.items()]


def group_settings(
    runs: Sequence[Run], *, budget: str, metrics: Sequence[str], is_setting: Callable[[str], bool]
) -> list[SettingsTable]:
    """Runs of no row at one budget, seeds together, in a table for each data set and set of protocols.

    Args:
        runs: results of any budget.
        budget: whose runs to take.
        metrics: the columns wanted; those that nothing was measured by are left out.
        is_setting: whether a word of the command belongs to the setting.
    """
    adhoc = [run for run in runs if run.place.budget == budget and run.place.row is None]
    tables: dict[tuple[str, tuple[tuple[str, str], ...]], dict[str, list[Run]]] = {}
    for run in sorted(adhoc, key=lambda run: (run.dataset, run.place.setting, run.place.seed)):
        protocols = tuple((metric, run.protocols.get(metric, "")) for metric in metrics if metric in run.metrics)
        tables.setdefault((run.dataset, protocols), {}).setdefault(run.place.setting, []).append(run)
    found = []
    for (dataset, labels), settings in tables.items():
        protocols_of = dict(labels)
        found.append(
            SettingsTable(
                budget,
                dataset,
                tuple(protocols_of),
                protocols_of,
                tuple(
                    Setting(budget, name, dataset, tuple(filter(is_setting, own[0].overrides)), tuple(own))
                    for name, own in settings.items()
                ),
            )
        )
    return found
