"""What a run's parts are called: recorded in its result, so that no page or figure looks at a component's name."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from assimilate.assimilation.arrangement import GENERATED
from assimilate.assimilation.loss import Loss
from assimilate.graph.wiring import find_class
from assimilate.run.given import TIMM
from assimilate.run.measuring import measures_pair
from assimilate.run.recipe import Recipe
from assimilate.views.step import View


def titles_of(config: Mapping[str, Any]) -> dict[str, str]:
    """Titles of a resolved configuration.

    Returns:
        run: what is assimilated and how, e.g. "A2 with W-search", or what weights are probed; views: the places for
        views, e.g. "expert, expert, W-search"; baseline: how f is trained; dataset: the name of the images, told apart
        from a benchmark's where a folder of the user's has such a name.
    """
    recipe, name = Recipe(config), str(config["dataset"]["name"])
    baseline = find_class("simclr_loss", config["simclr_loss"], Loss).title or recipe.arrangement.contrasting
    view = recipe.wiring.class_at("view", View).title or str(config["view"]["name"])
    views = [view if slot == GENERATED else str(slot) for slot in recipe.arrangement.words]
    if recipe.dataset_class.from_files:
        name = f"{name} (folder)"
    return {"run": _run(config, recipe, views), "views": ", ".join(views), "baseline": baseline, "dataset": name}


def _run(config: Mapping[str, Any], recipe: Recipe, views: list[str]) -> str:
    if config["checkpoint"] is not None:
        given = str(config["checkpoint"])
        return given if given.startswith(TIMM) else Path(given).name
    if measures_pair(config):
        return "A pair of views as f sees them"
    arranged, loss = recipe.arrangement.title, recipe.wiring.class_at("loss", Loss).title
    method = "-".join(part for part in (arranged, loss) if part) or recipe.arrangement.contrasting
    if not arranged and set(views) == {"expert"}:
        return method
    # The paper names the one view that is not an expert's; Tables 5 and 19 name them all.
    usual = views[0] == "expert" and ((len(views) == 2 and bool(arranged)) or views[1] == "expert")
    return f"{method} with {views[-1] if usual else ', '.join(views)}"
