"""All finished runs below a folder, as a tuple that prints as a table. Needs neither torch nor Hydra."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, SupportsIndex, overload

from assimilate.jobs.finished import DEPTH, Run
from assimilate.pages.images import told_apart
from assimilate.pages.metrics import BELOW
from assimilate.pages.numbers import Spread, spread
from assimilate.pages.result_file import METRICS, read_newest
from assimilate.pages.run import label_of
from assimilate.probes.floors import below_pixels, texts_by_group


class Runs(tuple[Run, ...]):
    """Finished runs in the order of their folders; printing it prints its table.

    Attributes:
        problems: results that could not be read, and why, by path.
        out: the folder that they were looked for in.

    Raises:
        IndexError: there is no run of an index; says what was looked for and where.
    """

    problems: Mapping[Path, str] = MappingProxyType({})
    out: Path = Path()

    @overload
    def __getitem__(self, index: SupportsIndex) -> Run: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Run, ...]: ...
    def __getitem__(self, index: SupportsIndex | slice) -> Run | tuple[Run, ...]:
        try:
            return super().__getitem__(index)
        except IndexError:
            raise IndexError(f"no run {index}: {self._found}") from None

    @property
    def _found(self) -> str:
        """How many there are, where, and what makes one."""
        many = f"{len(self) or 'no'} finished run{'s' * (len(self) != 1)} below {self.out.resolve()}"
        unread = f"; {len(self.problems)} could not be read (.problems)" if self.problems else ""
        how = "" if self else "; `assimilate train` makes one, and out= says where"
        return f"{many} (`<budget>/<row>/<data set>/seed<n>/{METRICS}`){unread}{how}"

    @property
    def _images(self) -> dict[Path, str]:
        """By the folder of a run, what its images are called, no two sets of images alike."""
        results = told_apart([run.result for run in self])
        return {run.folder: result.dataset for run, result in zip(self, results, strict=True)}

    def rows(self) -> list[dict[str, Any]]:
        """A plain dict a run: name, dataset, budget, seed, and the mean of each metric (in percent).

        Names and data sets are those of the table.
        """
        keys = {run.folder: key for key, own in self._settings.items() for run in own}
        return [
            dict(zip(("name", "dataset", "budget"), keys[run.folder], strict=True))
            | {"seed": run.seed}
            | {metric: value.mean for metric, value in run.metrics.items()}
            for run in self
        ]

    def over_seeds(self) -> dict[tuple[str, str, str], dict[str, Spread]]:
        """By (name, data set, budget), of each metric the mean, sample standard deviation and n over training seeds.

        A metric that some seeds lack is averaged over the others. Names and data sets are those of the table.
        """
        return {key: _measured(own) for key, own in self._settings.items()}

    @property
    def _settings(self) -> dict[tuple[str, str, str], list[Run]]:
        """By (name, data set, budget) the runs that differ in nothing but their seed; the first one's name."""
        found, images = dict[tuple[str, ...], list[Run]](), self._images
        for run in self:
            place = run.result.place
            found.setdefault((place.budget, place.group, place.same, images[run.folder]), []).append(run)
        return {(own[0].name, images[own[0].folder], own[0].budget): own for own in found.values()}

    def table(self, *metrics: str) -> str:
        """A Markdown table, a line a setting: "mean ± std (n)" over training seeds; no metrics named: all.

        Below stand the floors of each data set; ▽ marks what is below raw pixels. Images of other sizes, or in other
        folders, are other data sets. Of no run at all: a line that says so.
        """
        if not self and not self.problems:
            return self._found
        settings = self._settings
        metrics = metrics or tuple(dict.fromkeys(metric for each in self.over_seeds().values() for metric in each))
        lines, images = [("run", "data set", "budget", *metrics)], self._images
        for (name, dataset, _), own in settings.items():
            each, floors_of = _measured(own), [run.floors for run in own]
            marks = {metric: f" {BELOW}" for metric in each if below_pixels(metric, each[metric].mean, floors_of)}
            shown = {metric: found.text(2) + marks.get(metric, "") for metric, found in each.items()}
            lines.append((name, dataset, _label(own[0]), *(shown.get(metric, "–") for metric in metrics)))
        for where, floors in texts_by_group(((images[run.folder], _label(run)), run.floors) for run in self).items():
            for floor, texts in floors.items():
                lines.append((f"floor: {floor}", *where, *(texts.get(metric, "–") for metric in metrics)))
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        padded = ["| " + " | ".join(map(str.ljust, line, widths)) + " |" for line in lines]
        rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
        unread = [f"not read: {path}: {reason}" for path, reason in self.problems.items()]
        return "\n".join([padded[0], rule, *padded[1:], *unread])

    def __str__(self) -> str:
        return self.table()

    def _repr_markdown_(self) -> str:  # what a notebook shows
        return self.table()


def runs(out: Path | str | None = None) -> Runs:
    """Every finished run below `out`, in the order of their paths; none where nothing has finished.

    Of one run and seed in two folders, as earlier versions named them, it is the later result.

    Args:
        out: what `out=` was; None takes $ASSIMILATE_OUT, else ./outputs.

    Raises:
        ValueError: there is no such folder.
    """
    root = Path(out if out is not None else os.environ.get("ASSIMILATE_OUT", "outputs")).expanduser()
    if not root.is_dir():
        raise ValueError(
            f"out={root}: there is no such folder ({root.resolve()}); `assimilate train` writes below out="
        )
    paths = sorted(root.glob(f"{'*/' * (DEPTH - 1)}seed*/{METRICS}"))
    found, refused = read_newest(paths, root, lambda path: Run(path.parent))
    result = Runs(found.values())
    result.problems, result.out = {path: str(error) for path, error in refused.items()}, root
    return result


def _measured(runs: Sequence[Run]) -> dict[str, Spread]:
    """Each metric over the runs that have it."""
    values: dict[str, list[float]] = {}
    for run in runs:
        for metric, measured in run.metrics.items():
            values.setdefault(metric, []).append(measured.mean)
    return {metric: spread(found) for metric, found in values.items()}


def _label(run: Run) -> str:
    """In the column of budgets."""
    return label_of(run.budget, bool(run.paper)).removeprefix("budget=")
