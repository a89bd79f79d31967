"""Runs of no row: settings that differ in more than their seed, in tables whose numbers were measured alike."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from assimilate.pages.metrics import metric, ordered
from assimilate.pages.numbers import NOTHING, Spread, spread
from assimilate.pages.run import Run


@dataclass(frozen=True)
class Setting:
    """Runs of no row that differ in nothing but their seed; `words` are what their command overrides."""

    words: str
    runs: tuple[Run, ...]

    def measured(self, name: str) -> Spread | None:
        """A metric over training seeds; None where no run has it."""
        values = [run.metrics[name].mean for run in self.runs if name in run.metrics]
        return spread(values) if values else None

    def of_baseline(self, name: str) -> Spread | None:
        """The same of f, the SimCLR runs that the views come from: each once, however many runs use it."""
        found = {
            run.baseline.artifact: run.baseline.metrics[name].mean
            for run in self.runs
            # f's number beside the run's own must have been measured alike.
            if name in run.baseline.metrics and run.baseline.protocols.get(name) == run.protocols.get(name)
        }
        return spread(list(found.values())) if found else None

    def text(self, name: str, of_baseline: bool) -> str:
        """ "92.41 ± 0.12 (3)"; "–" for nothing."""
        value = self.of_baseline(name) if of_baseline else self.measured(name)
        return NOTHING if value is None else value.text(metric(name).decimals)


@dataclass(frozen=True)
class SettingsTable:
    """Settings of one data set that were measured by the same protocols, so that their numbers may share a column."""

    budget: str
    dataset: str
    protocols: Mapping[str, str]
    settings: tuple[Setting, ...]

    @property
    def columns(self) -> list[tuple[str, bool, str]]:
        """(metric, whether f's, title): f's stand before ours where any run has a SimCLR run to compare with."""
        found = []
        for name in self.protocols:
            if any(setting.of_baseline(name) for setting in self.settings):
                found.append((name, True, f"{metric(name).title} of f"))
            found.append((name, False, metric(name).title))
        return found

    @property
    def notes(self) -> list[str]:
        """Each protocol with the metrics that it measures."""
        found: dict[str, list[str]] = {}
        for name, label in self.protocols.items():
            found.setdefault(label, []).append(metric(name).title)
        return [f"{', '.join(titles)}: {label}" for label, titles in found.items() if label]


def group_settings(runs: Sequence[Run], *, budget: str, is_setting: Callable[[str], bool]) -> tuple[SettingsTable, ...]:
    """Runs of no row at one budget, seeds together, in a table for each data set and set of protocols.

    Args:
        runs: results of any budget.
        budget: whose runs to take.
        is_setting: whether a word of the command belongs to the setting.
    """
    adhoc = [run for run in runs if run.place.budget == budget and run.place.row is None]
    tables: dict[tuple[str, tuple[tuple[str, str], ...]], dict[str, list[Run]]] = {}
    for run in sorted(adhoc, key=lambda run: (run.dataset, run.place.setting, run.place.seed)):
        names = [name for name in ordered(run.metrics) if metric(name).column]
        protocols = tuple((name, run.protocols.get(name, "")) for name in names)
        tables.setdefault((run.dataset, protocols), {}).setdefault(run.place.setting, []).append(run)
    return tuple(
        SettingsTable(
            budget,
            dataset,
            dict(protocols),
            tuple(Setting(" ".join(filter(is_setting, own[0].overrides)), tuple(own)) for own in settings.values()),
        )
        for (dataset, protocols), settings in tables.items()
    )
