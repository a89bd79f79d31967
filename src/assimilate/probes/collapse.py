"""Whether an encoder tells images apart at all."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

# Images looked at, so that a large bank costs no more than a small one.
NUM_IMAGES = 4096
# Root mean square distance of unit vectors from their mean. Their mean cosine is 1 − spread², .9999 here; random
# networks have .1 and more on digits.
SMALLEST_SPREAD = 0.01
# Effective dimensions below which all images lie on a line, where a random network's fill more than twice as many.
SMALLEST_RANK = 1.5


def some(vectors: Float[Tensor, "n dim"]) -> Float[Tensor, "m dim"]:
    """At most `NUM_IMAGES` of the vectors, evenly spaced."""
    return vectors[:: max(1, -(-len(vectors) // NUM_IMAGES))]


def spread_of(vectors: Float[Tensor, "n dim"]) -> dict[str, float]:
    """How far the directions of vectors differ.

    Returns:
        `spread`, the root mean square distance of the unit vectors from their mean: 0 (all point one way) to 1.
        `effective_rank`, exp of the entropy of their covariance's normalised eigenvalues (Roy & Vetterli, 2007), from
        1 (a line) to dim; 0 where they do not differ at all.
    """
    unit = F.normalize(vectors.cpu().double(), dim=1)
    centred = unit - unit.mean(0)
    variance = float(centred.square().sum(1).mean())
    shares = torch.linalg.eigvalsh(centred.T @ centred).clamp_min(0)
    shares = shares / shares.sum().clamp_min(torch.finfo(torch.float64).tiny)
    entropy = float(-torch.xlogy(shares, shares).sum())
    rank = float(torch.tensor(entropy).exp()) if variance > 0 else 0.0
    return {"spread": variance**0.5, "effective_rank": rank}


def collapse(measured: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Sentences on what has collapsed; none of an ordinary network.

    Args:
        measured: `spread_of` what the trained encoder makes of images, by name, and under "untrained" of the
            features of a random network.
    """
    notes = []
    for name, value in measured.items():
        if name == "untrained":
            continue
        if value["spread"] < SMALLEST_SPREAD:
            notes.append(
                f"The {name} of different images are nearly the same (they have collapsed): their directions differ by "
                f"{value['spread']:.2g} from their mean, of at most 1."
            )
        elif value["effective_rank"] < SMALLEST_RANK and measured["untrained"]["effective_rank"] > 2 * SMALLEST_RANK:
            notes.append(
                f"The {name} of all images lie nearly on a line (they have collapsed): their effective rank is "
                f"{value['effective_rank']:.2f}; that of a random network is "
                f"{measured['untrained']['effective_rank']:.1f}."
            )
    return notes
