"""Why a file could not be written, by whatever library: a full disk, or the limit on the size of a file."""

import errno
import resource

_FULL = "the disk is full"
_LIMITED = "a file would be larger than `ulimit -f` or the file system allows"


def refused_write(error: BaseException) -> str | None:
    """Why an error says that no more can be written; None where it is another error.

    numpy's says how many items were written, and has no errno; torch's is a RuntimeError that arose while the system's
    error was handled.
    """
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError):
            if seen.errno in (errno.ENOSPC, errno.EDQUOT):
                return _FULL
            if seen.errno == errno.EFBIG:
                return _LIMITED
            if seen.errno is None and " requested and " in str(seen) and " written" in str(seen):
                unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
                return _FULL if unlimited else f"{_FULL}, or {_LIMITED}"
        seen = seen.__cause__ or seen.__context__
    return None
