"""Loss and optimiser of a training as its artifact's content describes them, by short names."""

from collections.abc import Mapping
from typing import Any, TypeVar

from assimilate.assimilation.alignment import Alignment
from assimilate.assimilation.loss import Loss
from assimilate.assimilation.optimizers import Optimizer
from assimilate.graph.settings import Settings
from assimilate.graph.wiring import Wiring, find_class

T = TypeVar("T", bound=Settings)


def _chosen(content: Mapping[str, Any], group: str, base: type[T]) -> T:
    return Wiring(content, {}).fill(group, find_class(f"{group}.name", content[group]["name"], base))


def loss_of(content: Mapping[str, Any]) -> Loss:
    """The loss that `loss.name` chooses."""
    return _chosen(content, "loss", Loss)


def optimizer_of(content: Mapping[str, Any]) -> Optimizer:
    """The optimizer that `optimizer.name` chooses, with its schedule."""
    return _chosen(content, "optimizer", Optimizer)


def alignment_of(content: Mapping[str, Any]) -> Alignment | None:
    """α and the anchors; None where no views are appended."""
    return Wiring(content, {}).fill("loss", Alignment) if "alpha" in content["loss"] else None
