"""NT-Xent and InfoNCE, forward and backward, against lightly and against cross-entropy on the full matrix.

python benchmarks/losses.py            time and peak memory at N=4096, D=128
"""

import argparse
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from lightly.loss import NTXentLoss
from torch import Tensor

from assimilate.assimilation.losses import info_nce, nt_xent
from pairs import medians, report, speedups, time_pairs

TEMPERATURE = 0.5


def cross_entropy_nt_xent(z1: Tensor, z2: Tensor) -> Tensor:
    """Equation 1 as cross-entropy over the 2N × 2N matrix."""
    z = F.normalize(torch.cat([z1, z2]), dim=1)
    logits = (z @ z.T / TEMPERATURE).fill_diagonal_(float("-inf"))
    count = len(z1)
    return F.cross_entropy(logits, torch.arange(2 * count, device=z.device).roll(count))


def cross_entropy_info_nce(z1: Tensor, z2: Tensor) -> Tensor:
    """Equation 12 as two cross-entropies over the N × N matrix."""
    logits = F.normalize(z1, dim=1) @ F.normalize(z2, dim=1).T / TEMPERATURE
    labels = torch.arange(len(z1), device=z1.device)
    return 0.5 * F.cross_entropy(logits, labels) + 0.5 * F.cross_entropy(logits.T, labels)


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "ours": lambda z1, z2: nt_xent(z1, z2, temperature=TEMPERATURE),
    "lightly": NTXentLoss(temperature=TEMPERATURE),
    "cross_entropy": cross_entropy_nt_xent,
    "ours_info_nce": lambda z1, z2: info_nce(z1, z2, temperature=TEMPERATURE),
    "cross_entropy_info_nce": cross_entropy_info_nce,
}


def step(name: str, count: int, dim: int) -> Callable[[], Tensor]:
    """Loss and gradients on fixed embeddings."""
    rng = torch.Generator().manual_seed(0)
    views = [torch.randn(count, dim, generator=rng) for _ in range(2)]

    def run() -> Tensor:
        z1, z2 = (view.clone().requires_grad_() for view in views)
        loss = LOSSES[name](z1, z2)
        loss.backward()
        return loss.detach()

    return run


def peak_megabytes(name: str, count: int, dim: int) -> float:
    """What a step adds to the largest resident set of a fresh process."""
    command = [sys.executable, str(Path(__file__).resolve()), "--peak", name, "--count", str(count), "--dim", str(dim)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def print_peak(name: str, count: int, dim: int) -> None:
    """In a fresh process: a small step first, so that libraries are loaded."""
    step(name, 16, dim)()
    before = largest_resident_kilobytes()
    step(name, count, dim)()
    print((largest_resident_kilobytes() - before) / 1024)


def largest_resident_kilobytes() -> int:
    """Of this program alone: ru_maxrss starts from what the process held that started it."""
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=4096)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--peak", choices=LOSSES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    count, dim = arguments.count, arguments.dim
    if arguments.peak:
        print_peak(arguments.peak, count, dim)
        return
    for ours, reference, at_least, at_most in (
        ("ours", "lightly", 2.5, 0.5),
        ("ours", "cross_entropy", None, None),
        ("ours_info_nce", "cross_entropy_info_nce", None, None),
    ):
        own_step, reference_step = step(ours, count, dim), step(reference, count, dim)
        assert torch.allclose(own_step(), reference_step(), atol=1e-5), "they do not compute the same loss"
        timed = time_pairs(own_step, reference_step, pairs=arguments.pairs, warmup=1)
        name = f"losses/{ours}_vs_{reference}"
        report(f"{name}/speed", speedups(timed), at_least=at_least, count=count, dim=dim, **medians(timed))
        own, other = ([peak_megabytes(loss, count, dim) for _ in range(3)] for loss in (ours, reference))
        ratios = [mine / theirs for mine, theirs in zip(own, other, strict=True)]
        report(f"{name}/memory", ratios, at_most=at_most, megabytes=round(own[0]), reference_megabytes=round(other[0]))


if __name__ == "__main__":
    main()
