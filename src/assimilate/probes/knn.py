"""k-nearest-neighbour classification with exact tie rules."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

# Scores of one chunk of queries against the whole bank stay within this many elements.
_CHUNK_ELEMENTS = 2**24

METRICS = ("cosine", "euclidean")
WEIGHTINGS = ("majority", "exponential")


def knn_predict(
    train_x: Float[Tensor, "bank dim"],
    train_y: Int64[Tensor, " bank"],
    test_x: Float[Tensor, "queries dim"],
    *,
    k: int = 5,
    metric: str = "cosine",
    weighting: str = "majority",
    temperature: float = 0.1,
    num_classes: int | None = None,
) -> Int64[Tensor, " queries"]:
    """Labels by the vote of the k nearest bank vectors.

    Ties: among equal distances the lowest index is nearer, among equal votes the lowest label wins. Distances are
    computed in the dtype of the inputs. Memory is bounded by chunks of queries.

    Args:
        train_y: labels from 0.
        metric: "cosine" (rows are normalised) or "euclidean" (rows as they are).
        weighting: "majority" (a vote each) or "exponential" (a vote of exp(similarity/temperature); for "euclidean" the
            similarity is minus the distance).

    Raises:
        ValueError: k is not between 1 and the size of the bank, or a name is unknown.
    """
    if not 1 <= k <= len(train_x):
        raise ValueError(f"knn.k={k} must be between 1 and the {len(train_x)} labelled training images")
    if metric not in METRICS:
        raise ValueError(f"knn.metric={metric!r} is unknown; choose one of {', '.join(METRICS)}")
    if weighting not in WEIGHTINGS:
        raise ValueError(f"knn.weighting={weighting!r} is unknown; choose one of {', '.join(WEIGHTINGS)}")
    assert len(train_x) == len(train_y), (len(train_x), len(train_y))
    train_y = train_y.to(train_x.device)
    num_classes = int(train_y.max()) + 1 if num_classes is None else num_classes
    if metric == "cosine":
        train_x, test_x = F.normalize(train_x, dim=1), F.normalize(test_x, dim=1)
    squares = train_x.square().sum(1)
    predictions = torch.empty(len(test_x), dtype=torch.int64, device=train_x.device)
    chunk_size = max(1, _CHUNK_ELEMENTS // len(train_x))
    for start in range(0, len(test_x), chunk_size):
        queries = test_x[start : start + chunk_size]
        # Larger is nearer. The query's own square is the same for the whole bank: x·y − ½|y|² ranks as −|x−y|².
        scores = queries @ train_x.T
        if metric == "euclidean":
            scores = scores.sub_(squares / 2)
        values, neighbours = _nearest(scores, k)
        if weighting == "majority":
            weights = torch.ones_like(values)
        elif metric == "cosine":
            weights = (values / temperature).exp()
        else:
            distances = (queries.square().sum(1, keepdim=True) - 2 * values).clamp(min=0).sqrt()
            weights = (-distances / temperature).exp()
        votes = torch.zeros(len(queries), num_classes, dtype=weights.dtype, device=weights.device)
        votes.scatter_add_(1, train_y[neighbours], weights)
        # argmax returns the first of equal maxima: the lowest label.
        predictions[start : start + len(queries)] = votes.argmax(1)
    return predictions


def _nearest(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest scores of each row, the lowest index first among equals: topk, repaired where the k-th is tied."""
    values, indices = scores.topk(k, dim=1)
    # topk may take any of several columns that equal the k-th score.
    ambiguous = (scores >= values[:, -1:]).sum(1) > k
    if ambiguous.any():
        rows = ambiguous.nonzero().squeeze(1)
        ordered, order = scores[rows].sort(dim=1, descending=True, stable=True)
        values[rows], indices[rows] = ordered[:, :k], order[:, :k]
    return values, indices


def knn_accuracy(
    train_x: Float[Tensor, "bank dim"],
    train_y: Int64[Tensor, " bank"],
    test_x: Float[Tensor, "queries dim"],
    test_y: Int64[Tensor, " queries"],
    *,
    k: int = 5,
    metric: str = "cosine",
    weighting: str = "majority",
    temperature: float = 0.1,
) -> float:
    """Share of test vectors whose vote (see `knn_predict`) is right, in percent."""
    predicted = knn_predict(train_x, train_y, test_x, k=k, metric=metric, weighting=weighting, temperature=temperature)
    return 100.0 * int((predicted == test_y.to(predicted.device)).sum()) / len(test_y)


def knn_metrics(
    train_x: Float[Tensor, "bank dim"],
    train_y: Int64[Tensor, " bank"],
    test_x: Float[Tensor, "queries dim"],
    test_y: Int64[Tensor, " queries"],
    *,
    k: int = 5,
    k_weighted: int = 200,
) -> dict[str, float]:
    """The kNN numbers that a run reports, in percent: `knn5_cosine`, `knn5_euclidean`, `knn200_weighted` (PROTOCOLS 1).

    The weighted one is the curve that the E-SSL code calls kNN (cosine, exp(s/.1)); it is left out where the bank holds
    fewer than `k_weighted` images.
    """
    metrics = {
        f"knn{k}_cosine": knn_accuracy(train_x, train_y, test_x, test_y, k=k, metric="cosine"),
        f"knn{k}_euclidean": knn_accuracy(train_x, train_y, test_x, test_y, k=k, metric="euclidean"),
    }
    if k_weighted <= len(train_x):
        metrics[f"knn{k_weighted}_weighted"] = knn_accuracy(
            train_x, train_y, test_x, test_y, k=k_weighted, metric="cosine", weighting="exponential"
        )
    return metrics
