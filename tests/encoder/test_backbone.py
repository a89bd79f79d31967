import pytest
import torch
import torchvision

from assimilate.encoder.backbone import make_backbone
from assimilate.encoder.encoder import Encoder, EncoderSpec


@pytest.mark.parametrize("name", ["resnet18", "resnet34", "resnet50"])
def test_full_width_has_torchvisions_parameters(name: str) -> None:
    ours = make_backbone(name, width=64, stem="imagenet").state_dict()
    theirs = getattr(torchvision.models, name)(weights=None).state_dict()
    shapes = {key: value.shape for key, value in theirs.items() if not key.startswith("fc.")}
    assert {key: value.shape for key, value in ours.items()} == shapes


def test_full_width_computes_what_torchvision_computes() -> None:
    theirs = torchvision.models.resnet18(weights=None).eval()
    theirs.fc = torch.nn.Identity()
    ours = make_backbone("resnet18", width=64, stem="imagenet").eval()
    ours.load_state_dict(theirs.state_dict())
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(ours(images), theirs(images), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("stem", "kernel", "stride", "pools"),
    [("cifar", 3, 1, False), ("cifar_maxpool", 3, 1, True), ("imagenet", 7, 2, True)],
)
def test_stems(stem: str, kernel: int, stride: int, pools: bool) -> None:
    backbone = make_backbone("resnet18", width=8, stem=stem)
    assert backbone.conv1.kernel_size == (kernel, kernel)
    assert backbone.conv1.stride == (stride, stride)
    assert isinstance(backbone.maxpool, torch.nn.MaxPool2d) is pools
    assert backbone(torch.zeros(2, 3, 32, 32)).shape == (2, backbone.feature_dim) == (2, 64)


def test_bottleneck_feature_dim() -> None:
    assert make_backbone("resnet50", width=4).feature_dim == 4 * 8 * 4


def test_kaiming_fan_out() -> None:
    weight = make_backbone("resnet18", width=32).layer2[0].conv1.weight
    assert weight.std().item() == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.05)


def test_initialisation_depends_on_the_seed_alone_and_leaves_the_global_generator() -> None:
    spec = EncoderSpec(width=4, hidden_dim=8, output_dim=8)
    torch.manual_seed(1)
    expected_next = torch.rand(3)
    torch.manual_seed(1)
    first = Encoder.from_spec(spec, init_seed=5)
    assert torch.equal(torch.rand(3), expected_next)
    again, other = Encoder.from_spec(spec.to_dict(), init_seed=5), Encoder.from_spec(spec, init_seed=6)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    assert not torch.equal(first.backbone.conv1.weight, other.backbone.conv1.weight)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"backbone": "resnet19"}, "encoder.backbone='resnet19'"),
        ({"stem": "cifra"}, "encoder.stem='cifra'"),
        ({"width": 0}, "encoder.width=0"),
        ({"projector": "mlp"}, "encoder.projector='mlp'"),
        ({"hidden_dim": 0}, "encoder.hidden_dim=0"),
        ({"depth": 3}, "no key 'depth'"),
    ],
)
def test_errors_name_the_key(values: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Encoder.from_spec(values)
