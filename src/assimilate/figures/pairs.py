"""Table 1, mutual information and inner products of pairs of views: a line of it as a run, or all of it as a figure."""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from assimilate.analysis.canvas import picture
from assimilate.analysis.colours import GREEN
from assimilate.analysis.mine import MineSettings
from assimilate.analysis.pairs import PairMeasurement, SeenViews, measure_pair
from assimilate.analysis.scatter_figure import Point, draw_points
from assimilate.artifacts.provenance import provenance
from assimilate.assimilation.arrangement import GENERATED
from assimilate.errors import UserError
from assimilate.figures.figure import Figure
from assimilate.figures.gallery import load_f, transform_of
from assimilate.figures.inputs import Kind, Need
from assimilate.graph.counted import counted
from assimilate.jobs.runs import claim_run_folder, write_metrics
from assimilate.jobs.session import Session
from assimilate.pages.result_file import METRICS, read_metrics
from assimilate.run.analysis_settings import measures_generated
from assimilate.views.cached_files import IMAGES

ORIGINAL, EXPERT = "original", "expert"
PROTOCOLS = {
    "mi": "nats; MINE on f's projections, mean bound over the batches of one pass of the training images",
    "inner_product": "mean f(x)·f(y) of projections of norm 1 over the training images",
    "l2": "mean ‖f(x) − f(y)‖₂ of the same",
}
# Beyond this share of log B, the bound is near its ceiling, or an artefact of too few negatives.
NEAR_THE_CEILING = 0.9


def measure_row(session: Session, parts: Sequence[Need]) -> None:
    """One line of Table 1, written to the run's folder as metrics.json.

    Args:
        session: of the job.
        parts: what it is made from, all there.

    Raises:
        UserError: nothing can be estimated.
    """
    job, chain = session.job, session.chain
    pair = (str(job.config["analysis"]["pair"][0]), str(job.config["analysis"]["pair"][1]))
    digests = {artifact.label: artifact.manifest()["digest"] for _, artifact in parts}
    found = read_metrics(job.run_dir)
    if found is not None and found.get("artifacts") == digests and not job.config["force"]:
        session.say("nothing to do: it is measured; force=true measures again")
    else:
        started = time.monotonic()
        cached = _open(chain.views) if measures_generated(job.config) else None
        measured = _measure(session, _seen(session, cached), pair)
        claim_run_folder(job)
        facts = {artifact.label: artifact.manifest()["facts"]["seconds"] for _, artifact in parts}
        facts["analyze"] = time.monotonic() - started
        write_metrics(job, _result(session, measured, digests, facts), session.say)
    result = read_metrics(job.run_dir)
    assert result is not None
    _print(session, result)
    session.summarize()
    session.say(f"result:  {job.run_dir / METRICS}")


def _result(
    session: Session, measured: PairMeasurement, digests: dict[str, str], seconds: dict[str, float]
) -> dict[str, Any]:
    values = {
        "mi": measured.information.mean,
        "inner_product": measured.inner_product["mean"],
        "l2": measured.l2["mean"],
    }
    count, batches = len(session.dataset.train), list(measured.information.batches)
    origin = provenance()
    return {
        "metrics": {name: {"mean": value, "std": 0.0, "n": 1, "values": [value]} for name, value in values.items()},
        "protocols": {**PROTOCOLS, "mi": f"{PROTOCOLS['mi']} ({_settings(session)})"},
        "spread_over": "nothing: one measurement; seed= moves the draws of views and MINE",
        "spread": {
            "mi": {"std": measured.information.std, "n": len(batches), "over": "batches", "values": batches},
            "inner_product": {"std": measured.inner_product["std"], "n": count, "over": "images"},
            "l2": {"std": measured.l2["std"], "n": count, "over": "images"},
        },
        "mine_training": list(measured.information.training),
        "knn_curve": [],
        "seconds": {label: round(value, 3) for label, value in seconds.items()},
        "device": session.device_name,
        "versions": origin["versions"],
        "commit": origin["commit"],
        "provenance": {"analysis": origin},
        "data_fingerprint": session.dataset.fingerprint,
        "data_notes": list(session.dataset.notes),
        "artifacts": digests,
    }


def _settings(session: Session) -> str:
    mine = session.config["analysis"]["mine"]
    width = "the projection's width" if mine["hidden_dim"] is None else f"{mine['hidden_dim']} wide"
    return f"T {width}, Adam {mine['lr']:g}, B={mine['batch_size']}, {counted(mine['num_epochs'], 'epoch')}"


