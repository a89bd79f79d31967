"""Stage: measure and draw what views and encoders are like.

python -m assimilate.analyze +table1=original_wsearch dataset=cifar10    one line of Table 1, as a run of its own
python -m assimilate.analyze dataset=cifar10                             all of Table 1, and the plot called Table 2
python -m assimilate.analyze dataset=cifar100 analysis=distances         Figure 2a; its right half is analysis=tsne
python -m assimilate.analyze dataset=cifar10 analysis=figure8            pictures; also grid, figure3, figure9, figure10
python -m assimilate.analyze dataset=cifar10 analysis=card 'analysis.views=[wsearch,…]'    what the views are worth
python -m assimilate.analyze dataset=cifar10 analysis=curves 'analysis.runs=[table3/expert_expert_simclr,…]'
python -m assimilate.analyze dataset=cifar10 analysis=alignment_uniformity 'analysis.runs=[…]'
"""

import sys
from collections.abc import Callable

from assimilate.figures import figure as figures
from assimilate.figures.figure import Figure, row_is_ready
from assimilate.jobs.command import stage
from assimilate.jobs.session import Session
from assimilate.run.job import Job
from assimilate.run.measuring import measures_pair

PLANS: dict[str, Callable[[Session], Figure]] = {
    "pairs": figures.plan_pairs,
    "distances": figures.plan_distances,
    "tsne": figures.plan_offsets,
    "grid": figures.plan_grid,
    "card": figures.plan_card,
    "curves": figures.plan_curves,
    "alignment_uniformity": figures.plan_alignment_uniformity,
}


@stage("analyze")
def main(job: Job) -> None:
    """Make one analysis, or measure one line of Table 1."""
    session = Session(job)
    parts = row_is_ready(session) if measures_pair(job.config) else None
    figure = None if measures_pair(job.config) else PLANS[job.config["analysis"]["kind"]](session)
    if parts is None and (figure is None or not figure.is_ready()):
        return
    from assimilate.figures import drawing

    if figure is not None:
        drawing.draw(figure)
    elif parts is not None:
        drawing.measure_row(session, parts)


if __name__ == "__main__":
    sys.exit(main())
