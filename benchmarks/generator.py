"""StyleGAN2's synthesis and its gradient in the codes against the grouped form; a step of its training.

python benchmarks/generator.py                     the published network at 32x32, B=16 (minutes)
python benchmarks/generator.py --channels 64       a narrow one
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from assimilate.data.images import ImageArrays
from assimilate.generator.architecture import Architecture, stylegan2_channels
from assimilate.generator.settings import TrainingSettings
from assimilate.generator.stylegan2 import Generator
from assimilate.generator.training import train_stylegan2
from assimilate.generator.truncated import TruncatedStyleGAN2
from grouped_generator import GroupedGenerator
from losses import largest_resident_kilobytes
from pairs import medians, overheads, report, seconds, speedups, time_pairs

TRUNCATION = 0.7


def architecture(size: int, channels: int) -> Architecture:
    return Architecture(size, min(512, 8 * channels), 8, stylegan2_channels(size, max_channels=channels))


def gradient_step(form: str, size: int, channels: int, batch: int) -> Callable[[], Tensor]:
    """Images of fixed codes, and the gradient of their mean square."""
    torch.manual_seed(0)
    network = Generator(architecture(size, channels))
    for name, parameter in network.named_parameters():
        if name.endswith("noise.weight"):  # they start at 0, where a missing one would not show
            torch.nn.init.normal_(parameter, std=0.1)
    mean = torch.zeros(network.architecture.latent_dim)
    ours = TruncatedStyleGAN2(network, mean, truncation=TRUNCATION)
    state = {name: value.detach() for name, value in network.state_dict().items()}
    grouped = GroupedGenerator(state, mean, truncation=TRUNCATION)
    codes = torch.randn(batch, ours.num_codes, ours.latent_dim)

    def run() -> Tensor:
        moving = codes.clone().requires_grad_()
        images = (ours if form == "ours" else grouped).synthesize(moving)
        (gradient,) = torch.autograd.grad(images.square().mean(), moving)
        return gradient

    return run


def peak_megabytes(form: str, arguments: argparse.Namespace) -> float:
    """What a step adds to the largest resident set of a fresh process."""
    command = [sys.executable, str(Path(__file__).resolve()), "--peak", form]
    command += [f"--{name}={getattr(arguments, name)}" for name in ("size", "channels", "batch")]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def print_peak(form: str, size: int, channels: int, batch: int) -> None:
    """In a fresh process: a batch of one first, so that libraries and weights are loaded."""
    gradient_step(form, size, channels, 1)()
    before = largest_resident_kilobytes()
    gradient_step(form, size, channels, batch)()
    print((largest_resident_kilobytes() - before) / 1024)


def training_rate(size: int, channels: int, batch: int, steps: int) -> float:
    """Images a second of the adversarial training, lazy regularisers included."""
    rng = np.random.default_rng(0)
    images = ImageArrays(rng.integers(0, 256, (4 * batch, 3, size, size), dtype=np.uint8), None)

    def train(num_steps: int) -> float:
        settings = TrainingSettings(num_steps=num_steps, batch_size=batch, checkpoint_every=10**9)
        with tempfile.TemporaryDirectory() as folder:
            return seconds(
                lambda: train_stylegan2(
                    images, architecture=architecture(size, channels), settings=settings, workdir=Path(folder), seed=0
                )
            )

    # Two lengths, both whole rounds of the lazy regularisers: what a training costs once drops out.
    short, long = train(16), train(16 + steps)
    return steps * batch / (long - short)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--channels", type=int, default=512)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--training-channels", type=int, default=64)
    parser.add_argument("--training-steps", type=int, default=32)
    parser.add_argument("--peak", choices=("ours", "grouped"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    size, channels, batch = arguments.size, arguments.channels, arguments.batch
    if arguments.peak:
        print_peak(arguments.peak, size, channels, batch)
        return
    ours, grouped = (gradient_step(form, size, channels, batch) for form in ("ours", "grouped"))
    expected = grouped()
    # 2.5e-15 in float64 (tried at 512 channels). In float32 a few of millions of activations near 0 fall on
    # the other side of the leaky ReLU, each of which changes the gradient.
    difference = float((ours() - expected).norm() / expected.norm())
    assert difference < 1e-3, f"other gradients: relative difference {difference:.1e}"
    timed = time_pairs(ours, grouped, pairs=arguments.pairs, warmup=1)
    shape = f"{channels} channels, {size}x{size}, B={batch}"
    target = 4.5 if channels == 512 and not torch.cuda.is_available() else None
    report(
        "generator/gradient_vs_grouped", speedups(timed), at_least=target, shape=shape, relative_difference=difference,
        **medians(timed),
    )  # fmt: skip
    memory = [(peak_megabytes("ours", arguments), peak_megabytes("grouped", arguments)) for _ in range(3)]
    report(
        "generator/memory_vs_grouped", overheads(memory), shape=shape,
        megabytes=round(memory[0][0]), reference_megabytes=round(memory[0][1]),
    )  # fmt: skip
    narrow, steps = arguments.training_channels, arguments.training_steps
    rates = [training_rate(size, narrow, batch, steps) for _ in range(3)]
    report(
        "generator/training", rates, unit="images_per_second", shape=f"{narrow} channels, {size}x{size}, B={batch}"
    )  # fmt: skip


if __name__ == "__main__":
    main()
