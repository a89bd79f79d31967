"""Files that matched their checksums, remembered so that not every job reads the large ones again."""

import contextlib
import json
import time
from pathlib import Path

from assimilate.files.checked_files import digest_file
from assimilate.files.whole_file import whole_file

# A change within the resolution of a file system's clock leaves a file's times as they are: what is younger than this
# when it has been read is read again the next time.
_SETTLED_NS = 2 * 10**9


class SeenFiles:
    """Files that matched their checksum, known by size, times (that of the inode too, which cannot be set), and place.

    An edit, a copy or a restore changes one of these. A disk that changes a byte by itself does not.

    Args:
        path: where this is remembered, outside the artifact; a folder that cannot be written remembers nothing.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: dict[str, list[object]] = {}
        with contextlib.suppress(OSError, ValueError):
            read = json.loads(path.read_bytes())
            self._seen = read if isinstance(read, dict) else {}

    def has(self, path: Path, digest: str) -> bool:
        """Whether the file had this digest when it was last read, and has not been touched since."""
        return self._seen.get(path.name) == [digest, *_stamp(path)]

    def digest_is(self, path: Path, digest: str) -> bool:
        """Whether the file has this digest: reads it, and remembers it if so."""
        before = _stamp(path)
        if digest_file(path) != digest:
            return False
        if _stamp(path) == before and time.time_ns() - max(before[1:3]) > _SETTLED_NS:
            self._seen[path.name] = [digest, *before]
            with contextlib.suppress(OSError), whole_file(self._path) as stream:
                stream.write(json.dumps(self._seen).encode())
        return True


def _stamp(path: Path) -> list[int]:
    status = path.stat()
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_dev]
