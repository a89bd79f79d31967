"""The page of one run, written from the files that the run left: no images, no checkpoint, no torch."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from assimilate.jobs.out_folder import may_write
from assimilate.reporting.results import file_inside, read_curve, read_manifest
from assimilate.run.given import TIMM
from assimilate.settings.identity import GENERATED, SAMPLED_DATA
from assimilate.tables import page
from assimilate.tables.comparison import compare
from assimilate.tables.curves import curves
from assimilate.tables.html_tables import dataset_name, metric_name, warning_of
from assimilate.tables.layout import COMPARABLE_BUDGET
from assimilate.tables.numbers import hours_text
from assimilate.tables.results import Run
from assimilate.train import CURVE, HISTORY
from assimilate.whole_file import write_text_atomically
from assimilate.words import shell_word

REPORT = "report.html"
PICTURES = "pictures"
PICTURES_FILE = "pictures.json"
# How the paper writes them.
ASSIMILATIONS = {"simclr": "SimCLR", "a1": "A1", "a2": "A2"}
SIMSIAM = "SimSiam"
VIEWS = {
    "wsearch": "W-search",
    "wperturb": "W-perturb",
    "wmix": "W-mix",
    "online": "online W-search",
    "external": "views from elsewhere",
    "reconstruction": "reconstructions",
    "expert": "expert views",
    "viewmaker": "Viewmaker",
}


def write_run_page(out: Path, run: Run) -> Path:
    """Write `report.html` into the run's folder and return its path.

    One that is there already, letter by letter, is left alone, and so is a folder that cannot be written.
    """
    folder = out / run.place.folder
    title = run_title(run)
    sections = [
        ("Result", _result(run)),
        ("Training", _training(out, run)),
        *_pictures(folder),
        ("What it took", _provenance(out, run)),
    ]
    index = out / REPORT
    links = [page.link(os.path.relpath(index, folder), "All runs", css="home")] if index.is_file() else []
    links += [page.link(f"#{page.anchor(name)}", name) for name, parts in sections if parts]
    parts = [page.heading(title, level=1), *_head(run)]
    for name, inside in sections:
        if inside:
            parts += [page.heading(name, name=page.anchor(name)), *inside]
    text = page.page(title, parts, navigation=links)
    path = folder / REPORT
    if may_write(folder) and (not path.is_file() or path.read_bytes() != text.encode()):
        write_text_atomically(path, text)
    return path


def run_title(run: Run) -> str:
    """What was assimilated, how, on which images, and the seed."""
    checkpoint = (run.raw.get("config") or {}).get("checkpoint")
    if checkpoint is not None:
        return f"{given_name(str(checkpoint))} on {dataset_name(run.dataset)}"
    row = f" ({run.place.row})" if run.place.row else ""
    if "mi" in run.metrics:
        return f"A pair of views as f sees them{row} on {dataset_name(run.dataset)}, seed {run.place.seed}"
    method = method_name(run.config("assim"), run.config("view"), run.config("loss"))
    return f"{method}{row} on {dataset_name(run.dataset)}, seed {run.place.seed}"


def method_name(assim: Mapping[str, Any], view: Mapping[str, Any], loss: Mapping[str, Any]) -> str:
    """ "SimCLR", "SimSiam", "A2 with W-search"."""
    name = str(assim.get("name", "a run"))
    slots = _slots(assim, view)
    siamese = loss.get("name") == "simsiam"
    if set(slots) == {"expert"} and name == "simclr":
        return SIMSIAM if siamese else ASSIMILATIONS[name]
    # The paper names the one view that is not an expert's; Tables 5 and 19 name them all.
    usual = slots[0] == "expert" and (name == "a1" or slots[1] == "expert")
    method = f"{ASSIMILATIONS.get(name, name)}-{SIMSIAM}" if siamese else ASSIMILATIONS.get(name, name)
    return f"{method} with {slots[-1] if usual else ', '.join(slots)}"


def _slots(assim: Mapping[str, Any], view: Mapping[str, Any]) -> list[str]:
    """What stands in the places for views, by their names."""
    views = str(view.get("name", "views"))
    usual = {"simclr": ("expert", "expert", None), "a1": ("expert", GENERATED, None)}
    slots = [
        assim.get(f"view{place}", slot)
        for place, slot in enumerate(usual.get(str(assim.get("name")), ("expert", "expert", GENERATED)), start=1)
    ]
    return [VIEWS.get(views, views) if slot == GENERATED else str(slot) for slot in slots if slot is not None]


def given_name(checkpoint: str) -> str:
    """What was given to be probed: a timm model, or a file's name."""
    return checkpoint if checkpoint.startswith(TIMM) else Path(checkpoint).name


