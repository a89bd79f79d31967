"""Stage: fill the cache of generated views.

python -m assimilate.make_views dataset=cifar10 view=wsearch
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from assimilate.artifacts import Artifact, Built, damage
from assimilate.command import stage
from assimilate.config import Job
from assimilate.errors import UserError
from assimilate.session import Session

SUMMARY = "summary.json"
UNMEASURED = "not measured (NaN): these views are made without f"


def build(session: Session, artifact: Artifact, staging: Path) -> Built:
    """Fill `staging` with the views of every training image; an interrupted cache goes on where it stopped.

    Raises:
        OSError: the disk is full; what is there stays.
    """
    maker: dict[str, Callable[..., dict[str, Any]]] = {"wsearch": _search, "wperturb": _perturb, "expert": _draw_expert}
    summary = maker[artifact.content["name"]](session, artifact, staging)
    (staging / SUMMARY).write_text(json.dumps(summary, indent=1) + "\n")
    return Built(summary)


def read_summary(artifact: Artifact) -> dict[str, Any]:
    """What was measured when the cache was filled."""
    result: dict[str, Any] = json.loads((artifact.path / SUMMARY).read_text())
    return result


def epsilons(session: Session, artifact: Artifact) -> tuple[float, float]:
    """ε1 and ε2 of a W-search cache: the configuration's numbers, or measured and 5/3·ε1 where they are "auto"."""
    from assimilate.calibrate import read_calibration

    epsilon1, epsilon2 = artifact.content["epsilon1"], artifact.content["epsilon2"]
    if epsilon1 == "auto":
        epsilon1 = read_calibration(artifact.parents["calibration"])["epsilon1"]
    return float(epsilon1), float(5 / 3 * epsilon1 if epsilon2 == "auto" else epsilon2)


def _search(session: Session, artifact: Artifact, staging: Path) -> dict[str, Any]:
    from assimilate.invert import load_latents
    from assimilate.train import load_reference
    from assimilate.train_generator import load_generator
    from assimilate.views.cache import ViewCacheWriter
    from assimilate.views.objective import spread_bound
    from assimilate.views.search import FoundViews, SearchEngine, SearchSettings

    content, search = artifact.content, artifact.content["search"]
    epsilon1, epsilon2 = epsilons(session, artifact)
    session.terminal.say(f"  W-search: ε1 = {epsilon1:.4f}, ε2 = {epsilon2:.4f}, {content['n_cached']} views an image")
    images = session.dataset.train.images
    count, num_views = len(images), content["n_cached"]
    settings = SearchSettings(
        num_views=num_views,
        epsilon1=epsilon1,
        epsilon2=epsilon2,
        uniformity_weight=content["lambda"],
        hinge=content["hinge"],
        anchor=content["anchor"],
        optimizer=search["optimizer"],
        lr=search["lr"],
        iterations=search["iterations"],
        tolerance=search["tolerance"],
        tolerance_relative=search["tolerance_relative"],
        initial_noise=search["initial_noise"],
        noise_first_view=search["noise_first_view"],
        width=search["width"],
        seed=content["seed"],
    )
    fields = {
        "distances": ((count, num_views), "<f4"),
        "distances_original": ((count, num_views), "<f4"),
        "spread": ((count,), "<f4"),
        "steps": ((count,), "<i4"),
        "converged": ((count,), "|u1"),
    }
    generator = load_generator(session, artifact.parents["generator"])
    embedding = load_reference(session, artifact.parents["encoder"])
    engine = SearchEngine(generator, embedding, settings, device=session.device)
    with (
        ViewCacheWriter(staging, (count, num_views, *images.shape[1:]), fields) as writer,
        session.terminal.bar("W-search") as progress,
    ):
        pending = writer.pending()
        if 0 < len(pending) < count:
            session.terminal.say(f"  going on: {count - len(pending)} of {count} images have their views already")

        def emit(found: FoundViews) -> None:
            writer.write(
                found.index,
                found.images.numpy(),
                distances=found.distances.numpy(),
                distances_original=found.distances_original.numpy(),
                spread=np.asarray(found.spread, dtype=np.float32),
                steps=np.asarray(found.steps, dtype=np.int32),
                converged=np.asarray(found.converged, dtype=np.uint8),
            )

        engine.run(
            load_latents(artifact.parents["latents"]),
            images,
            pending,
            emit,
            lambda done, total, values: progress(count - len(pending) + done, count, values),
        )
    arrays = {name: np.load(staging / f"{name}.npy") for name in ("distances", "steps", "converged", "spread")}
    rms = float(np.sqrt(np.mean((arrays["distances"].astype(np.float64) - epsilon1) ** 2)))
    summary = {
        "view": "wsearch",
        "anchor": content["anchor"],
        "epsilon1": epsilon1,
        "epsilon2": epsilon2,
        "distance_mean": float(arrays["distances"].mean()),
        "distance_std": float(arrays["distances"].std()),
        "boundary_rms": rms,
        "boundary_rms_relative": rms / epsilon1 if epsilon1 > 0 else None,
        "spread_mean": float(arrays["spread"].mean()),
        "spread_bound": spread_bound(epsilon1, num_views),
        "steps_mean": float(arrays["steps"].mean()),
        "capped_share": float(1 - arrays["converged"].mean()),
        "converged_asked": search["tolerance"] is not None or search["tolerance_relative"] is not None,
    }
    _report_search(session, summary, num_views)
    return summary


