"""Stage: find the latents of the training images.

python -m assimilate.invert dataset=cifar10
python -m assimilate.invert dataset=cifar10 shard=3/8     the optimisation of one part, in a process of its own
"""

import sys

from assimilate.errors import UserError
from assimilate.jobs.command import stage
from assimilate.jobs.plan import announce, print_plan, unfold
from assimilate.jobs.session import Session
from assimilate.jobs.sharing import discard_all, fill_shard
from assimilate.run.job import Job


@stage("invert")
def main(job: Job) -> None:
    """Invert the training images of this job."""
    session = Session(job)
    if session.prepare == "plan":
        print_plan(session)
        return
    latents = session.chain.latents
    if latents is None:
        raise UserError(f"assim={job.config['assim']['name']} with view={job.config['view']['name']} needs no latents")
    if job.config["shard"] is not None:
        fill_shard(session, latents, str(job.config["shard"]), lambda: latents.step.rows(session))
        return
    announce(session, unfold([(session, latents)]), anew=[latents])
    if job.config["force"]:
        discard_all(session, latents)
    path = session.ensure(latents)
    session.terminal.say(f"latents: {path}")
    session.summarize()


if __name__ == "__main__":
    sys.exit(main())
