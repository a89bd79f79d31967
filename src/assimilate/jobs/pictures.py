"""The pictures of a run's page: generated views beside their images, best and worst reconstructions.

They need the images, the generator and torch, so they are drawn once, into the run's folder; pages are written from
the files there.
"""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from assimilate.analysis.agreement import label_agreement
from assimilate.analysis.distance_figure import plot_distances
from assimilate.data.grids import grid_scale, picture_grid, spread_over_classes
from assimilate.files.checked_files import digest_file
from assimilate.files.whole_file import may_write, write_whole
from assimilate.graph.counted import counted
from assimilate.jobs.session import Session
from assimilate.pages.run_page import PICTURES, PICTURES_FILE
from assimilate.views.cached_files import IMAGES
from assimilate.views.embedding import to_pixels

# Pictures on a page.
NUM_ANCHORS = 12
NUM_EXTREMES = 8
# Views of an image that are made for the page where no cache holds any.
NUM_DRAWN = 4


# Raised whenever other pictures are drawn of the same artifacts.
SCHEMA = 2

# A section of a run's page: `title`, `text` above its pictures, `figures`, and `facts` that were measured of them.
Section = dict[str, Any]
Reconstruct = Callable[[list[int]], NDArray[np.uint8] | None]


def draw_pictures(session: Session) -> None:
    """Draw what a run's page shows of its views and of the inversion, into `pictures/` of its folder.

    A folder that cannot be written stays as it is, and so do pictures of the very same artifacts.
    """
    if not may_write(session.job.run_dir):
        return
    folder = session.job.run_dir / PICTURES
    made_from = {artifact.label: artifact.manifest()["digest"] for artifact in session.chain.all()}
    if _are_drawn(folder, made_from):
        return
    reconstruct = _reconstruction(session)
    sections = []
    with session.terminal.bar("Drawing pictures") as progress:
        for number, draw in enumerate((_view_section, _inversion_section)):
            progress(number, 2, {})
            if (section := draw(session, folder, reconstruct)) is not None:
                sections.append(section)
        progress(2, 2, {})
    names = [figure["file"] for section in sections for figure in section["figures"]]
    digests = {name: digest_file(folder / name) for name in names}
    drawn = {"schema": SCHEMA, "sections": sections, "made_from": made_from, "digests": digests}
    write_whole(folder / PICTURES_FILE, json.dumps(drawn, indent=1, ensure_ascii=False) + "\n")


