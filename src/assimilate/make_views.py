"""Stage: fill the cache of generated views.

python -m assimilate.make_views dataset=cifar10 view=wsearch
python -m assimilate.make_views dataset=cifar10 view=wsearch shard=3/8     one of eight parts, in a process of its own
python -m assimilate.make_views dataset=cifar10 view=wsearch verify=true   hash every byte of it
python -m assimilate.make_views dataset=cifar10 view=wsearch preview=true  and draw a grid of its pictures
"""

import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from assimilate.artifacts.store import Artifact, Built, damage, full_disk_explained
from assimilate.config import Job
from assimilate.errors import UserError
from assimilate.jobs.command import stage
from assimilate.jobs.fan_out import run_shards
from assimilate.jobs.session import Session, use_threads
from assimilate.view_makers import Making, making_of

SUMMARY = "summary.json"
# Pictures of a preview: images, and views of each.
PREVIEW_ROWS, PREVIEW_VIEWS = 16, 8


def build(session: Session, artifact: Artifact, staging: Path) -> Built:
    """Fill `staging` with the views of every training image; what an interrupted run or a shard made is taken over.

    Raises:
        OSError: the disk is full; what is there stays.
        UserError: a shard was made from other networks than those that lie here.
    """
    from assimilate.views.cache import start_over_unless_made_from

    making = making_of(session, artifact)
    count = len(session.dataset.train)
    if start_over_unless_made_from(staging, _digests(artifact)):
        (staging / SUMMARY).unlink(missing_ok=True)
        session.terminal.say("  what an interrupted run left was made from other networks: its images are made again")
    devices = int(session.config["trainer"]["devices"])
    if devices > 1 and not (staging / SUMMARY).exists():
        run_shards(session, artifact, devices)
    _fill(session, making, staging, (0, count), _adopt_parts(session, artifact, making, staging, count))
    summary = making.summarize(staging)
    (staging / SUMMARY).write_text(json.dumps(summary, indent=1) + "\n")
    return Built(summary)


def read_summary(artifact: Artifact) -> dict[str, Any]:
    """What was measured when the cache was filled."""
    result: dict[str, Any] = json.loads((artifact.path / SUMMARY).read_text())
    return result


def _digests(artifact: Artifact) -> dict[str, str]:
    """Digest of the bytes of each artifact that the views come from, by role."""
    return {role: str(parent.manifest()["digest"]) for role, parent in artifact.parents.items()}


def _fill(session: Session, making: Making, folder: Path, span: tuple[int, int], taken_over: int) -> None:
    from assimilate.views.cache import ViewCacheWriter

    first, end = span
    shape, fields = _shapes(making, end - first)
    with ViewCacheWriter(folder, shape, fields, first=first) as writer:
        pending = writer.pending()
        there = end - first - len(pending)
        if pending and there > taken_over:
            session.terminal.say(f"  going on: {there} of {end - first} images have their views already")
        if pending:
            with session.terminal.bar(making.title) as progress, repeatable_kernels():
                making.fill(writer.write, pending, lambda done, _, values: progress(there + done, end - first, values))
        writer.flush()
        assert not writer.pending(), f"{making.title} left out images {writer.pending()[:5]}"


@contextlib.contextmanager
def repeatable_kernels() -> Iterator[None]:
    """Within the block cuDNN adds up in one order: of its transposed convolutions and gradients some do not."""
    import torch

    before = torch.backends.cudnn.deterministic
    torch.backends.cudnn.deterministic = True
    try:
        yield
    finally:
        torch.backends.cudnn.deterministic = before


def _shapes(making: Making, count: int) -> tuple[tuple[int, ...], dict[str, tuple[tuple[int, ...], str]]]:
    fields = {name: ((count, *shape), dtype) for name, (shape, dtype) in making.fields.items()}
    return (count, making.num_views, 3, making.image_size, making.image_size), fields


# ------------------------------------------------------------------------------------------------ shards


def _make_shard(session: Session, artifact: Artifact, text: str) -> None:
    """Make one part of the cache.

    Raises:
        UserError: there is no such part, another process makes it, its views cannot be made, or the disk is full.
    """
    from assimilate.data.shard import Shard
    from assimilate.views.shards import begin, is_complete, part_folder, seal

    try:
        shard = Shard.parse(text)
    except ValueError as error:
        raise UserError(str(error)) from error
    for parent in artifact.parents.values():
        session.ensure(parent)
    first, end = shard.span(len(session.dataset.train))
    if end == first:
        raise UserError(f"shard={shard}: the data set has fewer images than that ({len(session.dataset.train)})")
    if session.store.has(artifact):
        session.terminal.say(f"nothing to do: the whole cache is there, {artifact.path}")
        return
    use_threads(session.config)
    part, made_from = part_folder(artifact.path, shard), _digests(artifact)
    try:
        with _lock_of(part).acquire(blocking=False), full_disk_explained(artifact):
            if (why := begin(part, first, made_from)) is not None:
                session.terminal.say(f"warning: {part.name} is of no use here: {why}. Its images are made again.")
            if is_complete(part):
                session.terminal.say(f"nothing to do: shard {shard} is there, {part}")
            else:
                making = making_of(session, artifact)
                _fill(session, making, part, (first, end), 0)
                seal(part, first, made_from)
                session.terminal.say(f"shard {shard}: images {first} to {end - 1} are done, {part}")
    except Timeout as error:
        raise UserError(f"shard={shard} is being made by another process") from error
    except ValueError as error:  # a room's word to the user
        raise UserError(str(error)) from error
    session.terminal.say(f"once every shard is there, this joins them: {session.command_for(artifact)}")


