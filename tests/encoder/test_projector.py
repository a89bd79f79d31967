import pytest
import torch
from torch import nn

from assimilate.encoder.encoder import Encoder, EncoderSpec
from assimilate.encoder.projector import make_projector

# (preset, hidden, output, module types) as PROTOCOLS 1-3, 14 and 15 list them for 512-d features.
LAYOUTS = [
    ("essl", 2048, 2048, [nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Linear, nn.BatchNorm1d]),
    ("simsiam", 2048, 2048, [nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Linear, nn.BatchNorm1d]),
    ("supcontrast", 512, 128, [nn.Linear, nn.ReLU, nn.Linear]),
    ("htdt", 1024, 128, [nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Linear, nn.BatchNorm1d]),
    ("dkobak", 1024, 128, [nn.Linear, nn.ReLU, nn.Linear]),
    ("clsp", 4096, 256, [nn.Linear, nn.ReLU, nn.Linear]),
]


@pytest.mark.parametrize(("preset", "hidden", "output", "layers"), LAYOUTS)
def test_layout(preset: str, hidden: int, output: int, layers: list) -> None:
    projector = make_projector(preset, 512)
    assert [type(layer) for layer in projector] == layers
    linear = [layer for layer in projector if isinstance(layer, nn.Linear)]
    assert [(layer.in_features, layer.out_features) for layer in linear] == [(512, hidden), (hidden, output)]


def test_essl_has_no_biases_and_no_affine_at_the_end() -> None:
    projector = make_projector("essl", 16, 8, 4)
    assert projector[0].bias is None
    assert projector[3].bias is None
    assert projector[4].affine is False


def test_linear() -> None:
    projector = make_projector("linear", 16, output_dim=4)
    assert [type(layer) for layer in projector] == [nn.Linear]
    assert projector(torch.zeros(2, 16)).shape == (2, 4)


def test_encoder_projects_the_features() -> None:
    encoder = Encoder.from_spec(EncoderSpec(width=2, projector="dkobak", hidden_dim=8, output_dim=5)).eval()
    images = torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    features = encoder.features(images)
    assert features.shape == (3, encoder.feature_dim)
    torch.testing.assert_close(encoder(images), encoder.projector(features))
