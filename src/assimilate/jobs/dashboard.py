"""What a job tells its tracker beside the curves of its training: its views, its result."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assimilate.artifacts.artifact import Artifact
from assimilate.data.dataset import Dataset
from assimilate.data.grids import grid_scale, picture_grid
from assimilate.encoder.curves import CURVE, HISTORY, read_rows
from assimilate.encoder.step import ENCODER
from assimilate.files.whole_file import write_whole
from assimilate.jobs.runs import papers_numbers
from assimilate.jobs.session import Session
from assimilate.views.cached_files import IMAGES

# Pictures of a grid: images, and views of each.
NUM_ROWS, NUM_VIEWS = 8, 8


def first_views(session: Session, views: Artifact, num_rows: int) -> list[list[NDArray[np.uint8]]]:
    """The first images, each beside the first views that a cache has of it: rows of [3, height, width]."""
    cached, images = np.load(views.path / IMAGES, mmap_mode="r"), session.dataset.train.images
    count = min(num_rows, len(images))
    return [[np.asarray(images[index]), *np.asarray(cached[index, :NUM_VIEWS])] for index in range(count)]


def tell_views(session: Session) -> None:
    """The cache of views: a grid, histograms of distances (Figure 2a) and of the search's steps.

    Logged by every job that uses the cache, whichever job built it.
    """
    views, tracker = session.chain.views, session.tracker
    if views is None or not tracker.listens:
        return
    rows = first_views(session, views, NUM_ROWS)
    grid = picture_grid(rows, scale=grid_scale(rows[0][0].shape[-1], len(rows[0])), gap_after=(0,))
    tracker.picture("views/grid", grid, "images, and their views beside them")
    # Views that are made without f have no distances: those of their cache are NaN, and its steps 0.
    measured = bool(np.isfinite(np.load(views.path / "distances.npy")).any())
    named = {"distances": "distance_to_anchor", "distances_original": "distance_to_image", "steps": "search_steps"}
    for file, name in named.items():
        path = views.path / f"{file}.npy"
        if path.is_file() and measured and (values := np.load(path)).size:
            tracker.histogram(f"views/{name}", values)
            tracker.conclude({f"views/{name}_mean": float(values.mean()), f"views/{name}_std": float(values.std())})
    numbers = {key: value for key, value in views.step.summary(session).items() if isinstance(value, int | float)}
    tracker.conclude({f"views/{key}": value for key, value in numbers.items()})


def tell_parents(session: Session) -> None:
    """What the run is made from, and ε1 where it was measured."""
    chain, tracker = session.chain, session.tracker
    if not tracker.listens:
        return
    parents = {artifact.step.kind: artifact for artifact in chain.upstream() if not isinstance(artifact.step, Dataset)}
    for kind, artifact in parents.items():
        tracker.use(artifact.path, _called(artifact), kind.removesuffix("s"))
    tracker.describe({"made_from": {kind: _called(artifact) for kind, artifact in parents.items()}})
    if chain.calibration is not None:
        tracker.describe({"measured": {"epsilon1": session.load(chain.calibration.step)["epsilon1"]}})


def _called(artifact: Artifact) -> str:
    """As W&B and MLflow know it."""
    return f"{artifact.name}-{artifact.key}"


def tell_result(session: Session, result: Mapping[str, Any]) -> None:
    """The result of a run, each metric with its spread; curves that no process told; the encoder, if asked for."""
    tracker, encoder = session.tracker, session.chain.encoder
    if not tracker.listens:
        return
    trained_now = any(artifact.label == encoder.label for artifact, _ in session.store.built)
    if not trained_now and not tracker.knows_curves():
        for row in read_rows(encoder.path / HISTORY):
            tracker.log({f"train/{name}": value for name, value in row.items()})
        for row in read_rows(encoder.path / CURVE):
            tracker.log({"train/epoch": row["epoch"], "train/knn5": row["knn5"]})
    tracker.curves_are_told()
    beside = result.get("baseline", {})
    name_of_f = "baseline" if beside.get("artifact") == result["paired_with"] else "f"
    for subject, metrics in (("final", result["metrics"]), (name_of_f, beside.get("metrics", {}))):
        for name, value in metrics.items():
            tracker.conclude({f"{subject}/{name}": value["mean"], f"{subject}/{name}_std": value["std"]})
            tracker.conclude({f"{subject}/{name}_n": value["n"]})
    for name, value in result.get("untrained", {}).items():
        tracker.conclude({f"untrained/{name}": value})
    for floor, values in result["floors"].items():
        tracker.conclude({f"floors/{floor}/{name}": value for name, value in values.items()})
    for name, value in papers_numbers(session.job).items():
        number = value["mean"] if isinstance(value, Mapping) else value
        tracker.conclude({f"paper/{name}": number})
    seconds: dict[str, float] = {}
    for label, value in result["seconds"].items():
        kind = label.split("/")[0]
        seconds[kind] = seconds.get(kind, 0.0) + value
    tracker.conclude({f"seconds/{kind}": value for kind, value in seconds.items()})
    tracker.conclude({"seconds/total": sum(seconds.values())})
    tracker.keep(encoder.path / ENCODER, _called(encoder), "encoder")


def keep_curves(session: Session) -> None:
    """Copy the training curves into the run's folder, unless logger.files=false."""
    for name in (HISTORY, CURVE):
        source = session.chain.encoder.path / name
        if session.settings.logger.files and source.is_file():
            write_whole(session.job.run_dir / name, source.read_bytes())
