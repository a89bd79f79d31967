"""What this machine sustains: measured once, remembered from job to job, and no part of any run's identity."""

import contextlib
import json
import os
import platform
from dataclasses import asdict
from pathlib import Path
from typing import Any

from assimilate.files.whole_file import write_text_atomically
from assimilate.graph.cost import USUAL, Speed


def known_speed(device: str, threads: int | None) -> Speed:
    """What was measured here, else what such machines usually sustain.

    Args:
        device: "cpu" or "cuda".
        threads: of the CPU; None: all cores.
    """
    try:
        return Speed(**_read()[_machine(device, threads)])
    except (KeyError, TypeError):
        return USUAL[device]


def remember_speed(device: str, threads: int | None, speed: Speed) -> None:
    """Keep what was measured; where there is no home folder, the next job measures again."""
    if (memory := _memory()) is not None:
        text = json.dumps({**_read(), _machine(device, threads): asdict(speed)}, indent=1)
        with contextlib.suppress(OSError):
            memory.parent.mkdir(parents=True, exist_ok=True)
            write_text_atomically(memory, text + "\n")


def _memory() -> Path | None:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"))
    return cache / "assimilate" / "speed.json" if cache.is_absolute() else None


def _read() -> dict[str, Any]:
    memory = _memory()
    try:
        found = {} if memory is None else json.loads(memory.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _machine(device: str, threads: int | None) -> str:
    """Many machines may share a home folder, and a job may get only some of the cores."""
    return f"{platform.node()}, {device}, {threads or len(os.sched_getaffinity(0))} threads"
