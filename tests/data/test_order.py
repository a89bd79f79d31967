import numpy as np
import pytest
import torch

from assimilate.data.order import IndexBatches, fixed_subset, subset_of_classes

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


@pytest.mark.parametrize(("world_size", "last"), [(2, 2), (4, 0), (5, 0)])
def test_what_ranks_cannot_share_evenly_is_left_out(world_size: int, last: int) -> None:
    ranks = [batches(rank=rank, world_size=world_size) for rank in range(world_size)]
    one = [batch.indices.tolist() for batch in batches()]
    for loader in ranks:
        assert loader.num_left_out == 3 - last
        assert len(loader) == (6 if last else 5)
    parts = [[batch.indices.tolist() for batch in loader] for loader in ranks]
    assert {len(part) for part in parts} == {len(ranks[0])}
    for step in range(len(ranks[0])):
        shares = [part[step] for part in parts]
        assert {len(share) for share in shares} == {(20 if step < 5 else last) // world_size}
        together = [index for share in shares for index in share]
        assert together == one[step][: len(together)]


def test_a_single_image_at_the_end_is_left_out() -> None:
    loader = batches(batch_size=34)
    assert [len(batch.indices) for batch in loader] == [34] * 3
    assert loader.num_left_out == 1


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
    with pytest.raises(ValueError, match=r"batch_size is 20.*multiple of 3"):
        batches(world_size=3)
    with pytest.raises(ValueError, match=r"only 103 training images.*drop_last=false"):
        batches(batch_size=104, drop_last=True)
    with pytest.raises(ValueError, match="103 training images make no batch for 104 ranks"):
        batches(batch_size=104, world_size=104)
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


def test_a_subset_keeps_every_class_if_there_is_room_and_moves_only_then():
    labels = np.repeat(np.arange(20), [400, *[30] * 18, 2])
    total = len(labels)
    for count in (20, 21, 64, 200):
        chosen = subset_of_classes(labels, total, count)
        assert len(np.unique(chosen)) == count
        assert np.array_equal(chosen, np.sort(chosen))
        assert set(labels[chosen]) == set(range(20))
        assert np.array_equal(chosen, subset_of_classes(labels, total, count))
    # Shares: a half of each class, within an image of it.
    held = np.bincount(labels[subset_of_classes(labels, total, 64)])
    assert abs(held[0] - 64 * 400 / total) <= 4
    assert np.array_equal(subset_of_classes(labels, total, 19), fixed_subset(total, 19))
    even = np.arange(1000) % 10
    assert np.array_equal(subset_of_classes(even, 1000, 300), fixed_subset(1000, 300))
    assert np.array_equal(subset_of_classes(None, 1000, 3), fixed_subset(1000, 3))
