"""Stage: decode a data set once into uint8 arrays.

python -m assimilate.prepare_data dataset=folder dataset.root=/my/images
python -m assimilate.prepare_data dataset=imagenet_fake generator.checkpoint=/my/bigbigan.pth
python -m assimilate.prepare_data dataset=imagenet_fake generator.checkpoint=/my/bigbigan.pth shard=3/8   a part of it
"""

import sys

from assimilate.errors import UserError
from assimilate.jobs.command import stage
from assimilate.jobs.plan import announce, print_plan, unfold
from assimilate.jobs.session import Session
from assimilate.jobs.sharing import describe_missing, discard_all, fill_shard
from assimilate.run.job import Job


@stage("prepare_data")
def main(job: Job) -> None:
    """Prepare the images and say what they are."""
    session = Session(job)
    if session.prepare == "plan":
        print_plan(session)
        return
    data = session.data
    if job.config["shard"] is not None:
        fill_shard(session, data, str(job.config["shard"]), lambda: data.step.rows(session))
        return
    if session.prepare == "never" and data.step.latents_are_known and not data.path.is_dir():
        raise UserError(describe_missing(session, data))
    announce(session, unfold([(session, data)]), anew=[data])
    if job.config["force"]:
        discard_all(session, data)
    path = session.ensure(data)
    dataset = session.dataset
    session.terminal.say(f"{dataset.name}: {dataset.summary}, in {path}")
    session.summarize()


if __name__ == "__main__":
    sys.exit(main())
