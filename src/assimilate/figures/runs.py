"""Figures of finished runs: kNN curves (Figures 4, 6, 7, 11 and 12), alignment and uniformity, features."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from assimilate.analysis.canvas import picture
from assimilate.analysis.colours import CLASSES, COLOURS
from assimilate.analysis.curve_figure import draw_curves, join_seeds
from assimilate.analysis.plane_figure import draw_planes, embed_in_plane
from assimilate.analysis.scatter_figure import Point, draw_points
from assimilate.analysis.sphere import alignment, uniformity
from assimilate.data.images import ImageArrays
from assimilate.data.seeding import generator as seeded
from assimilate.encoder.checkpoint import load_encoder
from assimilate.encoder.step import ENCODER
from assimilate.errors import UserError
from assimilate.figures.figure import Figure
from assimilate.figures.found_runs import FoundRun
from assimilate.figures.gallery import BATCH, embed, transform_of
from assimilate.jobs.session import Session
from assimilate.probes.features import extract_features, finite_features
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
    drawn = picture(lambda: draw_curves(curves, y_label=CURVE), **analysis.look)
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
        session.say(f"  {label:<32} last {curve.mean[-1]:.2f}   n={len(curve.values)}")
    datasets = sorted({run.result["dataset"] for members in runs.values() for run in members})
    seeded = any(len(curve.values) > 1 for curve in curves.values())
    caption = (
        f"5-NN accuracy (majority vote, cosine, backbone features) on test images while training, "
        f"{', '.join(datasets)}."
        + (" Bands: one standard deviation over training seeds, divisor n − 1." if seeded else "")
    )
    analysis.add("curves", drawn, rows, caption)
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
        session.say(f"  {label:<32} alignment {aligned:.4f}   uniformity {even:.4f}   n={len(members)}")
    names = {
        "x_label": f"uniformity, log mean exp(−{settings['t']:g}‖f(x) − f(y)‖²)",
        "y_label": f"alignment, mean ‖f(t(x)) − f(t′(x))‖{_superscript(settings['power'])}",
        "note": "lower is better on both axes",
    }
    drawn = picture(lambda: draw_points(points, **names), **analysis.look)
    caption = (
        f"Alignment of pairs of expert views and uniformity over images (Wang & Isola, 2020), projections of norm 1, "
        f"{settings['part']} images of {session.dataset.name}."
    )
    analysis.add("alignment_uniformity", drawn, rows, caption)
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
    arrays = _images_of(session)
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


def _images_of(session: Session) -> ImageArrays:
    """The images of `analysis.part`."""
    arrays = session.dataset.train if session.config["analysis"]["part"] == "train" else session.dataset.test
    if arrays is None:
        raise UserError(f"analysis.part=test: {session.dataset.name} has no test images, give analysis.part=train")
    return arrays


def add_features(figure: Figure) -> str:
    """Features of the encoders of finished runs by t-SNE, coloured by class; one seed of each run.

    Raises:
        UserError: a run was trained on other images, or these have no labels.
    """
    session, analysis = figure.session, figure.analysis
    settings, seed = session.config["analysis"], session.config["seed"]
    _check_same_images(session, figure.runs)
    arrays, names = _images_of(session), session.dataset.class_names
    if arrays.labels is None:
        raise UserError(f"analysis=features colours by class, and {session.dataset.name} has no labels")
    classes = _chosen_classes(settings["classes"], names)
    chosen = np.flatnonzero(np.isin(arrays.labels, classes))
    if settings["num_images"] is not None and settings["num_images"] < len(chosen):
        chosen = np.sort(np.random.default_rng([seed, 5]).choice(chosen, settings["num_images"], replace=False))
    images, labels = np.asarray(arrays.images[chosen]), arrays.labels[chosen]
    panels: dict[str, dict[str, np.ndarray]] = {}
    rows: list[dict[str, Any]] = []
    for label, (run, *_) in figure.runs.items():
        session.say(f"  {label}: t-SNE of {len(chosen)} images")
        encoder = load_encoder(run.encoder() / ENCODER).to(session.device)
        try:
            features = finite_features(extract_features(encoder, images, batch_size=BATCH)).float().cpu().numpy()
            plane = embed_in_plane(
                features / np.linalg.norm(features, axis=1, keepdims=True).clip(1e-12),
                perplexity=settings["perplexity"]["features"],
                num_iterations=settings["num_iterations"],
                seed=seed,
                limit="num_images",
            )
        except ValueError as error:
            raise UserError(f"{run.folder}: {error}") from error
        panels[label] = {names[number]: plane[labels == number] for number in classes}
        rows += [
            {"run": label, "image": int(image), "label": names[number], "x": x, "y": y}
            for image, number, (x, y) in zip(chosen, labels, plane, strict=True)
        ]
    colours = {names[number]: CLASSES[at % len(CLASSES)] for at, number in enumerate(classes)}
    drawn = picture(lambda: draw_planes(panels, colours), **analysis.look)
    some = "" if len(classes) == len(names) else f" of {len(classes)} of its {len(names)} classes"
    caption = (
        f"t-SNE of the backbone's features (norm 1, perplexity {settings['perplexity']['features']:g}), {len(chosen)} "
        f"{settings['part']} images of {session.dataset.name}{some}. It keeps neighbours; sizes of clusters and "
        "distances between them mean nothing."
    )
    analysis.add("features", drawn, rows, caption)
    return caption


def _chosen_classes(wanted: int | list[str | int], names: Sequence[str]) -> list[int]:
    if isinstance(wanted, int):
        return list(range(min(wanted, len(names))))
    given = [str(name) for name in wanted]  # 3 is the name of a digit
    if unknown := [name for name in given if name not in names]:
        raise UserError(f"analysis.classes: {', '.join(unknown)} is no class; there are {', '.join(names)}")
    return sorted({names.index(name) for name in given})


def _superscript(power: float) -> str:
    return {1.0: "", 2.0: "²", 3.0: "³"}.get(float(power), f"^{power:g}")
