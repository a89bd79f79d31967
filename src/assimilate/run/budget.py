"""A budget lowers the numbers of a composed run, after data set and row."""

import copy
from collections.abc import Iterable, Mapping
from typing import Any

import yaml

from assimilate.assimilation.arrangement import GENERATED
from assimilate.assimilation.step import OWN_SETTINGS
from assimilate.errors import UserError
from assimilate.graph.refusal import as_typed
from assimilate.run.known_keys import CONF, leaves

# Shipped budgets that make a run shorter and ask for nothing else, from the one that lowers least.
BUDGETS = ("short", "smoke")


def apply_caps(config: dict[str, Any], caps: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Lower every number of `config` that exceeds the budget's cap, in place; None counts as unbounded.

    Returns:
        A sentence for each value that was lowered from what a user may have asked for.
    """
    changed: list[str] = []
    for key, cap in caps.items():
        if key not in config:
            continue
        if isinstance(cap, Mapping):
            if isinstance(config[key], dict):
                changed += apply_caps(config[key], cap, f"{prefix}{key}.")
        elif config[key] is None or (isinstance(config[key], int | float) and config[key] > cap):
            changed.append(f"{prefix}{key} {config[key]} → {cap}")
            config[key] = cap
    return changed


def apply_budget(config: dict[str, Any]) -> list[str]:
    """Lower what exceeds the budget's caps, in place: the run's settings, and those that f has of its own.

    Returns:
        A sentence for each value that was lowered.

    Raises:
        UserError: a cap is no number.
    """
    caps = config["budget"].get("caps") or {}
    for key, cap in leaves({"budget": {"caps": caps}}):
        if cap != {} and (isinstance(cap, bool) or not isinstance(cap, int | float)):
            raise UserError(f"{key}={as_typed(cap)} cannot be used: allowed is a number")
    caps = {**caps, "view": _caps_of_views(config, caps.get("view") or {})}
    own = config["view"].get("encoder", {}).get("training") or {}
    changed = apply_caps(config, caps) + apply_caps(own, caps, f"{OWN_SETTINGS}.")
    if "epochs" in caps:
        epochs = config["epochs"]
        changed += apply_caps(config, _caps_of_warmup(config, epochs))
        changed += apply_caps(own, _caps_of_warmup(own, own.get("epochs", epochs)), f"{OWN_SETTINGS}.")
    return changed


def lowering(config: Mapping[str, Any], budgets: Iterable[str]) -> list[str]:
    """Those of the budgets, by name, that lower something in a resolved configuration."""
    found = []
    for name in budgets:
        budget = yaml.safe_load((CONF / "budget" / f"{name}.yaml").read_text(encoding="utf-8"))
        if apply_budget(copy.deepcopy({**config, "budget": budget})):
            found.append(name)
    return found


def view_slots(config: Mapping[str, Any]) -> list[str]:
    """The run's views in order, e.g. ["expert", "expert", "generated"]: two contrasted, the rest appended."""
    assim = config["assim"]
    slots = [assim.get("view1"), assim.get("view2")]
    if assim.get("view3") is not None:
        slots += [assim["view3"]] * (config["view"]["n_sampled"] if assim["view3"] == GENERATED else 1)
    return slots


def _caps_of_warmup(config: Mapping[str, Any], epochs: int) -> dict[str, Any]:
    """A tenth of the capped epochs, at least one, where the warm-up would be longer than the whole training."""
    warmup = config.get("optimizer", {}).get("warmup_epochs", 0)
    longer = isinstance(epochs, int | float) and isinstance(warmup, int | float) and warmup > epochs
    return {"optimizer": {"warmup_epochs": max(1, int(epochs) // 10)}} if longer else {}


def _caps_of_views(config: Mapping[str, Any], caps: Mapping[str, Any]) -> dict[str, Any]:
    """The caps of `view`, such that a step's distinct views can still be drawn from what is cached."""
    if "n_cached" not in caps:
        return dict(caps)
    view = dict(config["view"])
    apply_caps(view, {key: cap for key, cap in caps.items() if key == "n_sampled"})
    if not isinstance(view.get("n_sampled"), int):  # refused by what reads it
        view["n_sampled"] = 1
    capped = {**config, "view": view}
    n_cached = max(caps["n_cached"], view_slots(capped).count(GENERATED))
    # A part of the cache stays a part of it.
    used = {} if config["view"].get("n_used") is None else {"n_used": n_cached}
    return {**caps, "n_cached": n_cached, **used}
