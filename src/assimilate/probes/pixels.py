"""Classifiers of raw pixels, a baseline for any encoder."""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from assimilate.data.images import ImageArrays, ImageDataset
from assimilate.graph.place import Progress, silent
from assimilate.probes.floors import (
    MOST_FOR_C,
    MOST_ITERATIONS,
    MOST_PRODUCTS,
    MOST_TEST,
    MOST_TRAIN,
    NUM_FOLDS,
    SIDE,
    STRENGTHS,
)
from assimilate.probes.linear import ranks
from assimilate.probes.shipped import Neighbours

_CHUNK = 4096
# Directions of less variance than this share of the largest hold rounding: grey images fill a third of their pixels.
_NO_VARIANCE = 1e-10


def measure_pixels(dataset: ImageDataset, *, device: str, progress: Progress = silent) -> dict[str, Any]:
    """Accuracies in percent on test images of classifiers that see the pixels, in [0, 1], of training images.

    A logistic regression, with the C of `STRENGTHS` that is best in cross-validation on the training images, and the
    nearest neighbours that probes measure. Large sets and images are cut to the bounds of `floors`; which images are
    left out depends on their number alone.

    Args:
        dataset: labelled images.
        device: "cpu" or "cuda".
        progress: hears of each fit.

    Returns:
        `metrics`, {name: {"mean": percent}}, and `note`, what was done, in words.
    """
    train, test, num_classes = dataset.train, dataset.test, len(dataset.class_names)
    assert test is not None
    side = min(train.image_size, SIDE)
    kept = some(len(train), min(MOST_TRAIN, max(1, int(MOST_PRODUCTS // (3 * side**2 * num_classes)))))
    x, y = _pixels(train, kept, side, device)
    asked = some(len(test), MOST_TEST)
    queries, labels = _pixels(test, asked, side, device)
    metrics = Neighbours().among(x, y, queries, labels)
    mean = x.mean(0)
    x -= mean
    basis = rotation(x)
    x = x @ basis
    num_fits = len(STRENGTHS) * NUM_FOLDS + 1
    chosen = some(len(x), MOST_FOR_C)
    strength = choose_strength(
        x[chosen], y[chosen], num_classes, progress=lambda done, _, values: progress(done, num_fits, values)
    )
    weight, bias = fit_softmax(x, y, num_classes, strength=strength)
    progress(num_fits, num_fits, {"C": strength})
    rank = ranks((queries - mean) @ basis @ weight.T + bias, labels)
    top = {f"acc{k}": 100.0 * float((rank < k).double().mean()) for k in ((1, 5) if num_classes > 5 else (1,))}
    said = [
        f"nearest neighbours and a logistic regression on pixels of {side}²"
        + ("" if side == train.image_size else " (averaged)"),
        f"C {strength:g}, the best of {STRENGTHS[0]:g} to {STRENGTHS[-1]:g} in {NUM_FOLDS}-fold cross-validation on "
        f"{len(chosen):,} training images; at most {MOST_ITERATIONS} iterations",
        f"{len(kept):,} of {len(train):,} training and {len(asked):,} of {len(test):,} test images",
    ]
    return {"metrics": {name: {"mean": value} for name, value in {**top, **metrics}.items()}, "note": "; ".join(said)}


def some(count: int, at_most: int) -> Int64[Tensor, " n"]:
    """Indices of all, or of `at_most` drawn at random, the same ones whenever there are so many; shuffled."""
    order = np.random.default_rng(0).permutation(count)
    return torch.from_numpy(order[:at_most])


def _pixels(arrays: ImageArrays, kept: Tensor, side: int, device: str) -> tuple[Tensor, Tensor]:
    """[n, 3·side²] in [0, 1], and the labels [n]."""
    assert arrays.labels is not None
    pixels = torch.empty(len(kept), 3 * side**2, device=device)
    for start in range(0, len(kept), _CHUNK):
        index = np.sort(kept[start : start + _CHUNK].numpy())  # in the order of the file
        images = torch.from_numpy(arrays.images[index]).to(device).float().div_(255)
        pixels[start : start + len(index)] = F.adaptive_avg_pool2d(images, side).flatten(1)
        kept[start : start + _CHUNK] = torch.from_numpy(index)
    return pixels, torch.from_numpy(arrays.labels[kept.numpy()]).to(device)


def rotation(x: Float[Tensor, "n dim"]) -> Float[Tensor, "dim rank"]:
    """The principal directions of centred vectors, without those in which they do not differ.

    An L2 penalty does not change under a rotation, nor does the solution leave the span of the data, so that a
    regression on `x @ rotation(x)` is the one on x; it is much better conditioned.
    """
    if len(x) < x.shape[1]:
        _, roots, rows = torch.linalg.svd(x.double(), full_matrices=False)
        values, vectors = roots.square().flip(0), rows.T.flip(1)
    else:
        covariance = sum(part.T @ part for part in (rows.double() for rows in x.split(_CHUNK)))
        values, vectors = torch.linalg.eigh(covariance)
    return vectors[:, values > _NO_VARIANCE * values[-1].clamp(min=1e-30)].to(x.dtype)


def choose_strength(
    x: Float[Tensor, "n dim"], y: Int64[Tensor, " n"], num_classes: int, *, progress: Progress = silent
) -> float:
    """The C of `STRENGTHS` with the best mean accuracy in cross-validation; the smallest of equal ones.

    Row i is in fold i modulo `NUM_FOLDS`.
    """
    fold = torch.arange(len(x), device=x.device) % NUM_FOLDS
    right = torch.zeros(len(STRENGTHS), dtype=torch.float64)
    for held_out in range(NUM_FOLDS if len(x) >= NUM_FOLDS else 0):
        inside, outside, start = fold != held_out, fold == held_out, None
        for index, strength in enumerate(STRENGTHS):
            start = fit_softmax(x[inside], y[inside], num_classes, strength=strength, start=start, tolerance=1e-3)
            right[index] += int((ranks(x[outside] @ start[0].T + start[1], y[outside]) == 0).sum())
            progress(held_out * len(STRENGTHS) + index + 1, NUM_FOLDS * len(STRENGTHS), {"C": strength})
    return STRENGTHS[int(right.argmax())]


def fit_softmax(
    x: Float[Tensor, "n dim"],
    y: Int64[Tensor, " n"],
    num_classes: int,
    *,
    strength: float,
    start: tuple[Tensor, Tensor] | None = None,
    tolerance: float = 1e-4,
) -> tuple[Float[Tensor, "classes dim"], Float[Tensor, " classes"]]:
    """Softmax regression with an L2 penalty: the minimum of C·Σᵢ cross-entropyᵢ + ½‖W‖² by L-BFGS, b unpenalised.

    Args:
        x: centred, in its principal directions (`rotation`): each is scaled by its curvature, which changes nothing but
            the number of iterations.
        y: labels from 0.
        strength: C, as scikit-learn counts it.
        start: (W, b) to begin at.
        tolerance: L-BFGS stops where no derivative of the objective over C·n exceeds it, in those coordinates, or after
            `MOST_ITERATIONS`.

    Returns:
        (W, b).
    """
    n, dim = x.shape
    penalty = 1 / (strength * n)
    scale = (x.square().mean(0) / num_classes + penalty).rsqrt()
    scaled = x * scale
    values = x.new_zeros(num_classes, dim + 1)
    if start is not None:
        values[:, :dim], values[:, dim] = start[0] / scale, start[1]
    weight_penalty = penalty * scale.square()
    rows = torch.arange(n, device=x.device)
    optimizer = torch.optim.LBFGS(
        [values], max_iter=MOST_ITERATIONS, history_size=8, tolerance_grad=tolerance, line_search_fn="strong_wolfe"
    )

    def closure() -> float:
        log_p = torch.addmm(values[:, dim], scaled, values[:, :dim].T).log_softmax(1)
        loss = -log_p[rows, y].mean() + 0.5 * (weight_penalty * values[:, :dim].square()).sum()
        residual = log_p.exp_()
        residual[rows, y] -= 1
        residual /= n
        values.grad = torch.cat([residual.T @ scaled + weight_penalty * values[:, :dim], residual.sum(0)[:, None]], 1)
        return float(loss)

    optimizer.step(closure)
    return values[:, :dim] * scale, values[:, dim].clone()
