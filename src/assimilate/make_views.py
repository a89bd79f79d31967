"""Stage: fill the cache of generated views.

python -m assimilate.make_views dataset=cifar10 view=wsearch
python -m assimilate.make_views dataset=cifar10 view=wsearch shard=3/8     one of eight parts, in a process of its own
python -m assimilate.make_views dataset=cifar10 view=wsearch verify=true   hash every byte of it
python -m assimilate.make_views dataset=cifar10 view=wsearch preview=true  and draw a grid of its pictures
"""

import sys
from pathlib import Path

from assimilate.artifacts.artifact import Artifact
from assimilate.artifacts.store import damage
from assimilate.data.grids import picture_grid
from assimilate.errors import UserError
from assimilate.files.whole_file import write_whole
from assimilate.jobs.command import stage
from assimilate.jobs.complete import complete_artifact
from assimilate.jobs.dashboard import first_views, tell_views
from assimilate.jobs.session import Session
from assimilate.jobs.sharing import describe_missing
from assimilate.run.job import Job

# Images of a preview.
PREVIEW_ROWS = 16


def _verify(session: Session, views: Artifact) -> None:
    """Hash every byte of the cache and check what it was made from; changes nothing."""
    if not views.path.is_dir():
        raise UserError(describe_missing(session, views))
    wrong = damage(views, thorough=True)
    if wrong is not None:
        raise UserError(f"{views.path} is damaged: {wrong}; this builds it again: {session.command_for(views)}")
    session.say(f"verified: {views.path}, every file matches its checksum and its parents")


def _preview(session: Session, views: Artifact) -> Path:
    """Draw the first images beside their views, below `out`/previews."""
    rows = first_views(session, views, PREVIEW_ROWS)
    scale = max(1, 96 // rows[0][0].shape[-1])
    path = session.job.out / "previews" / views.dataset / f"{views.path.name}.png"
    write_whole(path, picture_grid(rows, scale=scale, gap_after=(0,)))
    return path


@stage("make_views")
def main(job: Job) -> None:
    """Build the chain up to the view cache."""
    session = Session(job)
    views = session.chain.views
    if views is not None and job.config["verify"] and session.prepare != "plan":
        _verify(session, views)
        return
    views = complete_artifact(session, views, "cached views")
    if views is None:
        return
    tell_views(session)
    session.say(f"views: {views.path}")
    if job.config["preview"]:
        session.say(f"preview (image, then its views): {_preview(session, views)}")
    session.summarize()


if __name__ == "__main__":
    sys.exit(main())
