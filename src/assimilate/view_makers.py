"""How each kind of cached view is made: the rooms wired for one session."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from assimilate.artifacts.artifact import Artifact
from assimilate.graph.progress import Progress
from assimilate.jobs.session import Session
from assimilate.views.external_step import External
from assimilate.views.of_the_image import CachedExpert
from assimilate.views.synthesised import Synthesised
from assimilate.views.wsearch import WSearch

if TYPE_CHECKING:
    from assimilate.views.search import FoundViews

UNMEASURED = "not measured (NaN): these views are made without f"
# Writes the views of one image and what was measured of them.
Write = Callable[..., None]


@dataclass(frozen=True)
class Making:
    """One way to fill a cache.

    Attributes:
        title: what the progress bar says.
        num_views: views an image.
        image_size: side of a view, in pixels.
        fields: what is stored of each image beside its views: (shape without the image axis, dtype) by name.
        fill: makes the views of the given images and writes them, in any order.
        summarize: what a finished cache's arrays say, for the manifest and the report.
        doubt: a warning about what fills the folder of a finished cache; None where there is nothing to say.
    """

    title: str
    num_views: int
    image_size: int
    fields: Mapping[str, tuple[tuple[int, ...], str]]
    fill: Callable[[Write, list[int], Progress], None]
    summarize: Callable[[Path], dict[str, Any]]
    doubt: Callable[[Path], str | None] = lambda folder: None


def making_of(session: Session, artifact: Artifact) -> Making:
    """The way to make the views of `artifact`; loads nothing yet."""
    ways = {WSearch: _search, Synthesised: _synthesize, External: _pack, CachedExpert: _draw_expert}
    return next(way for kind, way in ways.items() if isinstance(artifact.step, kind))(session, artifact)


def _image_size(session: Session) -> int:
    return session.dataset.train.image_size


def epsilons(session: Session, artifact: Artifact) -> tuple[float, float]:
    """ε1 and ε2 of a W-search cache: the configuration's numbers, or measured and 5/3·ε1 where they are "auto"."""
    epsilon1, epsilon2 = artifact.step.epsilon1, artifact.step.epsilon2
    if epsilon1 == "auto":
        epsilon1 = session.load(artifact.step.calibration)["epsilon1"]
    return float(epsilon1), float(5 / 3 * epsilon1 if epsilon2 == "auto" else epsilon2)


def search_views(
    session: Session, artifact: Artifact, indices: list[int], emit: "Callable[[FoundViews], None]", progress: Progress
) -> None:
    """W-search for the views of some images, with the settings of a cache of them, which need not be there."""
    from assimilate.invert import load_latents
    from assimilate.train import load_reference
    from assimilate.train_generator import load_generator
    from assimilate.views.search import SearchEngine, SearchSettings

    step, search = artifact.step, artifact.step.search
    epsilon1, epsilon2 = epsilons(session, artifact)
    settings = SearchSettings(
        num_views=int(step.n_cached),
        epsilon1=epsilon1,
        epsilon2=epsilon2,
        uniformity_weight=step.uniformity_weight,
        hinge=step.hinge,
        anchor=step.anchor,
        optimizer=search.optimizer,
        lr=search.lr,
        iterations=search.iterations,
        tolerance=search.tolerance,
        tolerance_relative=search.tolerance_relative,
        initial_noise=search.initial_noise,
        noise_first_view=search.noise_first_view,
        width=search.width,
        seed=step.seed,
        stop=search.stop,
        space=search.space,
        projection=search.projection,
        precision=search.precision,
        compiled=search.compile,
    )
    generator = load_generator(session, artifact.parents["generator"])
    embedding = load_reference(session, artifact.parents["reference"])
    SearchEngine(generator, embedding, settings, device=session.device).run(
        load_latents(artifact.parents["latents"]), session.dataset.train.images, indices, emit, progress
    )


