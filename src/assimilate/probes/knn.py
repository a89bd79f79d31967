"""k-nearest-neighbour classification with exact tie rules."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

# Scores of one chunk of queries against the whole bank stay within this many elements (64 MiB). Fewer queries at once
# would read the bank from memory more often: measured 1.5 times as slow at a quarter of it.
_CHUNK_ELEMENTS = 2**24

# So many near ties of a query are told apart. Of more, which are copies or noise, the lowest indices are nearest.
_MOST_NEAR_TIES = 256
# Sums of equal votes in another order differ by less.
_VOTE_ROUNDING = 1e-12


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
    leave_one_out: bool = False,
) -> Int64[Tensor, " queries"]:
    """Labels by the vote of the k nearest bank vectors.

    Ties: among equal distances the lowest index is nearer, among equal votes the lowest label wins. Distances are
    computed in the dtype of the inputs, and once more in float64 where rounding would decide: copies of a vector tie
    wherever they stand. Memory is bounded by chunks of queries.

    Args:
        train_x, train_y: the bank, [bank, dim], and its labels from 0, [bank].
        test_x: the queries, [queries, dim].
        metric: "cosine" (rows are normalised) or "euclidean" (rows as they are).
        weighting: "majority" (a vote each) or "exponential" (a vote of exp(similarity/temperature); for "euclidean" the
            similarity is minus the distance).
        leave_one_out: the queries are the bank, in its order, and no vector votes for itself.

    Raises:
        ValueError: k is not between 1 and the number of vectors that may vote, or a name is unknown.
    """
    num_voters = len(train_x) - leave_one_out
    if not 1 <= k <= num_voters:
        raise ValueError(f"knn.k={k} must be between 1 and the {num_voters} labelled training images")
    if metric not in METRICS:
        raise ValueError(f"knn.metric={metric!r} is unknown; choose one of {', '.join(METRICS)}")
    if weighting not in WEIGHTINGS:
        raise ValueError(f"knn.weighting={weighting!r} is unknown; choose one of {', '.join(WEIGHTINGS)}")
    assert len(train_x) == len(train_y), (len(train_x), len(train_y))
    assert not leave_one_out or len(test_x) == len(train_x), (len(train_x), len(test_x))
    train_y = train_y.to(train_x.device)
    num_classes = int(train_y.max()) + 1 if num_classes is None else num_classes
    nearest = _Nearest(len(train_x), k)
    pairs = METRICS[metric](train_x, test_x)
    train_x, test_x = pairs.ranked(train_x), pairs.ranked(test_x)
    halves = pairs.halves(train_x)
    # Between scores that differ by less than this, relative to their largest term, rounding decides.
    rounding = 2 * torch.finfo(train_x.dtype).eps * (1 + math.sqrt(train_x.shape[1]) / 4)
    predictions = torch.empty(len(test_x), dtype=torch.int64, device=train_x.device)
    chunk_size = max(1, min(len(test_x), _CHUNK_ELEMENTS // nearest.width))
    # One buffer for all chunks: touching fresh memory costs as much as ranking.
    buffer = train_x.new_empty(chunk_size, nearest.width)
    buffer[:, len(train_x) :] = float("-inf")
    for start in range(0, len(test_x), chunk_size):
        queries = test_x[start : start + chunk_size]
        # Larger is nearer. The query's own square is the same for the whole bank: x·y − ½|y|² ranks as −|x−y|².
        scores = torch.mm(queries, train_x.T, out=buffer[: len(queries), : len(train_x)])
        if halves is not None:
            scores.sub_(halves)
        if leave_one_out:
            scores.diagonal(start).fill_(float("-inf"))
        values, neighbours = nearest(
            buffer[: len(queries)], pairs.slack(queries, rounding), pairs.of_queries_from(start)
        )
        queries_here = torch.arange(start, start + len(queries), device=train_x.device)
        found = _Found(queries_here, neighbours, values, train_y[neighbours], num_classes)
        votes = WEIGHTINGS[weighting](pairs, found, temperature, rounding)
        # The first that reaches the maximum: the lowest label.
        enough = votes >= votes.amax(1, keepdim=True) * (1 - _VOTE_ROUNDING)
        predictions[queries_here] = enough.int().argmax(1)
    return predictions


def _exponential(exponents: Tensor) -> Tensor:
    """exp, up to a factor that all of a query's votes share, which decides nothing: exp(−d/T) alone may be 0."""
    return (exponents - exponents.amax(1, keepdim=True)).exp()


