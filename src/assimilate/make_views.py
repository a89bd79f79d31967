"""Stage: fill the cache of generated views.

python -m assimilate.make_views dataset=cifar10 view=wsearch
python -m assimilate.make_views dataset=cifar10 view=wsearch shard=3/8     one of eight parts, in a process of its own
python -m assimilate.make_views dataset=cifar10 view=wsearch verify=true   hash every byte of it
python -m assimilate.make_views dataset=cifar10 view=wsearch preview=true  and draw a grid of its pictures
"""

import json
import sys
from pathlib import Path
from typing import Any

from assimilate.artifacts.artifact import Artifact
from assimilate.artifacts.store import damage
from assimilate.config import Job
from assimilate.errors import UserError
from assimilate.graph.built import Built
from assimilate.graph.rows import RowWork
from assimilate.jobs.command import stage
from assimilate.jobs.session import Session
from assimilate.jobs.sharing import describe_missing, discard_all, fill_shard, fill_whole
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
    making = making_of(session, artifact)
    fill_whole(session, artifact, _work(session, making), staging)
    summary = making.summarize(staging)
    (staging / SUMMARY).write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    doubt = making.doubt(staging)
    if doubt is not None:
        session.terminal.say(f"warning: {doubt}")
        summary["notes"] = [doubt]  # of the manifest alone: a sentence of ours decides no byte of the cache
    return Built(summary)


def read_summary(artifact: Artifact) -> dict[str, Any]:
    """What was measured when the cache was filled."""
    result: dict[str, Any] = json.loads((artifact.path / SUMMARY).read_text(encoding="utf-8"))
    return result


def _work(session: Session, making: Making) -> RowWork:
    shape = (making.num_views, 3, making.image_size, making.image_size)
    return RowWork(making.title, len(session.dataset.train), shape, making.fields, making.fill)


# ------------------------------------------------------------------------------------------------ looking at it


def _verify(session: Session, views: Artifact) -> None:
    """Hash every byte of the cache and check what it was made from; changes nothing.

    Raises:
        UserError: the cache is missing or damaged.
    """
    if not views.path.is_dir():
        raise UserError(describe_missing(session, views))
    wrong = damage(views, thorough=True)
    if wrong is not None:
        raise UserError(f"{views.path} is damaged: {wrong}; this builds it again: {session.command_for(views)}")
    session.terminal.say(f"verified: {views.path}, every file matches its checksum and its parents")


def _preview(session: Session, views: Artifact) -> Path:
    """Draw the first images beside their views, below `out`/previews."""
    import numpy as np

    from assimilate.data.grids import picture_grid
    from assimilate.whole_file import write_bytes_atomically

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
        fill_shard(session, views, str(job.config["shard"]), lambda: _work(session, making_of(session, views)))
        return
    if job.config["force"]:
        discard_all(session, views)
    path = session.ensure(views)
    tell_views(session)
    session.terminal.say(f"views: {path}")
    if job.config["preview"]:
        session.terminal.say(f"preview (image, then its views): {_preview(session, views)}")
    session.summarize()


if __name__ == "__main__":
    sys.exit(main())
