"""Two gloo processes that share each batch against one process with all of it."""

from pathlib import Path
from typing import Any

import generator_ranks
import pytest
import torch
from tests.ranks_of_a_test import start_two_ranks

from assimilate.generator.diffaugment import DiffAugment
from assimilate.generator.ranks import Ranks, check_ranks

# One process runs them all: the ranks are started once.
pytestmark = pytest.mark.xdist_group("generator_ranks")


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("ranks")
    start_two_ranks(generator_ranks.run_rank, folder)
    return [torch.load(folder / f"rank{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.mark.parametrize("augment", ["none", "diffaugment"])
def test_steps_of_two_ranks_are_those_of_one(two_ranks: list[dict[str, Any]], augment: str) -> None:
    one = generator_ranks.steps(DiffAugment() if augment == "diffaugment" else None)
    assert {"0 r1", "0 path", "4 r1", "4 path", "5 generator"} <= one.keys()
    for rank in two_ranks:
        assert rank[augment].keys() == one.keys()
        for name, expected in one.items():
            assert expected.dtype == torch.float64, name
            torch.testing.assert_close(
                rank[augment][name], expected, rtol=0, atol=1e-8, msg=lambda t, n=name: f"{n} {t}"
            )


def test_ranks_hold_the_same_bits(two_ranks: list[dict[str, Any]]) -> None:
    first, second = (rank["whole"] for rank in two_ranks)
    assert first["history"] == second["history"]
    assert first["path length"] == second["path length"]
    assert all(torch.equal(value, second["weights"][name]) for name, value in first["weights"].items())


def test_a_training_by_two_ranks_begins_as_by_one(two_ranks: list[dict[str, Any]], tmp_path: Path) -> None:
    # In float32 rounding grows from step to step: only the first ones can be compared.
    alone = generator_ranks.train(tmp_path, 2).history
    for mine, expected in zip(two_ranks[0]["whole"]["history"], alone, strict=False):
        assert mine == pytest.approx(expected, rel=1e-3)


def test_continued_by_two_ranks_exactly(two_ranks: list[dict[str, Any]]) -> None:
    for rank in two_ranks:
        whole, resumed = rank["whole"], rank["resumed"]
        assert resumed["history"] == whole["history"]
        assert all(torch.equal(value, whole["weights"][name]) for name, value in resumed["weights"].items())


def test_rank_0_alone_observes(two_ranks: list[dict[str, Any]]) -> None:
    assert [rank["observed"] for rank in two_ranks] == [[3, 6], []]


def test_a_nan_on_one_rank_stops_all(two_ranks: list[dict[str, Any]]) -> None:
    for rank in two_ranks:
        assert "training is not finite by step 5" in rank["nan"]
        assert "last good state is kept" in rank["nan"]


def test_shares_are_whole_groups() -> None:
    shares = [Ranks(index, 2).share(16, group=4, device=torch.device("cpu")).tolist() for index in range(2)]
    assert sorted(shares[0] + shares[1]) == list(range(16))
    # Image i is in group i mod 4: one rank has the groups 0 and 1, the other 2 and 3, each in the order of a batch.
    assert [[place % 4 for place in share] for share in shares] == [[0, 1] * 4, [2, 3] * 4]


@pytest.mark.parametrize(
    ("count", "batch_size", "path_length_batch", "message"),
    [
        (2, 12, 6, r"generator\.batch_size=12 is global: trainer\.devices=2 .* a multiple of 8"),
        (3, 32, 16, r"generator\.batch_size=32 .* a multiple of 12"),
        (4, 16, 2, r"generator\.path_length_batch_shrink leaves 2 of 16"),
    ],
)
def test_batches_that_ranks_cannot_share_are_refused(
    count: int, batch_size: int, path_length_batch: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        check_ranks(count, batch_size=batch_size, path_length_batch=path_length_batch)
    check_ranks(1, batch_size=batch_size, path_length_batch=path_length_batch)
