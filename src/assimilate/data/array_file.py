"""An array on disk that is filled a row at a time, for work that a kill may interrupt."""

import io
import os
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
