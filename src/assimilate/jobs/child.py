"""Processes that a job started (`children`): one a rank of a training, or a shard of the work on rows.

They are forked from one that has imported what they take long to import.
"""

import contextlib
import importlib
import json
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from assimilate.artifacts.artifact import Artifact
from assimilate.artifacts.store import failures_explained
from assimilate.errors import UserError
from assimilate.jobs.children import FAILURE
from assimilate.jobs.out_folder import refusals_explained
from assimilate.jobs.session import Session
from assimilate.jobs.sharing import fill_shard
from assimilate.jobs.stopping import TerminatedError, die_with_parent, termination_raised
from assimilate.jobs.streams import keep_printing
from assimilate.jobs.terminal import Pace, to_stderr
from assimilate.run.job import RANK_TARGET, Job, rank


def main(file: Path) -> int:
    """Run the job in a file. Exit codes are those of a stage; the parent reports why a child ended."""
    keep_printing()
    die_with_parent()
    content = json.loads(file.read_text(encoding="utf-8"))
    job = Job.read(content)
    try:
        with termination_raised() if rank() is None else contextlib.nullcontext(), refusals_explained(), job.ending:
            session = Session(job, prepare="never")
            session.terminal.pace = Pace.taken_over(content["pace"])  # its bar says which step of the job this is
            work(session, content["artifact"])
    except UserError as error:
        to_stderr(f"assimilate.{job.stage}: {error}")
        return 2
    except TerminatedError as ended:
        return 128 + ended.signal
    except KeyboardInterrupt:
        return 130
    return 0


def work(session: Session, label: str) -> None:
    """Train an artifact as one of several ranks, or fill the shard of it that the job names; nothing else.

    Raises:
        UserError: something upstream is missing, which a child does not build; or the work failed.
    """
    if rank() is not None:
        session.machine.take_gpu(
            session.device
        )  # before anything is loaded: each rank would load it onto the first GPU
    artifact = next((found for found in _artifacts(session) if found.label == label), None)
    if artifact is None:
        raise UserError(f"this job has no {label}")
    if rank() is None:
        fill_shard(session, artifact)
        return
    for parent in artifact.parents.values():
        session.ensure(parent)
    try:
        with failures_explained(artifact):
            artifact.step.fit(artifact.staging, session)
    except UserError as error:
        with contextlib.suppress(OSError), (artifact.staging / FAILURE).open("xb") as stream:
            stream.write(str(error).encode(errors="backslashreplace"))
        raise


def _artifacts(session: Session) -> Iterator[Artifact]:
    """Those of the job: the chain is known once the images are there, which may be what is worked on."""
    yield session.data
    yield from session.data.parents.values()
    yield from session.chain.all()


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


if __name__ == "__main__":
    sys.exit(run_forked(main, [Path(word) for word in sys.argv[1:]]))
