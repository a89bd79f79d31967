"""The projection heads of the protocols, by the name of the code base that defined them."""

from torch import nn

PROJECTORS = ("essl", "simsiam", "supcontrast", "htdt", "dkobak", "clsp", "linear", "none")

# Sizes that each protocol uses; None means "as wide as the features".
_DEFAULT_HIDDEN_DIM: dict[str, int | None] = {
    "essl": 2048,
    "simsiam": 2048,
    "supcontrast": None,
    "htdt": 1024,
    "dkobak": 1024,
    "clsp": 4096,
    "linear": None,
    "none": None,
}
_DEFAULT_OUTPUT_DIM: dict[str, int] = {
    "essl": 2048,
    "simsiam": 2048,
    "supcontrast": 128,
    "htdt": 128,
    "dkobak": 128,
    "clsp": 256,
    "linear": 128,
    "none": 128,  # not used: the features are the embedding
}


def make_projector(
    preset: str, feature_dim: int, hidden_dim: int | None = None, output_dim: int | None = None
) -> nn.Sequential:
    """Builds a projector from features [batch, feature_dim] to embeddings [batch, output_dim], not normalised.

    Args:
        preset: "essl" and "simsiam" (two bias-free layers with BatchNorm, the last without affine; Table 9's 2048),
            "supcontrast", "dkobak" and "clsp" (Linear-ReLU-Linear), "htdt" (Linear-BN-ReLU-Linear-BN) "linear", or
            "none": the features themselves, which is what a backbone that somebody else trained has.
        hidden_dim: width of the hidden layer; None takes the protocol's own. "linear" has none.
        output_dim: width of the embedding; None takes the protocol's own.

    Raises:
        ValueError: unknown preset, or a size below 1.
    """
    if preset not in PROJECTORS:
        raise ValueError(f"encoder.projector={preset!r} is unknown; choose one of {', '.join(PROJECTORS)}")
    hidden = hidden_dim if hidden_dim is not None else _DEFAULT_HIDDEN_DIM[preset] or feature_dim
    output = output_dim if output_dim is not None else _DEFAULT_OUTPUT_DIM[preset]
    if hidden < 1 or output < 1:
        raise ValueError(f"encoder.hidden_dim={hidden} and encoder.output_dim={output} must be at least 1")
    if preset == "none":
        return nn.Sequential()
    if preset in ("essl", "simsiam"):
        return nn.Sequential(
            nn.Linear(feature_dim, hidden, bias=False),
            nn.BatchNorm1d(hidden),
            nn.ReLU(inplace=True),
            nn.Linear(hidden, output, bias=False),
            nn.BatchNorm1d(output, affine=False),
        )
    if preset == "htdt":
        return nn.Sequential(
            nn.Linear(feature_dim, hidden),
            nn.BatchNorm1d(hidden),
            nn.ReLU(inplace=True),
            nn.Linear(hidden, output),
            nn.BatchNorm1d(output),
        )
    if preset == "linear":
        return nn.Sequential(nn.Linear(feature_dim, output))
    return nn.Sequential(nn.Linear(feature_dim, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, output))
