"""What the measuring scripts of this folder share: their arguments, the device's clock, and failures as results."""

import argparse
import contextlib
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # benchmarks/

from notebook import Notebook

# What the pack's driver tells its scripts; a checkout that was copied without .git knows its commit from nowhere else.
COMMIT = "ASSIMILATE_COMMIT"


class Measuring:
    """One script's run: where its lines go, how long it has, and whether it is a rehearsal at toy size."""

    def __init__(self, description: str | None) -> None:
        parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
        parser.add_argument("--work", type=Path, required=True, help="folder of measurements.jsonl")
        parser.add_argument("--seconds", type=float, default=300.0, help="begin nothing that would end later")
        parser.add_argument("--rehearse", action="store_true", help="toy sizes, on the CPU")
        parser.add_argument("--generator", type=Path, default=None, help="a trained StyleGAN2 in place of a random one")
        self.arguments = parser.parse_args()
        self.rehearse: bool = self.arguments.rehearse
        self._deadline = time.monotonic() + self.arguments.seconds
        on_gpu = torch.cuda.is_available() and not self.rehearse
        self.device = torch.device("cuda" if on_gpu else "cpu")
        if not on_gpu and not self.rehearse:
            raise SystemExit("torch sees no CUDA device; --rehearse runs the same at toy size on the CPU")
        self.notebook = Notebook(self.arguments.work, facts(self.device, rehearsal=self.rehearse))

    @property
    def left(self) -> float:
        """Seconds until the limit."""
        return self._deadline - time.monotonic()

    def measure(self, name: str, run: Callable[[], dict[str, Any]], *, seconds: float) -> None:
        """Record what `run` returns under `name`, unless it is there already or `seconds` are more than is left.

        An error is a result too ("failed"): an option that does not work on this machine must not cost the others.
        """
        if self.notebook.has(name):
            print(f"{name}: measured before", flush=True)
            return
        if self.left < (0 if self.rehearse else seconds):
            print(f"{name}: not begun, {self.left:.0f} s are left", flush=True)
            return
        started = time.monotonic()
        try:
            values = run()
        except Exception as error:
            if self.rehearse:
                raise
            values = {"failed": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"}
        self.notebook.record(name, **values, took_seconds=round(time.monotonic() - started, 1))
        free_memory()


def facts(device: torch.device, *, rehearsal: bool) -> dict[str, Any]:
    """What every line says of the machine."""
    name = torch.cuda.get_device_name() if device.type == "cuda" else f"CPU ({torch.get_num_threads()} threads)"
    return {"device": name, "torch": torch.__version__, "commit": commit(), "rehearsal": rehearsal}


def commit() -> str | None:
    """The checkout's commit, as the driver says or git does."""
    if os.environ.get(COMMIT):
        return os.environ[COMMIT]
    git = ["git", "-C", str(Path(__file__).resolve().parent), "describe", "--always", "--dirty=+changes"]
    with contextlib.suppress(OSError):
        return subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip() or None
    return None


def synchronize() -> None:
    """Wait for the device."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def free_memory() -> None:
    """Hand cached blocks back, so that a measurement does not live in the last one's fragments."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    if "torch._dynamo" in sys.modules:  # importing it takes seconds
        torch._dynamo.reset()


def peak_gigabytes() -> float | None:
    """The most that tensors took since the last measurement."""
    return round(torch.cuda.max_memory_allocated() / 2**30, 2) if torch.cuda.is_available() else None


def median_seconds(run: Callable[[], object], *, repeats: int, calls: int, warmup: int = 3) -> float:
    """Seconds of one call: the median over `repeats`."""
    return statistics.median(repeated_seconds(run, repeats=repeats, calls=calls, warmup=warmup))


def repeated_seconds(run: Callable[[], object], *, repeats: int, calls: int, warmup: int = 3) -> list[float]:
    """Seconds of one call, `repeats` times: of `calls` in a row without waiting between them."""
    for _ in range(warmup):
        run()
    taken = []
    for _ in range(repeats):
        synchronize()
        started = time.perf_counter()
        for _ in range(calls):
            run()
        synchronize()
        taken.append((time.perf_counter() - started) / calls)
    return taken


@contextlib.contextmanager
def cudnn_benchmark(enabled: bool) -> Iterator[None]:
    """cuDNN's search for the fastest algorithm, for a block."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = enabled
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before
