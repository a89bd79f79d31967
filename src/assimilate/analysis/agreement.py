"""Do views still show what their anchor shows? A vote of real images in pixel space, without a network."""

import numpy as np
import torch
from numpy.typing import NDArray

CHUNK = 4096


def label_agreement(
    real: NDArray[np.uint8],
    labels: NDArray[np.int64],
    views: NDArray[np.uint8],
    *,
    k: int = 5,
    device: torch.device | str = "cpu",
) -> float:
    """Share of views whose 5 nearest real images (Euclidean, in pixels) vote for the label of the view's anchor.

    The anchor itself has no vote: it is what the view was made from.

    Args:
        real: uint8 [N, C, H, W].
        labels: int64 [N].
        views: uint8 [N, n, C, H, W], view [i, k] made from image i.
        k: votes.
        device: where to compute; distances of all pairs are many.

    Returns:
        A share, 0 to 1.
    """
    bank = torch.from_numpy(np.array(real)).to(device).flatten(1).float() / 255
    votes = torch.from_numpy(np.array(labels)).to(device)
    num_classes = int(votes.max()) + 1
    right = total = 0
    # One view position at a time: query i's anchor is bank image i, which is put out of reach.
    for position in range(views.shape[1]):
        queries = torch.from_numpy(np.array(views[:, position])).to(device).flatten(1).float() / 255
        for begin in range(0, len(queries), CHUNK):
            chunk = queries[begin : begin + CHUNK]
            distances = torch.cdist(chunk, bank)
            rows = torch.arange(len(chunk), device=bank.device)
            distances[rows, begin + rows] = float("inf")
            nearest = votes[distances.topk(min(k, len(bank) - 1), largest=False).indices]
            counts = torch.nn.functional.one_hot(nearest, num_classes).sum(dim=1)
            predicted = counts.argmax(dim=1)  # the lowest label among equal votes
            right += int((predicted == votes[begin : begin + len(chunk)]).sum())
            total += len(chunk)
    return right / total
