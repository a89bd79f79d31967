"""Stage: train one row, and whatever it depends on; probe it; write its result and its report.

python -m assimilate.train                                        the whole chain on real digit scans
python -m assimilate.train dataset=cifar100 view=wsearch assim=a2
"""

import sys

from assimilate.jobs.command import stage
from assimilate.jobs.complete import complete_run
from assimilate.jobs.session import Session
from assimilate.run.job import Job


@stage("train")
def main(job: Job) -> float | None:
    """Run one job. Returns what `objective` names, where a sweep searches by it."""
    session = Session(job)
    if job.config["objective"] is None or session.prepare in ("plan", "only"):
        complete_run(session)
        return None
    from assimilate.jobs.result import check_measurable, measure_objective

    check_measurable(session)
    complete_run(session)
    return measure_objective(session)


if __name__ == "__main__":
    sys.exit(main())
