"""What the pack has found so far, small enough to carry: lines for programs and a page for people."""

import csv
import json
import shutil
import statistics
from pathlib import Path
from typing import Any

from context import COMMANDS
from notebook import FILE, Notebook, table

PAGE = "summary.md"
RUNS = "runs.jsonl"
# Of a run's result, what a table needs; the configuration is as long as all the rest.
KEPT = ("command", "dataset", "seed", "budget", "metrics", "protocols", "untrained", "knn_curve", "seconds")
KEPT += ("device", "versions", "commit", "data_notes")
ACCURACIES = ("acc1", "knn5", "knn10", "knn200")
# What machines that are lent hand back may be limited: pictures beyond so many bytes are left out.
PICTURE_BYTES = 8 * 2**20


def publish(work: Path, out: Path, *, commit: str | None) -> None:
    """Copy what a reader wants from `work` to `out`: measurements, results of runs, commands, a page, previews."""
    out.mkdir(parents=True, exist_ok=True)
    for name in (FILE, COMMANDS):
        if (work / name).is_file() and work != out:
            shutil.copyfile(work / name, out / name)
    runs = finished_runs(work / "outputs")
    (out / RUNS).write_text("".join(json.dumps(run, ensure_ascii=False) + "\n" for run in runs))
    (out / PAGE).write_text(page(work, runs, commit=commit))
    for picture in sorted((work / "outputs" / "previews").glob("*/*.png")):
        if picture.stat().st_size <= PICTURE_BYTES:
            shutil.copyfile(picture, out / picture.name)


def finished_runs(outputs: Path) -> list[dict[str, Any]]:
    """The results of all runs below `outputs`, with the arrangement and the source of their views."""
    runs = []
    for path in sorted(outputs.rglob("metrics.json")):
        result = json.loads(path.read_text())
        config = result["config"]
        run = {"assim": config["assim"]["name"], "view": config["view"]["name"]}
        if run["assim"] == "simclr":
            run["view"] = "expert"
        run |= {"epochs": config["epochs"], "batch_size": config["batch_size"], "probe": config["probe"]["name"]}
        run |= {key: result[key] for key in KEPT if key in result}
        run["num_images"] = config["dataset"]["max_train_images"] or "all"
        run["trained_seconds"] = _training_seconds(result["seconds"])
        runs.append(run)
    return runs


def _training_seconds(seconds: dict[str, float]) -> float | None:
    """Of the run's own encoder: the last of its chain."""
    trained = [value for label, value in seconds.items() if label.startswith("encoders/")]
    return trained[-1] if trained else None


def page(work: Path, runs: list[dict[str, Any]], *, commit: str | None) -> str:
    """Markdown: machine, measurements, runs, artifacts and commands."""
    lines = Notebook(work).lines()
    parts = ["# What the GPU pack found", ""]
    if any(line.get("rehearsal") for line in lines):
        parts += ["**A rehearsal at toy size: none of these numbers means anything.**", ""]
    if lines:
        parts += [f"{lines[-1]['device']}, torch {lines[-1]['torch']}, commit {commit or lines[-1]['commit']}", ""]
    for title, prefix, names in TABLES:
        chosen = [line for line in lines if line["measurement"].startswith(prefix) and "shares" not in line]
        if chosen:
            used = [name for name in names if any(line.get(name) is not None for line in chosen)]
            parts += [f"## {title}", "", table(chosen, ["measurement", *used]), ""]
    for line in lines:
        if "shares" in line:
            names = list(line["shares"][0])
            parts += [f"## {line['measurement']}", "", table(line["shares"], names), ""]
    if runs:
        rows = [_row(run) for run in sorted(runs, key=_place)]
        parts += ["## Runs", "", table(rows, list(rows[0])), ""]
    made = [*epoch_seconds(work / "outputs"), *stages(work / "outputs")]
    if made:
        parts += ["## Stages", "", table(made, ["artifact", "seconds", "per_second", "note"]), ""]
    if (work / COMMANDS).is_file():
        commands = [json.loads(text) for text in (work / COMMANDS).read_text().splitlines()]
        parts += ["## Commands", "", table(commands, ["command", "seconds", "exit_code"]), ""]
    return "\n".join(parts)


TABLES = (
    (
        "Training step",
        "simclr step/",
        (
            *("step_ms", "bare_step_ms", "ratio", "target", "verdict", "epoch_seconds"),
            *("epoch_target", "epoch_verdict", "views_per_second", "peak_gigabytes", "failed"),
        ),
    ),
    (
        "W-search",
        "wsearch/",
        (
            *("converged_views_per_second", "target", "converged_share", "steps_mean", "view_steps_per_second"),
            *("views", "cut", "peak_gigabytes", "failed"),
        ),
    ),
    (
        "Generator",
        "generator ",
        ("images_per_second", "step_ms", "gradient_error", "batch", "channels", "peak_gigabytes", "failed"),
    ),
)


def _place(run: dict[str, Any]) -> tuple[Any, ...]:
    """SimCLR first, then A1 and A2; runs of one length together."""
    return (str(run["num_images"]), run["epochs"], run["assim"] != "simclr", run["assim"], run["view"], run["seed"])


def _row(run: dict[str, Any]) -> dict[str, Any]:
    row = {key: run[key] for key in ("assim", "view", "seed", "epochs", "num_images", "probe")}
    for name in ACCURACIES:
        value = run["metrics"].get(name)
        spread = f" ± {value['std']:.2f} (n={value['n']})" if value and value["n"] > 1 else ""
        row[name] = f"{value['mean']:.2f}{spread}" if value else None
    row["untrained knn5"] = run.get("untrained", {}).get("knn5")
    row["training seconds"] = run["trained_seconds"]
    return row


def epoch_seconds(outputs: Path) -> list[dict[str, Any]]:
    """Of each trained encoder: the median of its epochs' seconds, kNN and checkpoint included where they fell due."""
    found = []
    for path in sorted(outputs.glob("artifacts/encoders/*/*/history.csv")):
        with path.open(newline="") as stream:
            seconds = [float(row["seconds"]) for row in csv.DictReader(stream)]
        if seconds:
            note = f"median of {len(seconds)} epochs"
            label = f"encoders/{path.parent.name}: an epoch"
            found.append({"artifact": label, "seconds": statistics.median(seconds), "note": note})
    return found


def stages(outputs: Path) -> list[dict[str, Any]]:
    """Of each finished artifact: its seconds, and of a view cache the views a second."""
    found = []
    for path in sorted(outputs.glob("artifacts/*/*/*/manifest.json")):
        kind, manifest = path.parts[-4], json.loads(path.read_text())
        facts = manifest["facts"]
        row = {"artifact": f"{kind}/{path.parent.name}", "seconds": facts.get("seconds")}
        if kind == "views":
            count = json.loads((path.parent / "summary.json").read_text())
            views = manifest["files"]["images.npy"]["bytes"] / (3 * 32 * 32)
            row["per_second"] = views / facts["seconds"] if facts.get("seconds") else None
            row["note"] = ", ".join(f"{key} {count[key]:.4g}" for key in VIEW_FACTS if count.get(key) is not None)
        if "reconstruction_mse_mean" in facts:
            row["note"] = f"reconstruction error {facts['reconstruction_mse_mean']:.4g}"
        found.append(row)
    return found


VIEW_FACTS = ("epsilon1", "distance_mean", "boundary_rms_relative", "spread_mean", "steps_mean", "capped_share")
