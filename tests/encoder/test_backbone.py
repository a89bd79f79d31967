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


def conv_weights(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {n: m.weight.detach() for n, m in network.named_modules() if isinstance(m, torch.nn.Conv2d)}


@pytest.mark.parametrize("stem", ["cifar", "cifar_maxpool"])
@pytest.mark.parametrize("initialization", ["fan_out", "default_stem", "default"])
def test_initialization_is_that_of_torchvisions_network_with_another_stem(stem: str, initialization: str) -> None:
    """As published codes make it: torchvision's ResNet-18 whose conv1 is then replaced, or PyTorch's layers alone."""
    torch.manual_seed(0)
    theirs = torchvision.models.resnet18(weights=None)
    theirs.conv1 = torch.nn.Conv2d(3, 64, kernel_size=3, stride=1, padding=1, bias=False)
    if initialization == "fan_out":  # E-SSL initialises afterwards
        torch.nn.init.kaiming_normal_(theirs.conv1.weight, mode="fan_out", nonlinearity="relu")
    if initialization == "default":
        for module in theirs.modules():
            if isinstance(module, torch.nn.Conv2d):
                module.reset_parameters()
    ours = conv_weights(make_backbone("resnet18", stem=stem, initialization=initialization))
    for name, weight in conv_weights(theirs).items():
        fan_in, rows = weight[0].numel(), weight.shape[0]
        uniform = initialization == "default" or (initialization == "default_stem" and name == "conv1")
        # U(±b) with b = √(6 / (1 + a²) / fan_in), a = √5, whose std is b/√3; or normal with √(2 / fan_out).
        std = (1 / (3 * fan_in)) ** 0.5 if uniform else (2 / (rows * weight[0, 0].numel())) ** 0.5
        for network in (weight, ours[name]):
            assert network.std().item() == pytest.approx(std, rel=0.05), name
            bound = network.abs().max().item() * fan_in**0.5
            assert (0.98 < bound <= 1 + 1e-6) if uniform else network.abs().max() > 2.8 * std, name
    expected = 0.111 if initialization != "fan_out" else 0.0589  # PROTOCOLS 14
    assert ours["conv1"].std().item() == pytest.approx(expected, rel=0.05)


def test_only_another_initialization_is_named() -> None:
    assert "initialization" not in EncoderSpec().to_dict()
    spec = EncoderSpec(width=4, hidden_dim=8, output_dim=8, initialization="default")
    assert EncoderSpec.from_dict(spec.to_dict()) == spec
    usual = Encoder.from_spec(EncoderSpec(width=4, hidden_dim=8, output_dim=8), init_seed=5)
    other = Encoder.from_spec(spec, init_seed=5)
    assert not torch.equal(usual.backbone.layer1[0].conv1.weight, other.backbone.layer1[0].conv1.weight)
    assert torch.equal(usual.backbone.bn1.weight, other.backbone.bn1.weight)


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
        ({"backbone": "resnet19"}, "encoder.backbone=resnet19 cannot be used"),
        ({"stem": "cifra"}, "encoder.stem=cifra cannot"),
        ({"initialization": "uniform"}, "encoder.initialization=uniform cannot"),
        ({"width": 0}, "encoder.width=0"),
        ({"projector": "mlp"}, "encoder.projector=mlp cannot"),
        ({"hidden_dim": 0}, "encoder.hidden_dim=0"),
        ({"depth": 3}, "no key 'depth'"),
    ],
)
def test_errors_name_the_key(values: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Encoder.from_spec(values)