def _search(session: Session, artifact: Artifact) -> Making:
    epsilon1, epsilon2 = epsilons(session, artifact)
    num_views = int(artifact.step.n_cached)
    session.terminal.say(f"  W-search: ε1 = {epsilon1:.4f}, ε2 = {epsilon2:.4f}, {num_views} views an image")
    _foretell_capping(session, artifact.step, epsilon1, epsilon2)

    def fill(write: Write, pending: list[int], progress: Progress) -> None:
        def emit(found: "FoundViews") -> None:
            write(
                found.index,
                found.images.numpy(),
                distances=found.distances.numpy(),
                distances_original=found.distances_original.numpy(),
                spread=np.asarray(found.spread, dtype=np.float32),
                steps=np.asarray(found.steps, dtype=np.int32),
                converged=np.asarray(found.converged, dtype=np.uint8),
            )

        search_views(session, artifact, pending, emit, progress)

    def summarize(folder: Path) -> dict[str, Any]:
        summary = _search_summary(artifact, folder, epsilon1, epsilon2)
        _report_search(session, summary, num_views)
        return summary

    fields = {
        "distances": ((num_views,), "<f4"),
        "distances_original": ((num_views,), "<f4"),
        "spread": ((), "<f4"),
        "steps": ((), "<i4"),
        "converged": ((), "|u1"),
    }
    return Making("W-search", num_views, _image_size(session), fields, fill, summarize)


def _foretell_capping(session: Session, step: "WSearch", epsilon1: float, epsilon2: float) -> None:
    """Say so if no anchor can converge, or all of them have before the first step."""
    from assimilate.views.objective import least_loss, spread_bound

    tolerance, num_views = step.search.tolerance, step.n_cached
    least = least_loss(epsilon1, epsilon2, step.uniformity_weight, num_views)
    if tolerance is not None and least > tolerance:
        session.terminal.say(
            f"  warning: no anchor can converge: at distance ε1 of it {num_views} views spread to "
            f"{spread_bound(epsilon1, num_views):.4f} at most, ε2 asks for {epsilon2:.4f}, so the loss stays above "
            f"{least:.2g} and view.search.tolerance={tolerance:g} is never met: every anchor takes all "
            "view.search.iterations. A smaller view.epsilon2 or view.lambda helps"
        )
    if tolerance is not None and step.search.tolerance_relative is None and 0 < epsilon1**2 <= tolerance:
        session.terminal.say(
            f"  warning: view.search.tolerance={tolerance:g} lets views stay at the anchor: ε1 off by a square of "
            f"{epsilon1**2:.2g}. A smaller view.search.tolerance, or view.search.tolerance_relative=0.05, helps"
        )


def _stored_share(step: "WSearch", arrays: Mapping[str, Any], eps1: float, eps2: float) -> float | None:
    """Share of the anchors whose stored views, 8 bits deep, are within the tolerance; None where that is not known."""
    search, weight = step.search, step.uniformity_weight
    if step.hinge == "view" and weight > 0:  # needs the mean distances of single views, which are not kept
        return None
    boundary = ((arrays["distances"].astype(np.float64) - eps1) ** 2).mean(axis=1)
    uniformity = np.maximum(0, eps2 - arrays["spread"].astype(np.float64)) if step.n_cached > 1 else 0
    within = np.ones(len(boundary), dtype=bool)
    if search.tolerance is not None:
        within &= boundary + weight * uniformity <= search.tolerance
    if search.tolerance_relative is not None:
        within &= np.sqrt(boundary) <= search.tolerance_relative * eps1
    return float(within.mean())


def _search_summary(artifact: Artifact, folder: Path, epsilon1: float, epsilon2: float) -> dict[str, Any]:
    from assimilate.views.objective import spread_bound

    step, search = artifact.step, artifact.step.search
    arrays = {name: np.load(folder / f"{name}.npy") for name in ("distances", "steps", "converged", "spread")}
    rms = float(np.sqrt(np.mean((arrays["distances"].astype(np.float64) - epsilon1) ** 2)))
    return {
        "view": "wsearch",
        "anchor": step.anchor,
        "epsilon1": epsilon1,
        "epsilon2": epsilon2,
        "distance_mean": float(arrays["distances"].mean()),
        "distance_std": float(arrays["distances"].std()),
        "boundary_rms": rms,
        "boundary_rms_relative": rms / epsilon1 if epsilon1 > 0 else None,
        "spread_mean": float(arrays["spread"].mean()),
        "spread_bound": spread_bound(epsilon1, step.n_cached),
        "steps_mean": float(arrays["steps"].mean()),
        "capped_share": float(1 - arrays["converged"].mean()),
        "stored_share": _stored_share(step, arrays, epsilon1, epsilon2),
        "converged_asked": search.tolerance is not None or search.tolerance_relative is not None,
    }


