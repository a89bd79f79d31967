"""Stage: decode a data set once into uint8 arrays.

python -m assimilate.prepare_data dataset=folder dataset.root=/my/images
python -m assimilate.prepare_data dataset=imagenet_fake generator.checkpoint=/my/bigbigan.pth
python -m assimilate.prepare_data dataset=imagenet_fake generator.checkpoint=/my/bigbigan.pth shard=3/8   a part of it
"""

import sys

from assimilate.errors import UserError
from assimilate.jobs.command import stage
from assimilate.jobs.complete import complete_artifact
from assimilate.jobs.session import Session
from assimilate.jobs.sharing import describe_missing
from assimilate.run.job import Job


@stage("prepare_data")
def main(job: Job) -> None:
    """Prepare the images and say what they are."""
    session = Session(job)
    data, is_whole = session.data, job.config["shard"] is None
    if session.prepare == "never" and is_whole and data.step.latents_are_known and not data.path.is_dir():
        raise UserError(describe_missing(session, data))
    if complete_artifact(session, data, "images"):
        session.say(f"{session.dataset.name}: {session.dataset.summary}, in {data.path}")
        session.summarize()


if __name__ == "__main__":
    sys.exit(main())
