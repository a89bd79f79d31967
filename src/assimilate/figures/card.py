"""The view card: what views are worth, as numbers beside those of expert views, reconstructions and real images."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from assimilate.analysis.canvas import picture
from assimilate.analysis.card import EXPERT, REAL, RECONSTRUCTION, Beside, Shown, make_card
from assimilate.analysis.card_figure import draw_card
from assimilate.analysis.seen import Seen, look
from assimilate.errors import UserError
from assimilate.figures.figure import Figure, viewmaker_folder
from assimilate.figures.gallery import Gallery, embed, load_f, transform_of
from assimilate.figures.inputs import Kind
from assimilate.jobs.machine import repeatable_kernels
from assimilate.jobs.session import Session
from assimilate.views.embedding import to_pixels

FEWEST_OTHERS = 5


def add_card(figure: Figure) -> str:
    """Score every kind of view, on the same images and against the same others.

    Raises:
        UserError: there are too few images.
    """
    session, kinds, analysis = figure.session, figure.kinds, figure.analysis
    settings = session.config["analysis"]
    wanted = settings["num_images"], settings["num_others"]
    indices, others = choose(len(session.dataset.train), *wanted, seed=session.config["seed"])
    with repeatable_kernels():
        bench = _Bench(session, indices, others, settings["num_views"])
        for kind in kinds:
            session.say(f"  {kind.label}: {len(indices)} images, {len(others)} others")
            analysis.summary[kind.label] = bench.card_of(kind)
    cards = {label: found["scores"] for label, found in analysis.summary.items()}
    drawn = picture(lambda: draw_card(cards, {kind.label: kind.colour for kind in kinds}), **analysis.look)
    rows = [
        {
            "view": label,
            "score": name,
            **{key: score.get(key, "") for key in ("value", "n", EXPERT, RECONSTRUCTION, REAL)},
        }
        for label, card in cards.items()
        for name, score in card.items()
    ]
    caption = (
        f"View card of {session.dataset.name}: {len(indices)} training images as f sees them, against {len(others)} "
        "others. Bars: the views. Marks: the same score of expert views, of reconstructions and of real images."
    )
    analysis.add("card", drawn, rows, caption)
    for label, card in cards.items():
        session.say(f"  {label}")
        for score in card.values():
            beside = "   ".join(f"{name} {score[name]:.4g}" for name in (EXPERT, RECONSTRUCTION, REAL) if name in score)
            session.say(f"    {score['title']:<34} {score['value']:>9.4g} {score['unit']:<12} {beside}")
    return caption


def choose(
    count: int, num_images: int | None, num_others: int | None, *, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The images whose views are scored, ascending, and other images in random order; what was chosen is a seed's.

    At most half of the images are scored, so that the others are as many or more.

    Raises:
        UserError: there are too few.
    """
    if count < 2 * FEWEST_OTHERS:
        raise UserError(
            f"analysis=card compares views of some of the {count} training images with the "
            f"others: {2 * FEWEST_OTHERS} images or more are needed"
        )
    order = np.random.default_rng([seed, 4]).permutation(count)
    half = count // 2
    scored = max(2, half if num_images is None else min(num_images, half))
    rest = count - scored if num_others is None else max(num_others, scored, FEWEST_OTHERS)
    return np.sort(order[:scored]), order[scored : scored + rest]


class _Bench:
    """What all kinds are measured with: f, the images, the others, and expert views."""

    def __init__(self, session: Session, indices: NDArray[np.int64], others: NDArray[np.int64], num_views: int) -> None:
        self.session, self.f = session, load_f(session)
        self.gallery = Gallery(session, indices, num_views, session.config["seed"], viewmaker_folder(session))
        train = session.dataset.train
        labels = None if train.labels is None else torch.from_numpy(np.asarray(train.labels, np.int64))
        self.real = self._shown(self.gallery.originals[:, None])
        self.beside = Beside(
            expert=self._look(self._expert("partner of a card")).embedded,
            real=self.real.seen,
            others=self._look(np.asarray(train.images[others])[:, None]),
            labels=None if labels is None else labels[indices],
            others_labels=None if labels is None else labels[others],
        )
        self._experts: dict[int, Shown] = {}
        self._reconstructions: dict[str, Shown] = {}

    def card_of(self, kind: Kind) -> dict[str, Any]:
        """The card of a kind of view, as analysis.json holds it."""
        pixels = self.gallery.pixels(kind)
        anchors = embed(self.session, self.f, self.gallery.anchors(kind, own=True))
        asked = kind.cache.step.distance_asked(kind.maker) if kind.has_cache else None
        references = {EXPERT: self._expert_views(pixels.shape[1]), REAL: self.real}
        if kind.shown == "latents":
            references[RECONSTRUCTION] = self._reconstruction(kind)
        scores = make_card(Shown(self._look(pixels), anchors), references, replace(self.beside, epsilon1=asked))
        assert self.session.chain.reference is not None
        return {
            "cache": kind.cache.label if kind.has_cache else None,
            "f": self.session.chain.reference.label,
            "epsilon1": asked,
            "num_images": len(pixels),
            "num_views": pixels.shape[1],
            "num_others": len(self.beside.others.features),
            "scores": scores,
        }

    def _expert_views(self, count: int) -> Shown:
        """As many expert views of the images, seen once for all kinds that have as many."""
        if count not in self._experts:
            self._experts[count] = self._shown(self._expert("expert view")[:, :count])
        return self._experts[count]

    def _expert(self, purpose: str) -> NDArray[np.uint8]:
        return self.gallery.draws(purpose, transform_of(self.session, EXPERT))

    def _reconstruction(self, kind: Kind) -> Shown:
        """Of the kind's generator and latents."""
        assert kind.maker.chain.latents is not None
        label = kind.maker.chain.latents.label
        if label not in self._reconstructions:
            pixels = to_pixels(self.gallery.reconstruct(kind)).cpu().numpy()
            self._reconstructions[label] = self._shown(pixels[:, None])
        return self._reconstructions[label]

    def _look(self, pixels: NDArray[np.uint8]) -> Seen:
        return look(self.f, pixels, device=self.session.device)

    def _shown(self, pixels: NDArray[np.uint8]) -> Shown:
        """Pictures that are measured from the images."""
        return Shown(self._look(pixels), embed(self.session, self.f, torch.from_numpy(self.gallery.originals)))