def _report_search(session: Session, summary: dict[str, Any], num_views: int) -> None:
    say = session.terminal.say
    share = summary["boundary_rms_relative"]
    of_epsilon1 = "" if share is None else f", {100 * share:.1f}% of ε1"
    say(
        f"  distance to the anchor {summary['distance_mean']:.4f} ± {summary['distance_std']:.4f} for ε1 = "
        f"{summary['epsilon1']:.4f} (rms error {summary['boundary_rms']:.4f}{of_epsilon1}), "
        f"{summary['steps_mean']:.0f} steps on average"
    )
    if num_views > 1:
        say(
            f"  mean distance between the views of an image {summary['spread_mean']:.4f}; "
            f"its bound ε1·√(2n/(n−1)) is {summary['spread_bound']:.4f}"
        )
    if summary["converged_asked"] and summary["capped_share"] > 0:
        say(
            f"  {100 * summary['capped_share']:.1f}% of the anchors used up view.search.iterations without reaching "
            "the tolerance; their views are kept as they are"
        )
    if summary["converged_asked"] and summary["stored_share"] is not None:
        say(
            f"  {100 * summary['stored_share']:.1f}% of the anchors are within the tolerance as their views are "
            "stored, rounded to 8 bits; the search judges before rounding"
        )


def _unmeasured(num_views: int) -> tuple[dict[str, tuple[tuple[int, ...], str]], dict[str, Any]]:
    """Arrays that every cache has, for views that are made without f: NaN distances and no steps."""
    fields = {"distances": ((num_views,), "<f4"), "distances_original": ((num_views,), "<f4"), "steps": ((), "<i4")}
    nowhere = np.full(num_views, np.nan, dtype=np.float32)
    return fields, {"distances": nowhere, "distances_original": nowhere, "steps": np.zeros((), dtype=np.int32)}


def _synthesize(session: Session, artifact: Artifact) -> Making:
    step = artifact.step
    fields, unmeasured = _unmeasured(step.n_cached)

    def fill(write: Write, pending: list[int], progress: Progress) -> None:
        from assimilate.invert import load_latents
        from assimilate.train_generator import load_generator
        from assimilate.views.synthesis import synthesize_views

        synthesize_views(
            load_generator(session, artifact.parents["generator"]),
            load_latents(artifact.parents["latents"]),
            pending,
            step.move(),
            lambda index, views: write(index, views.numpy(), **unmeasured),
            num_views=step.n_cached,
            batch=step.batch,
            seed=step.seed,
            device=session.device,
            progress=progress,
        )

    def summarize(folder: Path) -> dict[str, Any]:
        return {"view": step.name, "distances": UNMEASURED, **step.moved_by}

    return Making(step.title, step.n_cached, step.side, fields, fill, summarize)


def _pack(session: Session, artifact: Artifact) -> Making:
    from assimilate.data.images import load_files
    from assimilate.views.cache import IMAGES
    from assimilate.views.external import check_external, in_order, read_external, scan_external
    from assimilate.views.pairing import describe_pairing

    num_views, image_size = artifact.step.num_views, _image_size(session)
    fields, unmeasured = _unmeasured(num_views)
    names = load_files(session.data.path)
    found = in_order(scan_external(Path(session.config["view"]["path"])), None if names is None else names["train"])
    check_external(found, num_images=len(session.dataset.train), image_size=image_size, num_views=num_views)

    def fill(write: Write, pending: list[int], progress: Progress) -> None:
        read_external(
            found,
            pending,
            lambda index, views: write(index, views, **unmeasured),
            image_size=image_size,
            num_views=num_views,
            progress=progress,
        )

    def summarize(folder: Path) -> dict[str, Any]:
        return {"view": "external", "distances": UNMEASURED, "path": str(found.path)}

    def doubt(folder: Path) -> str | None:
        return describe_pairing(session.dataset.train.images, np.load(folder / IMAGES, mmap_mode="r"))

    return Making("Packing views", num_views, image_size, fields, fill, summarize, doubt)


def _draw_expert(session: Session, artifact: Artifact) -> Making:
    step = artifact.step
    fields, unmeasured = _unmeasured(step.n_cached)
    shared = step.draw_batch if step.draws == "shared" else None

    def fill(write: Write, pending: list[int], progress: Progress) -> None:
        from assimilate.train import make_transforms
        from assimilate.views.expert_views import draw_expert_views

        draw_expert_views(
            session.dataset.train.images,
            pending,
            make_transforms(session.config)("expert"),
            lambda index, views: write(index, views.numpy(), **unmeasured),
            num_views=step.n_cached,
            seed=step.seed,
            shared_by=shared,
            progress=progress,
        )

    def summarize(folder: Path) -> dict[str, Any]:
        draws = "independent for every image" if shared is None else f"shared by {shared} images in turn"
        return {"view": "expert", "distances": UNMEASURED, "draws": draws}

    return Making(step.title, step.n_cached, step.side, fields, fill, summarize)
