"""CIFAR-10 and CIFAR-100 from torchvision's files: from a local path, or downloaded when that is asked for."""

from pathlib import Path
from typing import Literal, get_args

import numpy as np
from torchvision.datasets import CIFAR10, CIFAR100

from assimilate.data.images import ImageArrays, ImageDataset, Statistics, save_prepared
from assimilate.data.progress import Progress, silent

Variant = Literal["cifar10", "cifar100"]

# PROTOCOLS 1 and 2.
STATISTICS: dict[str, tuple[Statistics, Statistics]] = {
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
    "cifar100": ((0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)),
}
_NUM_TRAIN, _NUM_TEST = 50_000, 10_000


def prepare_cifar(
    folder: Path, root: Path | str, *, variant: Variant, download: bool, progress: Progress = silent
) -> ImageDataset:
    """Write CIFAR-10 or CIFAR-100 to ``folder`` from the archives or unpacked batches below ``root``.

    torchvision checks the MD5 sums of the files. Raises ValueError, naming the key that helps, if they are not there
    or are not the genuine ones.
    """
    if variant not in get_args(Variant):
        raise ValueError(f"dataset.name is {variant!r}; allowed: {', '.join(get_args(Variant))}")
    source = CIFAR10 if variant == "cifar10" else CIFAR100
    parts: dict[str, ImageArrays] = {}
    class_names: list[str] = []
    for done, (part, train, expected) in enumerate((("train", True, _NUM_TRAIN), ("test", False, _NUM_TEST)), 1):
        try:
            cifar = source(str(root), train=train, download=download)
        except (RuntimeError, OSError) as error:
            remedy = "check the network, or give" if download else "set dataset.download=true, or give"
            raise ValueError(
                f"{variant} cannot be read from dataset.root={root} ({error}); {remedy} the folder that holds "
                f"{source.base_folder}/ as dataset.root"
            ) from error
        if len(cifar.data) != expected or len(cifar.targets) != expected:
            raise ValueError(
                f"{variant}: dataset.root={root} holds {len(cifar.data)} {part} images and {len(cifar.targets)} "
                f"labels instead of {expected}"
            )
        pixels = np.ascontiguousarray(cifar.data.transpose(0, 3, 1, 2))
        parts[part] = ImageArrays(pixels, np.asarray(cifar.targets, dtype=np.int64))
        class_names = list(cifar.classes)
        progress(done, 2, {})
    mean, std = STATISTICS[variant]
    return save_prepared(
        folder,
        name=variant,
        train=parts["train"],
        test=parts["test"],
        class_names=class_names,
        mean=mean,
        std=std,
        notes=[f"{variant}: the standard {_NUM_TRAIN:,} training and {_NUM_TEST:,} test images."],
    )
