"""Gradient accumulation: an optimiser step is the mean over the batches of its window, the last window's too."""


def window_size(batch_idx: int, *, num_batches: int, accumulate: int) -> int:
    """How many batches share the optimiser step of batch `batch_idx`.

    Windows restart with every epoch, so the last one holds what is left: 390 batches in fours end with two.

    Args:
        batch_idx: position in the epoch, from 0.
        num_batches: of an epoch.
        accumulate: batches of a whole window.
    """
    whole = num_batches // accumulate * accumulate
    return accumulate if batch_idx < whole else num_batches - whole