@dataclass(frozen=True)
class _Found:
    """The neighbours of some queries."""

    queries: Int64[Tensor, " queries"]
    places: Int64[Tensor, "queries k"]
    scores: Float[Tensor, "queries k"]
    labels: Int64[Tensor, "queries k"]
    num_classes: int

    def votes(self, weights: Float[Tensor, "queries k"]) -> Float[Tensor, "queries classes"]:
        """Each class's, in float64."""
        votes = torch.zeros(len(weights), self.num_classes, dtype=torch.float64, device=weights.device)
        return votes.scatter_add_(1, self.labels, weights.double())

    def some(self, rows: Int64[Tensor, " some"]) -> "_Found":
        return _Found(self.queries[rows], self.places[rows], self.scores[rows], self.labels[rows], self.num_classes)


def _undecided(votes: Float[Tensor, "queries classes"], share: float) -> Int64[Tensor, " some"]:
    """The queries whose two largest votes differ by no more than a share of the largest."""
    if votes.shape[1] == 1:
        return votes.new_zeros(0, dtype=torch.int64)
    first, second = votes.topk(2, dim=1).values.unbind(1)
    return (first - second <= share * first).nonzero().squeeze(1)


class _Pairs(ABC):
    """Scores of single pairs of a query and a bank vector in float64: what is larger is nearer.

    Each pair is summed by itself and in the same order, so that equal vectors have equal scores. In a matrix product a
    column's place decides how its terms are added.
    """

    def __init__(self, bank: Tensor, queries: Tensor) -> None:
        self.bank, self.queries = bank, queries

    def __call__(self, queries: Int64[Tensor, " pairs"], places: Int64[Tensor, " pairs"]) -> Float[Tensor, " pairs"]:
        at_once = max(1, _CHUNK_ELEMENTS // (8 * self.bank.shape[1]))
        both = zip(queries.split(at_once), places.split(at_once), strict=True)
        return torch.cat(
            [self._score(self.queries[some].double(), self.bank[others].double()) for some, others in both]
        )

    @abstractmethod
    def _score(self, x: Float[Tensor, "pairs dim"], y: Float[Tensor, "pairs dim"]) -> Float[Tensor, " pairs"]: ...

    def ranked(self, vectors: Float[Tensor, "n dim"]) -> Float[Tensor, "n dim"]:
        """As their products rank."""
        return vectors

    def halves(self, bank: Float[Tensor, "bank dim"]) -> Float[Tensor, " bank"] | None:
        """What is taken from a product with each bank vector."""
        return None

    @abstractmethod
    def slack(self, queries: Float[Tensor, "queries dim"], rounding: float) -> Callable[[Tensor], Tensor]:
        """By how much rounding may have moved two scores apart, given the k-th score of each query."""

    @abstractmethod
    def exponential(self, found: _Found, temperature: float, rounding: float) -> Float[Tensor, "queries classes"]:
        """The votes, each of exp(similarity/temperature)."""

    def of_queries_from(self, start: int) -> Callable[[Tensor, Tensor], Tensor]:
        """The same with queries that are counted from `start`."""
        return lambda queries, places: self(queries + start, places)

    def among(self, found: _Found) -> Float[Tensor, "queries k"]:
        """The scores of each query with its neighbours."""
        queries = found.queries.repeat_interleave(found.places.shape[1])
        return self(queries, found.places.flatten()).view(found.places.shape)


class _Cosine(_Pairs):
    """The cosine."""

    def _score(self, x: Float[Tensor, "pairs dim"], y: Float[Tensor, "pairs dim"]) -> Float[Tensor, " pairs"]:
        return (x * y).sum(1) / (x.square().sum(1) * y.square().sum(1)).sqrt().clamp(min=torch.finfo(x.dtype).tiny)

    def ranked(self, vectors: Float[Tensor, "n dim"]) -> Float[Tensor, "n dim"]:
        return F.normalize(vectors, dim=1)

    def slack(self, queries: Float[Tensor, "queries dim"], rounding: float) -> Callable[[Tensor], Tensor]:
        return lambda last: torch.full_like(last, rounding)

    def exponential(self, found: _Found, temperature: float, rounding: float) -> Float[Tensor, "queries classes"]:
        votes = found.votes(_exponential(found.scores / temperature))
        close = _undecided(votes, 4 * rounding / temperature)
        undecided = found.some(close)
        votes[close] = undecided.votes(_exponential(self.among(undecided) / temperature))
        return votes


class _Euclidean(_Pairs):
    """Minus the squared distance."""

    def _score(self, x: Float[Tensor, "pairs dim"], y: Float[Tensor, "pairs dim"]) -> Float[Tensor, " pairs"]:
        return (x - y).square().sum(1).neg()

    def halves(self, bank: Float[Tensor, "bank dim"]) -> Float[Tensor, " bank"]:
        return bank.square().sum(1).div_(2)

    def slack(self, queries: Float[Tensor, "queries dim"], rounding: float) -> Callable[[Tensor], Tensor]:
        squares = queries.square().sum(1)

        def slack(last: Tensor) -> Tensor:
            # No competitor is longer than the query and the k-th distance together.
            lengths = squares.sqrt()
            longest = lengths + (squares - 2 * last).clamp(min=0).sqrt()
            return torch.nan_to_num(rounding * longest * (longest + lengths), nan=0.0, posinf=0.0)

        return slack

    def exponential(self, found: _Found, temperature: float, rounding: float) -> Float[Tensor, "queries classes"]:
        # Not from the scores: in |x|² − 2x·y + |y|² a small distance drowns.
        return found.votes(_exponential(-self.among(found).neg().sqrt() / temperature))


METRICS: dict[str, type[_Pairs]] = {"cosine": _Cosine, "euclidean": _Euclidean}
WEIGHTINGS: dict[str, Callable[[_Pairs, _Found, float, float], Tensor]] = {
    "majority": lambda pairs, found, temperature, rounding: found.votes(torch.ones_like(found.scores)),
    "exponential": lambda pairs, found, temperature, rounding: pairs.exponential(found, temperature, rounding),
}


class _Nearest:
    """The k largest scores of each row, the lowest index first among equals, without sorting the row.

    Columns j, j + groups, j + 2·groups, … form a group. The k largest scores lie in the k groups of the largest maxima,
    so one pass over a row finds those groups and only their members are ranked.
    """

    def __init__(self, bank_size: int, k: int) -> None:
        self.k = k
        # Balances ranking `groups` maxima against ranking k groups' members; a power of two: halves are compared.
        self.members = 2 ** max(0, min(5, round(math.log2(bank_size / k) / 2)))
        self.groups = math.ceil(bank_size / self.members)
        self.width = self.members * self.groups
        self._scratch: Tensor | None = None

    def __call__(
        self,
        scores: Float[Tensor, "queries width"],
        slack: Callable[[Tensor], Tensor],
        exactly: Callable[[Tensor, Tensor], Tensor],
    ) -> tuple[Tensor, Tensor]:
        """(values, indices), both [queries, k], in no particular order; columns past the bank hold −inf.

        Scores that differ from the k-th by no more than `slack` of it are ranked by what `exactly` (rows, columns) says
        of them.
        """
        maxima, groups = self._maxima(scores).topk(min(self.k + 1, self.groups), dim=1)
        maxima_chosen, groups = maxima[:, : self.k], groups[:, : self.k]
        columns = (
            groups[:, None, :] + self.groups * torch.arange(self.members, device=scores.device)[:, None]
        ).flatten(1)
        candidates = scores.gather(1, columns)
        ranked, places = candidates.topk(min(self.k + 1, candidates.shape[1]), dim=1)
        values, indices = ranked[:, : self.k].clone(), columns.gather(1, places[:, : self.k])
        # topk may take any of several columns that equal the k-th score, and a group left out may hold one too.
        last = values[:, -1]
        open_by = slack(last)
        lowest = last - open_by
        tied = torch.zeros_like(lowest, dtype=torch.bool)
        if ranked.shape[1] > self.k:
            tied |= ranked[:, self.k] >= lowest
        if maxima.shape[1] > maxima_chosen.shape[1]:
            tied |= maxima[:, self.k] >= lowest
        if tied.any():
            rows = tied.nonzero().squeeze(1)
            indices[rows] = self._with_ties(
                scores[rows], last[rows, None], open_by[rows, None], lambda some, columns: exactly(rows[some], columns)
            )
            values[rows] = scores[rows].gather(1, indices[rows])
        return values, indices

    def _maxima(self, scores: Tensor) -> Float[Tensor, "queries groups"]:
        """Each group's largest score: the columns' halves against each other, again and again.

        Measured twice as fast as a maximum over the axis of members, whose memory is not contiguous.
        """
        if self.members == 1:
            return scores
        half = self.width // 2
        if self._scratch is None or len(self._scratch) < len(scores):
            self._scratch = scores.new_empty(len(scores), half)
        maxima = torch.maximum(scores[:, :half], scores[:, half:], out=self._scratch[: len(scores)])
        while half > self.groups:
            half //= 2
            torch.maximum(maxima[:, :half], maxima[:, half : 2 * half], out=maxima[:, :half])
        return maxima[:, : self.groups]

    def _with_ties(
        self, scores: Tensor, last: Tensor, slack: Tensor, exactly: Callable[[Tensor, Tensor], Tensor]
    ) -> Int64[Tensor, "queries k"]:
        """All scores clearly above the k-th, then the best of those near it, the first ones among equals."""
        near = (((scores - last).abs() <= slack) & (scores > float("-inf"))) | (scores == last)
        above = ~(scores <= last) & ~near
        wanted, counts = self.k - above.sum(1), near.sum(1)
        many = (counts > _MOST_NEAR_TIES).nonzero().squeeze(1)
        if len(many):  # not into the sorts below: of a collapsed encoder they are the whole bank, for every query
            first = near[many]
            above[many] |= first & (first.cumsum(1, dtype=torch.int32) <= wanted[many, None])
            near[many] = False
            counts[many] = 0
        row, column = near.nonzero().unbind(1)
        exact = exactly(row, column)
        # By row, by score, by column: stable sorts in turn.
        order = exact.argsort(descending=True, stable=True)
        order = order[row[order].argsort(stable=True)]
        place = torch.arange(len(row), device=scores.device) - (counts.cumsum(0) - counts)[row]
        kept = order[place < wanted[row]]
        above[row[kept], column[kept]] = True
        return above.nonzero()[:, 1].view(-1, self.k)


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
    """Share of test vectors whose vote (see `knn_predict`) is right, in percent.

    Args:
        train_x, train_y: the bank, [bank, dim], and its labels from 0, [bank].
        test_x, test_y: the queries, [queries, dim], and their labels, [queries].
        k, metric, weighting, temperature: see `knn_predict`.

    Raises:
        ValueError: k is not between 1 and the size of the bank, or a name is unknown.
    """
    predicted = knn_predict(train_x, train_y, test_x, k=k, metric=metric, weighting=weighting, temperature=temperature)
    return 100.0 * int((predicted == test_y.to(predicted.device)).sum()) / len(test_y)


def leave_one_out_accuracy(
    features: Float[Tensor, "n dim"], labels: Int64[Tensor, " n"], *, k: int = 5, metric: str = "cosine"
) -> float:
    """Share of vectors whose k nearest others vote for their label (majority; ties as in `knn_predict`), in percent."""
    predicted = knn_predict(features, labels, features, k=k, metric=metric, leave_one_out=True)
    return 100.0 * int((predicted == labels.to(predicted.device)).sum()) / len(labels)


def knn_metrics(
    train_x: Float[Tensor, "bank dim"],
    train_y: Int64[Tensor, " bank"],
    test_x: Float[Tensor, "queries dim"],
    test_y: Int64[Tensor, " queries"],
    *,
    k: int = 5,
    k_weighted: int = 200,
    further: Sequence[int] = (),
) -> dict[str, float]:
    """The kNN numbers that a run reports, in percent: `knn5_cosine`, `knn5_euclidean`, `knn200_weighted`.

    `further` values of k are measured under cosine with uniform votes, e.g. dkobak's 10.

    The weighted one is the curve that the E-SSL code calls kNN (cosine, exp(s/.1)); it is left out where the bank holds
    fewer than `k_weighted` images.
    """
    metrics = {
        f"knn{k}_cosine": knn_accuracy(train_x, train_y, test_x, test_y, k=k, metric="cosine"),
        f"knn{k}_euclidean": knn_accuracy(train_x, train_y, test_x, test_y, k=k, metric="euclidean"),
    }
    for other in further:
        if other != k and other <= len(train_x):
            metrics[f"knn{other}_cosine"] = knn_accuracy(train_x, train_y, test_x, test_y, k=other, metric="cosine")
    if k_weighted <= len(train_x):
        metrics[f"knn{k_weighted}_weighted"] = knn_accuracy(
            train_x, train_y, test_x, test_y, k=k_weighted, metric="cosine", weighting="exponential"
        )
    return metrics
