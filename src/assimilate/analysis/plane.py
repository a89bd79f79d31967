"""A plane picture of points in many dimensions, such as where views lie around their anchors (Figure 2b)."""

import numpy as np
from numpy.typing import NDArray
from sklearn.manifold import TSNE


def embed_in_plane(
    points: NDArray[np.float32], *, perplexity: float, num_iterations: int, seed: int, limit: str
) -> NDArray[np.float32]:
    """t-SNE (van der Maaten & Hinton, 2008), from the two first principal components.

    Args:
        points: [samples, dim].
        perplexity: effective number of neighbours, below the number of samples.
        num_iterations: steps of the optimisation, at least 250.
        seed: of the optimisation.
        limit: the key of `analysis` that says how many samples there may be, for the message.

    Returns:
        Float32 [samples, 2].

    Raises:
        ValueError: `perplexity` is not below the number of samples.
    """
    if perplexity >= len(points):
        raise ValueError(
            f"a perplexity of {perplexity:g} needs more than {perplexity:g} points, and there are {len(points)}: "
            f"raise analysis.{limit}, or lower analysis.perplexity"
        )
    settings = {"perplexity": perplexity, "max_iter": num_iterations, "init": "pca", "learning_rate": "auto"}
    plane = TSNE(2, **settings, random_state=seed % 2**32).fit_transform(points)  # all that scikit-learn takes
    return np.asarray(plane, dtype=np.float32)
