"""Stage: train the generator of the views, or take one.

python -m assimilate.train_generator dataset=cifar10
"""

import sys

from assimilate.errors import UserError
from assimilate.jobs.command import stage
from assimilate.jobs.plan import announce, print_plan, unfold
from assimilate.jobs.session import Session
from assimilate.run.job import Job


@stage("train_generator")
def main(job: Job) -> None:
    """Train the generator of this job's views."""
    session = Session(job)
    if session.prepare == "plan":
        print_plan(session)
        return
    if session.chain.generator is None:
        raise UserError(
            f"assim={job.config['assim']['name']} with view={job.config['view']['name']} needs no generator"
        )
    announce(session, unfold([(session, session.chain.generator)]), anew=[session.chain.generator])
    if job.config["force"]:
        session.store.discard(session.chain.generator)
    there = session.store.has(session.chain.generator)
    path = session.ensure(session.chain.generator)
    if there and session.chain.generator.step.is_recorded:
        session.terminal.say(
            "note: this generator was there; samples, snapshots and distances are recorded while one trains, "
            "which force=true does again"
        )
    session.terminal.say(f"generator: {path}")
    session.summarize()


if __name__ == "__main__":
    sys.exit(main())
