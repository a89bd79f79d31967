"""Stopping a command and all that it started: a polite signal is told like Ctrl-C, and no child outlives its parent."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

# Set for a child whose standard input is a pipe that its parent holds open as long as it lives.
LIFELINE = "ASSIMILATE_LIFELINE"


class TerminatedError(KeyboardInterrupt):
    """The process was asked to end with SIGTERM: by a scheduler, a container or `kill`."""


@contextlib.contextmanager
def termination_raised() -> Iterator[None]:
    """Raise `TerminatedError` on SIGTERM, so that what is open is closed; where nobody else handles the signal."""
    ours = threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    if not ours:
        yield
        return

    def terminate(number: int, frame: object) -> None:
        raise TerminatedError

    signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def start_child(command: Sequence[str], environment: Mapping[str, str], **options: Any) -> "subprocess.Popen[bytes]":
    """Start a command of ours that ends when this process does, be it by kill -9: see `die_with_parent`."""
    return subprocess.Popen(command, env={**environment, LIFELINE: "1"}, stdin=subprocess.PIPE, **options)


def die_with_parent() -> bool:
    """In a process that `start_child` started, or in a child of one: end at once when that parent is gone.

    A rank or a shard that went on alone would write beside those that the same command starts when it is given again.

    Returns:
        Whether this is such a process.
    """
    if os.environ.get(LIFELINE) is None:
        return False
    # Its own children get no lifeline but those that it starts as such.
    del os.environ[LIFELINE]

    def watch() -> None:
        with contextlib.suppress(OSError, ValueError):
            while os.read(sys.stdin.fileno(), 1024):
                pass
        os._exit(1)

    threading.Thread(target=watch, name="lifeline", daemon=True).start()
    return True
