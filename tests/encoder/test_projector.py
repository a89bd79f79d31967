import pytest
import torch
from torch import nn

from assimilate.encoder.backbones import ResNet18
from assimilate.encoder.encoder import Encoder, EncoderSpec
from assimilate.encoder.projector import make_projector
from assimilate.encoder.projectors import Projector
from assimilate.encoder.step import Network
from assimilate.run.composing import compose
from assimilate.run.config import make_job
from assimilate.run.recipe import Recipe

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


class Doubled(Projector):
    """A head of the user's own: twice as many outputs as are asked for."""

    def build(self, feature_dim: int) -> nn.Module:
        return nn.Linear(feature_dim, self.widths(feature_dim)[1] * 2)


def test_a_projector_of_ones_own_is_chosen_by_its_path_and_kept_with_the_encoder() -> None:
    words = ["dataset=digits", "assim=simclr", "encoder.hidden_dim=null", "encoder.output_dim=5"]
    shipped = Recipe(make_job("train", compose(words), words, strict=False).config).encoder
    path = f"{Doubled.__module__}.Doubled"
    recipe = Recipe(make_job("train", compose([*words, f"encoder.projector={path}"]), words, strict=False).config)
    network = recipe.encoder.network
    assert isinstance(network, Network)
    assert recipe.encoder.key != shipped.key
    assert network.decided["projector"]["class"] == path
    encoder = Encoder.from_spec(network.plain)
    assert encoder.output_dim == 10
    assert Encoder.from_spec(encoder.spec.to_dict()).output_dim == 10


class Gated(Projector, word="gated"):
    """Half as wide as its last layer, with a setting and a word of its own."""

    gates: int = 2

    def build(self, feature_dim: int) -> nn.Module:
        last = nn.Linear(7, 2 * self.widths(feature_dim)[1])
        head = nn.Sequential(nn.Linear(feature_dim, 7), nn.BatchNorm1d(7), last, nn.GLU())
        head.register_parameter("unused", nn.Parameter(torch.zeros(1)))
        return head


class Wider(ResNet18):
    """A shipped backbone's subclass."""


def test_the_width_of_embeddings_is_measured_and_a_word_of_ones_own_is_no_name_of_ours() -> None:
    words = ["dataset=digits", "assim=simclr", "encoder.hidden_dim=null", "encoder.output_dim=5"]
    names = [f"{Gated.__module__}.{name}" for name in ("Gated", "Wider")]
    own = [f"encoder.projector={names[0]}", f"encoder.backbone={names[1]}", "encoder.width=2"]
    network = Recipe(make_job("train", compose([*words, *own]), words, strict=False).config).encoder.network
    assert network.decided["projector"]["class"] == names[0]
    assert network.decided["backbone"]["class"] == names[1]
    for encoder in (built := Encoder.from_spec(network.plain), Encoder.from_spec(built.spec.to_dict())):
        assert (encoder.output_dim, encoder.feature_dim) == (5, 16)
        assert encoder.training
        assert encoder.projector.training
        assert encoder(torch.zeros(2, 3, 8, 8)).shape == (2, 5)
    assert network.backbone.text == "Wider of width 2"


def test_a_projector_that_gives_no_embeddings_is_one_line() -> None:
    class Flat(Projector):
        def build(self, feature_dim: int) -> nn.Module:
            return nn.Linear(feature_dim + 1, 4)

    with pytest.raises(ValueError, match=r"^encoder\.projector: Linear cannot project features of 16 dimensions"):
        _encoder_with(Flat(hidden_dim=None, output_dim=None))


def _encoder_with(projector: Projector) -> Encoder:
    encoder = Encoder.from_spec(EncoderSpec(width=2))
    encoder.projector = projector.build(encoder.feature_dim)
    encoder.output_dim = encoder._measured_output_dim()
    return encoder
