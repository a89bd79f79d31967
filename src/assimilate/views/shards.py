"""Parts of a view cache, each filled by a process of its own and joined afterwards (DESIGN §5).

What is found for an image depends on the image alone, so any split gives the same cache.
"""

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from assimilate.data.shard import Shard
from assimilate.views.cache import DONE, ViewCacheWriter

PART = "part.json"


def part_folder(cache: Path, shard: Shard) -> Path:
    """Where a part of the cache at `cache` is made."""
    return cache.with_name(f"{cache.name}.shard{shard.index}of{shard.count}")


def part_folders(cache: Path) -> list[Path]:
    """The parts of the cache at `cache` that were begun, of whatever split."""
    return sorted(path for path in cache.parent.glob(f"{cache.name}.shard*of*") if path.is_dir())


def seal(part: Path, first: int) -> None:
    """Note which images a finished part holds and the checksums of its files."""
    sums = {path.name: _digest(path) for path in sorted(part.glob("*.npy"))}
    text = json.dumps({"first": first, "complete": True, "files": sums})
    beside = part / f".{PART}.{os.getpid()}"
    with beside.open("w") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    beside.replace(part / PART)


def begin(part: Path, first: int) -> None:
    """Note which images a part will hold. A finished part that is sound is left as it is; a damaged one is emptied.

    Raises:
        ValueError: the part was begun for other images.
    """
    part.mkdir(parents=True, exist_ok=True)
    note = part / PART
    if note.exists():
        if damage(part) is None:
            return
        for path in part.iterdir():
            path.unlink()
    note.write_text(json.dumps({"first": first, "complete": False, "files": {}}))


def is_complete(part: Path) -> bool:
    """Whether a part says that it is finished."""
    try:
        return bool(json.loads((part / PART).read_text())["complete"])
    except (OSError, ValueError, KeyError):
        return False


def damage(part: Path) -> str | None:
    """What is wrong with a part; None if nothing is."""
    try:
        note = json.loads((part / PART).read_text())
        files = dict(note["files"])
        int(note["first"])
    except (OSError, ValueError, KeyError, TypeError):
        return f"{PART} cannot be read"
    for name, digest in files.items():
        if not (part / name).is_file() or _digest(part / name) != digest:
            return f"{name} does not match its checksum"
    return None


def adopt(part: Path, writer: ViewCacheWriter, fields: Iterable[str]) -> int:
    """Copy what a sound part holds and the cache lacks.

    Args:
        part: the folder of a part, finished or not.
        writer: of the whole cache.
        fields: names of the further arrays of the cache.

    Returns:
        How many images were copied.

    Raises:
        ValueError: its arrays are not those of the cache.
    """
    if not (part / DONE).is_file():
        return 0
    first = int(json.loads((part / PART).read_text())["first"])
    arrays = {name: np.load(part / f"{name}.npy", mmap_mode="r") for name in ("images", *fields)}
    copied = 0
    for row in np.flatnonzero(np.load(part / DONE)):
        index = first + int(row)
        if not writer.done[index]:
            writer.write(index, arrays["images"][row], **{name: arrays[name][row] for name in fields})
            copied += 1
    writer.flush()
    return copied


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
