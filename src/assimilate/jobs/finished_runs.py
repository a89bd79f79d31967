"""All finished runs below a folder, as a tuple that prints as a table. Needs neither torch nor Hydra."""

import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, SupportsIndex, overload

from assimilate.jobs.finished import DEPTH, Run
from assimilate.pages.images import told_apart
from assimilate.pages.metrics import BELOW
from assimilate.pages.numbers import Spread, spread
from assimilate.pages.result_file import METRICS, newest
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
        """A plain dict a run: name, dataset, budget, seed, and the mean of each metric (in percent)."""
        return [
            {"name": run.name, "dataset": run.dataset_name, "budget": run.budget, "seed": run.seed}
            | {metric: value.mean for metric, value in run.metrics.items()}
            for run in self
        ]

    def over_seeds(self) -> dict[tuple[str, str, str], dict[str, Spread]]:
        """By (name, data set, budget), of each metric the mean, sample standard deviation and n over training seeds.

        A metric that some seeds lack is averaged over the others.
        """
        values: dict[tuple[str, str, str], dict[str, list[float]]] = {}
        for run in self:
            setting = values.setdefault((run.name, run.dataset_name, run.budget), {})
            for metric, measured in run.metrics.items():
                setting.setdefault(metric, []).append(measured.mean)
        return {key: {metric: spread(found) for metric, found in each.items()} for key, each in values.items()}

    def table(self, *metrics: str) -> str:
        """A Markdown table, a line a setting: "mean ± std (n)" over training seeds; no metrics named: all.

        Below stand the floors of each data set; ▽ marks what is below raw pixels. Images of other sizes, or in other
        folders, are other data sets. Of no run at all: a line that says so.
        """
        if not self and not self.problems:
            return self._found
        settings = self.over_seeds()
        metrics = metrics or tuple(dict.fromkeys(metric for each in settings.values() for metric in each))
        lines, images = [("run", "data set", "budget", *metrics)], self._images
        for key, each in settings.items():
            of_setting = [run for run in self if (run.name, run.dataset_name, run.budget) == key]
            own = [run.floors for run in of_setting]
            marks = {name: f" {BELOW}" for name in each if below_pixels(name, each[name].mean, own)}
            shown = {name: found.text(2) + marks.get(name, "") for name, found in each.items()}
            where = images[of_setting[0].folder], _label(of_setting[0])
            lines.append((key[0], *where, *(shown.get(metric, "–") for metric in metrics)))
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
    found, problems = [], {}
    for path in newest(sorted(root.glob(f"{'*/' * (DEPTH - 1)}seed*/{METRICS}")), root):
        try:
            found.append(Run(path.parent))
        except ValueError as error:
            problems[path] = str(error)
    result = Runs(found)
    result.problems, result.out = problems, root
    return result


def _label(run: Run) -> str:
    """In the column of budgets."""
    return label_of(run.budget, bool(run.paper)).removeprefix("budget=")