def _report_search(session: Session, summary: dict[str, Any], num_views: int) -> None:
    say = session.terminal.say
    say(
        f"  distance to the anchor {summary['distance_mean']:.4f} ± {summary['distance_std']:.4f} for ε1 = "
        f"{summary['epsilon1']:.4f} (rms error {100 * (summary['boundary_rms_relative'] or 0):.1f}% of ε1), "
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


def _unmeasured(count: int, num_views: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Arrays that every cache has, for views that are made without f: NaN distances and no steps."""
    fields = {
        "distances": ((count, num_views), "<f4"),
        "distances_original": ((count, num_views), "<f4"),
        "steps": ((count,), "<i4"),
    }
    nowhere = np.full(num_views, np.nan, dtype=np.float32)
    return fields, {"distances": nowhere, "distances_original": nowhere, "steps": np.zeros((), dtype=np.int32)}


def _perturb(session: Session, artifact: Artifact, staging: Path) -> dict[str, Any]:
    from assimilate.invert import load_latents
    from assimilate.train_generator import load_generator
    from assimilate.views.cache import ViewCacheWriter
    from assimilate.views.perturbation import PerturbSettings, perturb_views

    content, images = artifact.content, session.dataset.train.images
    settings = PerturbSettings(
        num_views=content["n_cached"],
        sigma=content["sigma"],
        projected=content["projected"],
        batch=content["batch"],
        seed=content["seed"],
        noise_limit=content["noise_limit"],
    )
    shape = (len(images), settings.num_views, *images.shape[1:])
    fields, unmeasured = _unmeasured(len(images), settings.num_views)
    with ViewCacheWriter(staging, shape, fields) as writer, session.terminal.bar("W-perturb") as progress:
        perturb_views(
            load_generator(session, artifact.parents["generator"]),
            load_latents(artifact.parents["latents"]),
            writer.pending(),
            settings,
            lambda index, views: writer.write(index, views.numpy(), **unmeasured),
            device=session.device,
            progress=progress,
        )
    return {"view": "wperturb", "distances": UNMEASURED, "sigma": settings.sigma, "projected": settings.projected}


def _draw_expert(session: Session, artifact: Artifact, staging: Path) -> dict[str, Any]:
    from assimilate.train import make_transforms
    from assimilate.views.cache import ViewCacheWriter
    from assimilate.views.expert_views import draw_expert_views

    content, images = artifact.content, session.dataset.train.images
    shape = (len(images), content["n_cached"], *images.shape[1:])
    fields, unmeasured = _unmeasured(len(images), content["n_cached"])
    with ViewCacheWriter(staging, shape, fields) as writer, session.terminal.bar("Expert views") as progress:
        draw_expert_views(
            images,
            writer.pending(),
            make_transforms(session.config)("expert"),
            lambda index, views: writer.write(index, views.numpy(), **unmeasured),
            num_views=content["n_cached"],
            seed=content["seed"],
            progress=progress,
        )
    return {"view": "expert", "distances": UNMEASURED, "draws": "independent for every image"}


def _verify(session: Session, views: Artifact) -> None:
    """Hash every byte of the cache and check what it was made from; changes nothing.

    Raises:
        UserError: the cache is missing or damaged.
    """
    if not views.path.is_dir():
        raise UserError(f"{views.label} is missing; this builds it: {session.command_for(views)}")
    wrong = damage(views, thorough=True)
    if wrong is not None:
        raise UserError(f"{views.path} is damaged: {wrong}; this builds it again: {session.command_for(views)}")
    session.terminal.say(f"verified: {views.path}, every file matches its checksum and its parents")


@stage("make_views")
def main(job: Job) -> None:
    """Build the chain up to the view cache."""
    session = Session(job)
    if session.prepare == "plan":
        session.print_plan()
        return
    views = session.chain.views
    if views is None:
        raise UserError(
            f"assim={job.config['assim']['name']} with view={job.config['view']['name']} needs no cached views"
        )
    if job.config["verify"]:
        _verify(session, views)
        return
    path = session.ensure(views)
    session.terminal.say(f"views: {path}")
    session.summarize()


if __name__ == "__main__":
    sys.exit(main())
