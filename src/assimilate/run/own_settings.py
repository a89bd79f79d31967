"""The settings in which f's training differs from the run's (`view.encoder.training`)."""

from collections.abc import Mapping
from typing import Any

from assimilate.assimilation.step import OWN_SETTINGS, Trained
from assimilate.errors import UserError
from assimilate.graph.settings import listed
from assimilate.graph.wiring import places_of
from assimilate.run.job_settings import JobSettings


def check_own(own: Mapping[str, Any]) -> None:
    """Refuse settings that f's training cannot have of its own: images and hardware are the run's.

    Raises:
        UserError: such a setting.
    """
    read = {key.partition(".")[0] for key, _, _ in places_of(None, Trained)}
    allowed = sorted(read - {"dataset", *JobSettings.model_fields})
    for group in own:
        if group not in allowed:
            raise UserError(f"{OWN_SETTINGS}.{group} is no setting of f's training: it may have {listed(allowed)}")


def merged(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """`second` over `first`, mapping by mapping."""
    result = dict(first)
    for key, value in second.items():
        both = isinstance(value, Mapping) and isinstance(first.get(key), Mapping)
        result[key] = merged(first[key], value) if both else value
    return result


def leaves(tree: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Dotted keys of the settings in a tree."""
    found = []
    for key, value in tree.items():
        found += leaves(value, f"{prefix}{key}.") if isinstance(value, Mapping) else [f"{prefix}{key}"]
    return found
