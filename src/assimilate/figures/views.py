"""Figures of views: distances to the anchor, offsets in two spaces, pictures (Figures 2, 3, 8, 9 and 10)."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from assimilate.data.grids import spread_over_classes
from assimilate.errors import UserError
from assimilate.figures.found_runs import find_viewmaker
from assimilate.figures.gallery import Gallery, choose_images, embed, load_f
from assimilate.figures.inputs import Kind, Need, ensure, kinds_of, needs_of, print_plan, unfold
from assimilate.figures.record import Analysis
from assimilate.jobs.session import Session
from assimilate.run.analysis_checks import CACHED, RECONSTRUCTION, VIEWMAKER, view_words

if TYPE_CHECKING:
    from torch import Tensor

# Over one column of a grid.
SHORT = {"reconstruction": "reconstr."}
MEASURES = "‖f(view) − f(anchor)‖₂"
# Adds its picture to the analysis; returns the caption.
Drawing = Callable[[Session, list[Kind], Analysis], str]


def _figure(title: str, *, sees: bool) -> Callable[[Drawing], Callable[[Session], None]]:
    """A figure of views as a way of `analyze`, from the function that adds its picture and returns its caption.

    Args:
        title: of the analysis.
        sees: whether it looks through f.
    """

    def wrapper(draw: Drawing) -> Callable[[Session], None]:
        @functools.wraps(draw)
        def make(session: Session) -> None:
            kinds = kinds_of(session, view_words(session.config))
            analysis = _prepared(session, kinds, title, sees=sees)
            if analysis is None:
                return
            folder = analysis.finish(draw(session, kinds, analysis))
            for path in sorted(folder.glob("*.p*")):
                session.terminal.say(f"figure:  {path}")
            session.terminal.say(f"record:  {folder / 'analysis.json'}")

        return make

    return wrapper


@_figure("Distances of views to their anchors", sees=True)
def draw_distances(session: Session, kinds: list[Kind], analysis: Analysis) -> str:
    """How far views lie from their anchors as f sees it (Figure 2a)."""
    from assimilate.analysis.distance_figure import draw_distances, summarize_distances

    settings = session.config["analysis"]
    gallery = _gallery(session)
    embedding = load_f(session)
    distances = {kind.label: _distances(gallery, kind, embedding, own=settings["anchor"] == "own") for kind in kinds}
    analysis.summary = {label: summarize_distances(values) for label, values in distances.items()}
    epsilon1 = _epsilon1(kinds)
    picture = draw_distances(
        distances, {kind.label: kind.colour for kind in kinds}, epsilon1=epsilon1, budget=analysis.budget_name
    )
    rows = (
        {"view": label, "image": int(gallery.indices[image]), "k": k, "distance": value}
        for label, values in distances.items()
        for (image, k), value in np.ndenumerate(values)
    )
    anchor = "what it was made from" if settings["anchor"] == "own" else "the image"
    caption = (
        f"Distances {MEASURES} of views to {anchor}, {len(gallery.indices)} training images of "
        f"{session.dataset.name}." + ("" if epsilon1 is None else f" W-search was asked for ε1 = {epsilon1:.3f}.")
    )
    analysis.add("distances", picture, rows, caption)
    for label, numbers in analysis.summary.items():
        session.terminal.say(
            f"  {label:<24} {numbers['mean']:.4f} ± {numbers['std']:.4f}   median {numbers['median']:.4f}   "
            f"95% below {numbers['q95']:.4f}"
        )
    return caption


@_figure("Offsets of views from their anchors in W and in Z", sees=True)
def draw_offsets(session: Session, kinds: list[Kind], analysis: Analysis) -> str:
    """Offsets of views from their anchors in W and in Z, by t-SNE (Figure 2b)."""
    from assimilate.analysis.offset_figure import draw_offsets
    from assimilate.analysis.offsets import embed_offsets

    settings = session.config["analysis"]
    gallery, embedding = _gallery(session), load_f(session)
    rng = np.random.default_rng([session.config["seed"], 2])
    offsets: dict[str, dict[str, np.ndarray[Any, np.dtype[np.float32]]]] = {"w": {}, "z": {}}
    origins: dict[str, np.ndarray[Any, np.dtype[np.int64]]] = {}
    counts: dict[str, int] = {}
    for kind in kinds:
        codes, pixels = _codes_and_pixels(gallery, kind)
        anchors = embed(session, embedding, gallery.anchors(kind, own=True))
        in_w = (codes - gallery.codes(kind).cpu()[:, None]).flatten(0, 1).flatten(1).numpy()
        in_z = (embed(session, embedding, pixels) - anchors[:, None]).flatten(0, 1).numpy()
        counts[kind.label] = codes.shape[1]
        chosen = np.sort(rng.choice(len(in_w), min(settings["num_embedded"], len(in_w)), replace=False))
        offsets["w"][kind.label], offsets["z"][kind.label], origins[kind.label] = in_w[chosen], in_z[chosen], chosen
    planes: dict[str, dict[str, np.ndarray[Any, np.dtype[np.float32]]]] = {}
    for space, by_kind in offsets.items():
        session.terminal.say(f"  t-SNE in {space.upper()}: {sum(map(len, by_kind.values()))} offsets")
        try:
            plane = embed_offsets(
                np.concatenate(list(by_kind.values())),
                perplexity=settings["perplexity"][space],
                num_iterations=settings["num_iterations"],
                seed=session.config["seed"],
            )
        except ValueError as error:
            raise UserError(str(error)) from error
        ends = np.cumsum([len(part) for part in by_kind.values()])[:-1]
        planes[space] = dict(zip(by_kind, np.split(plane, ends), strict=True))
    shown = {
        label: np.sort(rng.choice(len(part), min(settings["num_plotted"], len(part)), replace=False))
        for label, part in origins.items()
    }
    titles = {"w": "W, the generator's latents", "z": "Z, as f sees them"}
    visible_planes = {
        titles[space]: {label: part[shown[label]] for label, part in plane.items()} for space, plane in planes.items()
    }
    picture = draw_offsets(
        visible_planes,
        {kind.label: kind.colour for kind in kinds},
        budget=analysis.budget_name,
    )
    visible = {label: set(part.tolist()) for label, part in shown.items()}
    rows = (
        {
            "space": space,
            "view": label,
            "image": int(gallery.indices[origins[label][position] // counts[label]]),
            "k": int(origins[label][position] % counts[label]),
            "x": point[0],
            "y": point[1],
            "shown": int(position in visible[label]),
        }
        for space, plane in planes.items()
        for label, part in plane.items()
        for position, point in enumerate(part)
    )
    caption = (
        f"t-SNE of the offsets of views from their anchors, {session.dataset.name}: in W (perplexity "
        f"{settings['perplexity']['w']:g}) and in Z (perplexity {settings['perplexity']['z']:g}), "
        f"{settings['num_iterations']} iterations; {max(map(len, origins.values())):,} offsets of a kind embedded, "
        f"{max(map(len, shown.values())):,} shown."
    )
    outside = sum(_outside(list(plane.values())) for plane in visible_planes.values())
    if outside:
        caption += f" {outside} of these lie beyond the frame."
    analysis.add("tsne", picture, rows, caption)
    return caption


@_figure("Images and views of them", sees=False)
def draw_grid(session: Session, kinds: list[Kind], analysis: Analysis) -> str:
    """Images and views of them side by side (Figures 3, 8, 9 and 10)."""
    from assimilate.analysis.grid_figure import Panel, draw_grid

    settings = session.config["analysis"]
    train = session.dataset.train
    indices = np.array(sorted(spread_over_classes(train.labels, len(train), settings["num_images"])))
    gallery = _gallery(session, indices)
    panels = [Panel(SHORT.get(kind.label, kind.label), gallery.pixels(kind)) for kind in kinds]
    picture = draw_grid(panels, budget=analysis.budget_name)
    rows = (
        {
            "row": row,
            "image": int(index),
            "label": "" if train.labels is None else session.dataset.class_names[int(train.labels[index])],
        }
        for row, index in enumerate(indices)
    )
    headings = ", ".join(
        kind.label + (f" (×{panel.pictures.shape[1]})" if panel.pictures.shape[1] > 1 else "")
        for kind, panel in zip(kinds, panels, strict=True)
    )
    caption = f"{len(indices)} training images of {session.dataset.name}; from left to right: {headings}."
    analysis.add("grid", picture, rows, caption)
    return caption


# ------------------------------------------------------------------------------------------------ what they share


def _prepared(session: Session, kinds: list[Kind], title: str, *, sees: bool) -> Analysis | None:
    """The analysis to make, everything that it needs in place; None if there is nothing to do.

    Args:
        session: of the job.
        kinds: of views that it shows.
        title: of the analysis.
        sees: whether it looks through f.
    """
    needs: list[Need] = [(kind.maker, part) for kind in kinds for part in needs_of(kind, whole=False) if kind.session]
    if sees:
        assert session.chain.reference is not None
        needs.append((session, session.chain.reference))
    content = [session.data.label]
    content += [label for kind in kinds if kind.name in CACHED for label in kind.labels_of_cache]
    content += [part.label for kind in kinds if kind.name == RECONSTRUCTION for part in needs_of(kind, whole=False)]
    if sees:
        content.append(needs[-1][1].label)
    content += [f"{key}={session.config[part][key]}" for part, key in (("dataset", "flip"), ("data", "expert"))]
    if session.config["data"]["crop_size"] is not None:
        content.append(f"crop_size={session.config['data']['crop_size']}")
    if VIEWMAKER in (kind.name for kind in kinds):
        folder = _viewmaker_folder(session)
        assert folder is not None
        weights, _ = find_viewmaker(folder, session.config["dataset"]["name"])
        content.append("/".join(weights.parts[-4:]))
    analysis = Analysis(session.job, title, sorted(set(content)))
    if session.prepare == "plan":
        built = {part.label for _, part in needs}
        few = [kind for kind in kinds if kind.name in CACHED and kind.cache.label not in built]
        wanted = session.config["analysis"]["num_images"] or session.num_train
        print_plan(session, needs, analysis.folder, few=few, num_images=wanted)
        return None
    session.terminal.say(f"analysis: {analysis.folder}")
    if analysis.is_finished():
        session.terminal.say("nothing to do: it is there; force=true makes it again")
        return None
    if not ensure(session, needs if session.prepare != "only" else _whole(needs, kinds)):
        return None
    # What ensure has built may not be what the plan was made with.
    assert all(owner.store.has(part) for owner, part in unfold(needs))
    return analysis


def _whole(needs: list[Need], kinds: list[Kind]) -> list[Need]:
    """Under prepare=only, caches of all images: whoever asks for them wants to have them."""
    return [*needs, *((kind.maker, part) for kind in kinds if kind.session for part in needs_of(kind, whole=True))]


def _gallery(session: Session, indices: "np.ndarray[Any, np.dtype[np.int64]] | None" = None) -> Gallery:
    settings, seed = session.config["analysis"], session.config["seed"]
    if indices is None:
        indices = choose_images(session, settings["num_images"], seed)
    return Gallery(session, indices, settings["num_views"], seed, _viewmaker_folder(session))


def _viewmaker_folder(session: Session) -> Path | None:
    given = session.config["analysis"].get("viewmaker")
    if given is None:
        return None
    path = Path(str(given)).expanduser()
    return path if path.is_absolute() or path.is_dir() else session.job.out / path


def _distances(gallery: Gallery, kind: Kind, embedding: Any, *, own: bool) -> "np.ndarray[Any, np.dtype[np.float32]]":
    """[images, views], from the pixels as they are stored."""
    import torch

    session = gallery.session
    views = embed(session, embedding, torch.from_numpy(gallery.pixels(kind)))
    anchors = embed(session, embedding, gallery.anchors(kind, own=own))
    result: np.ndarray[Any, np.dtype[np.float32]] = torch.linalg.vector_norm(views - anchors[:, None], dim=-1).numpy()
    return result


def _epsilon1(kinds: list[Kind]) -> float | None:
    """The distance that W-search was asked for, where all of its kinds agree."""
    asked = {kind.cache.step.epsilons(kind.maker)[0] for kind in kinds if kind.name == "wsearch"}
    return asked.pop() if len(asked) == 1 else None


def _codes_and_pixels(gallery: Gallery, kind: Kind) -> "tuple[Tensor, Tensor]":
    """Codes [M, n, codes, dim] before truncation and pixels [M, n, 3, H, W] of the same views.

    A cache holds no codes: they are found again.
    """
    import torch

    from assimilate.jobs.machine import repeatable_kernels

    session, indices = kind.maker, gallery.indices.tolist()
    shown = min(gallery.num_views, kind.num_used)
    with session.bar(f"{kind.cache.step.title} of {len(indices)} images") as progress, repeatable_kernels():
        codes, pixels = kind.cache.step.codes_and_views(session, indices, shown, progress)
    return codes, torch.from_numpy(pixels)


def _outside(parts: "list[np.ndarray[Any, np.dtype[np.float32]]]") -> int:
    """Points that a panel does not show."""
    from assimilate.analysis.offset_figure import frame

    points = np.concatenate(parts)
    low, high = frame(points)
    return int(((points < low) | (points > high)).any(axis=1).sum())
