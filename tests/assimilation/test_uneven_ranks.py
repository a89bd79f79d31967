"""A last batch that two ranks cannot share evenly, trained on."""

import math
from pathlib import Path

import torch
import uneven_ranks
from tests.ranks_of_a_test import start_two_ranks


def test_two_ranks_train_without_drop_last(tmp_path: Path) -> None:
    start_two_ranks(uneven_ranks.train, tmp_path)
    ranks = [torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in range(2)]
    # 27 = 3 * 8 + 3, of which two ranks share 2.
    for rank in ranks:
        assert [row["step"] for row in rank["rows"]] == [4, 8, 12]
        assert all(math.isfinite(row["loss"]) for row in rank["rows"])
    for name, value in ranks[0]["weights"].items():
        assert torch.equal(value, ranks[1]["weights"][name])
