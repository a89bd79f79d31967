import numpy as np
import pytest
import torch

from assimilate.data.order import IndexBatches, fixed_subset

COUNT = 103


def batches(
    *, batch_size: int = 20, seed: int = 5, drop_last: bool = False, rank: int = 0, world_size: int = 1
) -> IndexBatches:
    return IndexBatches(
        np.arange(COUNT), batch_size=batch_size, seed=seed, drop_last=drop_last, rank=rank, world_size=world_size
    )


def take(loader: IndexBatches, count: int) -> list[tuple[int, int, list[int]]]:
    """Ask for ``count`` batches as a training loop does: without asking past the last one of an epoch."""
    taken: list[tuple[int, int, list[int]]] = []
    while len(taken) < count:
        iterator = iter(loader)
        left = len(loader) - loader.state_dict()["batch"]
        for _ in range(min(left, count - len(taken))):
            batch = next(iterator)
            taken.append((batch.epoch, batch.batch, batch.indices.tolist()))
    return taken


def test_an_epoch_shows_every_image_once_and_epochs_differ() -> None:
    loader = batches()
    epochs = [[index for batch in loader for index in batch.indices.tolist()] for _ in range(3)]
    assert all(sorted(epoch) == list(range(COUNT)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]
    assert [len(batch.indices) for batch in loader] == [20] * 5 + [3]


def test_drop_last_drops_the_rest() -> None:
    loader = batches(drop_last=True)
    assert len(loader) == 5
    assert [len(batch.indices) for batch in loader] == [20] * 5


def test_the_order_depends_on_the_seed_alone() -> None:
    assert take(batches(), 8) == take(batches(), 8)
    assert take(batches(seed=6), 1) != take(batches(), 1)


@pytest.mark.parametrize("stop", range(13))
def test_a_resumed_run_sees_what_the_uninterrupted_one_saw(stop: int) -> None:
    whole = take(batches(), 14)
    interrupted = batches()
    before = take(interrupted, stop)
    state = interrupted.state_dict()
    resumed = batches()
    resumed.load_state_dict(state)
    assert before + take(resumed, 14 - stop) == whole
    assert all(type(value) in (int, bool) for value in state.values())


def test_making_an_iterator_changes_nothing() -> None:
    loader = batches()
    take(loader, 2)
    loader.load_state_dict(loader.state_dict())
    iter(loader)
    next(iter(loader))
    assert loader.state_dict()["batch"] == 3


def test_an_iteration_left_in_the_middle_is_not_taken_up_again() -> None:
    loader = batches()
    next(iter(loader))
    again = next(iter(loader))
    assert (again.epoch, again.batch) == (1, 0)


@pytest.mark.parametrize("world_size", [2, 4])
def test_the_global_batch_does_not_depend_on_the_number_of_ranks(world_size: int) -> None:
    one = take(batches(drop_last=True), 9)
    ranks = [take(batches(drop_last=True, rank=rank, world_size=world_size), 9) for rank in range(world_size)]
    for step, (epoch, batch, whole) in enumerate(one):
        parts = [taken[step] for taken in ranks]
        assert all(part[:2] == (epoch, batch) for part in parts)
        assert [index for part in parts for index in part[2]] == whole


def test_a_state_fits_another_number_of_ranks_but_no_other_order() -> None:
    loader = batches(drop_last=True)
    take(loader, 3)
    state = loader.state_dict()
    batches(drop_last=True, rank=1, world_size=2).load_state_dict(state)
    with pytest.raises(ValueError, match="seed=5, this run has seed=6"):
        batches(drop_last=True, seed=6).load_state_dict(state)
    with pytest.raises(ValueError, match="batch_size=20"):
        batches(drop_last=True, batch_size=10).load_state_dict(state)


def test_batches_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match=r"data\.batch_size is 20.*multiple of 3"):
        batches(world_size=3)
    with pytest.raises(ValueError, match=r"only 103 training images.*data\.drop_last=false"):
        batches(batch_size=104, drop_last=True)
    with pytest.raises(ValueError, match=r"last batch .* has 3 of .*data\.drop_last=true"):
        batches(world_size=2)
    with pytest.raises(ValueError, match="at least 1"):
        batches(batch_size=0)
    assert len(batches(batch_size=104)) == 1


def test_a_fixed_subset_is_fixed_ascending_and_nested() -> None:
    small, large = fixed_subset(1000, 100), fixed_subset(1000, 300)
    torch.manual_seed(1)
    assert np.array_equal(small, fixed_subset(1000, 100))
    assert np.all(np.diff(small) > 0)
    assert set(small) < set(large)
    assert np.array_equal(fixed_subset(50, 50), np.arange(50))
