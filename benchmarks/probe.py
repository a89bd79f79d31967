"""Five probe seeds trained together against five separate runs: augmentation and features included.

python benchmarks/probe.py
"""

import argparse

import numpy as np
import torch

from assimilate.data.images import ImageArrays
from assimilate.encoder.encoder import Encoder, EncoderSpec
from assimilate.probes.features import freeze
from assimilate.probes.linear import ProbeResult, linear_probe
from pairs import medians, report, speedups, time_pairs

SEEDS = (0, 1, 2, 3, 4)


def images(count: int, seed: int) -> ImageArrays:
    """Noise whose brightness tells ten classes apart."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 10, count)
    pixels = rng.integers(0, 100, (count, 3, 32, 32)) + 15 * labels[:, None, None, None]
    return ImageArrays(pixels.astype(np.uint8), labels.astype(np.int64))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=2048)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--width", type=int, default=8)
    parser.add_argument("--pairs", type=int, default=15)
    arguments = parser.parse_args()
    encoder = freeze(Encoder.from_spec(EncoderSpec(width=arguments.width, hidden_dim=64, output_dim=32)))
    train, test = images(arguments.images, 0), images(512, 1)

    def probe(seeds: tuple[int, ...]) -> ProbeResult:
        # lr ≤ 1: at the protocol's 30, rounding alone moves weights by percents.
        return linear_probe(
            encoder, train, test, mean=(0.5,) * 3, std=(0.25,) * 3, seeds=seeds, num_epochs=arguments.epochs, lr=1.0
        )

    joint = probe(SEEDS)
    alone = [probe((seed,)) for seed in SEEDS]
    difference = max(float((joint.weight[i] - one.weight[0]).abs().max()) for i, one in enumerate(alone))
    timed = time_pairs(
        lambda: probe(SEEDS), lambda: [probe((seed,)) for seed in SEEDS], pairs=arguments.pairs, warmup=1
    )
    report(
        "probe/joint_vs_separate", speedups(timed), at_least=2.2, largest_weight_difference=difference,
        same_accuracies=[one.values["acc1"][0] for one in alone] == list(joint.values["acc1"]),
        images=arguments.images, epochs=arguments.epochs, width=arguments.width, **medians(timed),
    )  # fmt: skip
    assert torch.isfinite(joint.weight).all()


if __name__ == "__main__":
    main()
