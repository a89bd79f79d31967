"""Stage: measure ε1, how far f sees an image from its expert views on average (Section 5.1).

python -m assimilate.calibrate dataset=digits
"""

import json
import sys
from pathlib import Path
from typing import Any

from assimilate.artifacts.artifact import Artifact
from assimilate.artifacts.store import Built
from assimilate.config import Job
from assimilate.errors import UserError
from assimilate.jobs.command import stage
from assimilate.jobs.session import Session

CALIBRATION = "calibration.json"


def build(session: Session, artifact: Artifact, staging: Path) -> Built:
    """Fill `staging` with the distances and cosines of the three pairs of PROTOCOLS 9."""
    from assimilate.train import load_reference, make_transforms
    from assimilate.views.calibration import measure_epsilon1

    with session.terminal.bar("Measuring ε1") as progress:
        measured = measure_epsilon1(
            load_reference(session, artifact.parents["reference"]),
            session.dataset.train.images,
            make_transforms(session.config)("expert"),
            seed=0,
            device=session.device,
            progress=progress,
        )
    values = {"epsilon1": measured.epsilon1, "distance": measured.distance, "cosine": measured.cosine}
    (staging / CALIBRATION).write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
    return Built({"epsilon1": measured.epsilon1})


def read_calibration(artifact: Artifact) -> dict[str, Any]:
    """What `build` measured."""
    result: dict[str, Any] = json.loads((artifact.path / CALIBRATION).read_text(encoding="utf-8"))
    return result


@stage("calibrate")
def main(job: Job) -> None:
    """Measure ε1 and print it."""
    session = Session(job)
    if session.prepare == "plan":
        session.print_plan()
        return
    calibration = session.chain.calibration
    if calibration is None:
        raise UserError("ε1 is measured for view=wsearch with view.epsilon1=auto; this job has a number or needs none")
    session.ensure(calibration)
    values = read_calibration(calibration)
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
