"""Perceptual networks: which maps they give, and the distance between them."""

from pathlib import Path
from urllib.error import URLError

import pytest
import torch
import torchvision
from torch import nn

from assimilate.generator.architecture import Architecture
from assimilate.generator.discriminator import Discriminator
from assimilate.inversion.perceptual import (
    DiscriminatorFeatures,
    ResNetFeatures,
    Vgg19Features,
    no_features,
    perceptual_distance,
)


def test_distance_is_the_sum_of_mean_absolute_differences() -> None:
    first = [torch.randn(2, 3, 4, 4), torch.randn(2, 5, 2, 2)]
    second = [torch.randn(2, 3, 4, 4), torch.randn(2, 5, 2, 2)]
    distance = torch.as_tensor(perceptual_distance(first, second))
    for image in range(2):
        expected = 0.0
        for one, other in zip(first, second, strict=True):
            differences = [
                abs(a - b) for a, b in zip(one[image].flatten().tolist(), other[image].flatten().tolist(), strict=True)
            ]
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


def test_vgg19_slices_end_behind_the_named_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    whole = torchvision.models.vgg19(weights=None)
    monkeypatch.setattr(torchvision.models, "vgg19", lambda weights: whole)
    maps = Vgg19Features()(torch.rand(1, 3, 32, 32) * 2 - 1)
    assert [tuple(each.shape[1:3]) for each in maps] == [(64, 32), (128, 16), (256, 8), (512, 4), (512, 2)]
    assert all(float(each.min()) == 0 for each in maps)


def test_missing_vgg19_weights_are_one_readable_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def unreachable(weights: object) -> nn.Module:
        raise URLError("no route to host")

    monkeypatch.setattr(torchvision.models, "vgg19", unreachable)
    with pytest.raises(
        ValueError, match=r"inversion\.perceptual=vgg19: .*vgg19-dcbb9e9d\.pth.*perceptual=discriminator"
    ):
        Vgg19Features()
