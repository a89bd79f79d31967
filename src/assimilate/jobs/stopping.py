"""Stopping a command and all that it started: some signals end it as Ctrl-C does, and no child outlives its parent."""

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


# SIGTERM comes from a scheduler, a container or `kill`; SIGUSR1 from SLURM ahead of the time limit (--signal=USR1@60).
ENDING = (signal.SIGTERM, signal.SIGUSR1)


class TerminatedError(KeyboardInterrupt):
    """The process was asked to end by `signal`, one of `ENDING`."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.signal = signal.Signals(number)


@contextlib.contextmanager
def termination_raised() -> Iterator[None]:
    """Raise `TerminatedError` on the signals of `ENDING` that have no handler yet, so that what is open is closed."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def terminate(number: int, frame: object) -> None:
        raise TerminatedError(number)

    ours = [number for number in ENDING if signal.getsignal(number) == signal.SIG_DFL]
    for number in ours:
        signal.signal(number, terminate)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)


def start_child(command: Sequence[str], environment: Mapping[str, str], **options: Any) -> "subprocess.Popen[bytes]":
    """Start a command of ours that ends when this process does, even by kill -9: see `die_with_parent`.

    A scheduler may send SIGUSR1 to every process of a job. This one answers it; a child, which inherits that it is
    blocked, would die of it first and look like one that failed.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    try:
        return subprocess.Popen(command, env={**environment, LIFELINE: "1"}, stdin=subprocess.PIPE, **options)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def die_with_parent() -> None:
    """In a process that `start_child` started, or in a child of one: end at once when that parent is gone.

    A rank or a shard that went on alone would write beside those that the same command starts when it is given again.
    """
    # Taken, as its own children get no lifeline but those that it starts as such.
    if os.environ.pop(LIFELINE, None) is None:
        return

    def watch() -> None:
        with contextlib.suppress(OSError, ValueError):
            while os.read(sys.stdin.fileno(), 1024):
                pass
        os._exit(1)

    threading.Thread(target=watch, name="lifeline", daemon=True).start()
