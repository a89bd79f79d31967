"""What was run as plain data: report.json, two tables for a spreadsheet, and what the page's script reads."""

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from assimilate.pages import curves
from assimilate.pages.book import Book
from assimilate.pages.metrics import metric, ordered
from assimilate.pages.remembered import Remembered, as_columns
from assimilate.pages.run import Run
from assimilate.run.neutral import is_setting

JSON, RUNS_CSV, DIFFERENCES_CSV = "report.json", "report_runs.csv", "report_differences.csv"


def run_lines(book: Book) -> list[dict[str, Any]]:
    """A plain dict a run: its place, hours, and the mean of each metric."""
    return [_place(run) | {"seed": run.place.seed} | _measured(run) for run in book.runs]


def _place(run: Run) -> dict[str, Any]:
    place = run.place
    name = f"{place.group}/{place.setting}"
    told = {"run": run.titles.run, "words": run.words}
    return {"setting": name, **told, "dataset": run.dataset, "budget": place.budget}


def _measured(run: Run) -> dict[str, Any]:
    means = {name: run.metrics[name].mean for name in ordered(run.metrics)}
    return {"hours": round(sum(run.seconds.values()) / 3600, 5), **means}


# Of each line of `difference_lines`: the columns of a file without differences too.
DIFFERENCE_KEYS = (
    *("setting", "run", "words", "dataset", "budget", "metric", "title"),
    *("mean", "low", "high", "p", "p_holm", "n", "seeds"),
)


def difference_lines(book: Book) -> list[dict[str, Any]]:
    """A plain dict a setting and metric: its difference from the baseline."""
    settings = {(run.place.group, run.place.setting, run.dataset, run.place.budget): run for run in book.runs}
    return [
        {
            **_place(run),
            "metric": name,
            "title": metric(name).title,
            "mean": found.mean,
            "low": found.low,
            "high": found.high,
            "p": found.p,
            "p_holm": found.p_holm,
            "n": found.n,
            "seeds": list(found.seeds),
        }
        for run in settings.values()
        for name, found in book.paired.get(run.place.folder, {}).items()
    ]


def as_csv(lines: Sequence[Mapping[str, Any]], keys: Sequence[str] = ()) -> str:
    """Lines with a header of `keys` and all that the lines have besides; lists as words."""
    header = list(dict.fromkeys([*keys, *(key for line in lines for key in line)]))
    stream = io.StringIO()
    writer = csv.DictWriter(stream, header, lineterminator="\n")
    writer.writeheader()
    for line in lines:
        writer.writerow({key: " ".join(map(str, v)) if isinstance(v, list) else v for key, v in line.items()})
    return stream.getvalue()


def page_data(book: Book, remembered: Remembered, *, page_of: Callable[[Run], str]) -> Markup:
    """What the page's script reads, as JSON in which no text can end its element.

    Of each run of `report.json` its title, command's words, page, curves and those settings that are not every run's;
    a seed is no setting, nor is what decides no number.
    """
    runs = book.runs
    lines = {"runs": run_lines(book), "differences": difference_lines(book)}
    more = [
        {
            "title": run.title,
            "words": run.words,
            "page": page_of(run),
            "knn": as_columns([(x, y) for x, y in run.knn_curve or ()]) if run.knn_curve else None,
            "loss": remembered.loss(run) or None,
            "settings": {key: value for key, value in settings.items() if is_setting(f"{key}=")},
        }
        for run, settings in zip(runs, differing_settings([run.config for run in runs]), strict=True)
    ]
    names = ordered(name for run in runs for name in run.metrics)
    frame = [curves.WIDTH, curves.HEIGHT, curves.LEFT, curves.RIGHT, curves.TOP, curves.BOTTOM]
    titles = {name: metric(name).title for name in names}
    text = json.dumps(
        {**lines, "difference_keys": DIFFERENCE_KEYS, "more": more, "metrics": titles, "frame": frame},
        ensure_ascii=False,
    )
    return Markup(text.replace("&", r"\u0026").replace("<", r"\u003c").replace(">", r"\u003e"))


def differing_settings(configs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Each configuration's settings by their dotted keys, without those that all have alike."""
    found: list[dict[str, Any]] = [{} for _ in configs]
    _collect(configs, "", found)
    return found


def _collect(nodes: Sequence[Mapping[str, Any] | None], prefix: str, found: list[dict[str, Any]]) -> None:
    for key in dict.fromkeys(key for node in nodes if node for key in node):
        values = [_ABSENT if node is None else node.get(key, _ABSENT) for node in nodes]
        if all(value == values[0] for value in values[1:]):
            continue
        _collect([value if isinstance(value, Mapping) else None for value in values], f"{prefix}{key}.", found)
        for each, value in zip(found, values, strict=True):
            if value is not _ABSENT and not isinstance(value, Mapping):
                each[f"{prefix}{key}"] = value


_ABSENT: Any = object()
