"""What a run's parts are called: recorded in its result, so that no page or figure looks at a component's name."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from assimilate.assimilation.arrangement import GENERATED
from assimilate.assimilation.loss import Loss
from assimilate.data.transform import Transform
from assimilate.graph.wiring import find_class
from assimilate.run.analysis_settings import measures_pair
from assimilate.run.checks import TIMM
from assimilate.run.recipe import Recipe
from assimilate.views.step import View


def titles_of(config: Mapping[str, Any]) -> dict[str, str]:
    """Titles of a resolved configuration.

    Returns:
        run: what is assimilated and how, e.g. "A2 with W-search (rays)", or what weights are probed; views: the places
        for views, e.g. "expert, expert, W-search"; baseline: how f is trained; dataset: the name of the images, told
        apart from a benchmark's where a folder of the user's has such a name.
    """
    recipe, name = Recipe(config), str(config["dataset"]["name"])
    baseline = find_class("simclr_loss", config["simclr_loss"], Loss).title or recipe.arrangement.contrasting
    view_class = recipe.wiring.class_at("view", View)
    view = view_class.titled(recipe.wiring.select) or str(config["view"]["name"])
    words = recipe.arrangement.words
    views = [view if word == GENERATED else str(word) for word in words]
    usual = [(view_class if word == GENERATED else find_class("assim", word, Transform)).usual for word in words]
    if recipe.dataset_class.from_files:
        name = f"{name} (folder)"
    return {"run": _run(config, recipe, views, usual), "views": ", ".join(views), "baseline": baseline, "dataset": name}


def _run(config: Mapping[str, Any], recipe: Recipe, views: list[str], usual: list[bool]) -> str:
    if config["checkpoint"] is not None:
        given = str(config["checkpoint"])
        return given if given.startswith(TIMM) else Path(given).name
    if measures_pair(config):
        return "A pair of views as f sees them"
    arranged, loss = recipe.arrangement.title, recipe.wiring.class_at("loss", Loss).title
    method = "-".join(part for part in (arranged, loss) if part) or recipe.arrangement.contrasting
    if not arranged and all(usual):
        return method
    # The paper names the one view that is not an expert's; Tables 5 and 19 name them all.
    names_last = usual[0] and ((len(views) == 2 and bool(arranged)) or usual[1])
    return f"{method} with {views[-1] if names_last else ', '.join(views)}"