def run_curves(out: Path, run: Run, *, baseline: bool) -> list[str]:
    """Loss, 5-NN accuracy and learning rate an epoch, as far as they are there.

    Args:
        out: the run's `out`.
        run: the run.
        baseline: whether f's curves are drawn too.
    """
    labels = {} if run.encoder is None else {"this run": run.encoder}
    reference = _reference_encoder(out, run) if baseline else None
    if reference is not None and reference != run.encoder:
        base = SIMSIAM if (run.raw.get("config") or {}).get("simclr_loss") == "simsiam" else "SimCLR"
        labels = {f"{base} (f, seed {_seed_of_f(run)})": reference, **labels}
    of = {
        column: {name: read_curve(out, label, HISTORY, column) for name, label in labels.items()}
        for column in ("loss", "lr")
    }
    accuracy = {name: read_curve(out, label, CURVE, "knn5") for name, label in labels.items()}
    if not accuracy.get("this run"):  # the result has a copy
        points = run.raw.get("knn_curve")
        accuracy["this run"] = [(float(x), float(y)) for x, y in points] if isinstance(points, list) else []
    drawn = [
        curves(accuracy, x_label="epoch", y_label="5-NN accuracy, %"),
        curves(of["loss"], x_label="epoch", y_label="training loss"),
        curves(of["lr"], x_label="epoch", y_label="learning rate"),
    ]
    return [plot for plot in drawn if plot]


def _reference_encoder(out: Path, run: Run) -> str | None:
    baseline = run.raw.get("baseline")
    if not isinstance(baseline, Mapping) or not isinstance(baseline.get("artifact"), str):
        return None
    parents = read_manifest(out, baseline["artifact"]).get("parents", {})
    return parents.get("encoder", {}).get("path") if isinstance(parents, Mapping) else None


def _seed_of_f(run: Run) -> Any:
    encoder = run.config("view").get("encoder")
    return encoder.get("seed", "?") if isinstance(encoder, Mapping) else "?"


def _head(run: Run) -> list[str]:
    config, budget = run.raw.get("config") or {}, run.place.budget
    words = [f"data set: {dataset_name(run.dataset)}", f"budget={budget}"]
    weights = run.raw.get("weights")
    if isinstance(weights, Mapping):
        words.append(f"weights: {weights.get('name')}")
    elif config:
        assim, encoder = run.config("assim"), run.config("encoder")
        slots = _slots(assim, run.config("view"))
        words += [
            "two expert views" if slots == ["expert", "expert"] else f"views: {', '.join(slots)}",
            f"assimilation: {assim.get('name')}",
            f"loss: {run.config('loss').get('name')}",
            f"encoder: {encoder.get('backbone')}, width {encoder.get('width')}",
            f"{config.get('epochs')} epochs",
        ]
    warnings = [warning_of(budget)] if budget != COMPARABLE_BUDGET else []
    notes = [page.paragraph(str(note), soft=True) for note in run.raw.get("data_notes") or []]
    if isinstance(weights, Mapping):
        notes.insert(0, page.paragraph(str(weights.get("text"))))
    return [
        page.badges([*words, str(run.raw.get("device", ""))], warnings=warnings),
        page.command(run.command),
        *notes,
    ]


def _result(run: Run) -> list[str]:
    lines = compare(run.raw)
    if not lines:
        return [page.paragraph(f"Probes were skipped: {run.raw.get('skipped', 'nothing measured')}.")]
    # A number of another budget never stands beside the paper's.
    paper = bool(run.raw.get("paper")) and run.place.budget == COMPARABLE_BUDGET
    base = SIMSIAM if (run.raw.get("config") or {}).get("simclr_loss") == "simsiam" else "SimCLR"
    columns = {
        "": [line.metric for line in lines],
        **{floor: [line.floors[floor] for line in lines] for floor in lines[0].floors},
        "random initialisation": [line.untrained for line in lines],
        f"{base} baseline (f)": [line.baseline for line in lines],
        "this run": [line.run for line in lines],
        "difference": [line.difference for line in lines],
    } | ({"paper": [line.paper for line in lines]} if paper else {})
    # A column of dashes would push the numbers off a telephone.
    columns = {name: cells for name, cells in columns.items() if name == "paper" or set(cells) != {"–"}}
    header, rows = list(columns), [list(row) for row in zip(*columns.values(), strict=True)]
    return [
        page.table(header, rows, strong_column=header.index("this run")),
        *(page.paragraph(str(note)) for note in run.raw.get("notes") or []),
        page.paragraph(
            f"± is the standard deviation over {run.raw.get('spread_over', 'probe seeds of one training run')}, "
            "not over training seeds. Views, generator and f are fixed; they have seeds of their own.",
            soft=True,
        ),
        page.table(["metric", "protocol"], [[metric_name(name), label] for name, label in run.protocols.items()]),
    ]


def _training(out: Path, run: Run) -> list[str]:
    if (run.raw.get("config") or {}).get("checkpoint") is not None:
        return []
    plots = run_curves(out, run, baseline=True)
    if not plots:
        return []
    return [
        f'<div class="plots">{"".join(plots)}</div>',
        page.paragraph(
            "5-NN on test images while training: cosine, backbone features; epoch 0 is the random initialisation. "
            "A2's loss includes the alignment term, so its level is not SimCLR's. The learning rate is that of an "
            "epoch's last step.",
            soft=True,
        ),
    ]