def _are_drawn(folder: Path, made_from: dict[str, str]) -> bool:
    """Whether the folder holds, undamaged, what these artifacts give."""
    try:
        drawn = json.loads((folder / PICTURES_FILE).read_text(encoding="utf-8"))
        if drawn["schema"] != SCHEMA or drawn["made_from"] != made_from:
            return False
        return all(digest_file(folder / name) == digest for name, digest in drawn["digests"].items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _save(folder: Path, name: str, content: bytes | str, caption: str) -> dict[str, str]:
    write_whole(folder / name, content)
    return {"file": name, "caption": caption}


def _view_section(session: Session, folder: Path, reconstruct: Reconstruct) -> Section | None:
    """Images beside their views, and what was measured of these; None where nothing is generated."""
    views = session.chain.views
    if views is None:
        return _drawn_section(session, folder)
    train = session.dataset.train
    cached = np.load(views.path / IMAGES, mmap_mode="r")
    chosen = spread_over_classes(train.labels, len(train), NUM_ANCHORS)
    reconstructions = reconstruct(chosen)
    rows = []
    for position, index in enumerate(chosen):
        row = [train.images[index]]
        row += [] if reconstructions is None else [reconstructions[position]]
        rows.append([*row, *cached[index]])
    leading = 1 if reconstructions is None else 2
    what = "Original" if reconstructions is None else "Original, reconstruction g(e(x))"
    scale = grid_scale(max(train.image_size, cached.shape[-1]), leading + cached.shape[1], most=5)
    grid = picture_grid(rows, scale=scale, gap_after=(leading - 1,))
    made = (
        f"the {counted(cached.shape[1], f'cached {views.step.title} view')} of {counted(len(chosen), 'training image')}"
    )
    figures = [_save(folder, "views.png", grid, f"{what}, and {made}.")]
    summary = views.step.summary(session)
    facts: list[list[str]] = []
    if "epsilon1" in summary:
        distances = np.load(views.path / "distances.npy")
        plot = plot_distances(distances, wanted=summary["epsilon1"], name=f"{distances.size:,} stored views")
        caption = "Achieved distances, measured on the stored 8-bit images, against ε1."
        figures.append(_save(folder, "distances.svg", plot, caption))
        spread = [
            ["mean distance between the views of an image", f"{summary['spread_mean']:.4f}"],
            ["its bound, ε1·√(2n/(n−1))", f"{summary['spread_bound']:.4f}"],
            *([] if summary["epsilon2"] is None else [["ε2, asked for", f"{summary['epsilon2']:.4f}"]]),
        ]
        if cached.shape[1] == 1:  # one view has no distance to others
            spread = []
        share = summary["boundary_rms_relative"]
        facts += [
            ["ε1, asked for", f"{summary['epsilon1']:.4f}"],
            ["achieved distance, mean ± std", f"{summary['distance_mean']:.4f} ± {summary['distance_std']:.4f}"],
            *([] if share is None else [["rms error of the distance", f"{100 * share:.2f}% of ε1"]]),
            *spread,
            [f"{views.step.counted(session)}, mean", f"{summary['steps_mean']:.1f}"],
            ["anchors that did not converge", f"{100 * summary['capped_share']:.2f}%"],
        ]
    agreement = "views that 5-NN on real pixels gives their anchor's label"
    if train.labels is not None and cached.shape[-1] != train.image_size:
        facts.append([agreement, f"not measured: views of {cached.shape[-1]}², images of {train.image_size}²"])
    elif train.labels is not None:
        share = label_agreement(train.images, train.labels, cached, device=session.device)
        facts.append([agreement, f"{100 * share:.1f}%"])
    return {"title": "Views", "text": [], "figures": figures, "facts": facts}


def _drawn_section(session: Session, folder: Path) -> Section | None:
    """Views of runs that make theirs while training, drawn anew for the page; None where there are none to draw."""
    encoder, train = session.chain.encoder, session.dataset.train
    view = getattr(encoder.step, "view", None)
    if view is None or (source := view.drawn_again(session, encoder.path)) is None:
        return None
    chosen = spread_over_classes(train.labels, len(train), NUM_ANCHORS)
    drawn = source.gather(torch.tensor(chosen), NUM_DRAWN, torch.Generator().manual_seed(0)).cpu().numpy()
    rows = [[train.images[index], *views] for index, views in zip(chosen, drawn, strict=True)]
    grid = picture_grid(rows, scale=grid_scale(train.image_size, 1 + NUM_DRAWN, most=5), gap_after=(0,))
    caption = (
        f"Original, and {NUM_DRAWN} {view.title} views, drawn for this page: training makes new ones at every step."
    )
    figures = [_save(folder, "views.png", grid, caption)]
    return {"title": "Views", "text": [], "figures": figures, "facts": view.seen_of(train.images[chosen], drawn)}


def _inversion_section(session: Session, folder: Path, reconstruct: Reconstruct) -> Section | None:
    """Reconstructions with the least and the largest error; None where no image was inverted."""
    latents = session.chain.latents
    errors = None if latents is None else latents.step.errors(latents.path)
    if errors is None:
        return None
    order = errors.argsort()
    count = min(NUM_EXTREMES, len(order) // 2)
    figures = []
    for name, chosen in (("Best", order[:count]), ("Worst", order[::-1][:count])):
        pictures = reconstruct([int(index) for index in chosen])
        if pictures is None or not count:
            continue
        originals = [session.dataset.train.images[index] for index in chosen]
        extremes = f"{errors[chosen].min():.4f} to {errors[chosen].max():.4f}"
        caption = f"{name} reconstructions: images above, g(w) below; MSE {extremes}."
        grid = picture_grid(
            [originals, list(pictures)], scale=grid_scale(session.dataset.train.image_size, count, most=5)
        )
        figures.append(_save(folder, f"{name.lower()}_reconstructions.png", grid, caption))
    text = f"Reconstruction error (MSE on [−1, 1]): mean {errors.mean():.4f}, worst {errors.max():.4f}."
    return {"title": "Inversion", "text": [text], "figures": figures, "facts": []}


def _reconstruction(session: Session) -> Reconstruct:
    """What the generator makes of the latents of images, by their indices; None where there is nothing to compare."""
    generator, latents = session.chain.generator, session.chain.latents
    # An image that was made from its latent is its own reconstruction.
    if generator is None or latents is None or latents.step.is_known:
        return lambda indices: None
    load = cache(lambda: (session.load(generator.step), session.load(latents.step)))

    def reconstruct(indices: list[int]) -> NDArray[np.uint8] | None:
        if not indices:
            return None
        network, codes = load()
        with torch.no_grad():
            made = network.synthesize(torch.from_numpy(np.array(codes[indices])).to(session.device))
            pictures: NDArray[np.uint8] = to_pixels(made).cpu().numpy()
        return pictures

    return reconstruct
