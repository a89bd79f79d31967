from typing import Any

import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from assimilate.probes import knn
from assimilate.probes.knn import knn_accuracy, knn_metrics, knn_predict, leave_one_out_accuracy


def slow_predict(bank: Tensor, labels: Tensor, queries: Tensor, k: int, metric: str, weighting: str, t: float) -> list:
    """One query at a time, with Python's stable sort and an explicit vote."""
    predictions = []
    for query in queries:
        if metric == "cosine":
            distances = [-float(torch.dot(row / row.norm(), query / query.norm())) for row in bank]
        else:
            distances = [float((row - query).square().sum()) ** 0.5 for row in bank]
        nearest = sorted(range(len(bank)), key=lambda i: (distances[i], i))[:k]
        votes: dict[int, float] = {}
        for i in nearest:
            weight = 1.0 if weighting == "majority" else float(np.exp(-distances[i] / t))
            votes[int(labels[i])] = votes.get(int(labels[i]), 0.0) + weight
        predictions.append(min(votes, key=lambda label: (-votes[label], label)))
    return predictions


@pytest.mark.parametrize("weighting", ["majority", "exponential"])
@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("k", [1, 4, 5, 30])
def test_slow_reference(monkeypatch: pytest.MonkeyPatch, k: int, metric: str, weighting: str) -> None:
    monkeypatch.setattr(knn, "_CHUNK_ELEMENTS", 1000)  # several chunks
    rng = torch.Generator().manual_seed(k)
    bank, queries = (torch.randn(n, 7, generator=rng, dtype=torch.float64) + 1 for n in (60, 50))
    labels = torch.randint(0, 4, (60,), generator=rng)
    ours = knn_predict(bank, labels, queries, k=k, metric=metric, weighting=weighting, temperature=0.5)
    assert ours.tolist() == slow_predict(bank, labels, queries, k, metric, weighting, 0.5)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("k", [1, 5, 29])
def test_leave_one_out_is_a_bank_without_the_query(monkeypatch: pytest.MonkeyPatch, k: int, metric: str) -> None:
    monkeypatch.setattr(knn, "_CHUNK_ELEMENTS", 300)  # several chunks: the diagonal moves
    rng = torch.Generator().manual_seed(k)
    features = torch.randn(30, 7, generator=rng, dtype=torch.float64) + 1
    features[7] = features[3]  # a twin stays in the bank
    labels = torch.randint(0, 4, (30,), generator=rng)
    right = 0
    for i in range(30):
        others = [j for j in range(30) if j != i]
        (vote,) = slow_predict(features[others], labels[others], features[i : i + 1], k, metric, "majority", 1.0)
        right += vote == int(labels[i])
    assert leave_one_out_accuracy(features, labels, k=k, metric=metric) == pytest.approx(100 * right / 30)


