"""ResNets of torchvision's layout, as other programs save them."""

from pathlib import Path

import pytest
import torch
import torchvision
from torchvision.models.resnet import BasicBlock, ResNet

from assimilate.encoder.backbone import make_backbone
from assimilate.encoder.encoder import Encoder, EncoderSpec
from assimilate.encoder.foreign import find_resnet


def narrow(stem: str = "cifar", name: str = "resnet18") -> dict[str, torch.Tensor]:
    return make_backbone(name, width=2, stem=stem).state_dict()


def prefixed(prefix: str, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {prefix + name: tensor for name, tensor in state.items()}


@pytest.mark.parametrize("name", ["resnet18", "resnet34", "resnet50"])
@pytest.mark.parametrize("headless", [False, True])
def test_torchvisions_networks_compute_what_they_computed(name: str, headless: bool) -> None:
    theirs = getattr(torchvision.models, name)(weights=None).eval()
    with torch.no_grad():
        theirs.bn1.running_mean.normal_(generator=torch.Generator().manual_seed(0))
    state = theirs.state_dict()
    if headless:
        state = {key: value for key, value in state.items() if not key.startswith("fc.")}
    found = find_resnet(state)
    assert (found.spec.backbone, found.spec.width, found.spec.stem) == (name, 64, "imagenet")
    assert found.left_out == (() if headless else ("fc",))
    ours = Encoder(found.spec).eval()
    ours.load_state_dict(found.state_dict)
    theirs.fc = torch.nn.Identity()
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(ours.features(images), theirs(images), rtol=0, atol=0)
        torch.testing.assert_close(ours(images), theirs(images), rtol=0, atol=0)
    assert ours.output_dim == ours.feature_dim


@pytest.mark.parametrize("prefix", ["", "module.", "backbone.", "encoder.", "module.encoder_q.", "encoder.module."])
@pytest.mark.parametrize("wrapper", [None, "state_dict", "model_state_dict", "model"])
def test_wrappers_and_prefixes(prefix: str, wrapper: str | None) -> None:
    state = narrow("imagenet")
    content = prefixed(prefix, state)
    if prefix:
        content |= {"projector.0.weight": torch.zeros(2, 2), f"{prefix}fc.weight": torch.zeros(2, 2)}
    found = find_resnet({"epoch": 3, "opt": None, wrapper: content} if wrapper else content)
    assert found.prefix == prefix
    assert found.spec == EncoderSpec(width=2, stem="imagenet", projector="none")
    assert found.left_out == (("fc", "projector") if prefix else ())
    assert {key: value for key, value in found.state_dict.items() if not torch.equal(value, state[key[9:]])} == {}


def test_a_cifar_stem_is_told_from_conv1_and_its_pool_by_the_user() -> None:
    assert find_resnet(narrow("cifar")).spec.stem == "cifar"
    assert find_resnet(narrow("cifar_maxpool")).spec.stem == "cifar"
    assert find_resnet(narrow("cifar_maxpool"), stem="cifar_maxpool").spec.stem == "cifar_maxpool"
    with pytest.raises(ValueError, match=r"conv1 of 3×3.*not input\.stem=imagenet"):
        find_resnet(narrow("cifar"), stem="imagenet")
    with pytest.raises(ValueError, match=r"conv1 of 7×7.*not input\.stem=cifar"):
        find_resnet(narrow("imagenet"), stem="cifar")


def test_old_files_without_batch_counts_load() -> None:
    state = {key: value for key, value in narrow().items() if not key.endswith("num_batches_tracked")}
    found = find_resnet(state)
    Encoder(found.spec).load_state_dict(found.state_dict)


def test_global_generator_is_left_alone() -> None:
    state = narrow()
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    find_resnet(state)
    assert torch.equal(torch.rand(2), expected)


def squeeze_excitation() -> dict[str, torch.Tensor]:
    return narrow() | {"layer1.0.se.fc1.weight": torch.zeros(1, 2)}


def deep_stem() -> dict[str, torch.Tensor]:
    return narrow() | {"conv2.weight": torch.zeros(2, 2, 3, 3)}


def wrong_shape() -> dict[str, torch.Tensor]:
    return narrow() | {"layer3.0.conv1.weight": torch.zeros(8, 4, 1, 1)}


def incomplete() -> dict[str, torch.Tensor]:
    return {key: value for key, value in narrow().items() if key != "layer2.1.bn1.weight"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (torchvision.models.squeezenet1_1(weights=None).state_dict(), "no ResNet in torchvision's layout"),
        (ResNet(BasicBlock, [1, 1, 1, 1], num_classes=2).state_dict(), r"basic blocks \(1, 1, 1, 1\); known are"),
        (squeeze_excitation(), r"layer1\.0\.se\.fc1\.weight is not expected"),
        (deep_stem(), "has conv2 beside"),
        (wrong_shape(), r"layer3\.0\.conv1\.weight is \(8, 4, 1, 1\) instead of \(8, 4, 3, 3\)"),
        (incomplete(), r"layer2\.1\.bn1\.weight is missing"),
        (narrow() | {"conv1.weight": torch.zeros(2, 3, 5, 5)}, "known stems"),
        (
            prefixed("encoder_q.", narrow()) | prefixed("encoder_k.", narrow()),
            r"holds 2 ResNets; choose one: input\.prefix='encoder_q\.', input\.prefix='encoder_k\.'$",
        ),
        (
            narrow() | {"layer2.0.conv1.weight": torch.zeros(4, 2, 3, 3, dtype=torch.int8)},
            r"layer2\.0\.conv1\.weight is int8 and no floating-point number",
        ),
        ({"student": {}, "epoch": 1}, r"holds no state dict \(student, epoch"),
        ([1, 2], "holds a list"),
        ({}, "empty"),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else "",
)
def test_another_architecture_is_one_line(content: object, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        find_resnet(content)
    assert "\n" not in str(caught.value)


def numbered(prefix: str, state: dict[str, torch.Tensor], *, pooled: bool) -> dict[str, torch.Tensor]:
    """The names that nn.Sequential(*children) gives; without a pooling layer the stages come one place earlier."""
    names = ["conv1", "bn1", "relu", *(["maxpool"] if pooled else []), "layer1", "layer2", "layer3", "layer4"]
    parts = {name: name.partition(".") for name in state}
    return {f"{prefix}{names.index(first)}.{rest}": state[name] for name, (first, _, rest) in parts.items()}


STATE = narrow()
ACCURACY = torch.tensor(0.7)  # programs keep such numbers beside their networks


def two(first: str, second: str) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Two networks of one program; the second one's weights are other than `STATE`'s."""
    return prefixed(first, STATE), prefixed(second, {name: tensor + 1 for name, tensor in STATE.items()})


MOCO, BYOL, DINO = (
    two(*names)
    for names in (
        ("module.encoder_q.", "module.encoder_k."),
        ("online_encoder.", "target_encoder."),
        ("module.backbone.", "backbone."),
    )
)


@pytest.mark.parametrize(
    ("content", "given", "prefix"),
    [
        ({"state_dict": MOCO[0] | MOCO[1] | {"module.queue": torch.zeros(2, 2)}}, "module.encoder_q.", None),
        ({"state_dict": MOCO[1] | MOCO[0]}, "module.encoder_q", "module.encoder_q."),
        ({"state_dict": BYOL[0] | BYOL[1] | {"predictor.0.weight": torch.zeros(2, 2)}}, "online_encoder", None),
        ({"model": STATE, "model_ema": BYOL[1], "optimizer": {"state": {}}, "best": ACCURACY}, "model", "model."),
        ({"state_dict": STATE, "best_state_dict": BYOL[1], "loss": ACCURACY}, "state_dict", None),
        ({"state_dict": prefixed("model.", STATE), "ema_state_dict": BYOL[1]}, "model", "model."),
        ({"state_dict": prefixed("model.", STATE), "ema": BYOL[1]}, "state_dict.model", "state_dict.model."),
        ({"state_dict": two("", "model.")[1], "model": STATE}, "model", "model."),
        ({"model": STATE, "model_ema": BYOL[1]}, "", ""),
        ({"model": numbered("f.", STATE, pooled=True), "model_ema": BYOL[1], "best": ACCURACY}, "model.f", None),
        ({"student": STATE, "teacher": BYOL[1], "loss": ACCURACY}, "student", "student."),
        ({"student": DINO[0], "teacher": DINO[1], "epoch": 3}, "student.module.backbone.", None),
        (
            {"classy_state_dict": {"base_model": {"model": {"trunk": prefixed("_feature_blocks.", STATE)}}}},
            None,
            None,
        ),
        ({"state_dict": numbered("backbone.", STATE, pooled=True)}, None, "backbone."),
        (numbered("f.", STATE, pooled=False) | {"g.0.weight": torch.zeros(2, 2)}, None, "f."),
        (numbered("", STATE, pooled=False), None, ""),
    ],
    ids=[
        "moco",
        "moco-dotless",
        "byol",
        "ema",
        "best",
        "inner",
        "whole",
        "as-offered",
        "empty",
        "numbered-ema",
        "loss",
        "dino",
        "vissl",
        "lightly",
        "children",
        "bare-children",
    ],
)
def test_layouts_of_other_programs(content: dict, given: str | None, prefix: str | None) -> None:
    if given is not None:
        with pytest.raises(ValueError, match="holds 2 ResNets; choose one"):
            find_resnet(content)
        with pytest.raises(ValueError, match=r"no ResNet at input\.prefix=elsewhere\.; there is input\.prefix='"):
            find_resnet(content, prefix="elsewhere")
    found = find_resnet(content, prefix=given)
    assert prefix is None or found.prefix == prefix
    assert found.spec == EncoderSpec(width=2, stem="cifar", projector="none")
    assert {name.removeprefix("backbone.") for name in found.state_dict} == set(STATE)
    assert all(torch.equal(found.state_dict[f"backbone.{name}"], tensor) for name, tensor in STATE.items())


def test_the_dict_around_a_state_dict_may_be_named_in_the_prefix() -> None:
    content = {"state_dict": prefixed("model.", STATE), "epoch": 3, "best": ACCURACY}
    for prefix in (None, "model", "state_dict.model."):
        found = find_resnet(content, prefix=prefix)
        assert all(torch.equal(found.state_dict[f"backbone.{name}"], tensor) for name, tensor in STATE.items())
    with pytest.raises(ValueError, match=r"no ResNet at input\.prefix=state_dict\.; there is input\.prefix='model\.'$"):
        find_resnet(content, prefix="state_dict")


def test_input_size_resizes_what_the_backbone_reads() -> None:
    spec = EncoderSpec(width=2, projector="none")
    plain, resizing = (
        Encoder.from_spec({**spec.to_dict(), "input_size": size}, init_seed=1).eval() for size in (None, 12)
    )
    images = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    enlarged = torch.nn.functional.interpolate(images, size=(12, 12), mode="bicubic", antialias=True)
    with torch.no_grad():
        torch.testing.assert_close(resizing.features(images), plain.features(enlarged))
        torch.testing.assert_close(resizing.features(enlarged), plain.features(enlarged))
        assert not torch.allclose(resizing.features(images), plain.features(images))


def test_a_lightning_checkpoint_of_ours_is_read(tmp_path: Path) -> None:
    encoder = Encoder.from_spec(EncoderSpec(width=2, hidden_dim=4, output_dim=4))
    found = find_resnet({"state_dict": prefixed("encoder.", encoder.state_dict()), "epoch": 1})
    assert found.prefix == "encoder.backbone."
    assert found.left_out == ("encoder.projector",)
