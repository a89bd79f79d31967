"""Arrays with a row an image, written an image at a time so that a killed run can resume."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from assimilate.data.array_file import ArrayFile, DoneMap
from assimilate.files.whole_file import whole_file

DONE = "done.npy"
# Hidden, so that they are no part of the finished artifact: its manifest says it then.
CHECKSUMS = ".checksums.npy"
ORIGIN = ".made_from.json"
# Rows are flushed to disk, then marked as done, this many at a time.
FLUSH_EVERY = 64


def is_made_from(folder: Path, made_from: Mapping[str, str]) -> bool:
    """Whether what an interrupted run left in `folder` comes from these bytes: digest of each artifact, by role."""
    try:
        return bool(json.loads((folder / ORIGIN).read_text(encoding="utf-8")) == dict(made_from))
    except (OSError, ValueError):
        return False


def start_over_unless_made_from(folder: Path, made_from: Mapping[str, str]) -> bool:
    """Delete what an interrupted run left in `folder` if it worked from other bytes than `made_from`.

    A generator that was trained again has the key of the first one and other bytes: images of both in one array would
    be of neither.

    Args:
        folder: of work that may have been begun.
        made_from: digest of each artifact that it is made from, by role.

    Returns:
        Whether something was there and is deleted.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if is_made_from(folder, made_from):
        return False
    left = [path for path in folder.iterdir() if path.name != ORIGIN]
    for path in left:  # first: after a kill in between the old record stays, and the rest is deleted next time
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    with whole_file(folder / ORIGIN) as stream:
        stream.write(json.dumps(dict(made_from)).encode())
    return bool(left)


def forget_rows(folder: Path) -> None:
    """Let no row of a folder count as done."""
    for name in (DONE, CHECKSUMS):
        (folder / name).unlink(missing_ok=True)


class RowWriter:
    """Fills the arrays of a folder, possibly one that an interrupted run began.

    What is there is compared with the checksum that each row had when it was written; a row that differs is made again.

    Args:
        folder: where the arrays go.
        image_shape: of the uint8 array of pictures; the first axis is N. None: there are no pictures.
        fields: further arrays by file stem: (shape, dtype), the first axis being N.
        first: the image that the first row belongs to; not 0 in a part of the whole.
        images: file stem of the pictures.
        flush_every: rows between two flushes, which a kill may cost; None: FLUSH_EVERY.

    Attributes:
        num_damaged: rows that an interrupted run had finished and that differ from what it wrote.

    Raises:
        OSError: the disk is full.
    """

    def __init__(
        self,
        folder: Path,
        image_shape: tuple[int, ...] | None,
        fields: Mapping[str, tuple[tuple[int, ...], str]],
        *,
        first: int = 0,
        images: str = "images",
        flush_every: int | None = None,
    ) -> None:
        self._images_name = images
        self.first = first
        self._flush_every = FLUSH_EVERY if flush_every is None else flush_every
        folder.mkdir(parents=True, exist_ok=True)
        arrays = {} if image_shape is None else {images: (image_shape, "|u1")}
        arrays |= fields
        self._files = {name: ArrayFile(folder / f"{name}.npy", shape, dtype) for name, (shape, dtype) in arrays.items()}
        self._map = DoneMap(folder / CHECKSUMS, list(self._files.values()))
        # For other readers: which rows are done, a byte each.
        self._done_file = ArrayFile(folder / DONE, (len(self.done),), "|u1")
        said = self._done_file.numbers() != 0
        self._map.check()
        self.num_damaged = int((said & ~self.done).sum())
        for row in np.flatnonzero(self._done_file.numbers() != self.done):
            self._done_file.write(int(row), self.done[row].astype(np.uint8))

    @property
    def names(self) -> tuple[str, ...]:
        """File stems of the arrays."""
        return tuple(self._files)

    @property
    def done(self) -> NDArray[np.bool_]:
        """Which rows are on disk as they were written."""
        return self._map.done

    def pending(self) -> list[int]:
        """Images whose rows are not there yet, in order."""
        return [self.first + int(row) for row in np.flatnonzero(~self.done)]

    def write(self, index: int, images: NDArray[np.uint8] | None = None, **fields: NDArray[np.generic]) -> None:
        """Store the row of one image: its pictures, if there are some, and one of each further array."""
        rows = fields if images is None else {self._images_name: images, **fields}
        assert rows.keys() == self._files.keys(), (rows.keys(), self._files.keys())
        position = index - self.first
        content = [self._files[name].write(position, rows[name]) for name in self._files]
        self._map.note(position, content)
        if self._map.num_unsynced >= self._flush_every:
            self.flush()

    def flush(self) -> None:
        """Flush what was written, then mark it as done, so that the map never marks a row that is not on disk."""
        for position in self._map.flush():
            self._done_file.write(position, np.ones((), dtype=np.uint8))
        self._done_file.sync()

    def check(self) -> int:
        """Compare all rows with their checksums once more; those that differ are pending again. How many do."""
        differing = self._map.check()
        for row in differing:
            self._done_file.write(row, np.zeros((), dtype=np.uint8))
        return len(differing)

    def __enter__(self) -> "RowWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        """Flush, except on a full disk, and release the files. What was flushed before stays."""
        try:
            if not isinstance(error, OSError):
                self.flush()
        finally:
            self._map.close()
            for file in (*self._files.values(), self._done_file):
                file.close()
