"""SimSiam's predictor."""

from torch import nn


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
