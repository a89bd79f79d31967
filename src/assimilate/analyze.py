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

from assimilate import pair_measurement, run_figures, view_figures
from assimilate.command import stage
from assimilate.config import Job
from assimilate.identity import measures_pair
from assimilate.session import Session

WAYS: dict[str, Callable[[Session], None]] = {
    "pairs": pair_measurement.draw_pairs,
    "distances": view_figures.draw_distances,
    "tsne": view_figures.draw_offsets,
    "grid": view_figures.draw_grid,
    "curves": run_figures.draw_curves,
    "alignment_uniformity": run_figures.draw_alignment_uniformity,
}


@stage("analyze")
def main(job: Job) -> None:
    """Make one analysis, or measure one line of Table 1."""
    session = Session(job)
    if measures_pair(job.config):
        pair_measurement.measure_row(session)
    else:
        WAYS[job.config["analysis"]["kind"]](session)


if __name__ == "__main__":
    sys.exit(main())
