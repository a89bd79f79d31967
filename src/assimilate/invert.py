"""Stage: find the latents of the training images.

python -m assimilate.invert dataset=cifar10
python -m assimilate.invert dataset=cifar10 shard=3/8     the optimisation of one part, in a process of its own
"""

import sys

from assimilate.jobs.command import stage
from assimilate.jobs.complete import complete_artifact
from assimilate.jobs.session import Session
from assimilate.run.job import Job


@stage("invert")
def main(job: Job) -> None:
    """Invert the training images of this job."""
    session = Session(job)
    if latents := complete_artifact(session, session.chain.latents, "latents"):
        session.say(f"latents: {latents.path}")
        session.summarize()


if __name__ == "__main__":
    sys.exit(main())
