"""Parts of arrays with a row an image, each filled by a process of its own and joined afterwards.

What is found for an image depends on the image alone, so any split gives the same arrays. The whole is named by the
folder that it will have, beside which its parts lie.
"""

import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from assimilate.data.row_writer import RowWriter
from assimilate.files.checked_files import digest_file, read_sealed, write_sealed


@dataclass(frozen=True)
class Shard:
    """Number `index` of `count` (from 1) of a data set's images."""

    index: int
    count: int

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """Read "3/8".

        Raises:
            ValueError: it is not of that form, or there is no such part.
        """
        match = re.fullmatch(r"([0-9]+)/([0-9]+)", text)
        if match is None or not 1 <= int(match[1]) <= int(match[2]):
            raise ValueError(f"shard={text} cannot be used: allowed is k/n with 1 ≤ k ≤ n, the third of eight is 3/8")
        return cls(int(match[1]), int(match[2]))

    def span(self, num_images: int) -> tuple[int, int]:
        """First image of this part and the one after its last; the parts differ by one image at most."""
        return num_images * (self.index - 1) // self.count, num_images * self.index // self.count

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"


PART = "part.json"
DISCARDED = ".discarded"


def part_folder(whole: Path, shard: Shard) -> Path:
    """Where a part of the artifact at `whole` is made."""
    return whole.with_name(f"{whole.name}.shard{shard.index}of{shard.count}")


def shard_of(part: Path) -> Shard:
    """Which part a folder holds, by its name."""
    index, count = map(int, re.findall(r"\d+", part.name.rsplit(".shard", 1)[1]))
    return Shard(index, count)


def part_folders(whole: Path) -> list[Path]:
    """The parts of the artifact at `whole` that were begun, of whatever split."""
    return sorted(path for path in whole.parent.glob(f"{whole.name}.shard*of*") if path.is_dir())


def missing_parts(whole: Path) -> dict[int, list[int]]:
    """For each number of parts in which the artifact at `whole` was begun: those that are not finished."""
    finished: dict[int, set[int]] = {}
    for part in part_folders(whole):
        shard = shard_of(part)
        finished.setdefault(shard.count, set()).update({shard.index} if is_complete(part) else set())
    return {count: [k for k in range(1, count + 1) if k not in done] for count, done in sorted(finished.items())}


def seal(part: Path, first: int, made_from: Mapping[str, str]) -> None:
    """Note which images a finished part holds, what they were made from, and the checksums of its files."""
    files = {path.name: digest_file(path) for path in sorted(part.glob("[!.]*.npy"))}
    _write_note(part, first, made_from, files, complete=True)


def begin(part: Path, first: int, made_from: Mapping[str, str]) -> str | None:
    """Note which images a part will hold and what they are made from.

    A part that is sound and made from the same is left as it is, finished or not; any other is emptied.

    Returns:
        Why it was emptied; None if it was not.
    """
    part.mkdir(parents=True, exist_ok=True)
    why = None
    if (part / PART).exists():
        why = damage(part) or other_origin(part, made_from)
        if why is None:
            return None
        for path in part.iterdir():
            path.unlink()
    _write_note(part, first, made_from, {}, complete=False)
    return why


def is_complete(part: Path) -> bool:
    """Whether a part says that it is finished."""
    try:
        return bool(read_sealed(part / PART)["complete"])
    except (OSError, ValueError, KeyError):
        return False


def damage(part: Path) -> str | None:
    """What is wrong with a part; None if nothing is. The rows of one that is not finished are not looked at."""
    try:
        note = read_sealed(part / PART)
    except (OSError, ValueError):
        return f"{PART} cannot be read"
    for name, digest in note["files"].items():
        if not (part / name).is_file() or digest_file(part / name) != digest:
            return f"{name} does not match its checksum"
    return None


def other_origin(part: Path, made_from: Mapping[str, str]) -> str | None:
    """What a sound part was made from that is not what lies here; None if it is the same.

    Networks that two machines train have one key and two contents: what comes of both must not be joined.
    """
    recorded = read_sealed(part / PART)["made_from"]
    others = [role for role in made_from if recorded.get(role) != made_from[role]]
    return f"it was made from another {' and '.join(others)}" if others else None


def discard(part: Path) -> None:
    """Delete a part; whatever moment a kill comes at, it is there as a whole or not at all."""
    doomed = part.with_name(f".{part.name}{DISCARDED}")
    part.rename(doomed)
    shutil.rmtree(doomed)


def finish_discarding(whole: Path) -> None:
    """Delete the rest of those parts of the artifact at `whole` whose deletion was interrupted."""
    for doomed in whole.parent.glob(f".{whole.name}.shard*{DISCARDED}"):
        shutil.rmtree(doomed)


def adopt(folder: Path, part: RowWriter, writer: RowWriter) -> int:
    """Copy what a part holds and the whole lacks.

    Args:
        folder: of the part.
        part: its rows, which were compared with their checksums.
        writer: of the whole.

    Returns:
        How many images were copied.
    """
    arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in part.names}
    copied = 0
    for row in np.flatnonzero(part.done):
        index = part.first + int(row)
        if not writer.done[index]:
            writer.write(index, **{name: array[row] for name, array in arrays.items()})
            copied += 1
    writer.flush()
    return copied


def _write_note(part: Path, first: int, made_from: Mapping[str, str], files: dict[str, str], *, complete: bool) -> None:
    write_sealed(part / PART, {"first": first, "complete": complete, "made_from": dict(made_from), "files": files})
