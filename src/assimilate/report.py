"""Stage: write the page of a run: its table, curves, pictures and provenance.

python -m assimilate.report                  the same overrides as the run's
"""

import json
import sys
from pathlib import Path
from typing import Any

from rich.table import Table

from assimilate.artifacts import write_text_atomically
from assimilate.command import stage
from assimilate.config import Job
from assimilate.errors import UserError
from assimilate.given import TIMM
from assimilate.report_pictures import VIEWS, inversion_section, view_section
from assimilate.runs import METRICS, read_metrics
from assimilate.session import Session
from assimilate.tables.comparison import compare

REPORT = "report.html"
# How the paper writes them.
ASSIMILATIONS = {"simclr": "SimCLR", "a1": "A1", "a2": "A2"}


def write_run_report(session: Session) -> Path:
    """Write `report.html` into the run's folder and return its path.

    Raises:
        UserError: the run has no result yet.
    """
    from assimilate.tables import page

    job = session.job
    result = read_metrics(job.run_dir)
    if result is None:
        raise UserError(f"{job.run_dir / METRICS} is not there yet: run {job.command.replace('.report', '.train')}")
    title = _title(job)
    parts = [f"<h1>{page.escape(title)}</h1>", *_head(session, result)]
    parts += _table_section(result)
    if job.config["checkpoint"] is None:
        parts += _curve_section(session)
    parts += view_section(session)
    parts += inversion_section(session)
    parts += _provenance_section(session, result)
    path = job.run_dir / REPORT
    write_text_atomically(path, page.page(title, parts))
    return path


def print_table(session: Session) -> None:
    """The run's table on the terminal."""
    result = read_metrics(session.job.run_dir)
    lines = [] if result is None else compare(result)
    if not lines or result is None:
        return
    has_baseline, has_paper = "baseline" in result, bool(result["paper"])
    table = Table(title=_title(session.job), title_justify="left", title_style="bold")
    table.add_column("", no_wrap=True)
    table.add_column("random", justify="right", no_wrap=True)
    if has_baseline:
        table.add_column(_baseline_name(session), justify="right", no_wrap=True)
    table.add_column(_run_name(session), justify="right", style="bold", no_wrap=True)
    if has_baseline:
        table.add_column("diff.", justify="right", no_wrap=True)
    if has_paper:
        table.add_column("paper", justify="right")
    for line in lines:
        cells = [line.metric, line.untrained]
        cells += [line.baseline] if has_baseline else []
        cells += [line.run]
        cells += [line.difference] if has_baseline else []
        cells += [line.paper] if has_paper else []
        table.add_row(*cells)
    session.terminal.console.print(table)
    session.terminal.say(
        f"± is the standard deviation over probe seeds of one training run; budget: {result['budget']}"
    )
    if not has_baseline and session.config["checkpoint"] is None and session.config["assim"]["name"] != "simclr":
        words = [
            word
            for word in session.job.overrides
            if word.split("=")[0] in ("dataset", "dataset.root", "budget", "recipe")
        ]
        command = " ".join(["python -m assimilate.train", *words, "assim=simclr"])
        session.terminal.say(f"baseline to compare with: {command}")


def _title(job: Job) -> str:
    config = job.config
    if config["checkpoint"] is not None:
        return f"{_given_name(job)} on {config['dataset']['name']}"
    name = f"{ASSIMILATIONS.get(config['assim']['name'], config['assim']['name'])}"
    if config["assim"]["name"] != "simclr":
        name += f" with {VIEWS.get(config['view']['name'], config['view']['name'])}"
    row = f" ({job.row})" if job.row else ""
    return f"{name}{row} on {config['dataset']['name']}, seed {config['seed']}"


def _given_name(job: Job) -> str:
    """What was given to be probed: a timm model, or a file's name."""
    checkpoint = str(job.config["checkpoint"])
    return checkpoint if checkpoint.startswith(TIMM) else Path(checkpoint).name


def _run_name(session: Session) -> str:
    config = session.config
    if config["checkpoint"] is not None:
        return _given_name(session.job)
    name = ASSIMILATIONS.get(config["assim"]["name"], config["assim"]["name"])
    return f"{name} (seed {config['seed']})"


def _baseline_name(session: Session) -> str:
    return f"SimCLR (f, seed {session.config['view']['encoder']['seed']})"


