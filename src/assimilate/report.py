"""Stage: write the page of a run: its table, curves, pictures and provenance.

python -m assimilate.report                  the same overrides as the run's
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from assimilate.artifacts import write_text_atomically
from assimilate.chain import KNOWN_LATENTS
from assimilate.command import stage
from assimilate.config import Job
from assimilate.errors import UserError
from assimilate.given import TIMM
from assimilate.runs import METRICS, read_metrics
from assimilate.session import Session
from assimilate.tables.comparison import compare

REPORT = "report.html"
# Pictures on a page.
NUM_ANCHORS = 12
NUM_EXTREMES = 8
# How the paper writes them.
ASSIMILATIONS = {"simclr": "SimCLR", "a1": "A1", "a2": "A2"}
VIEWS = {
    "wsearch": "W-search",
    "wperturb": "W-perturb",
    "wmix": "W-mix",
    "external": "views from elsewhere",
    "expert": "expert views",
    "viewmaker": "Viewmaker",
}


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
    parts += _view_section(session)
    parts += _inversion_section(session)
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


def _view_section(session: Session) -> list[str]:
    from assimilate.analysis.agreement import label_agreement
    from assimilate.analysis.grids import picture_grid
    from assimilate.analysis.plots import plot_distances
    from assimilate.make_views import read_summary
    from assimilate.tables import page
    from assimilate.views.cache import IMAGES

    views = session.chain.views
    if views is None:
        return []
    train = session.dataset.train
    cached = np.load(views.path / IMAGES, mmap_mode="r")
    chosen = _spread_over_classes(train.labels, len(train), NUM_ANCHORS)
    reconstructions = _reconstruct(session, chosen)
    rows = []
    for position, index in enumerate(chosen):
        row = [train.images[index]]
        row += [] if reconstructions is None else [reconstructions[position]]
        rows.append([*row, *cached[index]])
    leading = 1 if reconstructions is None else 2
    what = "Original" if reconstructions is None else "Original, reconstruction g(e(x))"
    figures = [
        page.picture_figure(
            picture_grid(
                rows,
                scale=_scale(max(train.image_size, cached.shape[-1]), leading + cached.shape[1]),
                gap_after=(leading - 1,),
            ),
            f"{what}, and the {cached.shape[1]} cached {VIEWS.get(views.name, views.name)} views of {len(chosen)} "
            "training images.",
        )
    ]
    summary = read_summary(views)
    facts: list[list[str]] = []
    if "epsilon1" in summary:
        distances = np.load(views.path / "distances.npy")
        figures.append(
            page.vector_figure(
                plot_distances(distances, wanted=summary["epsilon1"], name=f"{distances.size:,} stored views"),
                "Achieved distances, measured on the stored 8-bit images, against ε1.",
            )
        )
        facts += [
            ["ε1, asked for", f"{summary['epsilon1']:.4f}"],
            ["achieved distance, mean ± std", f"{summary['distance_mean']:.4f} ± {summary['distance_std']:.4f}"],
            ["rms error of the distance", f"{100 * (summary['boundary_rms_relative'] or 0):.2f}% of ε1"],
            ["mean distance between the views of an image", f"{summary['spread_mean']:.4f}"],
            ["its bound, ε1·√(2n/(n−1))", f"{summary['spread_bound']:.4f}"],
            ["ε2, asked for", f"{summary['epsilon2']:.4f}"],
            ["steps, mean", f"{summary['steps_mean']:.1f}"],
            ["anchors that ran out of steps", f"{100 * summary['capped_share']:.2f}%"],
        ]
    agreement = "views that 5-NN on real pixels gives their anchor's label"
    if train.labels is not None and cached.shape[-1] != train.image_size:
        facts.append([agreement, f"not measured: views of {cached.shape[-1]}², images of {train.image_size}²"])
    elif train.labels is not None:
        share = label_agreement(train.images, train.labels, cached)
        facts.append([agreement, f"{100 * share:.1f}%"])
    beside = page.stacked([*figures[1:], page.table(["", ""], facts)]) if facts else ""
    return [page.heading("Views"), page.side_by_side([figures[0], beside])]


def _inversion_section(session: Session) -> list[str]:
    from assimilate.analysis.grids import picture_grid
    from assimilate.invert import ERRORS
    from assimilate.tables import page

    latents = session.chain.latents
    if latents is None or not (latents.path / ERRORS).is_file():
        return []
    errors = np.load(latents.path / ERRORS)
    order = errors.argsort()
    count = min(NUM_EXTREMES, len(order) // 2)
    figures = []
    for name, chosen in (("Best", order[:count]), ("Worst", order[::-1][:count])):
        pictures = _reconstruct(session, [int(index) for index in chosen])
        if pictures is None or not count:
            continue
        originals = [session.dataset.train.images[index] for index in chosen]
        extremes = f"{errors[chosen].min():.4f} to {errors[chosen].max():.4f}"
        caption = f"{name} reconstructions: images above, g(w) below; MSE {extremes}."
        grid = picture_grid([originals, list(pictures)], scale=_scale(session.dataset.train.image_size, count))
        figures.append(page.picture_figure(grid, caption))
    text = f"Reconstruction error (MSE on [−1, 1]): mean {errors.mean():.4f}, worst {errors.max():.4f}."
    return [page.heading("Inversion"), page.paragraph(text), page.side_by_side(figures)]


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


def _spread_over_classes(labels: "np.ndarray[Any, np.dtype[np.int64]] | None", count: int, wanted: int) -> list[int]:
    """Indices of pictures to show: one class after the other where there are labels."""
    if labels is None:
        return [int(index) for index in np.linspace(0, count - 1, min(wanted, count)).astype(int)]
    queues = [list(np.flatnonzero(labels == label)) for label in np.unique(labels)]
    chosen: list[int] = []
    while len(chosen) < min(wanted, count):
        for queue in queues:
            if queue and len(chosen) < wanted:
                chosen.append(int(queue.pop(0)))
    return chosen


def _reconstruct(session: Session, indices: list[int]) -> "np.ndarray[Any, np.dtype[np.uint8]] | None":
    import torch

    from assimilate.invert import load_latents
    from assimilate.train_generator import load_generator
    from assimilate.views.embedding import to_pixels

    chain = session.chain
    # An image that was made from its latent is its own reconstruction.
    if chain.generator is None or chain.latents is None or chain.latents.name == KNOWN_LATENTS or not indices:
        return None
    codes = torch.from_numpy(np.array(load_latents(chain.latents)[indices])).to(session.device)
    with torch.no_grad():
        pictures: np.ndarray[Any, np.dtype[np.uint8]] = (
            to_pixels(load_generator(session, chain.generator).synthesize(codes)).cpu().numpy()
        )
    return pictures


def _scale(size: int, columns: int) -> int:
    """Enlargement at which a grid is about 900 pixels wide, at least 1."""
    return max(1, min(5, 900 // (columns * (size + 2))))


@stage("report")
def main(job: Job) -> None:
    """Write the page of a finished run again."""
    session = Session(job, prepare="never")
    session.ensure_all(session.chain.all())
    session.terminal.say(f"report:  {write_run_report(session)}")


if __name__ == "__main__":
    sys.exit(main())
