"""Files that show whether a byte of them has changed since they were written. Torch-free."""

import contextlib
import functools
import hashlib
import json
import os
import re
import time
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from assimilate.files.whole_file import whole_file

# The last member of a JSON file: a checksum of all bytes before it.
_JSON_SEAL = re.compile(rb',\n "sha256": "([0-9a-f]{64})"\n\}\n')
_JSON_SEAL_BYTES = len(b',\n "sha256": ""\n}\n') + 64
# The comment of a zip file, which other programs skip: a checksum of all bytes before it.
_ZIP_SEAL = b"assimilate sha256 "
_ZIP_SEAL_BYTES = len(_ZIP_SEAL) + 64
# The record before the comment, which ends with the comment's length.
_ZIP_END_BYTES = 22
_CHUNK = 2**20


def digest_file(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def digest_once(path: Path) -> str:
    """SHA-256 of a file, which is read again when its size or time has changed."""
    status = path.stat()
    return _digest_seen(path.resolve(), status.st_size, status.st_mtime_ns)


@functools.lru_cache(maxsize=32)
def _digest_seen(path: Path, size: int, modified: int) -> str:
    return digest_file(path)


def write_sealed(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON whose last member, `sha256`, is a checksum of the text before it."""
    text = json.dumps({**content, "sha256": ""}, indent=1, ensure_ascii=False) + "\n"
    head = text.encode()[: 64 - _JSON_SEAL_BYTES]
    with whole_file(path) as stream:
        stream.write(head + b',\n "sha256": "%b"\n}\n' % hashlib.sha256(head).hexdigest().encode())


def read_sealed(path: Path) -> dict[str, Any]:
    """What `write_sealed` wrote.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a byte of it is not as it was written.
    """
    raw = path.read_bytes()
    head, seal = raw[:-_JSON_SEAL_BYTES], _JSON_SEAL.fullmatch(raw[-_JSON_SEAL_BYTES:])
    if seal is None or seal[1].decode() != hashlib.sha256(head).hexdigest():
        raise ValueError(f"{path.name} does not match its checksum")
    result: dict[str, Any] = json.loads(raw)
    del result["sha256"]
    return result


def seal_zip(stream: BinaryIO) -> None:
    """Compare a zip file that was just written with its own checksums, and append a checksum of all its bytes.

    Raises:
        OSError: the disk does not hold what was written.
    """
    with zipfile.ZipFile(stream) as archive:
        if (damaged := archive.testzip()) is not None:
            raise OSError(
                f"{stream.name}: the copy on disk differs from what was written ({damaged}); is the disk healthy?"
            )
    stream.seek(-2, os.SEEK_END)
    stream.write(_ZIP_SEAL_BYTES.to_bytes(2, "little"))
    stream.write(_ZIP_SEAL)
    stream.write(_digest_head(stream, stream.tell()).encode())


def check_zip(path: Path) -> None:
    """Compare a zip file with the checksum that `seal_zip` appended; one without it, with those of its members.

    Raises:
        ValueError: they differ, or it is no zip file.
    """
    with path.open("rb") as stream:
        size = stream.seek(0, os.SEEK_END)
        if size >= _ZIP_SEAL_BYTES:
            stream.seek(-_ZIP_SEAL_BYTES, os.SEEK_END)
            seal = stream.read()
            if seal.startswith(_ZIP_SEAL):
                if seal[len(_ZIP_SEAL) :] != _digest_head(stream, size - 64).encode():
                    raise ValueError("it does not match its checksum")
                return
        try:
            with zipfile.ZipFile(stream) as archive:
                # A seal that was cut off: zipfile takes what is left of a comment.
                found = len(archive.comment)
                stream.seek(max(0, size - found - _ZIP_END_BYTES))
                end = stream.read(_ZIP_END_BYTES)
                cut = end.startswith(b"PK\5\6") and int.from_bytes(end[-2:], "little") != found
                damaged = "its seal" if cut or found == _ZIP_SEAL_BYTES else archive.testzip()
        except Exception as error:  # a damaged directory makes zipfile raise anything
            raise ValueError(f"its zip directory cannot be read ({error})") from None
        if damaged is not None:
            raise ValueError(f"{damaged} does not match its checksum")


def _digest_head(stream: BinaryIO, size: int) -> str:
    """SHA-256 of the first `size` bytes; the stream stands behind them afterwards."""
    digest = hashlib.sha256()
    stream.seek(0)
    while size:
        chunk = stream.read(min(size, _CHUNK))
        if not chunk:
            raise OSError("the file became shorter while it was read")
        digest.update(chunk)
        size -= len(chunk)
    return digest.hexdigest()


# ------------------------------------------------------------------------------------------ read once, not by every job

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
