"""Figures of views: distances to the anchor, offsets in two spaces, pictures (Figures 2, 3, 8, 9 and 10)."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from assimilate.analysis.canvas import picture
from assimilate.analysis.distance_figure import draw_distances, summarize_distances
from assimilate.analysis.grid_figure import Panel, draw_grid
from assimilate.analysis.plane_figure import draw_planes, embed_in_plane, outside
from assimilate.data.grids import spread_over_classes
from assimilate.errors import UserError
from assimilate.figures.figure import Figure, viewmaker_folder
from assimilate.figures.gallery import Gallery, choose_images, embed, load_f
from assimilate.figures.inputs import Kind
from assimilate.jobs.machine import repeatable_kernels
from assimilate.jobs.session import Session
from assimilate.views.embedding import FrozenEmbedding

MEASURES = "‖f(view) − f(anchor)‖₂"


def add_distances(figure: Figure) -> str:
    """How far views lie from their anchors as f sees it (Figure 2a)."""
    session, kinds, analysis = figure.session, figure.kinds, figure.analysis
    own = session.config["analysis"]["anchor"] == "own"
    gallery = _gallery(session)
    embedding = load_f(session)
    distances = {kind.label: _distances(gallery, kind, embedding, own=own) for kind in kinds}
    analysis.summary = {label: summarize_distances(values) for label, values in distances.items()}
    epsilon1 = _epsilon1(kinds)
    colours = {kind.label: kind.colour for kind in kinds}
    drawn = picture(lambda: draw_distances(distances, colours, epsilon1=epsilon1), **analysis.look)
    rows = (
        {"view": label, "image": int(gallery.indices[image]), "k": k, "distance": value}
        for label, values in distances.items()
        for (image, k), value in np.ndenumerate(values)
    )
    anchor = "what it was made from" if own else "the image"
    caption = (
        f"Distances {MEASURES} of views to {anchor}, {len(gallery.indices)} training images of "
        f"{session.dataset.name}." + ("" if epsilon1 is None else f" W-search was asked for ε1 = {epsilon1:.3f}.")
    )
    analysis.add("distances", drawn, rows, caption)
    for label, numbers in analysis.summary.items():
        session.say(
            f"  {label:<24} {numbers['mean']:.4f} ± {numbers['std']:.4f}   median {numbers['median']:.4f}   "
            f"95% below {numbers['q95']:.4f}"
        )
    return caption


def add_offsets(figure: Figure) -> str:
    """Offsets of views from their anchors in W and in Z, by t-SNE (Figure 2b)."""
    session, kinds, analysis = figure.session, figure.kinds, figure.analysis
    settings = session.config["analysis"]
    gallery, embedding = _gallery(session), load_f(session)
    rng = np.random.default_rng([session.config["seed"], 2])
    offsets: dict[str, dict[str, np.ndarray]] = {"w": {}, "z": {}}
    origins: dict[str, np.ndarray] = {}
    counts: dict[str, int] = {}
    for kind in kinds:
        codes, pixels = _codes_and_pixels(gallery, kind)
        anchors = embed(session, embedding, gallery.anchors(kind, own=True))
        in_w = (codes - gallery.codes(kind).cpu()[:, None]).flatten(0, 1).flatten(1).numpy()
        in_z = (embed(session, embedding, pixels) - anchors[:, None]).flatten(0, 1).numpy()
        counts[kind.label] = codes.shape[1]
        chosen = np.sort(rng.choice(len(in_w), min(settings["num_embedded"], len(in_w)), replace=False))
        offsets["w"][kind.label], offsets["z"][kind.label], origins[kind.label] = in_w[chosen], in_z[chosen], chosen
    planes: dict[str, dict[str, np.ndarray]] = {}
    for space, by_kind in offsets.items():
        session.say(f"  t-SNE in {space.upper()}: {sum(map(len, by_kind.values()))} offsets")
        try:
            plane = embed_in_plane(
                np.concatenate(list(by_kind.values())),
                perplexity=settings["perplexity"][space],
                num_iterations=settings["num_iterations"],
                seed=session.config["seed"],
                limit="num_embedded",
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
    colours = {kind.label: kind.colour for kind in kinds}
    drawn = picture(lambda: draw_planes(visible_planes, colours), **analysis.look)
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
    if hidden := sum(outside(np.concatenate(list(plane.values()))) for plane in visible_planes.values()):
        caption += f" {hidden} of these lie beyond the frame."
    analysis.add("tsne", drawn, rows, caption)
    return caption


def add_grid(figure: Figure) -> str:
    """Images and views of them side by side (Figures 3, 8, 9 and 10)."""
    session, kinds, analysis = figure.session, figure.kinds, figure.analysis
    settings = session.config["analysis"]
    train = session.dataset.train
    indices = np.array(sorted(spread_over_classes(train.labels, len(train), settings["num_images"])))
    gallery = _gallery(session, indices)
    panels = [Panel(kind.heading, gallery.pixels(kind)) for kind in kinds]
    drawn = picture(lambda: draw_grid(panels, budget=analysis.budget_name), **analysis.look)
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
    analysis.add("grid", drawn, rows, caption)
    return caption


# ------------------------------------------------------------------------------------------------ what they share


def _gallery(session: Session, indices: np.ndarray | None = None) -> Gallery:
    settings, seed = session.config["analysis"], session.config["seed"]
    if indices is None:
        indices = choose_images(session, settings["num_images"], seed)
    return Gallery(session, indices, settings["num_views"], seed, viewmaker_folder(session))


def _distances(
    gallery: Gallery, kind: Kind, embedding: FrozenEmbedding, *, own: bool
) -> Float32[np.ndarray, "images views"]:
    """From the pixels as they are stored."""
    session = gallery.session
    views = embed(session, embedding, torch.from_numpy(gallery.pixels(kind)))
    anchors = embed(session, embedding, gallery.anchors(kind, own=own))
    return torch.linalg.vector_norm(views - anchors[:, None], dim=-1).numpy()


def _epsilon1(kinds: Sequence[Kind]) -> float | None:
    """The distance that W-search was asked for, where all of its kinds agree."""
    asked = {kind.cache.step.distance_asked(kind.maker) for kind in kinds if kind.has_cache} - {None}
    return asked.pop() if len(asked) == 1 else None


def _codes_and_pixels(gallery: Gallery, kind: Kind) -> tuple[Tensor, Tensor]:
    """Codes [M, n, codes, dim] before truncation and pixels [M, n, 3, H, W] of the same views.

    A cache holds no codes: they are found again.
    """
    session, indices = kind.maker, gallery.indices.tolist()
    shown = min(gallery.num_views, kind.num_used)
    with session.bar(f"{kind.cache.step.title} of {len(indices)} images") as progress, repeatable_kernels():
        codes, pixels = kind.cache.step.codes_and_views(session, indices, shown, progress)
    return torch.from_numpy(codes), torch.from_numpy(pixels)
