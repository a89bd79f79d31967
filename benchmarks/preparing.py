"""Preparing a folder of JPEGs, once, against one pass of torchvision's ImageFolder, which every epoch repeats.

python benchmarks/preparing.py                 20,000 JPEGs of 64x64 in ten class folders, made here, stored at 32x32

Ours is the command `prepare_data`: it looks at every file, decodes and resizes it, takes the statistics, and writes an
artifact with checksums. The reference decodes and resizes through a DataLoader with as many workers as there are cores.
"""

import argparse
import contextlib
import io
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

from assimilate import prepare_data
from pairs import medians, report, seconds, speedups

STORED = 32


def write_jpegs(root: Path, count: int, size: int) -> None:
    """Smooth colours with some noise, so that files are about as long as those of photographs."""
    rng = np.random.default_rng(0)
    for index in range(count):
        folder = root / f"class{index % 10}"
        folder.mkdir(parents=True, exist_ok=True)
        coarse = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).resize((size, size), Image.BICUBIC)
        pixels = np.asarray(coarse) + rng.normal(0, 8, (size, size, 3))
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{index:05d}.jpg", quality=90)


def prepare(root: Path, out: Path) -> None:
    """The command, from nothing."""
    shutil.rmtree(out, ignore_errors=True)
    words = ["dataset=folder", f"dataset.root={root}", f"dataset.image_size={STORED}", "trainer=cpu", f"out={out}"]
    with contextlib.redirect_stdout(io.StringIO()):
        assert prepare_data.main(words) == 0


def one_pass(root: Path, workers: int) -> None:
    """What a training script does in each epoch before anything else."""
    images = ImageFolder(str(root), transforms.Compose([transforms.Resize(STORED), transforms.ToTensor()]))
    for _ in DataLoader(images, batch_size=256, num_workers=workers):
        pass


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--pairs", type=int, default=3, help="passes take half a minute: fewer pairs than elsewhere")
    options = parser.parse_args()
    workers = os.cpu_count() or 1
    with tempfile.TemporaryDirectory() as folder:
        root, out = Path(folder) / "images", Path(folder) / "out"
        write_jpegs(root, options.images, options.size)
        timed = [(seconds(lambda: prepare(root, out)), seconds(lambda: one_pass(root, workers)))]
        timed += [
            (seconds(lambda: prepare(root, out)), seconds(lambda: one_pass(root, workers)))
            for _ in range(options.pairs)
        ]
        timed = timed[1:]  # the first reads the files from the disk
        report(
            "preparing/jpegs_vs_one_pass", speedups(timed), images=options.images, size=options.size, workers=workers,
            **medians(timed),
        )  # fmt: skip


if __name__ == "__main__":
    main()
