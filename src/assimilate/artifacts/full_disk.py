"""Whether it was a full disk that broke a write, whoever wrote."""

import errno

_FULL = (errno.ENOSPC, errno.EDQUOT)


def is_full_disk(error: BaseException) -> bool:
    """Whether an error comes of a full disk.

    numpy's says how many items were written, and has no errno; torch's is a RuntimeError that arose while the system's
    error was handled.
    """
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and (
            seen.errno in _FULL or (seen.errno is None and " requested and " in str(seen) and " written" in str(seen))
        ):
            return True
        seen = seen.__cause__ or seen.__context__
    return False
