"""Figures of finished runs: kNN curves (Figures 4, 6, 7, 11 and 12), alignment and uniformity."""

from typing import Any

import numpy as np

from assimilate.analysis.colours import COLOURS
from assimilate.errors import UserError
from assimilate.figures.found_runs import FoundRun, find_runs
from assimilate.figures.gallery import embed
from assimilate.figures.inputs import ensure, print_plan
from assimilate.figures.record import Analysis
from assimilate.graph.identity import content_hash
from assimilate.jobs.session import Session
from assimilate.run.recipe import Recipe

CURVE = "5-NN accuracy on test images (%)"


def draw_curves(session: Session) -> None:
    """5-NN accuracy of finished runs while they trained.

    Raises:
        UserError: a run that is not there, or that has no curve.
    """
    settings = session.config["analysis"]
    runs = find_runs(session.job, settings["runs"], settings["labels"])
    without = [str(run.folder) for members in runs.values() for run in members if not run.result["knn_curve"]]
    if not settings["runs"]:  # of every run, those that have one
        runs = {label: [run for run in members if run.result["knn_curve"]] for label, members in runs.items()}
        runs = {label: members for label, members in runs.items() if members}
    if without and (settings["runs"] or not runs):
        raise UserError(
            f"analysis.runs: no curve was recorded by {'; '.join(without)}: a run has one with labels, test images and "
            "knn.every_n_epochs above 0"
        )
    content = [
        f"{label}:{run.folder.name}:{content_hash(run.result['knn_curve'])}"
        for label, members in runs.items()
        for run in members
    ]
    analysis = _of_runs(session, "5-NN accuracy while training", runs, content)
    if session.prepare == "plan":
        session.terminal.say(f"plan: nothing to build; result {analysis.folder}")
        return
    session.terminal.say(f"analysis: {analysis.folder}")
    if analysis.is_finished():
        session.terminal.say("nothing to do: it is there; force=true makes it again")
        return
    from assimilate.analysis.curve_figure import draw_curves, join_seeds

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
    session.terminal.say(f"record:  {analysis.finish(caption) / 'analysis.json'}")


def draw_alignment_uniformity(session: Session) -> None:
    """Alignment and uniformity of the encoders of finished runs (Wang & Isola, 2020).

    Raises:
        UserError: a run that is not there, or was trained on other images.
    """
    settings = session.config["analysis"]
    runs = find_runs(session.job, settings["runs"], settings["labels"])
    encoders = {run.folder: run.encoder() for members in runs.values() for run in members}
    analysis = _of_runs(
        session, "Alignment and uniformity", runs, [f"{run.name}:{path.name}" for run, path in encoders.items()]
    )
    if session.prepare == "plan":
        print_plan(session, [(session, session.data)], analysis.folder)
        return
    session.terminal.say(f"analysis: {analysis.folder}")
    if analysis.is_finished():
        session.terminal.say("nothing to do: it is there; force=true makes it again")
        return
    if not ensure(session, [(session, session.data)]):
        return
    _check_same_images(session, runs)
    from assimilate.analysis.scatter_figure import Point, draw_points

    rows: list[dict[str, Any]] = []
    points: list[Point] = []
    for position, (label, members) in enumerate(runs.items()):
        measured = np.array([_spread(session, encoders[run.folder]) for run in members])
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
    session.terminal.say(f"record:  {analysis.finish(caption) / 'analysis.json'}")


def _of_runs(session: Session, title: str, runs: dict[str, list[FoundRun]], content: list[str]) -> Analysis:
    members = [run for group in runs.values() for run in group]
    folders = [_below(session, run) for run in members]
    # Runs given by their folders need not be of the job's budget or data set.
    datasets = "+".join(sorted({str(run.result["dataset"]) for run in members}))
    budget = str(members[0].result["budget"])
    return Analysis(session.job, title, content, budget=budget, runs=folders, dataset=datasets)


def _below(session: Session, run: FoundRun) -> str:
    """A run's folder, relative to `out` where it lies there."""
    out = session.job.out.resolve()
    return str(run.folder.relative_to(out)) if run.folder.is_relative_to(out) else str(run.folder)


def _check_same_images(session: Session, runs: dict[str, list[FoundRun]]) -> None:
    wanted = session.dataset.fingerprint
    others = [
        f"{run.folder} ({run.result['dataset']})"
        for members in runs.values()
        for run in members
        if run.result["data_fingerprint"] != wanted
    ]
    if others:
        raise UserError(
            f"analysis.runs: other images than those of dataset={session.dataset.name} "
            f"budget={session.config['budget']['name']} are behind {'; '.join(others)}"
        )


def _spread(session: Session, encoder: Any) -> tuple[float, float]:
    """(alignment, uniformity) of one encoder."""
    import torch

    from assimilate.analysis.sphere import alignment, uniformity
    from assimilate.data.seeding import generator as seeded
    from assimilate.encoder.checkpoint import load_encoder
    from assimilate.encoder.step import ENCODER
    from assimilate.views.embedding import FrozenEmbedding

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
    expert = Recipe(session.config).transform("view", "expert").augmentation()
    pair = [embed(session, f, expert(images, seeded(seed, "alignment", side)) * 2 - 1) for side in (0, 1)]
    return alignment(*pair, power=settings["power"]), uniformity(embed(session, f, images), t=settings["t"])


def _superscript(power: float) -> str:
    return {1.0: "", 2.0: "²", 3.0: "³"}.get(float(power), f"^{power:g}")
