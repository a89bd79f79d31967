"""Stage: measure ε1, how far f sees an image from its expert views on average (Section 5.1).

python -m assimilate.calibrate dataset=digits
"""

import sys

from assimilate.jobs.command import stage
from assimilate.jobs.complete import complete_artifact
from assimilate.jobs.session import Session
from assimilate.run.job import Job


@stage("calibrate")
def main(job: Job) -> None:
    """Measure ε1 and print it."""
    session = Session(job)
    needing = "measured ε1: view=wsearch with view.epsilon1=auto does"
    calibration = complete_artifact(session, session.chain.calibration, needing)
    if calibration is None:
        return
    values = session.load(calibration.step)
    for pair, moments in values["distance"].items():
        cosine = values["cosine"][pair]
        session.say(
            f"{pair:<20} distance {moments['mean']:.4f} ± {moments['std']:.4f}"
            f"   cosine {cosine['mean']:.4f} ± {cosine['std']:.4f}"
        )
    session.say(f"ε1 = {values['epsilon1']:.4f}")
    session.summarize()


if __name__ == "__main__":
    sys.exit(main())