def _head(session: Session, result: dict[str, Any]) -> list[str]:
    from assimilate.tables import page

    config = session.config
    budget = config["budget"]["name"]
    warnings = []
    if budget != "paper":
        warnings.append(f"budget: {budget}, not comparable with the paper")
    words = [f"data set: {config['dataset']['name']}"]
    words += [f"weights: {result['weights']['name']}"] if "weights" in result else _recipe(config)
    notes = [page.paragraph(note, soft=True) for note in result["data_notes"]]
    if "weights" in result:
        notes.insert(0, page.paragraph(result["weights"]["text"]))
    return [page.badges([*words, result["device"]], warnings=warnings), page.code_block(result["command"]), *notes]


def _recipe(config: dict[str, Any]) -> list[str]:
    return [
        f"view: {config['view']['name']}" if config["assim"]["name"] != "simclr" else "two expert views",
        f"assimilation: {config['assim']['name']}",
        f"loss: {config['loss']['name']}",
        f"encoder: {config['encoder']['backbone']}, width {config['encoder']['width']}",
        f"{config['epochs']} epochs",
    ]


def _table_section(result: dict[str, Any]) -> list[str]:
    from assimilate.tables import page

    lines = compare(result)
    if not lines:
        return [
            page.heading("Result"),
            page.paragraph(f"Probes were skipped: {result.get('skipped', 'nothing measured')}."),
        ]
    rows = [[line.metric, line.untrained, line.baseline, line.run, line.difference, line.paper] for line in lines]
    header = ["", "random initialisation", "SimCLR baseline (f)", "this run", "difference", "paper"]
    if not result["paper"]:
        header, rows = header[:-1], [row[:-1] for row in rows]
    protocols = [[name, label] for name, label in result["protocols"].items()]
    return [
        page.heading("Result"),
        page.table(header, rows, strong_column=3),
        page.paragraph(
            "± is the standard deviation over probe seeds of one training run, not over training seeds. Views, "
            "generator and f are fixed; they have seeds of their own.",
            soft=True,
        ),
        page.table(["metric", "protocol"], protocols),
    ]


def _curve_section(session: Session) -> list[str]:
    from assimilate.analysis.plots import plot_curves
    from assimilate.tables import page
    from assimilate.train import CURVE, HISTORY, read_rows

    chain = session.chain
    runs = {_run_name(session): chain.encoder}
    if chain.reference is not None and chain.reference.label != chain.encoder.label:
        runs = {_baseline_name(session): chain.reference, **runs}
    losses = {
        name: [(row["epoch"], row["loss"]) for row in read_rows(run.path / HISTORY)] for name, run in runs.items()
    }
    accuracies = {
        name: [(row["epoch"], row["knn5"]) for row in read_rows(run.path / CURVE)] for name, run in runs.items()
    }
    figures = [
        page.vector_figure(
            plot_curves(losses, x_label="epoch", y_label="training loss"),
            "Training loss an epoch. A2's loss includes the alignment term, so its level is not SimCLR's.",
        )
    ]
    if any(accuracies.values()):
        figures.append(
            page.vector_figure(
                plot_curves(accuracies, x_label="epoch", y_label="5-NN accuracy (%)"),
                "5-NN accuracy on test images while training (cosine, backbone features); epoch 0 is the random "
                "initialisation.",
            )
        )
    return [page.heading("Training"), page.side_by_side(figures)]


def _provenance_section(session: Session, result: dict[str, Any]) -> list[str]:
    from assimilate.tables import page

    seconds = [[label, f"{value:.1f}"] for label, value in result["seconds"].items()]
    seconds.append(["in all", f"{sum(result['seconds'].values()):.1f}"])
    return [
        page.heading("What it took"),
        page.table(["artifact", "seconds"], seconds),
        page.folded("Versions, commit", json.dumps(result["provenance"], indent=1, ensure_ascii=False)),
        page.folded("Configuration", json.dumps(result["config"], indent=1, ensure_ascii=False)),
    ]


@stage("report")
def main(job: Job) -> None:
    """Write the page of a finished run again."""
    session = Session(job, prepare="never")
    session.ensure_all(session.chain.all())
    session.terminal.say(f"report:  {write_run_report(session)}")


if __name__ == "__main__":
    sys.exit(main())
