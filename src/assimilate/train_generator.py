"""Stage: train the generator of the views, or take one.

python -m assimilate.train_generator dataset=cifar10
"""

import sys

from assimilate.jobs.command import stage
from assimilate.jobs.complete import complete_artifact
from assimilate.jobs.session import Session
from assimilate.run.job import Job


@stage("train_generator")
def main(job: Job) -> None:
    """Train the generator of this job's views."""
    session = Session(job)
    if generator := complete_artifact(session, session.chain.generator, "generator"):
        if generator in session.store.reused and generator.step.is_recorded:
            session.say(
                "note: this generator was there; samples, snapshots and distances are recorded while one trains, "
                "which force=true does again"
            )
        session.say(f"generator: {generator.path}")
        session.summarize()


if __name__ == "__main__":
    sys.exit(main())
