"""A process that a job started (`children`): one rank of a training, or one shard of the work on rows."""

import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from assimilate.artifacts.artifact import Artifact
from assimilate.artifacts.store import failures_explained
from assimilate.errors import UserError
from assimilate.jobs.children import FAILURE
from assimilate.jobs.forking import run_forked
from assimilate.jobs.out_folder import refusals_explained
from assimilate.jobs.session import Session
from assimilate.jobs.sharing import fill_shard
from assimilate.jobs.stopping import TerminatedError, die_with_parent, termination_raised
from assimilate.jobs.streams import keep_printing
from assimilate.jobs.terminal import Pace
from assimilate.run.job import Job, rank


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
        print(f"assimilate.{job.stage}: {error}", file=sys.stderr)
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


if __name__ == "__main__":
    sys.exit(run_forked(main, [Path(word) for word in sys.argv[1:]]))
