"""What a number has to beat before it says anything of an encoder."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

COMMONEST_CLASS = "commonest class"


def commonest_class(labels: NDArray[np.int64], metrics: Iterable[str]) -> dict[str, float]:
    """The best accuracy in percent of an answer that never looks at the image, for each metric.

    That is the share of the commonest class, and of the five commonest together where five answers count (acc5).

    Args:
        labels: [N] of the test images.
        metrics: names of accuracies.
    """
    shares = np.sort(np.bincount(labels))[::-1] * (100.0 / len(labels))
    return {metric: float(shares[: 5 if metric.startswith("acc5") else 1].sum()) for metric in metrics}
