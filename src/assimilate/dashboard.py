"""What a job tells its tracker beside the curves of its training: its views, its first batch, its result."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from assimilate.jobs.runs import papers_numbers
from assimilate.jobs.session import Session
from assimilate.tracking.tracker import Tracker

if TYPE_CHECKING:
    from lightning.pytorch import Callback

# Pictures of a grid: images, and views of each.
NUM_ROWS, NUM_VIEWS = 8, 8


def tell_views(session: Session) -> None:
    """The cache of views: a grid, histograms of distances (Figure 2a) and of the search's steps.

    Told by every job that uses the cache, whichever built it.
    """
    views, tracker = session.chain.views, session.tracker
    if views is None or not tracker.listens:
        return
    from assimilate.data.grids import picture_grid

    cached, images = np.load(views.path / "images.npy", mmap_mode="r"), session.dataset.train.images
    rows = [[np.asarray(images[i]), *np.asarray(cached[i, :NUM_VIEWS])] for i in range(min(NUM_ROWS, len(images)))]
    grid = picture_grid(rows, scale=_scale(images.shape[-1], len(rows[0])), gap_after=(0,))
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


def tell_result(session: Session, result: Mapping[str, Any]) -> None:
    """The result of a run, each metric with its spread; curves that no process told; the encoder, if asked for."""
    tracker, encoder = session.tracker, session.chain.encoder
    if not tracker.listens:
        return
    from assimilate.encoder.step import ENCODER
    from assimilate.train import CURVE, HISTORY, read_rows

    trained_now = any(artifact.label == encoder.label for artifact, _ in session.store.built)
    if not trained_now and not tracker.knows_curves():
        for row in read_rows(encoder.path / HISTORY):
            tracker.log({f"train/{name}": value for name, value in row.items()})
        for row in read_rows(encoder.path / CURVE):
            tracker.log({"train/epoch": row["epoch"], "train/knn5": row["knn5"]})
    tracker.curves_are_told()
    for subject, metrics in (("final", result["metrics"]), ("baseline", result.get("baseline", {}).get("metrics", {}))):
        for name, value in metrics.items():
            tracker.conclude({f"{subject}/{name}": value["mean"], f"{subject}/{name}_std": value["std"]})
            tracker.conclude({f"{subject}/{name}_n": value["n"]})
    for name, value in result.get("untrained", {}).items():
        tracker.conclude({f"untrained/{name}": value})
    for name, value in papers_numbers(session.job).items():
        number = value["mean"] if isinstance(value, Mapping) else value
        tracker.conclude({f"paper/{name}": number})
    seconds: dict[str, float] = {}
    for label, value in result["seconds"].items():
        kind = label.split("/")[0]
        seconds[kind] = seconds.get(kind, 0.0) + value
    tracker.conclude({f"seconds/{kind}": value for kind, value in seconds.items()})
    tracker.conclude({"seconds/total": sum(seconds.values())})
    tracker.keep(encoder.path / ENCODER, f"{encoder.name}-{encoder.key}", "encoder")


def keep_curves(session: Session) -> None:
    """Copy the training curves to where a user looks, the folder of the run; logger=none leaves them."""
    from assimilate.train import CURVE, HISTORY
    from assimilate.whole_file import write_bytes_atomically

    for name in (HISTORY, CURVE):
        source = session.chain.encoder.path / name
        if session.config["logger"]["name"] != "none" and source.is_file():
            write_bytes_atomically(session.job.run_dir / name, source.read_bytes())


def watchers_of(tracker: Tracker, subject: str, mean: Sequence[float], std: Sequence[float]) -> "list[Callback]":
    """A callback that shows the views of the first batch; none where nobody listens."""
    if not tracker.listens:
        return []
    import lightning.pytorch as pl

    class FirstBatch(pl.Callback):
        """Once, before the first step."""

        def on_train_batch_start(
            self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
        ) -> None:
            if trainer.global_step == 0 and batch_idx == 0 and trainer.is_global_zero:
                caption = "a row an image, a column a view, as the first step is served them"
                tracker.picture(f"{subject}/first_batch", _batch_grid(batch.views, mean, std), caption)

    return [FirstBatch()]


def _batch_grid(views: Sequence[Any], mean: Sequence[float], std: Sequence[float]) -> bytes:
    from assimilate.data.grids import picture_grid

    centre, spread = (np.asarray(value, dtype=np.float64)[:, None, None] for value in (mean, std))
    pixels = [view[:NUM_ROWS].detach().double().cpu().numpy() * spread + centre for view in views]
    pictures = [(view * 255).round().clip(0, 255).astype(np.uint8) for view in pixels]
    rows = [[view[row] for view in pictures] for row in range(len(pictures[0]))]
    size = max(view.shape[-1] for view in pictures)
    return picture_grid(rows, scale=_scale(size, len(pictures)))


def _scale(size: int, columns: int) -> int:
    """Enlargement at which a grid is about 900 pixels wide, at least 1."""
    return max(1, min(6, 900 // (columns * (size + 2))))
