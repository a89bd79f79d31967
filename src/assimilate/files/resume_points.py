"""Checkpoints that an interrupted training goes on from: the last one, and the one before it in case it is damaged."""

import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from assimilate.files.checked_files import check_zip
from assimilate.files.plain_files import load_plain, save_plain


def previous_of(path: Path) -> Path:
    """Where the checkpoint that `path` replaced is kept."""
    return path.with_name(f"{path.stem}.previous{path.suffix}")


def save_resume_point(path: Path, content: Mapping[str, Any]) -> None:
    """Write a checkpoint of plain containers; a kill at any moment leaves one that can be read.

    Raises:
        OSError: the disk is full, or does not hold what was written.
    """
    if path.exists():
        link = path.with_name(f".{path.name}.link")  # one name: a killed process's is replaced
        link.unlink(missing_ok=True)
        os.link(path, link)
        link.replace(previous_of(path))
    save_plain(path, content)


def load_resume_point(path: Path, *, map_location: Any = "cpu") -> dict[str, Any] | None:
    """The last checkpoint; the one before it, with a warning, if a byte of the last has changed.

    What is damaged is deleted, so that the next checkpoint leaves the one before it in its place.

    Returns:
        None where there is none, or, with a warning, where all are damaged: the training starts again.

    Raises:
        ValueError: it is as it was written, and cannot be loaded.
    """
    damaged = []
    for candidate in (path, previous_of(path)):
        try:
            check_zip(candidate)
        except FileNotFoundError:
            continue
        except ValueError as error:
            candidate.unlink(missing_ok=True)
            damaged.append(f"{candidate} is damaged: {error}")
            continue
        content: dict[str, Any] = load_plain(candidate, map_location=map_location)
        if damaged:
            warnings.warn(f"{damaged[0]}; going on from the checkpoint before it, {candidate}", stacklevel=2)
        return content
    if damaged:
        warnings.warn(f"{'; '.join(damaged)}; the training starts again", stacklevel=2)
    return None