def _print(session: Session, result: dict[str, Any]) -> None:
    for name in ("mi", "inner_product", "l2"):
        spread, paper = result["spread"][name], result["paper"].get(name)
        printed = "" if paper is None else f"   paper {paper:g}"
        session.say(
            f"  {name:<14} {result['metrics'][name]['mean']:.4f}   std over {spread['n']} {spread['over']} "
            f"{spread['std']:.4f}{printed}"
        )
    _warn_of_ceiling(session, result["metrics"]["mi"]["mean"])


def _warn_of_ceiling(session: Session, information: float) -> None:
    ceiling = float(np.log(session.config["analysis"]["mine"]["batch_size"]))
    if information > NEAR_THE_CEILING * ceiling:
        session.say(
            f"note: near log B = {ceiling:.2f} nats and beyond, a batch says little: this may be too low or far too "
            "high (a larger analysis.mine.batch_size helps)"
        )


# ------------------------------------------------------------------------------------------------ all of the table


def add_pairs(figure: Figure) -> str:
    """Every pair of Table 1, and inner products against mutual information (Table 2)."""
    session, kinds, analysis = figure.session, figure.kinds, figure.analysis
    rows: list[dict[str, Any]] = []
    points: list[Point] = []
    for kind, pair in [(None, (ORIGINAL, EXPERT)), *((kind, pair) for kind in kinds for pair in PAIRS_WITH_GENERATED)]:
        cached = None if kind is None else _open(kind.cache)
        measured = _measure(session, _seen(session, cached), pair)
        names = [_named(name, kind) for name in pair]
        rows.append({"first": names[0], "second": names[1], **_numbers(measured)})
        label = ", ".join(name if name.startswith("W-") else name.capitalize() for name in names)
        x, y = measured.inner_product["mean"], measured.information.mean
        colour = GREEN if kind is None else kind.colour
        points.append(Point(label, x, y, colour, filled=ORIGINAL in pair))
        session.say(f"  {label:<32} I = {y:.3f} nats   f·f = {x:.4f}   ‖f − f‖ = {measured.l2['mean']:.4f}")
        _warn_of_ceiling(session, y)
    axes = {"x_label": "mean inner product, f(x)·f(y)", "y_label": "mutual information by MINE (nats)"}
    drawn = picture(lambda: draw_points(points, **axes), **analysis.look)
    caption = (
        f"Inner products and mutual information of pairs of views as f sees them, {session.dataset.name}; MINE with "
        f"{_settings(session)}. Filled: pairs with the original; open: with an expert view."
    )
    analysis.summary = {f"{row['first']}, {row['second']}": row for row in rows}
    analysis.add("pairs", drawn, rows, caption)
    return caption


PAIRS_WITH_GENERATED = ((ORIGINAL, GENERATED), (GENERATED, EXPERT))


def _named(name: str, kind: Kind | None) -> str:
    return kind.label if name == GENERATED and kind is not None else name


def _numbers(measured: PairMeasurement) -> dict[str, float]:
    return {
        "mi": measured.information.mean,
        "mi_std_over_batches": measured.information.std,
        "inner_product": measured.inner_product["mean"],
        "inner_product_std": measured.inner_product["std"],
        "l2": measured.l2["mean"],
        "l2_std": measured.l2["std"],
    }


# ------------------------------------------------------------------------------------------------ what they share


def _open(views: Any) -> np.ndarray:
    stored: np.ndarray = np.load(views.path / IMAGES, mmap_mode="r")
    return stored[:, : views.step.num_used]


def _seen(session: Session, cached: np.ndarray | None) -> SeenViews:
    return SeenViews(
        load_f(session),
        session.dataset.train.images,
        transform_of(session, EXPERT),
        cached,
        seed=session.config["seed"],
        device=session.device,
    )


def _measure(session: Session, views: SeenViews, pair: tuple[str, str]) -> PairMeasurement:
    settings = MineSettings(**session.config["analysis"]["mine"])
    with session.terminal.bar(f"MINE of {pair[0]} and {pair[1]} views") as progress:
        try:
            return measure_pair(
                views, pair, settings, seed=session.config["seed"], device=session.device, progress=progress
            )
        except ValueError as error:
            raise UserError(str(error)) from error
