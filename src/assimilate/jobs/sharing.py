"""Work on the images of a data set that processes may share: shard=k/n fills a part, the same command joins them."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path

from filelock import Timeout

from assimilate.artifacts.artifact import Artifact, held, lock_of
from assimilate.artifacts.store import failures_explained
from assimilate.data.array_file import rows_said_done
from assimilate.data.parts import (
    Shard,
    adopt,
    begin,
    discard,
    finish_discarding,
    is_complete,
    missing_parts,
    other_origin,
    part_folder,
    part_folders,
    seal,
    shard_of,
)
from assimilate.data.parts import damage as damage_of_part
from assimilate.data.row_writer import DONE, RowWriter, forget_rows, is_made_from, start_over_unless_made_from
from assimilate.errors import UserError
from assimilate.graph.place import RowWork
from assimilate.jobs.children import run_shards
from assimilate.jobs.plan import announce, unfold
from assimilate.jobs.session import Session


def fill_whole(session: Session, artifact: Artifact, work: RowWork, staging: Path) -> None:
    """Fill all rows in `staging`: what an interrupted run or a shard made is taken over, the rest is made.

    Raises:
        OSError: the disk is full; what is there stays.
        UserError: a shard was made from other networks than those that lie here, or one failed.
        ValueError: an image cannot be made.
    """
    _start_over_if_needed(session, artifact, staging)
    made_from = _parent_digests(artifact) | _make_shared(work, staging)
    processes = min(int(session.config["trainer"]["devices"]), work.num_tiles)
    if processes > 1 and (lacking := _lacking_shards(session, artifact, work, staging, processes)):
        run_shards(session, artifact, processes, lacking)
    _fill(session, work, staging, (0, work.count), _adopt_parts(session, artifact, work, staging, made_from))


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
        first, end = _span(work, shard)
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
                _fill(session, work, part, (first, end), 0)
                seal(part, first, made_from)
                if artifact.path.is_dir():  # joined without it: nothing will use it
                    discard(part)
                    _say_made_meanwhile(session, artifact)
                    return
                session.say(f"shard {shard}: images {first} to {end - 1} are done, {part}")
    session.say(f"once every shard is there, this joins them: {session.command_for(artifact)}")


def _say_made_meanwhile(session: Session, artifact: Artifact) -> None:
    session.say(f"the whole {artifact.step.whole} was made meanwhile, {artifact.path}")


def _make_shared(work: RowWork, folder: Path) -> dict[str, str]:
    """Make what all rows are made with, unless it is there; its digest, by its name."""
    if work.shared is None:
        return {}
    if (digest := work.shared.find(folder)) is None:
        forget_rows(folder)  # whatever made them, it is not what is made now
        work.shared.make(folder)
        digest = work.shared.find(folder)
    assert digest is not None, f"{work.shared.name} was made"
    return {work.shared.name: digest}


def _origin_of_parts(session: Session, artifact: Artifact, work: RowWork) -> dict[str, str] | None:
    """What the parts of an artifact are made from, digests by role; None if another process has made the whole."""
    made_from = _parent_digests(artifact)
    if work.shared is None:
        return made_from
    digest = work.shared.find(artifact.staging) if is_made_from(artifact.staging, made_from) else None
    if digest is not None:
        return made_from | {work.shared.name: digest}
    with artifact.lock():  # one process makes it; the others wait
        if artifact.path.is_dir():
            return None
        _start_over_if_needed(session, artifact, artifact.staging)
        return made_from | _make_shared(work, artifact.staging)


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
        with _held(session, part):
            discard(part)


def _start_over_if_needed(session: Session, artifact: Artifact, staging: Path) -> None:
    """Delete what an interrupted run left in `staging` if its parents were other bytes under the same keys."""
    if start_over_unless_made_from(staging, _parent_digests(artifact)):
        session.say("  what an interrupted run left was made from other networks: its images are made again")


def describe_missing(session: Session, artifact: Artifact) -> str:
    """What an artifact that is not there lacks, and the commands that make it."""
    command, said, alone = session.command_for(artifact), "", ""
    for count, missing in missing_parts(artifact.path).items():
        lacking = ", ".join(f"{k}/{count}" for k in missing)
        said += f"of its {count} shards {f'{lacking} lack or are unfinished' if missing else 'none lacks'}; "
        if missing and not alone:
            alone = f"; a shard by itself: {command} shard={missing[0]}/{count}"
    return f"{artifact.label} is missing; {said}this builds it: {command}{alone}"


def _parent_digests(artifact: Artifact) -> dict[str, str]:
    """Digest of the bytes of each artifact that this one is made from, by role."""
    return {role: str(parent.manifest()["digest"]) for role, parent in artifact.parents.items()}


def _lacking_shards(session: Session, artifact: Artifact, work: RowWork, staging: Path, count: int) -> list[int]:
    """Which of `count` shards hold images that neither `staging` nor a part, of whatever split, has."""
    shards = [Shard(index, count) for index in range(1, count + 1)]
    for part in (part_folder(artifact.path, shard) for shard in shards):
        if part.is_dir():  # a killed job's processes go on without it
            with _held(session, part):
                pass
    there = rows_said_done(staging, DONE, work.count)
    for part in part_folders(artifact.path):
        first, end = _span(work, shard_of(part))
        there[first:end] |= rows_said_done(part, DONE, end - first)
    return [shard.index for shard in shards if not there[slice(*_span(work, shard))].all()]


def _span(work: RowWork, shard: Shard) -> tuple[int, int]:
    """First image of a shard and the one after its last."""
    first, end = shard.span(work.num_tiles)
    return min(first * work.tile, work.count), min(end * work.tile, work.count)


def _writer(work: RowWork, folder: Path, span: tuple[int, int]) -> RowWriter:
    first, count = span[0], span[1] - span[0]
    fields = {name: ((count, *shape), dtype) for name, (shape, dtype) in work.fields.items()}
    shape = None if work.image_shape is None else (count, *work.image_shape)
    return RowWriter(folder, shape, fields, first=first, images=work.images, flush_every=work.flush_every)


def _fill(session: Session, work: RowWork, folder: Path, span: tuple[int, int], taken_over: int) -> None:
    count = span[1] - span[0]
    with _writer(work, folder, span) as writer:
        _tell_damaged(session, folder, writer.num_damaged)
        pending = writer.pending()
        there = count - len(pending)
        if pending and there > taken_over:
            session.say(f"  going on: {there} of {count} images are there already")
        while pending:
            with session.bar(work.title) as progress, session.machine.repeatable_kernels():

                def tell(done: int, _: int, values: Mapping[str, float], there: int = count - len(pending)) -> None:
                    progress(there + done, count, values)

                tell(0, 0, {})  # the rate is that of this process
                work.fill(writer.write, pending, tell)
            writer.flush()
            assert not writer.pending(), f"{work.title} left out images {writer.pending()[:5]}"
            # Check once more: sealing computes new checksums, which would hide damage.
            _tell_damaged(session, folder, writer.check())
            pending = writer.pending()


def _tell_damaged(session: Session, folder: Path, count: int) -> None:
    if count:
        session.say(
            f"warning: {folder.name} is damaged: {count} images do not match their checksums. They are made again."
        )


def _adopt_parts(
    session: Session, artifact: Artifact, work: RowWork, staging: Path, made_from: Mapping[str, str]
) -> int:
    """Take over what shards made, and delete their folders; a damaged one is left out and made again."""
    finish_discarding(artifact.path)
    parts, copied = part_folders(artifact.path), 0
    if not parts:
        return 0
    for part in parts:
        with _held(session, part):
            wrong = damage_of_part(part)
            if wrong is not None:
                session.say(f"warning: {part.name} is damaged: {wrong}. Its images are made again.")
            elif (other := other_origin(part, made_from)) is not None:
                raise UserError(
                    f"{part} cannot be joined: {other} than the one here (two machines do not train the same bytes). "
                    "Share one out=, or copy out/artifacts before the shards are made; or delete this folder"
                )
            else:
                with (
                    _writer(work, part, _span(work, shard_of(part))) as rows,
                    _writer(work, staging, (0, work.count)) as writer,
                ):
                    _tell_damaged(session, part, rows.num_damaged)
                    copied += adopt(part, rows, writer)
            discard(part)
    session.say(f"  took over {copied} of {work.count} images from {len(parts)} shards")
    return copied


def _held(session: Session, part: Path) -> AbstractContextManager[None]:
    """Hold the lock of a part, which is held while it is made or taken over."""
    return held(lock_of(part), session.say, f"  waiting for the process that makes {part.name}")
