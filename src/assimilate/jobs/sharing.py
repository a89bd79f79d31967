"""Work on the images of a data set that processes may share: shard=k/n fills a part, the same command joins them."""

from filelock import Timeout

from assimilate.artifacts.artifact import Artifact, lock_of
from assimilate.artifacts.store import failures_explained
from assimilate.data.parts import (
    Shard,
    begin,
    discard,
    finish_discarding,
    is_complete,
    missing_parts,
    part_folder,
    part_folders,
    seal,
)
from assimilate.data.row_writer import is_made_from
from assimilate.errors import UserError
from assimilate.graph.counted import counted
from assimilate.graph.place import RowWork
from assimilate.jobs.plan import announce, unfold
from assimilate.jobs.rows import fill, make_shared, parent_digests, part_held, span_of, start_over_if_needed
from assimilate.jobs.session import Session


def fill_shard(session: Session, artifact: Artifact) -> None:
    """Fill the part of an artifact's rows that `shard` names, beside the folder that it will have.

    Raises:
        UserError: there is no such part, another process makes it, its rows cannot be made, or the disk is full.
    """
    shard = _shard_to_fill(session, artifact)
    if shard is None:
        return
    part = part_folder(artifact.path, shard)
    with failures_explained(artifact):
        work = artifact.step.rows(session)
        if shard.count > work.num_tiles:  # one of them would be empty
            tiles = "" if work.tile == 1 else f" in {work.num_tiles} tiles of {work.tile}"
            raise UserError(
                f"shard={shard} cannot be used: of {work.count} images{tiles}, allowed are {work.num_tiles} parts"
            )
        if (made_from := _origin_of_parts(session, artifact, work)) is None:
            _say_made_meanwhile(session, artifact)
            return
        first, end = span_of(work, shard)
        try:
            lock = lock_of(part).acquire(blocking=False)
        except Timeout as error:
            raise UserError(f"shard={shard} is being made by another process: wait for it, or make another") from error
        with lock:
            if (why := begin(part, first, made_from)) is not None:
                session.say(f"warning: {part.name} is of no use here: {why}. Its images are made again.")
            if is_complete(part):
                session.say(f"nothing to do: shard {shard} is there, {part}")
            else:
                session.terminal.pace.begin(artifact.label)
                fill(session, work, part, (first, end), 0)
                seal(part, first, made_from)
                if artifact.path.is_dir():  # joined without it: nothing will use it
                    discard(part)
                    _say_made_meanwhile(session, artifact)
                    return
                session.say(f"shard {shard}: images {first} to {end - 1} are done, {part}")
    session.say(f"once every shard is there, this joins them: {session.command_for(artifact)}")


def _say_made_meanwhile(session: Session, artifact: Artifact) -> None:
    session.say(f"the whole {artifact.step.whole} was made meanwhile, {artifact.path}")


def _origin_of_parts(session: Session, artifact: Artifact, work: RowWork) -> dict[str, str] | None:
    """What the parts of an artifact are made from, digests by role; None if another process has made the whole."""
    made_from = parent_digests(artifact)
    if work.shared is None:
        return made_from
    digest = work.shared.find(artifact.staging) if is_made_from(artifact.staging, made_from) else None
    if digest is not None:
        return made_from | {work.shared.name: digest}
    with artifact.lock():  # one process makes it; the others wait
        if artifact.path.is_dir():
            return None
        start_over_if_needed(session, artifact, artifact.staging)
        return made_from | make_shared(work, artifact.staging)


def _shard_to_fill(session: Session, artifact: Artifact) -> Shard | None:
    """Build what the artifact is made from; the shard that `shard` names, or None if the whole artifact is there."""
    if (why := artifact.step.indivisible) is not None:
        raise UserError(f"shard={session.config['shard']}: {why}")
    shard = Shard.parse(str(session.config["shard"]))
    needs = unfold([(session, artifact)])
    if is_complete(part_folder(artifact.path, shard)):
        needs = [need for need in needs if need[1].label != artifact.label]
    announce(session, needs, shards={artifact.label: shard})
    session.look_ahead([artifact])
    for parent in artifact.parents.values():
        session.ensure(parent)
    if session.store.has(artifact):
        session.say(f"nothing to do: the whole {artifact.step.whole} is there, {artifact.path}")
        return None
    session.device  # noqa: B018  a GPU that is asked for and not there costs no minutes
    return shard


def discard_all(session: Session, artifact: Artifact) -> None:
    """Delete an artifact, what an interrupted run left of it, and its parts, so that all of it is made anew.

    Raises:
        UserError: nothing may be built.
    """
    session.store.discard(artifact)
    finish_discarding(artifact.path)
    for part in part_folders(artifact.path):
        with part_held(session, part):
            discard(part)


def describe_missing(session: Session, artifact: Artifact) -> str:
    """What an artifact that is not there lacks, and the commands that make it."""
    command, said, alone = session.command_for(artifact), "", ""
    for count, missing in missing_parts(artifact.path).items():
        lacking = ", ".join(f"{k}/{count}" for k in missing)
        said += f"of its {counted(count, 'shard')} {f'{lacking} lack or are unfinished' if missing else 'none lacks'}; "
        if missing and not alone:
            alone = f"; a shard by itself: {command} shard={missing[0]}/{count}"
    return f"{artifact.label} is missing; {said}this builds it: {command}{alone}"
