"""What a composed configuration asks for, before its steps are made."""

from collections.abc import Mapping
from typing import Any

from assimilate.assimilation.arrangement import GENERATED


def view_slots(config: Mapping[str, Any]) -> list[str]:
    """The run's views in order, e.g. ["expert", "expert", "generated"]: two contrasted, the rest appended."""
    assim = config["assim"]
    slots = [assim["view1"], assim["view2"]]
    if assim.get("view3") is not None:
        slots += [assim["view3"]] * (config["view"]["n_sampled"] if assim["view3"] == GENERATED else 1)
    return slots


def measures_pair(config: Mapping[str, Any]) -> bool:
    """Whether the configuration is a line of Table 1: two kinds of views are compared, and nothing is trained."""
    return config["analysis"].get("pair") is not None


def measures_generated(config: Mapping[str, Any]) -> bool:
    """Whether one of the two is a generated view."""
    return measures_pair(config) and GENERATED in config["analysis"]["pair"]
