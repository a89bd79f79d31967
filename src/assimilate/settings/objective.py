"""What a sweep may search by (`objective`), known before a run has measured anything."""

from collections.abc import Mapping
from typing import Any

from assimilate.errors import UserError
from assimilate.probes.protocol import PROTOCOLS

KNN_TRAIN = "knn5_train"


def known_objectives(config: Mapping[str, Any]) -> list[str]:
    """`knn5_train`, and the metrics that the run's probe can leave in metrics.json.

    Few images or classes may lack one of them: acc5 needs more than 5 classes, knn200 200 training images.
    """
    probe = config["probe"]
    metrics = ["acc1", "acc5"]
    if PROTOCOLS[probe["name"]].report == "best":
        metrics += ["acc1_last", "acc5_last"]
    metrics += [f"knn{k}" for k in sorted({5, *probe["neighbours"]})]
    return [KNN_TRAIN, *dict.fromkeys([*metrics, "knn5_euclidean", "knn200"])]


def check_objective(config: Mapping[str, Any]) -> None:
    """Refuse a metric that no run of this configuration has.

    Raises:
        UserError: so.
    """
    objective, known = config["objective"], known_objectives(config)
    if objective is not None and objective not in known:
        raise UserError(
            f"objective={objective} cannot be used: allowed is null, {', '.join(known[:-1])} or {known[-1]}"
        )
