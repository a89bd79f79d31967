"""Timing two things against each other: interleaved pairs, median ratio, bootstrap interval, verdict (DESIGN §10).

A machine's speed drifts by more than most differences; the two runs of a pair follow each other and share the drift.
"""

import json
import math
import platform
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

# Of a row, on a machine so slow that all of its pairs would take longer.
SECONDS, FEWEST = 60.0, 5


def turns(most: int, *, fewest: int = FEWEST, limit: float = SECONDS) -> Iterator[int]:
    """0, 1, … below `most`; none after `fewest` of them begins once `limit` seconds have gone by."""
    started = time.perf_counter()
    for turn in range(most):
        if turn >= fewest and time.perf_counter() - started > limit:
            return
        yield turn


def time_pairs(
    ours: Callable[[], object], reference: Callable[[], object], *, pairs: int = 15, warmup: int = 2
) -> list[tuple[float, float]]:
    """Seconds of (ours, reference), one tuple a pair, in `turns`; every other pair runs the reference first."""
    assert pairs >= 15, "ask for 15 pairs: `turns` takes fewer only on a machine too slow for them"
    for _ in range(warmup):
        ours()
        reference()
    timed = []
    for pair in turns(pairs):
        if pair % 2:
            reference_seconds = seconds(reference)
            timed.append((seconds(ours), reference_seconds))
        else:
            timed.append((seconds(ours), seconds(reference)))
    return timed


def seconds(run: Callable[[], object]) -> float:
    """Wall-clock seconds of a call, the device's work included."""
    started = time.perf_counter()
    run()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started


def interval(values: list[float], *, share: float = 0.9, draws: int = 10_000) -> tuple[float, float]:
    """Bootstrap interval of the median; a single value says nothing of its spread, and its interval has no ends."""
    if len(values) == 1:
        return -math.inf, math.inf
    rng = np.random.default_rng(0)
    medians = np.median(rng.choice(values, (draws, len(values))), axis=1)
    low, high = np.quantile(medians, [(1 - share) / 2, (1 + share) / 2])
    return float(low), float(high)


def verdict(low: float, high: float, *, at_least: float | None = None, at_most: float | None = None) -> str:
    """ "met", "missed", or "unresolved" where the interval straddles the target; "" without a target."""
    if at_least is not None:
        return "met" if low >= at_least else "missed" if high < at_least else "unresolved"
    if at_most is not None:
        return "met" if high <= at_most else "missed" if low > at_most else "unresolved"
    return ""


def report(
    name: str,
    values: list[float] | float,
    *,
    unit: str = "ratio",
    at_least: float | None = None,
    at_most: float | None = None,
    **details: Any,
) -> None:
    """Print one JSON line: the median of `values`, its 90% interval, the target and the verdict.

    Args:
        name: of the row.
        values: what was measured, one a pair; or one number that is the same each time, a count or an error, whose
            interval is itself.
        unit: of the values.
        at_least, at_most: the target; at most one of them.
        details: what else the line says.
    """
    low, high = interval(values) if isinstance(values, list) else (values, values)
    values = values if isinstance(values, list) else [values]
    target = f"≥ {at_least}" if at_least is not None else f"≤ {at_most}" if at_most is not None else None
    line = {
        "benchmark": name,
        unit: _rounded(statistics.median(values)),
        "interval90": [_rounded(low), _rounded(high)] if math.isfinite(low) else None,
        "spread": [_rounded(min(values)), _rounded(max(values))],
        "pairs": len(values),
        "target": target,
        "verdict": verdict(low, high, at_least=at_least, at_most=at_most),
        **details,
        "machine": machine(),
    }
    print(json.dumps(line, ensure_ascii=False), flush=True)


def speedups(timed: list[tuple[float, float]]) -> list[float]:
    """Reference over ours: how many times as fast ours is."""
    return [reference / own for own, reference in timed]


def overheads(timed: list[tuple[float, float]]) -> list[float]:
    """Ours over reference: how many times as long ours takes."""
    return [own / reference for own, reference in timed]


def medians(timed: list[tuple[float, float]]) -> Mapping[str, float]:
    """Median seconds of both sides, for the report's details."""
    return {
        "seconds": _rounded(statistics.median(own for own, _ in timed)),
        "reference_seconds": _rounded(statistics.median(reference for _, reference in timed)),
    }


def machine() -> str:
    """Device, threads and torch's version."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else _cpu_name()
    return f"{device}, {torch.get_num_threads()} CPU threads, torch {torch.__version__}"


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")
