"""A plane picture of where views lie around their anchors (Figure 2b)."""

import numpy as np
from numpy.typing import NDArray
from sklearn.manifold import TSNE


def embed_offsets(
    offsets: NDArray[np.float32], *, perplexity: float, num_iterations: int, seed: int
) -> NDArray[np.float32]:
    """t-SNE (van der Maaten & Hinton, 2008) of offsets from the anchor.

    Args:
        offsets: [samples, dim].
        perplexity: effective number of neighbours, below the number of samples.
        num_iterations: steps of the optimisation, at least 250.
        seed: of the optimisation.

    Returns:
        Float32 [samples, 2].

    Raises:
        ValueError: `perplexity` is not below the number of samples.
    """
    if perplexity >= len(offsets):
        raise ValueError(
            f"a perplexity of {perplexity:g} needs more than {perplexity:g} offsets, and there are {len(offsets)}: "
            "raise analysis.num_embedded, or lower analysis.perplexity"
        )
    settings = {"perplexity": perplexity, "max_iter": num_iterations, "init": "pca", "learning_rate": "auto"}
    plane = TSNE(2, **settings, random_state=seed % 2**32).fit_transform(offsets)  # all that scikit-learn takes
    return np.asarray(plane, dtype=np.float32)
