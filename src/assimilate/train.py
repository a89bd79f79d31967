"""Stage: train one row, and whatever it depends on; probe it; write its result and its report.

python -m assimilate.train                                        the whole chain on real digit scans
python -m assimilate.train dataset=cifar100 view=wsearch assim=a2
"""

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from assimilate.artifacts.artifact import Artifact
from assimilate.jobs.command import stage
from assimilate.jobs.complete import complete_run
from assimilate.jobs.session import Session
from assimilate.run.job import Job

if TYPE_CHECKING:
    from assimilate.data.augmentation import Augmentation
    from assimilate.views.embedding import FrozenEmbedding

# Until figures/ and view_makers load what they look at themselves.


def make_transforms(config: dict[str, Any]) -> "Callable[[str], Augmentation]":
    """The transforms of a configuration's data set, by name."""
    from assimilate.data.augmentation import make_transform

    dataset, data = config["dataset"], config["data"]
    size = data["crop_size"] or dataset["image_size"]
    return lambda name: make_transform(name, size, flip=dataset["flip"], expert=data["expert"])


def load_reference(session: Session, artifact: Artifact) -> "FrozenEmbedding":
    """f of an encoder artifact: frozen, normalising, on the session's device."""
    from assimilate.views.embedding import FrozenEmbedding

    return FrozenEmbedding.of(session.load(artifact.step)).to(session.device)


@stage("train")
def main(job: Job) -> float | None:
    """Run one job. Returns what `objective` names, where a sweep searches by it."""
    session = Session(job)
    if job.config["objective"] is None or session.prepare in ("plan", "only"):
        complete_run(session)
        return None
    from assimilate.jobs.objective import check_measurable, measure_objective

    check_measurable(session)
    complete_run(session)
    return measure_objective(session)


if __name__ == "__main__":
    sys.exit(main())
