"""What is shown of an exception that ended a command: the traceback from the user's own code on, and a closing line."""

import sysconfig
import traceback
from pathlib import Path

from assimilate.run.known_keys import PACKAGE

# Ours, Python's and installed packages: what called the user's code says nothing about it.
_OTHERS = (PACKAGE, *(Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib", "purelib", "platlib")))


def shown_of(error: Exception, stage: str) -> str:
    """The lines to print, without the frames that led to the user's own code; all of them where there is none.

    Args:
        error: the exception, with its traceback.
        stage: the command, "train".
    """
    own = error.__traceback__
    while own is not None and not _is_own(own.tb_frame.f_code.co_filename):
        own = own.tb_next
    lines = traceback.format_exception(type(error), error, own or error.__traceback__)
    what = "".join(traceback.format_exception_only(error)).splitlines()[0]
    if own is None:
        return f"{''.join(lines)}assimilate.{stage}: {what}"
    place = f"{own.tb_frame.f_globals.get('__name__')}.{own.tb_frame.f_code.co_qualname}"
    return f"{''.join(lines)}assimilate.{stage}: {place} failed: {what}"


def _is_own(file: str) -> bool:
    return not file.startswith("<") and not any(Path(file).absolute().is_relative_to(other) for other in _OTHERS)
