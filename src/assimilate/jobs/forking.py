"""The process that children are forked from: what they take long to import is imported once, not by each of them."""

import importlib
import json
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from assimilate.jobs.stopping import die_with_parent
from assimilate.jobs.streams import keep_printing
from assimilate.run.job import RANK_TARGET


def run_forked(main: Callable[[Path], int], files: Sequence[Path]) -> int:
    """Call `main` with each file in a process of its own, and wait for all; those of ranks find each other.

    A file is that of a job (`Job.written`), with what is imported first (`imports`), what the child's environment has
    more than this one's (`environment`), and whether it is heard (`is_heard`). That of a child that ends well is
    deleted. If one of several ranks fails, the others, which would wait for it, are killed.

    It returns in the children too. They end as any Python does: what a user's logger leaves to `atexit` is done.

    Returns:
        0, or the exit code of the first that failed; in a child, what `main` returned. The caller exits with it.
    """
    keep_printing()
    interrupted = signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent and the children themselves
    contents = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    if sys.platform == "linux":  # elsewhere the system's own libraries may not outlive a fork
        for name in contents[0]["imports"]:
            importlib.import_module(name)
    listener = socket.create_server(("127.0.0.1", 0)) if RANK_TARGET in os.environ else None
    met = {} if listener is None else _meeting_point(listener, len(files))
    running = {}
    sys.stdout.flush()  # or each child would say again what an import said
    for file, content in zip(files, contents, strict=True):
        if (pid := os.fork()) == 0:
            signal.signal(signal.SIGINT, interrupted)
            os.environ.update({**met, **content["environment"]})
            if not content["is_heard"]:
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return main(file)
        running[pid] = file
    die_with_parent()  # from here on, as a process with threads is not to be forked
    # Kept to the end: ranks look values up in it.
    store = None if listener is None else _served(listener)  # noqa: F841
    return _wait_for(running, together=listener is not None)


def _meeting_point(listener: socket.socket, ranks: int) -> dict[str, str]:
    """What torch reads of where ranks meet: at a store that this process serves, so that the port is never free."""
    port = listener.getsockname()[1]
    agent = {"TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_RESTART_COUNT": "0", "TORCHELASTIC_RUN_ID": "ours"}
    count = {"WORLD_SIZE": str(ranks), "LOCAL_WORLD_SIZE": str(ranks), "GROUP_RANK": "0"}
    return {**agent, **count, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}


def _served(listener: socket.socket) -> Any:
    distributed = importlib.import_module("torch.distributed")
    address, port = listener.getsockname()
    return distributed.TCPStore(
        address, port, is_master=True, wait_for_workers=False, master_listen_fd=listener.detach()
    )


def _wait_for(running: dict[int, Path], *, together: bool) -> int:
    first = 0
    while running:
        pid, status = os.wait()
        if (file := running.pop(pid, None)) is None:
            continue  # an import started it
        code = os.waitstatus_to_exitcode(status)
        if code == 0:
            file.unlink(missing_ok=True)
            continue
        first = first or (code if code > 0 else 128 - code)
        if together:
            for other in running:
                os.kill(other, signal.SIGKILL)
    return first
