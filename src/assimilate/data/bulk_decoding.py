"""Decodes a list of images into an array file: in parallel, straight to disk, resuming after a kill."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from assimilate.data.array_file import ArrayFile, DoneMap
from assimilate.data.decoding import Decoded
from assimilate.data.directory import displayed
from assimilate.files.cpus import whole_cpus
from assimilate.graph.place import Progress, silent

# Images between two flushes: what a kill may cost, how much is queued, and how often progress is told.
BLOCK = 512


def decode_into(
    path: Path, names: Sequence[str], decode: Callable[[str], Decoded], *, image_size: int, progress: Progress = silent
) -> tuple[NDArray[np.uint8], list[str], NDArray[np.uint8]]:
    """Write the pixels of ``decode(name)`` to row i of the array file ``path`` for each of ``names``.

    ``decode`` runs in threads (Pillow decodes and resizes without the interpreter's lock). A done-map beside the array
    remembers the rows that are safely on disk, and their checksums: the next call with the same names goes on from
    there, and decodes a row again of which a byte has changed. Returns the array behind a read-only memory map, one
    line for every image that ``decode`` failed on (those are tried again by the next call), and the bits that each
    image uses (``Decoded``). Call ``forget_progress`` when the folder is finished.
    """
    assert names, "nothing to decode"
    path.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256("\0".join(names).encode("utf-8", "surrogateescape")).hexdigest()
    done_path = path.with_name(f".{path.stem}.done-{digest[:16]}.npy")
    if not (done_path.exists() and path.exists()):
        # Whatever is there was decoded from other names.
        for stale in (*path.parent.glob(f".{path.stem}.done-*.npy"), path):
            stale.unlink(missing_ok=True)
    images = ArrayFile(path, (len(names), 3, image_size, image_size), "|u1")
    rows = DoneMap(done_path, [images])
    reasons: dict[int, str] = {}
    try:
        rows.check()
        pending = np.flatnonzero(~rows.done)
        progress(len(names) - len(pending), len(names), {})
        with ThreadPoolExecutor(max_workers=min(32, whole_cpus())) as threads:
            for start in range(0, len(pending), BLOCK):
                block = pending[start : start + BLOCK].tolist()
                outcomes = list(threads.map(partial(_decode_row, images, rows, names, decode), block))
                rows.flush()
                reasons |= {row: reason for row, reason in zip(block, outcomes, strict=True) if reason is not None}
                progress(len(names) - len(pending) + start + len(block), len(names), {})
    finally:
        images.close()
        rows.close()
    return np.load(path, mmap_mode="r"), [reasons[row] for row in sorted(reasons)], rows.tags()


def decode_parts(
    folder: Path,
    parts: Mapping[str, Sequence[str]],
    decode: Callable[[str], Decoded],
    *,
    image_size: int,
    progress: Progress = silent,
) -> tuple[dict[str, NDArray[np.uint8]], list[str], NDArray[np.uint8]]:
    """Decode the images of each part, given by their names, into ``<part>_images.npy`` of ``folder``.

    Returns what ``decode_into`` does: the arrays by part, and of all parts together, in their order, one line for every
    image that cannot be read, and the bits that each image uses.
    """
    total, done = sum(map(len, parts.values())), 0
    images: dict[str, NDArray[np.uint8]] = {}
    unreadable: list[str] = []
    bits: list[NDArray[np.uint8]] = []
    for part, names in parts.items():
        images[part], reasons, used = decode_into(
            folder / f"{part}_images.npy",
            names,
            decode,
            image_size=image_size,
            progress=_part_of(progress, done, total),
        )
        done += len(names)
        unreadable += reasons
        bits.append(used)
    return images, unreadable, np.concatenate(bits)


def forget_progress(folder: Path) -> None:
    """Remove the done-maps of a finished folder."""
    for done_map in folder.glob(".*.done-*.npy"):
        done_map.unlink()


def _part_of(progress: Progress, done_before: int, total: int) -> Progress:
    """Return the progress of one of several lists, told as progress of them all."""
    return lambda done, _, values: progress(done_before + done, total, values)


def _decode_row(
    images: ArrayFile, rows: DoneMap, names: Sequence[str], decode: Callable[[str], Decoded], row: int
) -> str | None:
    """Write a row, and note how many bits it uses; or return why it cannot be read."""
    try:
        pixels, bits = decode(names[row])
    except Exception as error:  # a damaged file can make a decoder raise anything; all of them are listed together
        reason = str(error) or type(error).__name__
        return displayed(f"{names[row]}: {reason}").splitlines()[0]
    rows.note(row, [images.write(row, pixels)], tag=bits)
    return None
