"""What views are worth: the scores of a view card, each computed alike of the views and of what stands beside them.

f has norm-1 outputs f(x), and features h(x), its backbone's. Real images are of two kinds that share none: the `images`
of which there are views, and `others`. So no view is ever compared with the image that it was made from by a score of
realism, of memorisation or of purity.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float64, Int64, UInt8
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from assimilate.analysis.seen import LayerMoments, Seen
from assimilate.probes.knn import knn_predict

NEIGHBOURS = 5
# Of real images, those that lie nearest to another one: what a near copy is measured by.
NEAREST_SHARE = 0.01
# Variance of rounding to 256 levels of [0, 1]: no spectrum of an image says anything below it.
ROUNDING = (1 / 255) ** 2 / 12
CHUNK = 128


class Measured(NamedTuple):
    """A score and what it is a mean over: `n` views, pairs of views or images."""

    value: float
    n: int


@dataclass(frozen=True)
class Shown:
    """Pictures that are scored.

    Attributes:
        seen: as f sees them.
        anchors: f of what each image's pictures are measured from, the reconstruction or the image, [images, dim].
    """

    seen: Seen
    anchors: Float[Tensor, "images dim"]

    @property
    def count(self) -> int:
        """How many pictures there are."""
        return int(self.seen.embedded.shape[:2].numel())


@dataclass(frozen=True)
class Beside:
    """What pictures are compared with.

    Attributes:
        expert: f of expert views of the images that are used for nothing else, [images, draws, dim].
        real: the images themselves, as pictures with one view each.
        others: real images that are not among the images, as many or more, in random order; one view each.
        labels: of the images; None: there are none.
        others_labels: of the others.
        epsilon1: the distance that the views were asked for; None: none.
    """

    expert: Float[Tensor, "images draws dim"]
    real: Seen
    others: Seen
    labels: Int64[Tensor, " images"] | None = None
    others_labels: Int64[Tensor, " others"] | None = None
    epsilon1: float | None = None

    @cached_property
    def near(self) -> float:
        """Distance to the nearest of the others that a hundredth of real images is within."""
        return float(nearest_distances(self.real.features, self.others.features).quantile(NEAREST_SHARE))

    @cached_property
    def classifier(self) -> "LinearClassifier":
        """Trained on the others."""
        assert self.others_labels is not None
        return LinearClassifier(self.others.features[:, 0], self.others_labels)


@dataclass(frozen=True)
class Score:
    """One line of a card.

    Attributes:
        name: in JSON.
        title: for people.
        unit: of the value.
        beside: kinds of pictures whose value stands beside the views': expert views, reconstruction, real images.
        measure: of pictures; None where it says nothing of them.
    """

    name: str
    title: str
    unit: str
    beside: tuple[str, ...]
    measure: Callable[[Shown, Beside], Measured | None]


def distance(shown: Shown, beside: Beside) -> Measured:
    """Mean ‖f(view) − f(anchor)‖₂."""
    return Measured(float(_distances(shown).mean()), shown.count)


def epsilon1_error(shown: Shown, beside: Beside) -> Measured | None:
    """Root mean square of (‖f(view) − f(anchor)‖₂ − ε1)/ε1 in percent, where a distance was asked for."""
    if not beside.epsilon1:
        return None
    relative = _distances(shown) / beside.epsilon1 - 1
    return Measured(100 * float(relative.square().mean().sqrt()), shown.count)


def spread(shown: Shown, beside: Beside) -> Measured | None:
    """Mean ‖f(view) − f(view')‖₂ over every two views of an image."""
    return _mean_over_pairs(shown.seen.embedded, lambda a, b: (a.double() - b.double()).norm(dim=-1))


def hardness(shown: Shown, beside: Beside) -> Measured:
    """Mean f(view)·f(expert view of the same image); the lower, the harder the pair is."""
    cosines = torch.einsum("ivd,ied->ive", shown.seen.embedded.double(), beside.expert.double())
    return Measured(float(cosines.mean()), cosines.numel())


def batchnorm_shift(shown: Shown, beside: Beside) -> Measured | None:
    """How far the batch statistics of f's BatchNorm layers move when views take the place of other real images.

    Of a layer's input, each channel has a mean μ and a standard deviation σ over pictures and positions, with f in eval
    mode. The shift of a channel is √((μ_view − μ_real)² + (σ_view − σ_real)²) / √(σ_real² + ε), the 2-Wasserstein
    distance of two normal distributions in units of the real one's width. Of a layer it is the root mean square over
    channels; of f, the mean over layers.
    """
    pairs = list(zip(shown.seen.moments, beside.others.moments, strict=True))
    if not pairs:
        return None
    return Measured(sum(layer_shift(view, real) for view, real in pairs) / len(pairs), shown.count)


def layer_shift(view: LayerMoments, real: LayerMoments) -> float:
    """The shift of one layer."""
    squared = (view.mean - real.mean).square() + (view.variance.sqrt() - real.variance.sqrt()).square()
    return float((squared / (real.variance + real.epsilon)).mean().sqrt())


def directions(shown: Shown, beside: Beside) -> Measured | None:
    """Diversity in f: along how many directions views leave their anchors.

    The effective rank (Roy & Vetterli, 2007) of the offsets f(view) − f(anchor): exp of the entropy of the eigenvalues,
    as shares, of their second moments about 0. 1: all along one line; dim: alike along all.
    """
    offsets = (shown.seen.embedded.double() - shown.anchors.double()[:, None]).flatten(0, 1)
    eigenvalues = torch.linalg.eigvalsh(offsets.T @ offsets).clamp(min=0)
    if not eigenvalues.sum() > 0:
        return None
    return Measured(float(torch.special.entr(eigenvalues / eigenvalues.sum()).sum().exp()), shown.count)


def pixel_diversity(shown: Shown, beside: Beside) -> Measured | None:
    """Root mean square difference of two views of an image over pixels and channels in [0, 1], mean over pairs."""
    pixels = torch.from_numpy(shown.seen.pixels).flatten(2)
    return _mean_over_pairs(pixels, lambda a, b: _rms(a.float() / 255 - b.float() / 255))


def spectrum_diversity(shown: Shown, beside: Beside) -> Measured | None:
    """Root mean square difference in dB of the radial power spectra of two views of an image, mean over pairs.

    Of the mean over channels in [0, 1], power |DFT|²/(H·W) is averaged over each ring of spatial frequencies
    round(√(u² + v²)) = 1, 2, … min(H, W)/2, and the power of rounding is added. Flips and shifts around the edge leave
    it as it is; blur, noise and texture do not.
    """
    pixels = shown.seen.pixels
    spectra = [radial_spectra(pixels[start : start + CHUNK]) for start in range(0, len(pixels), CHUNK)]
    return _mean_over_pairs(torch.cat(spectra), lambda a, b: _rms(a - b))


def radial_spectra(pixels: UInt8[np.ndarray, "... 3 height width"]) -> Float64[Tensor, "... rings"]:
    """Power in dB of each ring."""
    grey = torch.from_numpy(pixels.mean(axis=-3)) / 255
    height, width = grey.shape[-2:]
    power = torch.fft.fft2(grey).abs().square() / (height * width)
    rows, columns = torch.fft.fftfreq(height) * height, torch.fft.fftfreq(width) * width
    ring = (rows[:, None].square() + columns.square()).sqrt().round().long()
    rings = [power[..., ring == radius].mean(-1) for radius in range(1, min(height, width) // 2 + 1)]
    return 10 * torch.log10(torch.stack(rings, dim=-1) + ROUNDING)


def realism(shown: Shown, beside: Beside) -> Measured:
    """Fréchet distance of features h between pictures and as many other real images (Heusel et al. 2017).

    One view of each image is compared at a time, and the mean over views is given: numbers of pictures are equal
    wherever the number of images is, so that the bias of few pictures is, too.
    """
    images, views = shown.seen.features.shape[:2]
    real = beside.others.features[:images, 0]
    values = [frechet(shown.seen.features[:, view], real) for view in range(views)]
    return Measured(sum(values) / views, images)


def frechet(x: Float[Tensor, "n dim"], y: Float[Tensor, "m dim"]) -> float:
    """|μ − μ'|² + tr(Σ + Σ' − 2(ΣΣ')^½) of two samples in float64, divisors n − 1 and m − 1; n, m ≥ 2.

    With X, Y the centred samples over √(n − 1), √(m − 1), tr (ΣΣ')^½ is the sum of the singular values of X Yᵀ,
    and so of R_x R_yᵀ where X = Q_x R_x.
    """
    x, y = x.double(), y.double()
    means = (x.mean(0) - y.mean(0)).square().sum()
    x, y = ((part - part.mean(0)) / (len(part) - 1) ** 0.5 for part in (x, y))
    cross = torch.linalg.svdvals(torch.linalg.qr(x, mode="r").R @ torch.linalg.qr(y, mode="r").R.mT).sum()
    return float(means + x.square().sum() + y.square().sum() - 2 * cross)


def nearest_distances(
    features: Float[Tensor, "images views feature_dim"], others: Float[Tensor, "others 1 feature_dim"]
) -> Float64[Tensor, " pictures"]:
    """Distance of each picture's h/‖h‖ to that of the nearest of the others."""
    queries, bank = (F.normalize(part.double().flatten(0, 1), dim=1) for part in (features, others))
    closest = torch.cat([(part @ bank.T).argmax(1) for part in queries.split(CHUNK)])
    # Of the difference: in 2 − 2cos a small distance would drown.
    return (queries - bank[closest]).norm(dim=1)


def nearest(shown: Shown, beside: Beside) -> Measured:
    """Mean distance of h/‖h‖ to that of the nearest other real image; compare it with that of expert views."""
    return Measured(float(nearest_distances(shown.seen.features, beside.others.features).mean()), shown.count)


def near_copies(shown: Shown, beside: Beside) -> Measured:
    """Percent of pictures as near to another real image as 1% of real images are: a generator that recites has more."""
    near = nearest_distances(shown.seen.features, beside.others.features) <= beside.near
    return Measured(100 * float(near.double().mean()), shown.count)


def purity_knn(shown: Shown, beside: Beside) -> Measured | None:
    """Percent of pictures whose 5 nearest other real images (cosine of h, majority) vote for the image's class."""
    if beside.labels is None or beside.others_labels is None:
        return None
    bank = beside.others.features[:, 0]
    return _purity(shown, beside.labels, partial(knn_predict, bank, beside.others_labels, k=NEIGHBOURS))


def purity_linear(shown: Shown, beside: Beside) -> Measured | None:
    """Percent of pictures that a linear probe of h, trained on the other real images, gives the image's class."""
    return None if beside.labels is None else _purity(shown, beside.labels, beside.classifier)


class LinearClassifier:
    """Softmax regression on features of mean 0 and variance 1, with the penalty ½‖W‖² on the sum of losses (C = 1).

    Convex and solved to its optimum, so that nothing is drawn.
    """

    def __init__(self, features: Float[Tensor, "n dim"], labels: Int64[Tensor, " n"]) -> None:
        self.mean, self.scale = features.double().mean(0), features.double().std(0, correction=0).clamp(min=1e-12)
        self.only = int(labels[0]) if len(labels.unique()) == 1 else None
        if self.only is None:
            self.model = LogisticRegression(max_iter=2000).fit(self._standard(features), labels.numpy())

    def _standard(self, features: Tensor) -> NDArray[np.float64]:
        return ((features.double() - self.mean) / self.scale).numpy()

    def __call__(self, features: Float[Tensor, "n dim"]) -> Int64[Tensor, " n"]:
        """The likeliest class of each."""
        if self.only is not None:
            return torch.full((len(features),), self.only)
        return torch.from_numpy(self.model.predict(self._standard(features)))


EXPERT, RECONSTRUCTION, REAL = "expert", "reconstruction", "real"
ALL = (EXPERT, RECONSTRUCTION, REAL)
SCORES = (
    Score("distance", "distance to the anchor", "in f", (EXPERT, RECONSTRUCTION), distance),
    Score("epsilon1_error", "rms error of ε1", "% of ε1", (EXPERT,), epsilon1_error),
    Score("spread", "spread of an image's views", "in f", (EXPERT,), spread),
    Score("hardness", "cosine to expert views", "in f", ALL, hardness),
    Score("batchnorm_shift", "BatchNorm shift", "real σ", ALL, batchnorm_shift),
    Score("directions", "diversity in f", "directions", (EXPERT,), directions),
    Score("pixel_diversity", "diversity in pixels", "rms, of 1", (EXPERT,), pixel_diversity),
    Score("spectrum_diversity", "diversity of spectra", "dB", (EXPERT,), spectrum_diversity),
    Score("realism", "Fréchet distance", "in features", ALL, realism),
    Score("nearest", "nearest other image", "in features", ALL, nearest),
    Score("near_copies", "near copies of others", "%", ALL, near_copies),
    Score("purity_knn", "purity by 5-NN", "%", ALL, purity_knn),
    Score("purity_linear", "purity by a linear probe", "%", ALL, purity_linear),
)


def make_card(views: Shown, references: Mapping[str, Shown], beside: Beside) -> dict[str, dict[str, Any]]:
    """Every score that says something of the views, by name, as JSON holds it.

    Args:
        views: to be scored.
        references: pictures whose scores stand beside them, of the kinds that `Score.beside` names.
        beside: what both are compared with.

    Returns:
        {name: {title, unit, value, n, and the value of each reference}}.
    """
    card = {}
    for score in SCORES:
        if (found := score.measure(views, beside)) is None:
            continue
        measured = {name: score.measure(references[name], beside) for name in score.beside if name in references}
        values = {name: other.value for name, other in measured.items() if other is not None}
        card[score.name] = {"title": score.title, "unit": score.unit, **found._asdict(), **values}
    return card


def _distances(shown: Shown) -> Float64[Tensor, "images views"]:
    return (shown.seen.embedded.double() - shown.anchors.double()[:, None]).norm(dim=-1)


def _mean_over_pairs(values: Tensor, size: Callable[[Tensor, Tensor], Tensor]) -> Measured | None:
    """Mean size of the difference of every two views of an image, values [images, views, …]; None of single views."""
    sizes = [size(*both).double() for part in values.split(CHUNK) for both in combinations(part.unbind(1), 2)]
    return Measured(float(torch.cat(sizes).mean()), sum(map(len, sizes))) if sizes else None


def _rms(difference: Tensor) -> Tensor:
    return difference.square().mean(-1).sqrt()


def _purity(shown: Shown, labels: Tensor, predict: Callable[[Tensor], Tensor]) -> Measured:
    features = shown.seen.features
    right = predict(features.flatten(0, 1)).view(features.shape[:2]) == labels[:, None]
    return Measured(100 * float(right.double().mean()), shown.count)
