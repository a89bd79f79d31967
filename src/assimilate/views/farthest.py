"""A choice of points that lie far from each other."""

from jaxtyping import Float
from torch import Tensor

from assimilate.views.objective import pairwise_distances


def farthest_apart(points: Float[Tensor, "points dim"], count: int) -> list[int]:
    """Rows that lie far from each other: the two farthest, then always the one whose nearest chosen row is farthest.

    Greedy max-min (Gonzalez, 1985), at least half as good as the best choice by the smallest distance between two.
    """
    distances = pairwise_distances(points[None])[0].fill_diagonal_(-1)  # a point is no pair, wherever all lie
    if count == 1:
        return [0]
    first, second = divmod(int(distances.argmax()), len(points))
    chosen = [first, second]
    while len(chosen) < count:
        nearest = distances[chosen].min(dim=0).values
        nearest[chosen] = -1
        chosen.append(int(nearest.argmax()))
    return chosen
