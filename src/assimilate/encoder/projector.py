"""A projector from what describes it, a word or a class with its settings; and SimSiam's predictor."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from assimilate.encoder.projectors import Projector
from assimilate.errors import UserError
from assimilate.graph.wiring import Wiring, find_class, from_plain


def make_projector(
    name: str | Mapping[str, Any], feature_dim: int, hidden_dim: int | None = None, output_dim: int | None = None
) -> nn.Module:
    """Builds a projector from features [batch, feature_dim] to embeddings [batch, output_dim], not normalised.

    Args:
        name: the word of one of `assimilate.encoder.projectors`, or a class of your own: a mapping of `_target_` and
            its settings.
        feature_dim: width of the features.
        hidden_dim: width of the hidden layer of one with a word; None takes the protocol's own. "linear" has none.
        output_dim: width of the embedding of one with a word; None takes the protocol's own.

    Raises:
        ValueError: unknown name, or a width below 1.
    """
    try:
        if isinstance(name, Mapping):
            return from_plain("projector", name, Projector).build(feature_dim)
        chosen = find_class("encoder.projector", name, Projector)
        widths = {"hidden_dim": hidden_dim, "output_dim": output_dim}
        return Wiring({"encoder": widths}, {}).fill("encoder", chosen).build(feature_dim)
    except UserError as error:
        raise ValueError(str(error)) from error


def make_predictor(embedding_dim: int, hidden_dim: int) -> nn.Sequential:
    """Builds p = predictor(z): Linear-BN-ReLU-Linear through a bottleneck (2048 → 512 → 2048).

    Raises:
        ValueError: the bottleneck's width is below 1.
    """
    if hidden_dim < 1:
        raise ValueError(f"encoder.predictor_dim={hidden_dim} must be at least 1, or null for no predictor")
    return nn.Sequential(
        nn.Linear(embedding_dim, hidden_dim, bias=False),
        nn.BatchNorm1d(hidden_dim),
        nn.ReLU(inplace=True),
        nn.Linear(hidden_dim, embedding_dim),
    )
