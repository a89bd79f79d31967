"""Files that are replaced as a whole: readers see the old or the new content, even if the writer is killed."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Yield a stream for writing and reading back; after the block its content is the file `path`, flushed to disk.

    The content goes to a hidden file beside `path`, which is then renamed. That file has one name and is locked while
    it is written: a killed writer's is overwritten by the next writer, one that is in use is waited for.

    Raises:
        OSError: the folder cannot be written or has no file locks, or the disk is full. The file beside is gone then.
        KeyboardInterrupt: also where it arrived within a library that answered it with an error of its own, as
            torch.save does with RuntimeError.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.new")
    with _open_alone(beside) as stream:
        try:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
            beside.replace(path)
        except BaseException as error:
            beside.unlink(missing_ok=True)
            interrupt = _interrupt_behind(error)
            if interrupt is not None and interrupt is not error:
                raise interrupt from None
            raise
    sync_folder(path.parent)


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file such that a reader sees the old one or the new one, never half of it; text as UTF-8."""
    with whole_file(path) as stream:
        stream.write(content.encode() if isinstance(content, str) else content)


def may_write(folder: Path) -> bool:
    """Whether this user may write into a folder that exists."""
    return os.access(folder, os.W_OK, effective_ids=os.access in os.supports_effective_ids)


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries, so that a rename in it survives a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _open_alone(path: Path) -> BinaryIO:
    """Open an empty file that no other process or thread has open through this function."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            except OSError as error:
                raise OSError(error.errno, error.strerror, str(path)) from error
            if _is_at(descriptor, path):  # else its writer renamed or deleted it meanwhile
                os.ftruncate(descriptor, 0)
                return os.fdopen(descriptor, "r+b")
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


def _interrupt_behind(error: BaseException) -> KeyboardInterrupt | None:
    seen: BaseException | None = error
    while seen is not None and not isinstance(seen, KeyboardInterrupt):
        seen = seen.__cause__ or seen.__context__
    return seen
