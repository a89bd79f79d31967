"""An array on disk that is filled a row at a time, for work that a kill may interrupt."""

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from assimilate.whole_file import whole_file


def unreadable(folder: Path) -> str | None:
    """Name of an array in ``folder`` that is cut off or no array, as a copy that broke off leaves it; None if none is.

    Reads heads and sizes alone.
    """
    for path in sorted(folder.glob("*.npy")):
        try:
            np.load(path, mmap_mode="r")
        except (ValueError, EOFError):
            return path.name
    return None


class ArrayFile:
    """A .npy file of fixed shape whose rows are written in place, from any number of threads.

    Its space is reserved first: a full disk is an ordinary OSError, where a sparse memory map would end the process.
    Raises ValueError if the file is there and holds an array of another shape or type.
    """

    def __init__(self, path: Path, shape: tuple[int, ...], dtype: str) -> None:
        self.shape, self.dtype = shape, np.dtype(dtype)
        self._row_bytes = int(np.prod(shape[1:])) * self.dtype.itemsize
        if not path.exists():
            with whole_file(path) as stream:
                header = {"descr": self.dtype.str, "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(stream, header)
                size = stream.tell() + shape[0] * self._row_bytes
                stream.flush()
                if hasattr(os, "posix_fallocate"):  # macOS has no such call
                    os.posix_fallocate(stream.fileno(), 0, size)
                else:
                    stream.truncate(size)
        existing = np.load(path, mmap_mode="r")
        if existing.shape != shape or existing.dtype != self.dtype:
            raise ValueError(f"{path} holds {existing.dtype} {existing.shape}, not {self.dtype} {shape}")
        assert isinstance(existing, np.memmap)
        self._offset = int(existing.offset)
        del existing
        self._handle = os.open(path, os.O_RDWR)

    def write(self, index: int, row: NDArray[np.generic]) -> None:
        """Write row `index`."""
        data = np.asarray(row, dtype=self.dtype)
        assert data.shape == self.shape[1:], (data.shape, self.shape)
        data = np.ascontiguousarray(data)
        view, position = memoryview(data.tobytes()), self._offset + index * self._row_bytes
        while view:
            written = os.pwrite(self._handle, view, position)
            view, position = view[written:], position + written

    def sync(self) -> None:
        """Bring what was written to disk."""
        os.fsync(self._handle)

    def close(self) -> None:
        """Release the file."""
        os.close(self._handle)
