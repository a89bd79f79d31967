"""The expert augmentation against torchvision on PIL images through a DataLoader, and against kornia.

python benchmarks/augmentation.py                 two views each of 32x32 images, B=512, and of 224x224, B=32, all cores

From stored uint8 images to two normalised views in memory. One JSON line a comparison.
"""

import argparse
import warnings
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from assimilate.data.datamodule import ContrastiveDataModule
from assimilate.data.images import ImageArrays
from assimilate.data.order import IndexBatch
from assimilate.data.transform import make_transform
from assimilate.data.views import ViewSlot
from pairs import medians, report, seconds, speedups, time_pairs

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
BATCHES = {32: 512, 224: 32}
TARGETS = {
    32: {("eager", "pil"): 9.0, ("eager", "kornia"): 3.0, ("compiled", "pil"): 15.0, ("compiled", "kornia"): 5.0},
    224: {("eager", "kornia"): 4.0, ("compiled", "kornia"): 4.0},
}


class PilViews(Dataset):
    """What a training script does with torchvision: a PIL image, two random views."""

    def __init__(self, images: np.ndarray) -> None:
        # Laid out as torchvision's CIFAR10 keeps them: from strided pixels PIL would have to copy first.
        self.images = np.ascontiguousarray(images.transpose(0, 2, 3, 1))
        self.transform = transforms.Compose(
            [
                transforms.RandomResizedCrop(images.shape[-1], scale=(0.2, 1.0)),
                transforms.RandomHorizontalFlip(),
                transforms.RandomApply([transforms.ColorJitter(0.4, 0.4, 0.4, 0.1)], p=0.8),
                transforms.RandomGrayscale(p=0.2),
                transforms.ToTensor(),
                transforms.Normalize(MEAN, STD),
            ]
        )

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image = Image.fromarray(self.images[index])
        return self.transform(image), self.transform(image)


def ours(images: np.ndarray, *, compiled: bool) -> Callable[[], None]:
    """An epoch of the data module's batches."""
    size = images.shape[-1]
    expert = make_transform("expert", size, flip=0.5, expert={}, compiled=compiled)
    data = ContrastiveDataModule(
        ImageArrays(images, None),
        mean=MEAN,
        std=STD,
        slots=[ViewSlot("image", expert)] * 2,
        batch_size=BATCHES[size],
        seed=0,
        view_source=None,
        drop_last=True,
    )
    indices = data.index_batches(rank=0, world_size=1)

    def epoch() -> None:
        for batch in indices:
            assert isinstance(batch, IndexBatch)
            data.serve(data.transfer_batch_to_device(batch, torch.device("cpu"), 0))

    return epoch


def pil_loader(images: np.ndarray, num_workers: int) -> Callable[[], None]:
    """An epoch of a DataLoader whose workers stay alive; they are idle between epochs."""
    loader = DataLoader(
        PilViews(images),
        batch_size=BATCHES[images.shape[-1]],
        shuffle=True,
        num_workers=num_workers,
        persistent_workers=True,
    )

    def epoch() -> None:
        for _ in loader:
            pass

    return epoch


def kornia_batches(images: np.ndarray) -> Callable[[], None]:
    """An epoch of kornia's per-sample augmentation of whole batches."""
    import kornia.augmentation as K

    size = images.shape[-1]
    augment = K.AugmentationSequential(
        K.RandomResizedCrop((size, size), scale=(0.2, 1.0), ratio=(3 / 4, 4 / 3)),
        K.RandomHorizontalFlip(p=0.5),
        K.ColorJitter(0.4, 0.4, 0.4, 0.1, p=0.8),
        K.RandomGrayscale(p=0.2),
        K.Normalize(torch.tensor(MEAN), torch.tensor(STD)),
        data_keys=["input"],
    )
    stored = torch.from_numpy(images)

    @torch.no_grad()
    def epoch() -> None:
        for indices in torch.randperm(len(stored)).split(BATCHES[size]):
            batch = stored[indices].float() / 255
            # Both views in one call, as ours.
            augment(torch.cat([batch, batch]))

    return epoch


def main() -> None:
    """Print one line a comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=list(BATCHES), choices=list(BATCHES))
    parser.add_argument("--pairs", type=int, default=31)
    parser.add_argument("--batches", type=int, default=4, help="an epoch")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    for size in options.sizes:
        compare(size, options)


def compare(size: int, options: argparse.Namespace) -> None:
    """The lines of one size."""
    shape = (options.batches * BATCHES[size], 3, size, size)
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    theirs = {"pil": pil_loader(images, options.workers)}
    try:
        theirs["kornia"] = kornia_batches(images)
    except ImportError:
        print("kornia is not installed: that comparison is left out (uv sync --group dev)", flush=True)
    for form in ("eager", "compiled"):
        epoch = ours(images, compiled=form == "compiled")
        compiling = {"first_call_seconds": round(seconds(epoch), 1)} if form == "compiled" else {}
        for name, other in theirs.items():
            timed = time_pairs(epoch, other, pairs=options.pairs)
            middle = medians(timed)
            rates = {
                "images_per_second": round(len(images) / middle["seconds"]),
                "reference_images_per_second": round(len(images) / middle["reference_seconds"]),
            }
            target = TARGETS[size].get((form, name))
            called = f"augmentation/{form}_vs_{name}" if size == 32 else f"augmentation/{size}/{form}_vs_{name}"
            report(called, speedups(timed), at_least=target, **rates, **compiling)


if __name__ == "__main__":
    main()
