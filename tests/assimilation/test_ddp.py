"""Two gloo processes with half the batch each against one process with all of it."""

from pathlib import Path
from typing import Any

import pytest
import ranks
import torch
from tests.ranks_of_a_test import start_two_ranks

# One process runs them all: the ranks are started once.
pytestmark = pytest.mark.xdist_group("ranks")


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("ranks")
    start_two_ranks(ranks.run_rank, folder)
    return [torch.load(folder / f"rank{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.mark.parametrize("loss", ranks.OF_PROJECTIONS)
def test_gradients_of_the_losses(two_ranks: list[dict[str, Any]], loss: str) -> None:
    one = ranks.loss_gradients(0, 1)[loss]
    two = torch.cat([rank["gradients"][loss] for rank in two_ranks], dim=1)
    torch.testing.assert_close(two, one, rtol=0, atol=1e-10)


@pytest.mark.parametrize(("loss", "batchnorm"), ranks.STEPS)
def test_a_step_of_the_whole_network(two_ranks: list[dict[str, Any]], loss: str, batchnorm: str) -> None:
    one = ranks.one_step(loss, batchnorm, 0, 1)
    for rank in two_ranks:
        two = rank["steps"][loss, batchnorm]
        assert two.keys() == one.keys()
        assert any("running_mean" in name for name in two)
        for name, expected in one.items():
            torch.testing.assert_close(
                two[name], expected, rtol=1e-8, atol=1e-9, msg=lambda text, n=name: f"{n}: {text}"
            )


def test_20_steps_of_training(two_ranks: list[dict[str, Any]], tmp_path: Path) -> None:
    one = ranks.training(tmp_path, 1)
    for rank in two_ranks:
        assert rank["training"].keys() == one.keys()
        for name, expected in one.items():
            torch.testing.assert_close(rank["training"][name], expected, rtol=0, atol=1e-8)


def test_ranks_share_one_viewmaker(two_ranks: list[dict[str, Any]], tmp_path: Path) -> None:
    first, second = (rank["adversarial"] for rank in two_ranks)
    assert all(torch.equal(first[name], second[name]) for name in first)
    # The ranks draw noise of their own, so this is not the run of one process; but both networks move as far.
    one = ranks.adversarial_training(tmp_path, 1)
    assert one.keys() == first.keys()
    assert not any(torch.equal(first[name], one[name]) for name in first if name.endswith("0.weight"))


def test_ranks_share_the_distance_and_length_of_online_rays(two_ranks: list[dict[str, Any]]) -> None:
    first, second = (rank["rays"] for rank in two_ranks)
    assert bool(torch.isfinite(first["ray_state"]).all())
    assert all(torch.equal(first[name], second[name]) for name in first)
