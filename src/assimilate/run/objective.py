"""What a sweep may search by (`objective`), known before a run has measured anything."""

from assimilate.errors import UserError
from assimilate.run.recipe import Recipe

KNN_TRAIN = "knn5_train"


def check_objective(recipe: Recipe) -> None:
    """Refuse a metric that no run of this recipe has.

    Raises:
        UserError: such a metric.
    """
    objective = recipe.job.objective
    if objective is None:
        return
    known = [KNN_TRAIN, *recipe.probe.metrics]
    if objective not in known:
        raise UserError(
            f"objective={objective} cannot be used: allowed is null, {', '.join(known[:-1])} or {known[-1]}"
        )
