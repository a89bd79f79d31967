"""Perceptual networks: which maps they give, and the distance between them."""

import os
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
import torch
import torchvision
from torch import nn

from assimilate.generator.architecture import Architecture
from assimilate.generator.discriminator import Discriminator
from assimilate.inversion.compared import VGG19
from assimilate.inversion.perceptual import (
    DiscriminatorFeatures,
    ResNetFeatures,
    Vgg19Features,
    no_features,
    perceptual_distance,
)


@pytest.mark.parametrize("power", [1, 2])
def test_distance_is_the_sum_of_mean_absolute_or_squared_differences(power: int) -> None:
    first = [torch.randn(2, 3, 4, 4), torch.randn(2, 5, 2, 2)]
    second = [torch.randn(2, 3, 4, 4), torch.randn(2, 5, 2, 2)]
    distance = torch.as_tensor(perceptual_distance(first, second, f"l{power}"))
    for image in range(2):
        expected = 0.0
        for one, other in zip(first, second, strict=True):
            pairs = zip(one[image].flatten().tolist(), other[image].flatten().tolist(), strict=True)
            differences = [abs(a - b) ** power for a, b in pairs]
            expected += sum(differences) / len(differences)
        assert float(distance[image]) == pytest.approx(expected, rel=1e-5)
    assert perceptual_distance(no_features(first[0]), no_features(second[0])) == 0.0


def test_discriminator_gives_a_map_a_resolution_from_a_frozen_copy() -> None:
    discriminator = Discriminator(Architecture(image_size=16, latent_dim=4, num_mapping_layers=1, channels=(8, 6, 4)))
    features = DiscriminatorFeatures(discriminator)
    images = torch.randn(2, 3, 16, 16)
    maps = features(images)
    assert [tuple(each.shape[1:]) for each in maps] == [(4, 16, 16), (6, 8, 8), (8, 4, 4)]
    assert not any(parameter.requires_grad for parameter in features.parameters())
    assert all(parameter.requires_grad for parameter in discriminator.parameters())
    # No minibatch statistics: an image's maps do not depend on its neighbours.
    torch.testing.assert_close(maps[-1][:1], features(images[:1])[-1], rtol=1e-5, atol=1e-6)


def test_resnet_gives_the_maps_of_its_stages() -> None:
    backbone = torchvision.models.resnet18(weights=None)
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.3, 0.25)
    features = ResNetFeatures(backbone, mean, std)
    images = torch.rand(2, 3, 32, 32) * 2 - 1
    normalised = ((images + 1) / 2 - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    maps = features(images)
    assert [each.shape[1] for each in maps] == [64, 128, 256, 512]
    pooled = maps[-1].mean(dim=(2, 3))
    backbone.fc = nn.Identity()
    torch.testing.assert_close(pooled, backbone(normalised), rtol=1e-4, atol=1e-5)


FILE = "vgg19-dcbb9e9d.pth"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of torch.hub's weights, empty."""
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    return tmp_path / "hub" / "checkpoints"


@pytest.fixture(scope="module")
def layers() -> nn.Sequential:
    """VGG19 without its classifier, with random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        blocks = torchvision.models.vgg.make_layers(torchvision.models.vgg.cfgs["E"], batch_norm=False)
    for module in blocks.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
    return blocks


def write(hub: Path, layers: nn.Sequential) -> Path:
    """The published layout; the classifier is there, and never looked at."""
    hub.mkdir(parents=True)
    content = {f"features.{name}": value for name, value in layers.state_dict().items()}
    torch.save(content | {"classifier.0.weight": torch.zeros(2, 2)}, hub / FILE)
    return hub / FILE


def test_vgg19_slices_end_behind_the_named_layers(hub: Path, layers: nn.Sequential) -> None:
    write(hub, layers)
    before = torch.get_rng_state()
    features = Vgg19Features()
    assert torch.equal(torch.get_rng_state(), before)
    images = torch.rand(1, 3, 32, 32) * 2 - 1
    maps = features(images)
    assert [tuple(each.shape[1:3]) for each in maps] == [(64, 32), (128, 16), (256, 8), (512, 4), (512, 2)]
    assert all(float(each.min()) == 0 for each in maps)
    values, convolutions, expected = images, [0] * 6, []
    block = 1
    with torch.no_grad():
        for module in layers:
            values = module(values)
            convolutions[block] += isinstance(module, nn.Conv2d)
            if isinstance(module, nn.ReLU) and convolutions[block] == 1:
                expected.append(values)
            block += isinstance(module, nn.MaxPool2d)
    assert len(expected) == 5
    for one, other in zip(maps, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
    # artifacts/chain.py refuses smaller images by name.
    assert features(torch.zeros(1, 3, VGG19.smallest, VGG19.smallest))[-1].shape == (1, 512, 1, 1)
    with pytest.raises(RuntimeError):
        features(torch.zeros(1, 3, VGG19.smallest - 1, VGG19.smallest - 1))


def test_weights_that_are_not_there_are_downloaded_with_their_checksum(
    hub: Path, layers: nn.Sequential, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def download(url: str, target: str, hash_prefix: str, progress: bool) -> None:
        asked.append((url.rsplit("/", 1)[1], target, hash_prefix))
        hub.rmdir()
        write(hub, layers)

    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    Vgg19Features()
    Vgg19Features()
    assert asked == [(FILE, str(hub / FILE), "dcbb9e9d")]


@pytest.mark.parametrize("reason", [URLError("no route to host"), RuntimeError('invalid hash value (expected "dc")')])
def test_missing_vgg19_weights_are_one_readable_error(
    reason: Exception, hub: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*arguments: object, **options: object) -> None:
        raise reason

    monkeypatch.setattr(torch.hub, "download_url_to_file", unreachable)
    with pytest.raises(
        ValueError, match=r"^inversion\.perceptual=vgg19: .*vgg19-dcbb9e9d\.pth.*perceptual=discriminator"
    ):
        Vgg19Features()


def code(marker: Path) -> object:
    class Payload:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(marker),)

    return Payload()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"not a readable checkpoint"),
        (b"<html>404</html>", r"not a readable checkpoint"),
        (b"PK\x03\x04 torn", r"not a readable checkpoint"),
        ([1, 2], r"holds a list; needed is a state dict"),
        ({}, r"VGG19 does not fit: .*Missing"),
        ({"features.0.weight": 3}, r"VGG19: is no state dict"),
        ("code", r"refused, because it holds more than tensors.*mkdir"),
        ("old code", r"refused, because it holds more than tensors.*mkdir|not a readable checkpoint"),
    ],
    ids=["empty", "html", "torn", "list", "nothing", "numbers", "code", "old code"],
)
def test_damaged_vgg19_weights_are_one_readable_error(content: Any, message: str, hub: Path, tmp_path: Path) -> None:
    hub.mkdir(parents=True)
    marker = tmp_path / "was-run"
    if isinstance(content, bytes):
        (hub / FILE).write_bytes(content)
    elif isinstance(content, str):
        torch.save({"w": code(marker)}, hub / FILE, _use_new_zipfile_serialization=content == "code")
    else:
        torch.save(content, hub / FILE)
    with pytest.raises(ValueError, match=rf"^inversion\.perceptual=vgg19: .*{FILE}: .*({message})") as caught:
        Vgg19Features()
    assert "\n" not in str(caught.value)
    assert "remove that file" in str(caught.value)
    assert not marker.exists()
