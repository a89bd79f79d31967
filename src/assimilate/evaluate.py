"""Stage: probe a trained row and write its result.

python -m assimilate.evaluate dataset=cifar100 view=wsearch assim=a2
python -m assimilate.evaluate dataset=cifar100 checkpoint=/my/resnet18.pth     weights that somebody else trained
"""

import sys

from assimilate.jobs.command import stage
from assimilate.jobs.complete import complete_run
from assimilate.jobs.session import Session
from assimilate.run.job import Job


@stage("evaluate")
def main(job: Job) -> None:
    """Evaluate this job's trained encoder, which is trained first if it is missing and prepare=auto; or checkpoint=."""
    complete_run(Session(job))


if __name__ == "__main__":
    sys.exit(main())
