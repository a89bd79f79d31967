"""Figures of finished runs: kNN curves (Figures 4, 6, 7, 11 and 12), alignment and uniformity."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from assimilate.analysis.colours import COLOURS
from assimilate.analysis.curve_figure import draw_curves, join_seeds
from assimilate.analysis.scatter_figure import Point, draw_points
from assimilate.analysis.sphere import alignment, uniformity
from assimilate.data.seeding import generator as seeded
from assimilate.encoder.checkpoint import load_encoder
from assimilate.encoder.step import ENCODER
from assimilate.errors import UserError
from assimilate.figures.figure import Figure
from assimilate.figures.found_runs import FoundRun
from assimilate.figures.gallery import embed, transform_of
from assimilate.jobs.session import Session
from assimilate.views.embedding import FrozenEmbedding

CURVE = "5-NN accuracy on test images (%)"


def add_curves(figure: Figure) -> str:
    """5-NN accuracy of finished runs while they trained.

    Raises:
        UserError: the runs do not fit beside each other.
    """
    session, runs, analysis = figure.session, figure.runs, figure.analysis
    try:
        curves = {label: join_seeds([run.result["knn_curve"] for run in members]) for label, members in runs.items()}
    except ValueError as error:
        raise UserError(f"analysis.runs: {error}") from error
    picture = draw_curves(curves, y_label=CURVE, budget=analysis.budget_name)
    rows = [
        {"run": label, "seed": run.result["seed"], "epoch": epoch, "knn5": accuracy}
        for label, members in runs.items()
        for run in members
        for epoch, accuracy in run.result["knn_curve"]
    ]
    for label, curve in curves.items():
        best = int(curve.mean.argmax())
        analysis.summary[label] = {
            "seeds": len(curve.values),
            "last": float(curve.mean[-1]),
            "last_std": float(curve.std[-1]),
            "best": float(curve.mean[best]),
            "best_epoch": float(curve.epochs[best]),
        }
        session.terminal.say(f"  {label:<32} last {curve.mean[-1]:.2f}   n={len(curve.values)}")
    datasets = sorted({run.result["dataset"] for members in runs.values() for run in members})
    seeded = any(len(curve.values) > 1 for curve in curves.values())
    caption = (
        f"5-NN accuracy (majority vote, cosine, backbone features) on test images while training, "
        f"{', '.join(datasets)}."
        + (" Bands: one standard deviation over training seeds, divisor n − 1." if seeded else "")
    )
    analysis.add("curves", picture, rows, caption)
    return caption


def add_alignment_uniformity(figure: Figure) -> str:
    """Alignment and uniformity of the encoders of finished runs (Wang & Isola, 2020).

    Raises:
        UserError: a run was trained on other images.
    """
    session, runs, analysis = figure.session, figure.runs, figure.analysis
    settings = session.config["analysis"]
    _check_same_images(session, runs)
    rows: list[dict[str, Any]] = []
    points: list[Point] = []
    for position, (label, members) in enumerate(runs.items()):
        measured = np.array([_spread(session, run.encoder()) for run in members])
        for run, (aligned, even) in zip(members, measured, strict=True):
            rows.append({"run": label, "seed": run.result["seed"], "alignment": aligned, "uniformity": even})
        aligned, even = measured.mean(axis=0)
        analysis.summary[label] = {"alignment": float(aligned), "uniformity": float(even), "seeds": len(members)}
        points.append(Point(label, float(even), float(aligned), COLOURS[position % len(COLOURS)]))
        session.terminal.say(f"  {label:<32} alignment {aligned:.4f}   uniformity {even:.4f}   n={len(members)}")
    picture = draw_points(
        points,
        x_label=f"uniformity, log mean exp(−{settings['t']:g}‖f(x) − f(y)‖²)",
        y_label=f"alignment, mean ‖f(t(x)) − f(t′(x))‖{_superscript(settings['power'])}",
        note="lower is better on both axes",
        budget=analysis.budget_name,
    )
    caption = (
        f"Alignment of pairs of expert views and uniformity over images (Wang & Isola, 2020), projections of norm 1, "
        f"{settings['part']} images of {session.dataset.name}."
    )
    analysis.add("alignment_uniformity", picture, rows, caption)
    return caption


def _check_same_images(session: Session, runs: Mapping[str, list[FoundRun]]) -> None:
    wanted = session.dataset.fingerprint
    others = [
        f"{run.folder} ({run.result['dataset']})"
        for members in runs.values()
        for run in members
        if run.result["data_fingerprint"] != wanted
    ]
    if others:
        raise UserError(
            f"analysis.runs: {'; '.join(others)}: trained on other images than those of "
            f"dataset={session.dataset.name} budget={session.config['budget']['name']}"
        )


def _spread(session: Session, encoder: Path) -> tuple[float, float]:
    """(alignment, uniformity) of one encoder."""

    settings, seed = session.config["analysis"], session.config["seed"]
    arrays = session.dataset.train if settings["part"] == "train" else session.dataset.test
    if arrays is None:
        raise UserError(f"analysis.part=test: {session.dataset.name} has no test images, give analysis.part=train")
    wanted = settings["num_images"]
    if min(len(arrays), wanted or len(arrays)) < 2:
        raise UserError(
            f"analysis.num_images={wanted} of {len(arrays)} {settings['part']} images: uniformity is of pairs of "
            "images, give 2 or more"
        )
    chosen = np.arange(len(arrays))
    if wanted is not None and wanted < len(arrays):
        chosen = np.sort(np.random.default_rng([seed, 3]).choice(len(arrays), wanted, replace=False))
    images = torch.from_numpy(np.asarray(arrays.images[chosen]))
    f = FrozenEmbedding.of(load_encoder(encoder / ENCODER)).to(session.device)
    expert = transform_of(session, "expert")
    pair = [embed(session, f, expert(images, seeded(seed, "alignment", side)) * 2 - 1) for side in (0, 1)]
    return alignment(*pair, power=settings["power"]), uniformity(embed(session, f, images), t=settings["t"])


def _superscript(power: float) -> str:
    return {1.0: "", 2.0: "²", 3.0: "³"}.get(float(power), f"^{power:g}")
