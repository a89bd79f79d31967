"""The page of one run, written from the files that the run left: no images, no checkpoint, no torch."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from assimilate.artifacts.artifact import artifact_root
from assimilate.files.whole_file import may_write, write_whole
from assimilate.graph.counted import counted
from assimilate.pages.card import Card, card_of
from assimilate.pages.curves import Plot, plot
from assimilate.pages.found import cards_of, file_inside, read_analyses, read_curve, read_manifest
from assimilate.pages.metrics import DIFFERENCE, OWN, compare, metric, note_of, ordered
from assimilate.pages.numbers import NOTHING
from assimilate.pages.paired import PAIRED_NOTE, Paired
from assimilate.pages.render import picture_data, render
from assimilate.pages.result_file import IDENTITY, METRICS, with_baseline
from assimilate.pages.run import Run

REPORT = "report.html"
PICTURES = "pictures"
PICTURES_FILE = "pictures.json"
# What training leaves in the artifact of an encoder.
HISTORY, CURVE = "history.csv", "knn_curve.csv"
# Of a run's folder, as far as they are there.
FILES = (METRICS, IDENTITY, HISTORY, CURVE)


def write_run_page(
    out: Path,
    run: Run,
    cards: Sequence[Card] | None = None,
    paired: Mapping[str, Paired] = MappingProxyType({}),
) -> Path:
    """Write `report.html` into the run's folder and return its path.

    One that is there already, letter by letter, is left alone, and so is a folder that cannot be written.

    Args:
        out: where everything lies.
        run: the run.
        cards: of views; None: those below `out`.
        paired: how its setting differs from the baseline over all seeds, by metric.
    """
    folder, run = out / run.place.folder, with_baseline(run, out)
    columns, (sections, problem) = compare(run), _pictures(folder / PICTURES)
    # The run's own and its baseline first: narrow screens show no more.
    first = [name for name in ("", OWN, run.baseline_title, DIFFERENCE) if name in columns]
    results = {name: columns[name] for name in dict.fromkeys([*first, *columns])}
    text = render(
        "run.html",
        run=run,
        index=os.path.relpath(out / REPORT, folder) if (out / REPORT).is_file() else "",
        labels=_labels(run),
        header=list(results),
        results=list(zip(*results.values(), strict=True)),
        protocols=[*(_protocol(name, label) for name, label in run.protocols.items()), *run.floor_notes.items()],
        files=[name for name in FILES if (folder / name).is_file()],
        below=note_of(cell for cells in columns.values() for cell in cells),
        paired=[_paired_line(name, paired[name]) for name in ordered(paired)],
        paired_note=PAIRED_NOTE,
        plots=plots_of(out, run, baseline=True),
        pictures=sections,
        problem=problem,
        card=card_of(run.artifacts, cards_of(read_analyses(out)[0]) if cards is None else cards),
        artifacts=_artifacts(out, run, folder),
        folded=_folded(run),
    )
    path = folder / REPORT
    if may_write(folder) and (not path.is_file() or path.read_bytes() != text.encode()):
        write_whole(path, text)
    return path


def _protocol(name: str, label: str) -> list[str]:
    form = metric(name)
    return [form.title, f"{form.sentence}: {label}" if form.sentence else label]


def _paired_line(name: str, found: Paired) -> list[str]:
    shown, seeds = metric(name), ", ".join(map(str, found.seeds))
    mean, _, interval = found.text(shown.decimals).rpartition(" (")[0].partition(" ")
    p = [NOTHING if value is None else f"{value:.2g}" for value in (found.p, found.p_holm)]
    return [shown.title, mean, interval or NOTHING, *p, str(found.n), seeds]


def plots_of(out: Path, run: Run, *, baseline: bool) -> list[Plot]:
    """Loss, 5-NN accuracy and learning rate an epoch, as far as they are there.

    Args:
        out: the run's `out`.
        run: the run.
        baseline: whether the baseline's curves are drawn too.
    """
    if run.knn_curve is None:
        return []
    labels = {} if run.encoder is None else {"this run": run.encoder}
    reference = _reference_encoder(out, run) if baseline else None
    if reference is not None and reference != run.encoder:
        labels = {run.baseline_title: reference, **labels}

    def read(file: str, column: str) -> dict[str, list[tuple[float, float]]]:
        return {name: read_curve(out, label, file, column) for name, label in labels.items()}

    accuracy = read(CURVE, "knn5")
    if not accuracy.get("this run"):  # the result has a copy
        accuracy["this run"] = [(x, y) for x, y in run.knn_curve]
    drawn = [
        plot(accuracy, x_label="epoch", y_label="5-NN accuracy, %"),
        plot(read(HISTORY, "loss"), x_label="epoch", y_label="training loss"),
        plot(read(HISTORY, "lr"), x_label="epoch", y_label="learning rate"),
    ]
    return [found for found in drawn if found is not None]


def _reference_encoder(out: Path, run: Run) -> str | None:
    parents = read_manifest(out, run.baseline.artifact).get("parents") if run.baseline.artifact else None
    encoder = parents.get("encoder") if isinstance(parents, Mapping) else None
    return encoder.get("path") if isinstance(encoder, Mapping) else None


def _labels(run: Run) -> list[str]:
    """What it is, in a few words each."""
    words = [f"data set: {run.dataset}", "" if run.warning else run.label]
    if run.weights is not None:
        words.append(f"weights: {run.weights.get('name')}")
    elif run.config:
        encoder = run.group("encoder")
        words += [
            f"views: {run.titles.views}",
            f"assimilation: {run.group('assim').get('name')}",
            f"loss: {run.group('loss').get('name')}",
            f"encoder: {encoder.get('backbone')}, width {encoder.get('width')}",
            counted(run.config.get("epochs", 0), "epoch"),
        ]
    return [*words, run.device or ""]


def _pictures(folder: Path) -> tuple[list[dict[str, Any]], str]:
    """Sections of what was drawn (`jobs.pictures`), and why they cannot be shown."""
    if not (folder / PICTURES_FILE).is_file():
        return [], ""
    try:
        drawn = json.loads((folder / PICTURES_FILE).read_text(encoding="utf-8"))
        return [
            {
                "title": str(section["title"]),
                "text": [str(text) for text in section["text"]],
                "facts": [[str(cell) for cell in fact] for fact in section["facts"]],
                "figures": [_figure(folder, figure["file"], str(figure["caption"])) for figure in section["figures"]],
            }
            for section in drawn["sections"]
        ], ""
    except (OSError, ValueError, KeyError, TypeError) as error:
        return [], f"{PICTURES}/ cannot be read ({error}): the run's command draws it again."


def _figure(folder: Path, name: Any, caption: str) -> dict[str, str]:
    path = file_inside(folder, name)
    if path is None:
        raise ValueError(f"{name} is no file in {folder.name}/")
    look = "vector" if path.suffix == ".svg" else "pixels"
    return {"source": picture_data(path), "caption": caption, "look": look}


def _artifacts(out: Path, run: Run, folder: Path) -> list[list[str | tuple[str, str]]]:
    rows: list[list[str | tuple[str, str]]] = []
    root = artifact_root(out)
    for label, seconds in run.seconds.items():
        manifest = read_manifest(out, label)
        parents, facts = manifest.get("parents"), manifest.get("facts")
        made_from = [f"{role} {of.get('key', '')}" for role, of in (parents or {}).items()]
        seed, device = manifest.get("seed"), (facts or {}).get("device", "")
        shown = NOTHING if seed is None else str(seed)
        linked = (label, os.path.relpath(root / label, folder)) if (root / label).is_dir() else label
        rows.append([linked, ", ".join(made_from) or NOTHING, shown, f"{seconds:,.1f}", str(device)])
    return [*rows, ["in all", "", "", f"{sum(run.seconds.values()):,.1f} ({run.hours} h)", ""]]


def _folded(run: Run) -> dict[str, str]:
    """What stands behind a click, as JSON."""
    made = {"provenance": run.provenance, "commit": run.commit, "versions": run.versions}
    shown = {"Versions, machine, commit": made, "Digests of the artifacts": run.artifacts, "Configuration": run.config}
    return {title: json.dumps(value, indent=1, ensure_ascii=False) for title, value in shown.items()}
