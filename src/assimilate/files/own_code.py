"""Where an exception went through the user's own code."""

import os
import sysconfig
from pathlib import Path
from types import TracebackType

# Ours, Python's and installed packages: what called the user's code says nothing about it.
_OTHERS = (
    Path(__file__).parents[1],
    Path(__file__).resolve().parents[1],
    *(Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib", "purelib", "platlib")),
)


def own_frames(error: BaseException) -> list[TracebackType]:
    """The traceback of an exception, from each frame of the user's own code on, the outermost first."""
    found, frame = [], error.__traceback__
    while frame is not None:
        found += [frame] if _is_own(frame.tb_frame.f_code.co_filename) else []
        frame = frame.tb_next
    return found


def named(frame: TracebackType) -> str:
    """The function of a frame: "my_views.CutOut.fill"."""
    return f"{frame.tb_frame.f_globals.get('__name__')}.{frame.tb_frame.f_code.co_qualname}"


def _is_own(file: str) -> bool:
    # Of compiled code it is no file, or one that is not here.
    return os.path.isfile(file) and not any(Path(file).absolute().is_relative_to(other) for other in _OTHERS)
