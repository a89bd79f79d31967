"""An array on disk that is filled a row at a time, and which rows are done, for work that a kill may interrupt."""

import io
import os
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from assimilate.files.whole_file import whole_file


class ArrayFile:
    """A .npy file of fixed shape whose rows are written in place, from any number of threads.

    Its space is reserved first: a full disk is an ordinary OSError, where a sparse memory map would end the process.
    A file that is there is kept if it has the right size: its rows are then whatever they are, under a head that is
    written again if a byte of it differs. A file of another size is replaced by one of zeros.
    """

    def __init__(self, path: Path, shape: tuple[int, ...], dtype: str) -> None:
        self.shape, self.dtype = shape, np.dtype(dtype)
        self._row_bytes = int(np.prod(shape[1:])) * self.dtype.itemsize
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(header, {"descr": self.dtype.str, "fortran_order": False, "shape": shape})
        head = header.getvalue()
        self._offset, size = len(head), len(head) + shape[0] * self._row_bytes
        if not path.exists() or path.stat().st_size != size:
            with whole_file(path) as stream:
                stream.write(head)
                stream.flush()
                if hasattr(os, "posix_fallocate"):  # macOS has no such call
                    os.posix_fallocate(stream.fileno(), 0, size)
                else:
                    stream.truncate(size)
        self._handle = os.open(path, os.O_RDWR)
        if os.pread(self._handle, len(head), 0) != head:
            os.pwrite(self._handle, head, 0)

    def write(self, index: int, row: NDArray[np.generic]) -> bytes:
        """Write row `index`, and return its bytes."""
        data = np.asarray(row, dtype=self.dtype)
        assert data.shape == self.shape[1:], (data.shape, self.shape)
        content = data.tobytes()
        view, position = memoryview(content), self._offset + index * self._row_bytes
        while view:
            written = os.pwrite(self._handle, view, position)
            view, position = view[written:], position + written
        return content

    def read(self, index: int) -> bytes:
        """The bytes of row `index`."""
        return os.pread(self._handle, self._row_bytes, self._offset + index * self._row_bytes)

    def numbers(self) -> NDArray[np.generic]:
        """A copy of an array of numbers, one a row."""
        content = os.pread(self._handle, self.shape[0] * self._row_bytes, self._offset)
        return np.frombuffer(content, self.dtype).reshape(self.shape).copy()

    def sync(self) -> None:
        """Bring what was written to disk."""
        os.fsync(self._handle)

    def close(self) -> None:
        """Release the file."""
        os.close(self._handle)


# Bits of a row's number that hold its CRC-32; those above it hold 1 + the row's tag, so that no such number is 0.
_CRC_BITS = 32


class DoneMap:
    """A file of one number a row, 0 where it is not done; a row that does not match its number counts as not done.

    A CRC-32 finds every change within four bytes that follow each other, and others but for one in 2³².

    Args:
        path: of the map.
        arrays: of the same length, which it is about.

    Attributes:
        done: which rows are.
    """

    def __init__(self, path: Path, arrays: Sequence[ArrayFile]) -> None:
        self._arrays = arrays
        self._file = ArrayFile(path, (arrays[0].shape[0],), "<u8")
        self._sums = self._file.numbers().astype(np.uint64)
        self.done: NDArray[np.bool_] = self._sums != 0
        self._unsynced: dict[int, int] = {}

    def check(self) -> list[int]:
        """Compare every row that is done with its checksum; those that differ are not done from here on.

        Returns:
            The rows that differ.
        """
        tags = self._tags
        differing = []
        for row in map(int, np.flatnonzero(self.done)):
            content = [array.read(row) for array in self._arrays]
            if int(self._sums[row]) != _number(row, content, int(tags[row])):
                differing.append(row)
        self.done[differing] = False
        return differing

    def note(self, row: int, content: Sequence[bytes], *, tag: int = 0) -> None:
        """Remember what was written to a row, the bytes of each array, and a number with it, until `flush`."""
        self._unsynced[row] = _number(row, content, tag)

    def tags(self) -> NDArray[np.uint8]:
        """The number that was noted with each row, below 256; 0 where none is done."""
        return np.where(self.done, self._tags, 0).astype(np.uint8)

    @property
    def _tags(self) -> NDArray[np.int64]:
        return np.maximum(self._sums >> np.uint64(_CRC_BITS), 1).astype(np.int64) - 1

    def flush(self) -> list[int]:
        """Flush the arrays, then the map, so that it never marks a row that is not on disk.

        Returns:
            The rows that are done since the last call.
        """
        for array in self._arrays:
            array.sync()
        for row, number in self._unsynced.items():
            self._file.write(row, np.asarray(number, np.uint64))
            self._sums[row], self.done[row] = number, True
        self._file.sync()
        rows = list(self._unsynced)
        self._unsynced.clear()
        return rows

    @property
    def num_unsynced(self) -> int:
        """Rows since the last flush."""
        return len(self._unsynced)

    def close(self) -> None:
        """Release the file."""
        self._file.close()


def _number(row: int, content: Sequence[bytes], tag: int) -> int:
    """A row's tag, and the checksum of its bytes, its place and its tag."""
    crc = zlib.crc32(row.to_bytes(8, "little") + tag.to_bytes(4, "little"))
    for part in content:
        crc = zlib.crc32(part, crc)
    return (1 + tag << _CRC_BITS) + crc


def rows_said_done(folder: Path, name: str, count: int) -> NDArray[np.bool_]:
    """Rows that the array `name`, a byte a row, marks as done, unchecked; none where it cannot be read."""
    try:
        said = np.load(folder / name)
    except (OSError, ValueError, EOFError):
        said = np.zeros(0)
    return said == 1 if said.shape == (count,) else np.zeros(count, dtype=bool)
