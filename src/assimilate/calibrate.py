"""Stage: measure ε1, how far f sees an image from its expert views on average (Section 5.1).

python -m assimilate.calibrate dataset=digits
"""

import sys

from assimilate.errors import UserError
from assimilate.jobs.command import stage
from assimilate.jobs.plan import announce, print_plan, unfold
from assimilate.jobs.session import Session
from assimilate.run.job import Job


@stage("calibrate")
def main(job: Job) -> None:
    """Measure ε1 and print it."""
    session = Session(job)
    if session.prepare == "plan":
        print_plan(session)
        return
    calibration = session.chain.calibration
    if calibration is None:
        raise UserError("ε1 is measured for view=wsearch with view.epsilon1=auto; this job has a number or needs none")
    announce(session, unfold([(session, calibration)]))
    session.ensure(calibration)
    values = session.load(calibration.step)
    for pair, moments in values["distance"].items():
        cosine = values["cosine"][pair]
        session.terminal.say(
            f"{pair:<20} distance {moments['mean']:.4f} ± {moments['std']:.4f}"
            f"   cosine {cosine['mean']:.4f} ± {cosine['std']:.4f}"
        )
    session.terminal.say(f"ε1 = {values['epsilon1']:.4f}")
    session.summarize()


if __name__ == "__main__":
    sys.exit(main())
