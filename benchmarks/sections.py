"""Where a step's time goes: chosen functions are labelled in torch's profiler, and each label gets its own time.

A label's own time is that of its calls less the labelled calls within them. On the CPU that is work; where a GPU does
the work it is the time that Python and torch need to queue it, and the kernels' time stands beside it.
"""

import contextlib
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

import torch
from torch.profiler import ProfilerActivity, profile, record_function

_MARK = "section: "
BACKWARD = "backward"
REST = "Python between the sections"


@dataclass(frozen=True)
class Section:
    """A function to label: attribute `name` of `owner`, a class or a module."""

    label: str
    owner: Any
    name: str


@dataclass
class Shares:
    """What a window of steps took.

    Attributes:
        num_steps: steps of the window.
        seconds: wall-clock seconds of the window, the device's work included.
        own: seconds of each label on the CPU that runs Python.
        kernels: seconds of the kernels that each label started; empty without a GPU. Autograd starts those of the
            backward pass from a thread of its own, so "backward" has all that no other label started.
        busy: seconds in which a kernel ran; 0 without a GPU.
        launches: kernels and copies of the window.
        waits: times that Python waited for the device.
    """

    num_steps: int
    seconds: float
    own: dict[str, float] = field(default_factory=dict)
    kernels: dict[str, float] = field(default_factory=dict)
    busy: float = 0.0
    launches: int = 0
    waits: int = 0

    def rows(self) -> list[dict[str, Any]]:
        """One row a label, the longest first, and what lies between them."""
        labels = sorted(self.own.keys() | self.kernels.keys(), key=lambda label: -self.own.get(label, 0.0))
        rows = [self._row(label, self.own.get(label, 0.0), self.kernels.get(label)) for label in labels]
        return [*rows, self._row(REST, max(0.0, self.seconds - sum(self.own.values())), None)]

    def _row(self, label: str, own: float, kernels: float | None) -> dict[str, Any]:
        row: dict[str, Any] = {
            "section": label,
            "ms_a_step": _rounded(1000 * own / self.num_steps),
            "share": _rounded(own / self.seconds),
        }
        if self.busy:
            row["kernel_ms_a_step"] = _rounded(1000 * (kernels or 0.0) / self.num_steps)
            row["kernel_share"] = _rounded((kernels or 0.0) / self.seconds)
        return row

    def summary(self) -> dict[str, Any]:
        """Milliseconds a step and, of a GPU, how much of the time it had nothing to do."""
        result: dict[str, Any] = {"step_ms": _rounded(1000 * self.seconds / self.num_steps), "steps": self.num_steps}
        if self.busy:
            result |= {
                "gpu_idle_share": _rounded(max(0.0, 1 - self.busy / self.seconds)),
                "launches_a_step": round(self.launches / self.num_steps),
                "waits_a_step": _rounded(self.waits / self.num_steps),
            }
        return result

    def table(self) -> str:
        """The rows as Markdown."""
        rows = self.rows()
        names = list(rows[0])
        lines = [" | ".join(names), " | ".join("---" for _ in names)]
        lines += [" | ".join(str(row[name]) for name in names) for row in rows]
        return "\n".join(f"| {line} |" for line in lines)


@contextlib.contextmanager
def labelled(sections: Sequence[Section]) -> Iterator[None]:
    """Label the functions for the time of a block."""
    with contextlib.ExitStack() as stack:
        for section in sections:
            original = getattr(section.owner, section.name)
            stack.enter_context(patch.object(section.owner, section.name, _wrapped(original, section.label)))
        yield


def _wrapped(function: Callable[..., Any], label: str) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        with record_function(_MARK + label):
            return function(*args, **kwargs)

    # Optimisers and Lightning look at what they wrap.
    call.__dict__.update(getattr(function, "__dict__", {}))
    call.__name__ = getattr(function, "__name__", label)
    return call


class Window:
    """A profiled stretch of a run: `start()` before its first step, `stop(num_steps)` after its last."""

    def __init__(self) -> None:
        self.shares: Shares | None = None
        activities = [ProfilerActivity.CPU]
        if torch.cuda.is_available():
            activities.append(ProfilerActivity.CUDA)
        self._profile = profile(activities=activities)
        self._started = 0.0

    def start(self) -> None:
        """Open the window."""
        self._profile.start()
        synchronize()
        self._started = time.perf_counter()

    def stop(self, num_steps: int) -> None:
        """Close it; `shares` then holds the result."""
        synchronize()
        seconds = time.perf_counter() - self._started
        self._profile.stop()
        self.shares = shares_of(self._profile.events(), num_steps, seconds)


def shares_of(events: Any, num_steps: int, seconds: float) -> Shares:
    """Add up a profile's events."""
    own: dict[str, float] = defaultdict(float)
    kernels: dict[str, float] = defaultdict(float)
    intervals: list[tuple[float, float]] = []
    launches = waits = 0
    total = 0.0
    for event in events:
        if "cuda" in str(event.device_type).lower():
            if not event.is_user_annotation:  # the span of a label, or of an optimiser's step, is no kernel
                intervals.append((event.time_range.start, event.time_range.end))
                total += event.time_range.elapsed_us() / 1e6
                launches += 1
            continue
        waits += event.name in ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize")
        if not event.name.startswith(_MARK):
            continue
        label = event.name.removeprefix(_MARK)
        within = _labelled_within(event)
        own[label] += (event.cpu_time_total - sum(child.cpu_time_total for child in within)) / 1e6
        started = _started(event) / 1e6
        if started > 0:
            kernels[label] += started
    if intervals:
        # Autograd's thread: what no label's own thread has started.
        kernels[BACKWARD] = kernels.get(BACKWARD, 0.0) + max(0.0, total - sum(kernels.values()))
    # The two synchronisations of the window itself are no waits of the run.
    return Shares(num_steps, seconds, dict(own), dict(kernels), _covered(intervals), launches, max(0, waits - 2))


def _labelled_within(event: Any) -> list[Any]:
    """The nearest labelled calls below an event."""
    found: list[Any] = []
    for child in event.cpu_children:
        found += [child] if child.name.startswith(_MARK) else _labelled_within(child)
    return found


def _started(event: Any) -> float:
    """Microseconds of the kernels that an event and the unlabelled calls below it started."""
    # A span on the device that goes by the event's own name is the event's, not a kernel's.
    own = sum(kernel.duration for kernel in event.kernels if kernel.name != event.name)
    return own + sum(_started(child) for child in event.cpu_children if not child.name.startswith(_MARK))


def _covered(intervals: list[tuple[float, float]]) -> float:
    """Seconds that at least one of the intervals [µs] covers."""
    total, reached = 0.0, float("-inf")
    for start, end in sorted(intervals):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total / 1e6


def synchronize() -> None:
    """Wait for the device, if there is one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _rounded(value: float) -> float:
    return float(f"{value:.3g}")