def _adopt_parts(session: Session, artifact: Artifact, making: Making, staging: Path, count: int) -> int:
    """Take over what shards made, and delete their folders; a damaged one is left out and made again.

    Raises:
        UserError: one was made from other networks than those that lie here.
    """
    from assimilate.views.cache import ViewCacheWriter
    from assimilate.views.shards import adopt, damage, discard, finish_discarding, other_origin, part_folders

    finish_discarding(artifact.path)
    parts, copied = part_folders(artifact.path), 0
    if not parts:
        return 0
    shape, fields = _shapes(making, count)
    for part in parts:
        lock = _lock_of(part)
        try:
            lock.acquire(blocking=False)
        except Timeout:
            session.terminal.say(f"  waiting for the process that makes {part.name}")
            lock.acquire()
        try:
            wrong = damage(part)
            if wrong is not None:
                session.terminal.say(f"warning: {part.name} is damaged: {wrong}. Its images are made again.")
            elif (other := other_origin(part, _digests(artifact))) is not None:
                raise UserError(
                    f"{part} cannot be joined: {other} than the one here (two machines do not train the same bytes). "
                    "Share one out=, or copy out/artifacts before the shards are made; or delete this folder"
                )
            else:
                with ViewCacheWriter(staging, shape, fields) as writer:
                    copied += adopt(part, writer, fields)
            discard(part)
        finally:
            lock.release()
    session.terminal.say(f"  took over {copied} of {count} images from {len(parts)} shards")
    return copied


def _lock_of(part: Path) -> FileLock:
    """Held while a part is made or taken over. The operating system releases it when its holder dies."""
    part.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(part.with_name(part.name + ".lock"))


# ------------------------------------------------------------------------------------------------ looking at it


def _verify(session: Session, views: Artifact) -> None:
    """Hash every byte of the cache and check what it was made from; changes nothing.

    Raises:
        UserError: the cache is missing or damaged.
    """
    if not views.path.is_dir():
        raise UserError(f"{views.label} is missing; {_shards_there(views)}this builds it: {session.command_for(views)}")
    wrong = damage(views, thorough=True)
    if wrong is not None:
        raise UserError(f"{views.path} is damaged: {wrong}; this builds it again: {session.command_for(views)}")
    session.terminal.say(f"verified: {views.path}, every file matches its checksum and its parents")


def _shards_there(views: Artifact) -> str:
    from assimilate.views.shards import missing_parts

    said = []
    for count, missing in missing_parts(views.path).items():
        lacking = ", ".join(f"{k}/{count}" for k in missing)
        said.append(f"of its {count} shards {f'{lacking} lack or are unfinished' if missing else 'none lacks'}; ")
    return "".join(said)


def _preview(session: Session, views: Artifact) -> Path:
    """Draw the first images beside their views, below `out`/previews."""
    import numpy as np

    from assimilate.analysis.grids import picture_grid
    from assimilate.artifacts.store import write_bytes_atomically

    cached, images = np.load(views.path / "images.npy", mmap_mode="r"), session.dataset.train.images
    rows = [
        [np.asarray(images[index]), *np.asarray(cached[index, :PREVIEW_VIEWS])]
        for index in range(min(PREVIEW_ROWS, len(images)))
    ]
    scale = max(1, 96 // images.shape[-1])
    path = session.job.out / "previews" / views.dataset / f"{views.path.name}.png"
    write_bytes_atomically(path, picture_grid(rows, scale=scale, gap_after=(0,)))
    return path


@stage("make_views")
def main(job: Job) -> None:
    """Build the chain up to the view cache."""
    session = Session(job)
    if session.prepare == "plan":
        session.print_plan()
        return
    views = session.chain.views
    if views is None:
        raise UserError(
            f"assim={job.config['assim']['name']} with view={job.config['view']['name']} needs no cached views"
        )
    from assimilate.dashboard import tell_views

    if job.config["verify"]:
        _verify(session, views)
        return
    if job.config["shard"] is not None:
        _make_shard(session, views, str(job.config["shard"]))
        return
    if job.config["force"]:
        session.store.discard(views)
    path = session.ensure(views)
    tell_views(session)
    session.terminal.say(f"views: {path}")
    if job.config["preview"]:
        session.terminal.say(f"preview (image, then its views): {_preview(session, views)}")
    session.summarize()


if __name__ == "__main__":
    sys.exit(main())
