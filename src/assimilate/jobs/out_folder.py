"""The folder `out`: whether a job can use it, and messages for what its file system refuses."""

import contextlib
import difflib
import errno
import fcntl
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from assimilate.artifacts.artifact import artifact_root
from assimilate.artifacts.store import refused_write
from assimilate.errors import UserError
from assimilate.pages.result_file import read_metrics
from assimilate.run.job import Job, shell_command
from assimilate.run.neutral import key_of

# Another user's folder, or a read-only file system.
_PROTECTED = (errno.EACCES, errno.EPERM, errno.EROFS)
_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)


def check_out(job: Job, *, only_shows: bool) -> None:
    """Make the output folder, and make sure that it can be written and that files in it can be locked.

    A plan makes none: the folder that it would be made in is looked at instead.

    Args:
        job: the job. A finished run, or a plan, may lie in another user's folder.
        only_shows: its stage shows what is there.

    Raises:
        UserError: the folder cannot be made, written to or locked.
    """
    place = job.out
    try:
        place = _nearest(job.out)
        if job.config["prepare"] != "plan":
            job.out.mkdir(parents=True, exist_ok=True)
            place = job.out
        elif not place.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        writable = place
        for place in (writable, artifact_root(job.out)):  # which may be a link to another disk
            if place.is_dir():
                with tempfile.TemporaryFile(dir=place) as file:
                    try:
                        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    except OSError as error:
                        raise UserError(_without_locks(_named(job.out, place), error)) from error
    except OSError as error:
        if error.errno not in _PROTECTED or not _may_be_shown(job, only_shows=only_shows):
            named = _named(job.out, place)
            raise UserError(f"{named} cannot be written ({error.strerror}): give out=/a/folder/of/yours") from error


def check_there(job: Job) -> None:
    """Refuse a stage that shows what is there where there is no folder: it would make an empty one.

    Raises:
        UserError: there is none.
    """
    if os.path.lexists(job.out):
        return
    near = difflib.get_close_matches(job.out.name, [each.name for each in job.out.parent.glob("*/")], n=1)
    if near:
        raise UserError(f"out={job.out}: there is no such folder. Did you mean {job.out.parent / near[0]}?")
    first = shell_command("train", [word for word in job.overrides if key_of(word) == "out"])
    raise UserError(f"no runs yet: out={job.out} is not there. A run makes it: {first}")


def _nearest(folder: Path) -> Path:
    """The folder itself if it is there, else the nearest above it; a link that leads nowhere is there.

    Raises:
        OSError: there can be none of that name.
    """
    for place in (folder, *folder.parents):
        with contextlib.suppress(FileNotFoundError, NotADirectoryError, PermissionError):
            place.lstat()
            return place
    return folder


def _named(out: Path, place: Path) -> str:
    """How a message begins about `out`, a folder above it in which it would be made, or one in it."""
    if place in out.parents:
        return f"out={out} cannot be made: {place}"
    return f"out={out}" + (f": {place}" if place != out else "")


def _may_be_shown(job: Job, *, only_shows: bool) -> bool:
    finished = read_metrics(job.run_dir) is not None and not job.config["force"]
    return os.path.isdir(job.out) and (only_shows or finished or job.config["prepare"] == "plan")


def _without_locks(place: str, error: OSError) -> str:
    return (
        f"{place} cannot be locked ({error.strerror}), and jobs side by side need locks: give an out= on a local "
        "disk or on a network file system that is mounted with locks (NFS: not with nolock)"
    )


@contextlib.contextmanager
def refusals_explained() -> Iterator[None]:
    """Turn what a file system refused into one line.

    Raises:
        UserError: with that line.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        why, where = refused_write(error), ""
        if isinstance(error, OSError):
            where = f"{error.filename}: " if error.filename else ""
            if why is None and error.errno in _NO_LOCKS:
                raise UserError(_without_locks(str(error.filename or "out"), error)) from error
            if why is None and error.errno in _PROTECTED:
                why = str(error.strerror)
        if why is None:
            raise
        raise UserError(
            f"{where}{why}: free some space or change its permissions, and the same command goes on; or give "
            "out=/another/folder"
        ) from error