def test_leave_one_out_needs_another_vector() -> None:
    with pytest.raises(ValueError, match=r"knn\.k=5 must be between 1 and the 4"):
        leave_one_out_accuracy(torch.randn(5, 3), torch.zeros(5, dtype=torch.int64), k=5)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_ties(metric: str, k: int) -> None:
    # Few distinct integer vectors, repeated: most distances are equal, exactly. 3-4-5 triangles have exact norms.
    rng = torch.Generator().manual_seed(k)
    directions = torch.tensor([[3.0, 4.0], [4.0, 3.0], [5.0, 0.0], [0.0, 5.0], [-3.0, 4.0]], dtype=torch.float64)
    bank = directions[torch.randint(0, 5, (40,), generator=rng)]
    queries = directions[torch.randint(0, 5, (25,), generator=rng)]
    labels = torch.randint(0, 3, (40,), generator=rng)
    ours = knn_predict(bank, labels, queries, k=k, metric=metric)
    assert ours.tolist() == slow_predict(bank, labels, queries, k, metric, "majority", 1.0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("weighting", ["majority", "exponential"])
@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_copies_tie_wherever_they_stand(metric: str, weighting: str, dtype: torch.dtype) -> None:
    """In a matrix product the columns of equal vectors may differ by rounding: kernels add in another order at the edge
    of a block."""
    rng = torch.Generator().manual_seed(0)
    for size in (3, 17, 67, 131):
        for dim in (3, 16, 33):
            bank = torch.randn(size, dim, generator=rng).to(dtype)
            bank[torch.randperm(size, generator=rng)[: size // 2]] = bank[0].clone()
            queries = torch.cat([bank[:1] + 0.1 * torch.randn(5, dim, generator=rng).to(dtype), bank[:1]])
            labels = torch.randint(0, 4, (size,), generator=rng)
            for k in (1, 2, min(5, size)):
                settings = {"k": k, "metric": metric, "weighting": weighting, "temperature": 0.5}
                expected = slow_predict(bank.double(), labels, queries.double(), k, metric, weighting, 0.5)
                assert knn_predict(bank, labels, queries, **settings).tolist() == expected, (size, dim, k)


def test_the_nearest_far_from_the_origin() -> None:
    """|x|² − 2x·y + |y|² leaves nothing of small distances in fp32; one vector farther out still changes nothing."""
    rng = torch.Generator().manual_seed(1)
    bank, queries = (300 + torch.randn(n, 8, generator=rng) for n in (60, 40))
    bank[7] *= 1e6
    labels = torch.randint(0, 4, (60,), generator=rng)
    for weighting in ("majority", "exponential"):
        ours = knn_predict(bank, labels, queries, k=3, metric="euclidean", weighting=weighting, temperature=0.5)
        assert ours.tolist() == slow_predict(bank.double(), labels, queries.double(), 3, "euclidean", weighting, 0.5)


class Sorted(TorchDispatchMode):
    """How many elements were sorted at most at once."""

    most = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if "sort" in func.__name__:
            self.most = max(self.most, args[0].numel())
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_of_a_collapsed_encoder_the_lowest_indices_are_nearest_and_nothing_is_sorted(metric: str) -> None:
    """Sorting every pair of query and bank took six times as long, and a gigabyte more, at 50,000 vectors."""
    rng = torch.Generator().manual_seed(0)
    same, other = torch.rand(1, 8, generator=rng), torch.rand(1, 8, generator=rng)
    bank = same.repeat(600, 1)
    bank[[7, 11]] = other  # the first query has two neighbours clearly above the copies; of those, 0 to 2 come first
    labels = torch.randint(0, 5, (600,), generator=rng)
    queries = torch.cat([other, same.repeat(20, 1)])
    with Sorted() as sorting:
        ours = knn_predict(bank, labels, queries, k=5, metric=metric)
    assert sorting.most <= 600
    expected = [labels[[7, 11, 0, 1, 2]].mode().values, *[labels[:5].mode().values] * 20]  # mode: the lowest of equals
    assert ours.tolist() == [int(label) for label in expected]


def test_values_that_overflow_do_not_stop_it() -> None:
    bank = torch.tensor([[1e30, 0.0], [1.0, 0.0], [0.0, 1.0], [-1e30, 0.0]])
    labels = torch.arange(4)
    for k in (1, 2, 4):
        for metric in ("cosine", "euclidean"):
            assert len(knn_predict(bank, labels, bank, k=k, metric=metric)) == 4
    near = knn_predict(bank, labels, bank[1:3], k=1, metric="euclidean")
    assert near.tolist() == [1, 2]


def test_equal_distances_take_the_lowest_index_and_equal_votes_the_lowest_label() -> None:
    bank = torch.ones(6, 2)
    query = torch.ones(1, 2)
    assert knn_predict(bank, torch.tensor([2, 0, 0, 0, 0, 0]), query, k=1).item() == 2
    assert knn_predict(bank, torch.tensor([2, 1, 0, 0, 0, 0]), query, k=2).item() == 1


@pytest.mark.parametrize("k", [1, 3, 17, 97, 400])
def test_groups_find_what_a_stable_sort_finds(k: int) -> None:
    # Scores of few levels tie within groups, across them and at the k-th place; sizes do not divide.
    rng = torch.Generator().manual_seed(k)
    scores = torch.randint(0, 40, (50, 401), generator=rng).float()
    nearest = knn._Nearest(401, k)
    padded = torch.nn.functional.pad(scores, (0, nearest.width - 401), value=float("-inf"))
    values, indices = nearest(padded, torch.zeros_like, lambda rows, columns: padded[rows, columns].double())
    expected, order = scores.sort(dim=1, descending=True, stable=True)
    assert torch.equal(indices.sort(1).values, order[:, :k].sort(1).values)
    assert torch.equal(values.sort(1, descending=True).values, expected[:, :k])


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_exponential_votes_neither_vanish_nor_overflow(metric: str) -> None:
    # Two images of class 2 are near the query, three of class 1 a little farther: 2·exp(−near/T) > 3·exp(−far/T).
    if metric == "euclidean":
        # exp(−200/.1) is 0 in any float.
        bank, temperature = torch.tensor([[200.0], [200.0], [-201.0], [-201.0], [-201.0]]), 0.1
        query = torch.tensor([[0.0]])
    else:
        # exp(1/.005) is infinite in fp32.
        angles = torch.tensor([0.1, 0.1, 0.3, 0.3, 0.3])
        bank, temperature = torch.stack([angles.cos(), angles.sin()], dim=1), 0.005
        query = torch.tensor([[1.0, 0.0]])
    labels = torch.tensor([2, 2, 1, 1, 1])
    settings = {"k": 5, "metric": metric, "weighting": "exponential", "num_classes": 3}
    assert knn_predict(bank, labels, query, temperature=temperature, **settings).tolist() == [2]
    # A temperature at which the three outvote the two.
    assert knn_predict(bank, labels, query, temperature=100.0, **settings).tolist() == [1]


def test_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(200, 8)).astype(np.float32), rng.integers(0, 5, 200)
    theirs = KNeighborsClassifier(5, algorithm="brute").fit(x[:150], y[:150]).score(x[150:], y[150:])
    tensors = [torch.from_numpy(array) for array in (x[:150], y[:150], x[150:], y[150:])]
    assert knn_accuracy(*tensors, k=5, metric="euclidean") == pytest.approx(100 * theirs)


def test_metrics() -> None:
    x = torch.eye(4).repeat(3, 1)
    y = torch.arange(4).repeat(3)
    assert knn_metrics(x, y, x, y, k=3) == {"knn3_cosine": 100.0, "knn3_euclidean": 100.0}
    assert set(knn_metrics(x, y, x, y, k=3, k_weighted=12)) >= {"knn12_weighted"}
    assert set(knn_metrics(x, y, x, y, k=3, further=(3, 10, 99))) == {"knn3_cosine", "knn3_euclidean", "knn10_cosine"}


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"k": 5}, "knn.k=5"), ({"metric": "l1"}, "knn.metric='l1'"), ({"weighting": "x"}, "knn.weighting='x'")],
)
def test_errors_name_the_key(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        knn_predict(torch.ones(4, 2), torch.zeros(4, dtype=torch.int64), torch.ones(1, 2), **({"k": 1} | settings))
