"""Epochs of SimCLR end to end, against the training script that lightly's documentation shows, with two workers.

python benchmarks/epoch.py                     ResNet-18 of width 8 (the loader matters) and 32, at 32x32, two cores; of
                                               width 32 a quarter of the images, since each takes longer

Both sides train the same network on the same images with NT-Xent and SGD, from stored pixels to updated weights, and
start anew each time: what a trainer and its workers cost at the start is counted on both sides.
"""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from lightly.loss import NTXentLoss
from lightly.transforms import SimCLRTransform
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from assimilate.assimilation.contrastive import SimCLR
from assimilate.assimilation.fit import fit
from assimilate.assimilation.loss import NTXent
from assimilate.assimilation.optimizers import SGD, Constant
from assimilate.data.datamodule import ContrastiveDataModule
from assimilate.data.images import ImageArrays
from assimilate.data.transform import make_transform
from assimilate.data.views import ViewSlot
from assimilate.encoder.encoder import Encoder, EncoderSpec
from pairs import medians, report, seconds, speedups, turns

SIZE, TEMPERATURE, LR = 32, 0.5, 0.06
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)


class PilImages(Dataset[list[Tensor]]):
    """Images in memory as torchvision's CIFAR10 keeps them, two views each."""

    def __init__(self, images: np.ndarray) -> None:
        self.images = np.ascontiguousarray(images.transpose(0, 2, 3, 1))
        self.views = SimCLRTransform(
            input_size=SIZE, cj_strength=0.5, gaussian_blur=0.0, normalize={"mean": list(MEAN), "std": list(STD)}
        )

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> list[Tensor]:
        return self.views(Image.fromarray(self.images[index]))


def ours(images: np.ndarray, width: int, batch: int, epochs: int) -> Callable[[], None]:
    """`fit` of a `SimCLR`."""

    def run() -> None:
        transform = make_transform("expert", SIZE, flip=0.5, expert={})
        data = ContrastiveDataModule(
            ImageArrays(images, None), mean=MEAN, std=STD, slots=[ViewSlot("image", transform)] * 2, batch_size=batch,
            seed=0, view_source=None, drop_last=True,
        )  # fmt: skip
        module = SimCLR(
            encoder={"width": width, "hidden_dim": 128, "output_dim": 128}, loss=NTXent(temperature=TEMPERATURE),
            optimizer=SGD(lr=LR, momentum=0.9, weight_decay=0, schedule=Constant()), epochs=epochs, mean=MEAN, std=STD,
        )  # fmt: skip
        module.encoder.to(memory_format=torch.channels_last)  # as trainer.channels_last does
        with tempfile.TemporaryDirectory() as folder:
            fit(module, data, max_epochs=epochs, workdir=Path(folder), accelerator="cpu")

    return run


def lightly_script(images: np.ndarray, width: int, batch: int, epochs: int, workers: int) -> Callable[[], None]:
    """A loop over a DataLoader."""

    def run() -> None:
        loader = DataLoader(
            PilImages(images), batch_size=batch, shuffle=True, drop_last=True, num_workers=workers,
            persistent_workers=True,
        )  # fmt: skip
        network = Encoder.from_spec(EncoderSpec(width=width, hidden_dim=128, output_dim=128), init_seed=0).train()
        criterion = NTXentLoss(temperature=TEMPERATURE)
        optimizer = torch.optim.SGD(network.parameters(), lr=LR, momentum=0.9)
        for _ in range(epochs):
            for first, second in loader:
                loss = criterion(network(first), network(second))
                loss.backward()
                optimizer.step()
                optimizer.zero_grad()

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--widths", type=int, nargs="+", default=[8, 32])
    parser.add_argument("--images", type=int, default=4096, help="of width 8; of a wider one, 8 / width of them")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--pairs", type=int, default=5)
    options = parser.parse_args()
    drawn = np.random.default_rng(0).integers(0, 256, (options.images, 3, SIZE, SIZE), dtype=np.uint8)
    for width in options.widths:
        images = drawn[: options.images * 8 // width]
        mine = ours(images, width, options.batch, options.epochs)
        theirs = lightly_script(images, width, options.batch, options.epochs, options.workers)
        timed = [(seconds(mine), seconds(theirs)) for _ in turns(options.pairs, fewest=3)]
        middle = medians(timed)
        count = len(images) * options.epochs
        report(
            f"epoch/width_{width}_vs_lightly", speedups(timed), at_least=1.3 if width == min(options.widths) else None,
            images_per_second=round(count / middle["seconds"]),
            reference_images_per_second=round(count / middle["reference_seconds"]), epochs=options.epochs,
        )  # fmt: skip


if __name__ == "__main__":
    main()
