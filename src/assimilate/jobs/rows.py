"""Filling the rows of an artifact: what an interrupted run or a shard made is taken over, the rest is made."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path

from assimilate.artifacts.artifact import Artifact, held, lock_of
from assimilate.data.array_file import rows_said_done
from assimilate.data.parts import (
    Shard,
    adopt,
    damage,
    discard,
    finish_discarding,
    other_origin,
    part_folder,
    part_folders,
    shard_of,
)
from assimilate.data.row_writer import DONE, RowWriter, forget_rows, start_over_unless_made_from
from assimilate.errors import UserError
from assimilate.graph.counted import counted
from assimilate.graph.place import RowWork
from assimilate.jobs.children import Parent, run_shards


def fill_whole(at: Parent, artifact: Artifact, work: RowWork, staging: Path) -> None:
    """Fill all rows in `staging`: what an interrupted run or a shard made is taken over, the rest is made.

    Raises:
        OSError: the disk is full; what is there stays.
        UserError: a shard was made from other networks than those that lie here, or one failed.
        ValueError: an image cannot be made.
    """
    start_over_if_needed(at, artifact, staging)
    made_from = parent_digests(artifact) | make_shared(work, staging)
    processes = min(at.settings.trainer.devices, work.num_tiles)
    if processes > 1 and (lacking := _lacking_shards(at, artifact, work, staging, processes)):
        run_shards(at, artifact, processes, lacking)
    fill(at, work, staging, (0, work.count), _adopt_parts(at, artifact, work, staging, made_from))


def make_shared(work: RowWork, folder: Path) -> dict[str, str]:
    """Make what all rows are made with, unless it is there; its digest, by its name."""
    if work.shared is None:
        return {}
    if (digest := work.shared.find(folder)) is None:
        forget_rows(folder)  # whatever made them, it is not what is made now
        work.shared.make(folder)
        digest = work.shared.find(folder)
    assert digest is not None, f"{work.shared.name} was made"
    return {work.shared.name: digest}


def start_over_if_needed(at: Parent, artifact: Artifact, staging: Path) -> None:
    """Delete what an interrupted run left in `staging` if its parents were other bytes under the same keys."""
    if start_over_unless_made_from(staging, parent_digests(artifact)):
        at.say("  what an interrupted run left was made from other networks: its images are made again")


def parent_digests(artifact: Artifact) -> dict[str, str]:
    """Digest of the bytes of each artifact that this one is made from, by role."""
    return {role: str(parent.manifest()["digest"]) for role, parent in artifact.parents.items()}


def _lacking_shards(at: Parent, artifact: Artifact, work: RowWork, staging: Path, count: int) -> list[int]:
    """Which of `count` shards hold images that neither `staging` nor a part, of whatever split, has."""
    shards = [Shard(index, count) for index in range(1, count + 1)]
    for part in (part_folder(artifact.path, shard) for shard in shards):
        if part.is_dir():  # a killed job's processes go on without it
            with part_held(at, part):
                pass
    there = rows_said_done(staging, DONE, work.count)
    for part in part_folders(artifact.path):
        first, end = span_of(work, shard_of(part))
        there[first:end] |= rows_said_done(part, DONE, end - first)
    return [shard.index for shard in shards if not there[slice(*span_of(work, shard))].all()]


def span_of(work: RowWork, shard: Shard) -> tuple[int, int]:
    """First image of a shard and the one after its last."""
    first, end = shard.span(work.num_tiles)
    return min(first * work.tile, work.count), min(end * work.tile, work.count)


def _writer(work: RowWork, folder: Path, span: tuple[int, int]) -> RowWriter:
    first, count = span[0], span[1] - span[0]
    fields = {name: ((count, *shape), dtype) for name, (shape, dtype) in work.fields.items()}
    shape = None if work.image_shape is None else (count, *work.image_shape)
    return RowWriter(folder, shape, fields, first=first, images=work.images, flush_every=work.flush_every)


def fill(at: Parent, work: RowWork, folder: Path, span: tuple[int, int], taken_over: int) -> None:
    count = span[1] - span[0]
    with _writer(work, folder, span) as writer:
        _tell_damaged(at, folder, writer.num_damaged)
        pending = writer.pending()
        there = count - len(pending)
        if pending and there > taken_over:
            at.say(f"  going on: {there} of {count} images are there already")
        while pending:
            with at.bar(work.title) as progress, at.machine.repeatable_kernels():

                def tell(done: int, _: int, values: Mapping[str, float], there: int = count - len(pending)) -> None:
                    progress(there + done, count, values)

                tell(0, 0, {})  # the rate is that of this process
                work.fill(writer.write, pending, tell)
            writer.flush()
            assert not writer.pending(), f"{work.title} left out images {writer.pending()[:5]}"
            # Check once more: sealing computes new checksums, which would hide damage.
            _tell_damaged(at, folder, writer.check())
            pending = writer.pending()


def _tell_damaged(at: Parent, folder: Path, count: int) -> None:
    if count:
        differ = (
            "1 image does not match its checksum. It is"
            if count == 1
            else f"{count} images do not match their checksums. They are"
        )
        at.say(f"warning: {folder.name} is damaged: {differ} made again.")


def _adopt_parts(at: Parent, artifact: Artifact, work: RowWork, staging: Path, made_from: Mapping[str, str]) -> int:
    """Take over what shards made, and delete their folders; a damaged one is left out and made again."""
    finish_discarding(artifact.path)
    parts, copied = part_folders(artifact.path), 0
    if not parts:
        return 0
    for part in parts:
        with part_held(at, part):
            wrong = damage(part)
            if wrong is not None:
                at.say(f"warning: {part.name} is damaged: {wrong}. Its images are made again.")
            elif (other := other_origin(part, made_from)) is not None:
                raise UserError(
                    f"{part} cannot be joined: {other} than the one here (two machines do not train the same bytes). "
                    "Share one out=, or copy out/artifacts before the shards are made; or delete this folder"
                )
            else:
                with (
                    _writer(work, part, span_of(work, shard_of(part))) as rows,
                    _writer(work, staging, (0, work.count)) as writer,
                ):
                    _tell_damaged(at, part, rows.num_damaged)
                    copied += adopt(part, rows, writer)
            discard(part)
    at.say(f"  took over {copied} of {work.count} images from {counted(len(parts), 'shard')}")
    return copied


def part_held(at: Parent, part: Path) -> AbstractContextManager[None]:
    """Hold the lock of a part, which is held while it is made or taken over."""
    return held(lock_of(part), at.say, f"  waiting for the process that makes {part.name}")
