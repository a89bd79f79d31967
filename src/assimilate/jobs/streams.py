"""Standard output and error whose failures end no job: closed, full, or too narrow for the letters of a line."""

import codecs
import contextlib
import io
import os
import select
import sys
import unicodedata
from typing import Any, TextIO

# Name of the error handler that replaces letters which an encoding lacks.
SPELLED = "assimilate.spelled"
# Replacements that do not follow from the Unicode name.
SIGNS = {"±": "+/-", "×": "x", "·": "*", "→": "->", "≤": "<=", "≥": ">=", "≈": "~", "√": "sqrt", "∞": "inf", "‖": "||"}
# Dashes and the minus sign; three dots are one, so that a line that was cut keeps its width.
SIGNS |= dict.fromkeys("−–—", "-") | {"…": "."}


def keep_printing() -> None:
    """Make `sys.stdout` and `sys.stderr` of this process such that no print raises.

    Letters that the terminal's encoding lacks are spelled ("ε1 = 0.30 ± 0.02" is "epsilon1 = 0.30 +/- 0.02" in ASCII).
    What cannot be written is lost: to a closed stream, a closed pipe, a full disk. A stream that replaced the
    process's own is left alone. To be called before anything opens a file: a closed descriptor would
    be the file's.
    """
    codecs.register_error(SPELLED, _spell)
    for descriptor in (0, 1, 2):
        _occupy(descriptor)
    sys.stdout = _kept(sys.stdout, sys.__stdout__, 1)
    sys.stderr = _kept(sys.stderr, sys.__stderr__, 2)


def _occupy(descriptor: int) -> None:
    """Open the null device in the place of a closed descriptor."""
    try:
        os.fstat(descriptor)
    except OSError:
        null = os.open(os.devnull, os.O_RDWR)
        if null != descriptor:
            os.dup2(null, descriptor)
            os.close(null)
        os.set_inheritable(descriptor, True)


def _kept(stream: TextIO | None, own: TextIO | None, descriptor: int) -> Any:
    if stream is not own or isinstance(getattr(getattr(stream, "buffer", None), "raw", None), _Forgiving):
        return stream
    if stream is None:  # Python found the descriptor closed when it started
        stream = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  as long as the process
        descriptor = stream.fileno()
    else:
        with contextlib.suppress(OSError):
            stream.flush()
        descriptor = stream.fileno()
    return io.TextIOWrapper(
        io.BufferedWriter(_Forgiving(descriptor, "wb", closefd=False)),
        encoding=stream.encoding,
        errors=SPELLED,
        line_buffering=getattr(stream, "line_buffering", False),
        write_through=getattr(stream, "write_through", False),
    )


class _Forgiving(io.FileIO):
    """A file that accepts every write; what cannot be written is dropped."""

    def write(self, data: Any) -> int:
        try:
            while (written := super().write(data)) is None:  # a terminal that does not block
                select.select([], [self], [])
        except OSError:
            return len(data)
        return written


def _spell(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_spelled, error.object[error.start : error.end])), error.end


def _spelled(letter: str) -> str:
    """A letter in ASCII: "epsilon", "Delta", "+/-", "e" for "é"; a byte of a file's name as \\xe9."""
    if letter in SIGNS:
        return SIGNS[letter]
    kind, _, name = unicodedata.name(letter, "").rpartition(" LETTER ")
    if kind == "GREEK SMALL":
        return name.lower()
    if kind == "GREEK CAPITAL":
        return name.capitalize()
    plain = unicodedata.normalize("NFKD", letter).encode("ascii", "ignore").decode()
    if plain:
        return plain
    return letter.encode("ascii", "backslashreplace").decode().replace("\\udc", "\\x")