def _pictures(folder: Path) -> list[tuple[str, list[str]]]:
    """Sections of what `report_pictures` drew; empty where nothing was drawn."""
    if not (folder / PICTURES / PICTURES_FILE).is_file():
        return []
    try:
        drawn = json.loads((folder / PICTURES / PICTURES_FILE).read_text(encoding="utf-8"))
        return [(str(section["title"]), _picture_section(folder / PICTURES, section)) for section in drawn["sections"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        return [("Views", [page.paragraph(f"{PICTURES}/ cannot be read ({error}): the run's command draws it again.")])]


def _picture_section(folder: Path, section: Mapping[str, Any]) -> list[str]:
    figures = [_figure(folder, figure["file"], str(figure["caption"])) for figure in section["figures"]]
    facts = page.table(["", ""], section["facts"]) if section["facts"] else ""
    parts = [page.paragraph(str(text)) for text in section["text"]]
    if facts:  # beside the first picture
        return [*parts, page.side_by_side([*figures[:1], page.stacked([*figures[1:], facts])])]
    return [*parts, page.side_by_side(figures)] if figures else parts


def _figure(folder: Path, name: Any, caption: str) -> str:
    path = file_inside(folder, name)
    if path is None:
        raise ValueError(f"{name} is no file in {folder.name}/")
    vector = path.suffix == ".svg"
    css, kind = ("vector", "svg+xml") if vector else ("pixels", "png")
    return page.picture_figure(path.read_bytes(), caption, css=css, kind=kind)


def _provenance(out: Path, run: Run) -> list[str]:
    rows = []
    for label, seconds in run.seconds.items():
        manifest = read_manifest(out, label)
        raw_parents = manifest.get("parents")
        parents = raw_parents if isinstance(raw_parents, Mapping) else {}
        raw_facts = manifest.get("facts")
        facts = raw_facts if isinstance(raw_facts, Mapping) else {}
        made_from = ", ".join(f"{role} {parent.get('key', '')}" for role, parent in parents.items())
        seed = manifest.get("seed")
        rows.append(
            [
                label,
                made_from or "–",
                "–" if seed is None else str(seed),
                f"{seconds:,.1f}",
                str(facts.get("device", "")),
            ]
        )
    total = sum(run.seconds.values())
    rows.append(["in all", "", "", f"{total:,.1f}", f"{hours_text(total)} h"])
    provenance = {key: run.raw.get(key) for key in ("provenance", "commit", "versions") if run.raw.get(key) is not None}
    config = json.dumps(run.raw.get("config"), indent=1, ensure_ascii=False)
    return [
        page.table(["artifact", "made from", "seed", "seconds", "on"], rows),
        page.facts(provenance_facts(run)),
        page.folded("Versions, machine, commit", json.dumps(provenance, indent=1, ensure_ascii=False)),
        page.folded("Digests of the artifacts", json.dumps(run.raw.get("artifacts"), indent=1, ensure_ascii=False)),
        page.folded("Configuration", config),
    ]


def provenance_facts(run: Run) -> dict[str, str]:
    """Seeds, device, commit and versions in a few words."""
    seeds = {"training": run.place.seed}
    for group in ("generator", "inversion", "view", "probe"):
        values = run.config(group)
        found = values.get("seed", values.get("seeds"))
        if found is not None:
            seeds[group] = found
    if run.config("view"):
        seeds["f"] = _seed_of_f(run)
    versions = run.raw.get("versions")
    named = versions if isinstance(versions, Mapping) else {}
    return {
        "seeds": "; ".join(f"{name} {_plain(value)}" for name, value in seeds.items()),
        "device": str(run.raw.get("device") or ""),
        "commit": str(run.raw.get("commit") or "none: not run from a checkout"),
        "versions": ", ".join(f"{name} {value}" for name, value in named.items()),
        "data": str(run.raw.get("data_fingerprint") or "")[:16],
    }


def _plain(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, Sequence) and not isinstance(value, str) else str(value)


# What a SimCLR run has no use for, and hardware; everything else said of the run is said of its baseline.
_NOT_OF_BASELINES = (
    *("view", "assim", "view_encoder", "simclr_loss", "inversion", "generator", "loss", "analysis", "seed"),
    *("trainer", "logger", "prepare", "force", "knn", "objective", "sweep", "hydra"),
)
_OF_BASELINES = ("loss.temperature", "loss.base_temperature", "trainer.precision")


def baseline_command(run: Run) -> str:
    """The command of the SimCLR run that a run without a baseline can be compared with."""
    sampled = run.config("dataset").get("kind") == SAMPLED_DATA  # its images are what the generator's settings say
    words = []
    for word in run.overrides:
        key = word.split("=")[0].lstrip("+")
        group = key.split(".")[0]
        kept = key in _OF_BASELINES or group not in _NOT_OF_BASELINES or (sampled and group == "generator")
        if kept and not word.startswith("+table"):
            words.append(shell_word(word))
    return " ".join(["python -m assimilate.train", *words, "assim=simclr"])
