"""What a run's parts are called: recorded in its result, so that no page or figure looks at a component's name.

The one place that turns names into titles until every component's class has its own.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from assimilate.run.given import TIMM
from assimilate.settings.identity import GENERATED, measures_pair

# As the paper writes them; anything else goes by its own name.
_TITLES = {
    "simclr": "SimCLR",
    "simsiam": "SimSiam",
    "a1": "A1",
    "a2": "A2",
    "wsearch": "W-search",
    "wperturb": "W-perturb",
    "wmix": "W-mix",
    "online": "online W-search",
    "external": "views from elsewhere",
    "reconstruction": "reconstructions",
    "viewmaker": "Viewmaker",
}


def title_of(name: str) -> str:
    """A component's title; the name itself for one that has none."""
    return _TITLES.get(name, name)


def titles_of(config: Mapping[str, Any]) -> dict[str, str]:
    """Titles of a resolved configuration.

    Returns:
        run: what is assimilated and how, e.g. "A2 with W-search", or what weights are probed; views: the places for
        views, e.g. "expert, expert, W-search"; baseline: how f is trained; dataset: the name of the images, told apart
        from a benchmark's where a folder of the user's has such a name.
    """
    dataset, baseline = config["dataset"], title_of("simsiam" if config["simclr_loss"] == "simsiam" else "simclr")
    name = f"{dataset['name']} (folder)" if dataset["kind"] == "folder" else dataset["name"]
    slots = [slot for slot in (config["assim"].get(f"view{place}") for place in (1, 2, 3)) if slot is not None]
    views = [title_of(config["view"]["name"]) if slot == GENERATED else str(slot) for slot in slots]
    return {"run": _run(config, views), "views": ", ".join(views), "baseline": baseline, "dataset": name}


def _run(config: Mapping[str, Any], views: list[str]) -> str:
    if config["checkpoint"] is not None:
        given = str(config["checkpoint"])
        return given if given.startswith(TIMM) else Path(given).name
    if measures_pair(config):
        return "A pair of views as f sees them"
    assim, siamese = config["assim"]["name"], config["loss"]["name"] == "simsiam"
    method = title_of("simsiam" if siamese and assim == "simclr" else assim)
    method += f"-{title_of('simsiam')}" if siamese and assim != "simclr" else ""
    if assim == "simclr" and set(views) == {"expert"}:
        return method
    # The paper names the one view that is not an expert's; Tables 5 and 19 name them all.
    usual = views[0] == "expert" and (assim == "a1" or views[1] == "expert")
    return f"{method} with {views[-1] if usual else ', '.join(views)}"
