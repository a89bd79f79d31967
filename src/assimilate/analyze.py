"""Stage: measure and draw what views and encoders are like.

python -m assimilate.analyze +table1=original_wsearch dataset=cifar10    one line of Table 1, as a run of its own
python -m assimilate.analyze dataset=cifar10                             all of Table 1, and the plot called Table 2
python -m assimilate.analyze dataset=cifar100 analysis=distances         Figure 2a; its right half is analysis=tsne
python -m assimilate.analyze dataset=cifar10 analysis=figure8            pictures; also grid, figure3, figure9, figure10
python -m assimilate.analyze dataset=cifar10 analysis=curves 'analysis.runs=[table3/expert_expert_simclr,…]'
python -m assimilate.analyze dataset=cifar10 analysis=alignment_uniformity 'analysis.runs=[…]'
"""

import sys
from collections.abc import Callable

from assimilate.figures import pairs, runs, views
from assimilate.jobs.command import stage
from assimilate.jobs.session import Session
from assimilate.run.job import Job
from assimilate.run.measuring import measures_pair

WAYS: dict[str, Callable[[Session], None]] = {
    "pairs": pairs.draw_pairs,
    "distances": views.draw_distances,
    "tsne": views.draw_offsets,
    "grid": views.draw_grid,
    "curves": runs.draw_curves,
    "alignment_uniformity": runs.draw_alignment_uniformity,
}


@stage("analyze")
def main(job: Job) -> None:
    """Make one analysis, or measure one line of Table 1."""
    session = Session(job)
    if measures_pair(job.config):
        pairs.measure_row(session)
    else:
        WAYS[job.config["analysis"]["kind"]](session)


if __name__ == "__main__":
    sys.exit(main())
