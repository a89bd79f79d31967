"""Codes of images by an encoder and a few steps, against optimising each image from the mean code to the same error.

python benchmarks/inversion.py                     the demo's networks, which are trained first
python benchmarks/inversion.py --out outputs       networks of a finished run with generated views that lies there

Both sides minimise the squared error of the pixels with Adam; the reference's learning rate is the best of four. The
encoder was trained once, which takes as long as so many images of the reference: `pays_from_images`.
"""

import argparse
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import assimilate
from assimilate.generator.real_images import to_unit_range
from assimilate.inversion.encoder import load_inversion_encoder
from assimilate.inversion.optimization import optimize_codes
from assimilate.inversion.perceptual import no_features
from assimilate.inversion.settings import OptimizationSettings
from pairs import medians, report, seconds, speedups, turns

DEMO = Path(__file__).resolve().parents[1] / "build" / "benchmark-demo"
RATES = (0.02, 0.05, 0.1, 0.2)
MOST = 2000


class Compared:
    """The two ways, on the same images."""

    def __init__(self, out: Path, count: int, few: int) -> None:
        run = next(run for run in assimilate.runs(out) if any("latents/" in label for label in run.artifacts))
        folder = next(path for label, path in run.artifacts.items() if label.startswith("latents/"))
        self.training_seconds = float(assimilate.StoredArtifact(folder).facts["seconds"])
        self.generator = assimilate.load_generator(run)
        self.encoder = load_inversion_encoder(
            folder / "encoder.pt", image_size=self.generator.image_size, num_codes=self.generator.num_codes,
            latent_dim=self.generator.latent_dim,
        ).eval().requires_grad_(False)  # fmt: skip
        self.images = to_unit_range(torch.from_numpy(np.array(run.dataset.train.images[:count])))
        self.settings = OptimizationSettings(num_steps=few, lr=0.05, perceptual_weight=0, in_domain_weight=0)
        self.error = math.nan

    def ours(self) -> None:
        """From where the encoder points."""
        made = optimize_codes(self.generator, self.encoder, no_features, self.images, self.settings)
        self.error = float(made.errors.mean())

    def reference(self, rate: float, most: int) -> int | None:
        """From the mean code until the error is ours; the steps, None where they were not enough."""
        shape = (len(self.images), self.generator.num_codes, 1)
        codes = self.generator.latent_mean.expand(shape[0], shape[1], -1).clone().requires_grad_()
        optimizer = torch.optim.Adam([codes], lr=rate, fused=True)
        for step in range(most):
            made = self.generator.synthesize(codes)
            if float(_errors(made.clamp(-1, 1).detach(), self.images).mean()) <= self.error:
                return step
            optimizer.zero_grad()
            _errors(made, self.images).sum().backward()
            optimizer.step()
        return None


def _errors(made: Tensor, images: Tensor) -> Tensor:
    return (made - images).square().flatten(1).mean(dim=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="where a finished run with generated views lies; else it is made")
    parser.add_argument("--images", type=int, default=128)
    parser.add_argument("--few", type=int, default=25, help="steps after the encoder")
    parser.add_argument("--pairs", type=int, default=5)
    options = parser.parse_args()
    if options.out is None:
        command = [sys.executable, "-m", "assimilate.train", "view=wsearch", "view.solver=gradient", f"out={DEMO}"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    compared = Compared(options.out or DEMO, options.images, options.few)
    compared.ours()
    steps = {rate: compared.reference(rate, MOST) for rate in RATES}
    reached = {rate: count for rate, count in steps.items() if count is not None}
    if not reached:
        raise SystemExit(f"no rate of {RATES} reaches the error {compared.error:.4g} in {MOST} steps")
    best = min(reached, key=lambda rate: reached[rate])
    reference: Callable[[], object] = lambda: compared.reference(best, MOST)  # noqa: E731
    timed = [(seconds(compared.ours), seconds(reference)) for _ in turns(options.pairs, fewest=3)]
    middle = medians(timed)
    saved = (middle["reference_seconds"] - middle["seconds"]) / options.images
    report(
        "inversion/encoder_and_few_steps_vs_each_image", speedups(timed), at_least=5.0, mse=round(compared.error, 5),
        steps=options.few, reference_steps=reached[best], reference_lr=best, images=options.images,
        pays_from_images=round(compared.training_seconds / saved) if saved > 0 else None, **middle,
    )  # fmt: skip


if __name__ == "__main__":
    main()
