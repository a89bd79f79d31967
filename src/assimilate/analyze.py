"""Stage: measure and draw what views and encoders are like.

python -m assimilate.analyze +table1=original_wsearch dataset=cifar10    one line of Table 1, as a run of its own
python -m assimilate.analyze dataset=cifar10                             all of Table 1, and the plot called Table 2
python -m assimilate.analyze dataset=cifar100 analysis=distances         Figure 2a; its right half is analysis=tsne
python -m assimilate.analyze dataset=cifar10 analysis=figure8            pictures; also grid, figure3, figure9, figure10
python -m assimilate.analyze dataset=cifar10 analysis=card 'analysis.views=[wsearch,…]'    what the views are worth
python -m assimilate.analyze dataset=cifar10 analysis=curves 'analysis.runs=[table3/expert_expert_simclr,…]'
python -m assimilate.analyze dataset=cifar10 analysis=alignment_uniformity 'analysis.runs=[…]'    also analysis=features
"""

import sys

from assimilate.figures.figure import row_is_ready
from assimilate.figures.kinds import drawing
from assimilate.jobs.command import stage
from assimilate.jobs.session import Session
from assimilate.run.analysis_settings import analysis_class, measures_pair
from assimilate.run.job import Job


@stage("analyze")
def main(job: Job) -> None:
    """Make one analysis, or measure one line of Table 1."""
    session = Session(job)
    if measures_pair(job.config):
        if (parts := row_is_ready(session)) is not None:
            drawing().pairs.measure_row(session, parts)
        return
    kind = analysis_class(job.config)
    figure = kind.plan(session)
    if figure.is_ready():
        figure.finish(kind.draw(figure))


if __name__ == "__main__":
    sys.exit(main())
