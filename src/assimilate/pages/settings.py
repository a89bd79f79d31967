"""Runs of no row: settings that differ in more than their seed, in tables whose numbers were measured alike."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from assimilate.pages.metrics import BELOW, metric, note_of, ordered
from assimilate.pages.numbers import NOTHING, Spread, spread
from assimilate.pages.paired import Baselines, Paired, elsewhere
from assimilate.pages.run import Run, label_of
from assimilate.probes.floors import texts_by_group
from assimilate.run.job import shell_word


@dataclass(frozen=True)
class Setting:
    """Runs of no row that differ in nothing but their seed.

    Attributes:
        title: what is assimilated and how.
        words: what their command overrides.
        runs: by seed.
        paired: differences from SimCLR by metric.
        shown: of the words those that other lines of its table lack.
        unpaired: of the runs those whose SimCLR run is not there.
    """

    title: str
    words: str
    runs: tuple[Run, ...]
    paired: Mapping[str, Paired] = field(default_factory=dict)
    shown: str = ""
    unpaired: tuple[Run, ...] = ()

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

    def paired_text(self, name: str) -> str:
        """ "+1.20 [+0.80, +1.61] (10)"; "" where there is nothing to compare with."""
        return self.paired[name].text(metric(name).decimals) if name in self.paired else ""

    @property
    def is_baseline(self) -> bool:
        """Whether others are compared with it."""
        return all(run.is_baseline for run in self.runs)

    def text(self, name: str, of_baseline: bool) -> str:
        """ "92.41 ± 0.12 (3)", with "▽" where it is below raw pixels; "–" for nothing."""
        value = self.of_baseline(name) if of_baseline else self.measured(name)
        if value is None:
            return NOTHING
        is_below = any(run.is_below_pixels(name, value.mean) for run in self.runs)
        return value.text(metric(name).decimals) + (f" {BELOW}" if is_below else "")


@dataclass(frozen=True)
class SettingsTable:
    """Settings of one data set that were measured by the same protocols, so that their numbers may share a column.

    Attributes:
        title: of which images, at what budget, and which of several tables of these it is.
        apart: what parts it from those others; "" where there are none.
        common: the overrides that all its settings have.
        out_word: the override `out=…` that its commands need, if the default does not lead there.
    """

    budget: str
    dataset: str
    protocols: Mapping[str, str]
    settings: tuple[Setting, ...]
    title: str = ""
    apart: str = ""
    common: str = ""
    out_word: str | None = None

    @property
    def columns(self) -> list[tuple[str, bool, str]]:
        """(metric, whether f's, title): f's stand before ours where nothing better is there to compare with."""
        found = []
        for name in self.protocols:
            is_paired = any(name in setting.paired for setting in self.settings)
            if not is_paired and any(setting.of_baseline(name) for setting in self.settings):
                found.append((name, True, f"{metric(name).title} of f"))
            found.append((name, False, metric(name).title))
        return found

    @property
    def floors(self) -> dict[str, list[str]]:
        """What accuracies have to beat, by floor, a text a column."""
        runs = [run for setting in self.settings for run in setting.runs]
        return {
            floor: [NOTHING if is_f else texts.get(name, NOTHING) for name, is_f, _ in self.columns]
            for floors in texts_by_group((self.dataset, run.floors) for run in runs).values()
            for floor, texts in floors.items()
        }

    @property
    def baseline_commands(self) -> list[str]:
        """What trains the baselines that are not there, with the seeds of the runs that lack them."""
        lacking: dict[str, set[int]] = {}
        for run in (run for setting in self.settings for run in setting.unpaired if run.baseline_command):
            lacking.setdefault(run.baseline_command, set()).add(run.place.seed)
        into = f" {shell_word(self.out_word)}" if self.out_word else ""
        return [
            f"{command} seed={','.join(map(str, sorted(seeds)))}{into}{' -m' if len(seeds) > 1 else ''}"
            for command, seeds in lacking.items()
        ]

    @property
    def notes(self) -> list[str]:
        """Each protocol with the metrics that it measures."""
        found: dict[str, list[str]] = {}
        for name, label in self.protocols.items():
            found.setdefault(label, []).append(metric(name).title)
        lines = [f"{', '.join(titles)}: {label}" for label, titles in found.items() if label]
        shown = [setting.text(name, of_f) for setting in self.settings for name, of_f, _ in self.columns]
        outside = elsewhere((setting.is_baseline, setting.paired) for setting in self.settings)
        return [*lines, *filter(None, [outside and f"Δ is {outside}", note_of(shown)])]


def group_settings(
    runs: Sequence[Run], *, budget: str, baselines: Baselines | None = None, out_word: str | None = None
) -> tuple[SettingsTable, ...]:
    """Runs of no row at one budget, seeds together, in a table for each data set and set of protocols.

    Args:
        runs: results of any budget.
        budget: whose runs to take.
        baselines: the runs to take differences from; None: those among `runs`.
        out_word: the override `out=…` that commands need, if the default does not lead there.
    """
    adhoc = [run for run in runs if run.place.budget == budget and run.place.row is None]
    baselines = baselines or Baselines(runs)
    tables: dict[tuple[str, tuple[tuple[str, str], ...]], dict[str, list[Run]]] = {}
    for run in sorted(adhoc, key=lambda run: (run.dataset, run.place.setting, run.place.seed)):
        names = [name for name in ordered(run.metrics) if metric(name).column]
        protocols = tuple((name, run.protocols.get(name, "")) for name in names)
        tables.setdefault((run.dataset, protocols), {}).setdefault(run.place.same, []).append(run)
    found = []
    for (dataset, protocols), settings in tables.items():
        differences = baselines.differences(settings)
        words = [own[0].own_words for own in settings.values()]
        common = [word for word in words[0] if len(words) > 1 and all(word in others for others in words)]
        rows = []
        for name, own in settings.items():
            paired = {metric: value for (key, metric), value in differences.items() if key == name}
            shown = " ".join(word for word in own[0].own_words if word not in common)
            unpaired = tuple(run for run in own if baselines.of(run) is None)
            rows.append(Setting(own[0].titles.run, own[0].words, tuple(own), paired, shown, unpaired))
        rows.sort(key=lambda setting: not setting.is_baseline)
        found.append(
            SettingsTable(budget, dataset, dict(protocols), tuple(rows), common=" ".join(common), out_word=out_word)
        )
    return tuple(_titled(table, [other for other in found if other.dataset == table.dataset]) for table in found)


def _titled(table: SettingsTable, alike: Sequence[SettingsTable]) -> SettingsTable:
    """A table by its name, and what parts it from the others of the same images and budget.

    Args:
        table: one of them.
        alike: all of them.
    """
    title = f"{table.dataset}, {label_of(table.budget, printed=False)}"
    if len(alike) == 1:
        return replace(table, title=title)
    names = dict.fromkeys(name for other in alike for name in other.protocols)
    other_way = [
        metric(name).title
        for name, label in table.protocols.items()
        if any(other.protocols.get(name, label) != label for other in alike)
    ]
    lacking = [metric(name).title for name in names if name not in table.protocols]
    parts = [f"{', '.join(other_way)} measured in another way (named below)"] if other_way else []
    parts += [f"no {', '.join(lacking)}"] if lacking else []
    others = "table" if len(alike) == 2 else "tables"
    apart = f"Unlike the other {others} of these images: {'; '.join(parts)}." if parts else ""
    return replace(table, title=f"{title} ({alike.index(table) + 1} of {len(alike)})", apart=apart)
