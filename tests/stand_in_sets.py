"""The paper's data sets as stand-ins of noise in the genuine formats; what takes VGG19's and BigBiGAN's place."""

import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torchvision.datasets import CIFAR10, CIFAR100

sys.path.insert(0, str(Path(__file__).parent / "data"))
sys.path.insert(0, str(Path(__file__).parent / "generator"))

from stand_ins import cifar_files, imagenet_files, md5, tinyimagenet_files, write_tree
from toy_bigbigan import toy_bigbigan

NUM_TRAIN, NUM_TEST = 130, 64


class NarrowFeatures(nn.Module):
    """Two convolutions for VGG19's five slices."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.slices = nn.ModuleList([nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 4, 3, 2, 1)])
        self.eval().requires_grad_(False)

    def forward(self, images: Tensor) -> list[Tensor]:
        maps = []
        for part in self.slices:
            images = part(images).relu()
            maps.append(images)
        return maps


def write_stand_ins(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Below `root`: CIFAR-10, CIFAR-100, TinyImageNet and ImageNet; these count as genuine, and as all there is."""
    from assimilate.data import cifar, tinyimagenet
    from assimilate.inversion import perceptual

    monkeypatch.setattr(cifar, "_NUM_TRAIN", NUM_TRAIN)
    monkeypatch.setattr(cifar, "_NUM_TEST", NUM_TEST)
    for source, variant in ((CIFAR10, "cifar10"), (CIFAR100, "cifar100")):
        files, _, _ = cifar_files(variant, NUM_TRAIN, NUM_TEST)
        write_tree(root / source.base_folder, files)
        for name in ("train_list", "test_list"):
            monkeypatch.setattr(source, name, [[file, md5(files[file])] for file, _ in getattr(source, name)])
        monkeypatch.setattr(source, "meta", source.meta | {"md5": md5(files[source.meta["filename"]])})
    for name, value in {"_NUM_CLASSES": 3, "_TRAIN_OF_CLASS": 40, "_NUM_VAL": 30}.items():
        monkeypatch.setattr(tinyimagenet, name, value)
    write_tree(root / "tiny-imagenet-200", tinyimagenet_files(of_class=40, num_val=30))
    write_tree(root / "imagenet", imagenet_files(of_class=20, val_of_class=8))
    monkeypatch.setattr(perceptual, "Vgg19Features", NarrowFeatures)
    monkeypatch.setenv("ASSIMILATE_DATA", str(root))


def write_bigbigan(path: Path) -> None:
    """A state dict of a narrow BigBiGAN with images of 128² and latents of 120 numbers, as the published one's."""
    from assimilate.generator.bigbigan import BigBiGANArchitecture

    architecture = BigBiGANArchitecture(widths=(16, 16, 8, 8, 8, 8), shared_dim=8, num_classes=3)
    torch.save(toy_bigbigan(architecture).state_dict(), path)
