"""The SimCLR run that a run is compared with, where it trains no f itself."""

from assimilate.graph.wiring import Wiring
from assimilate.run.recipe import Recipe


def is_baseline(recipe: Recipe) -> bool:
    """Whether the run is that one."""
    alone = recipe.simclr(Wiring(recipe.config, recipe.roles), str(recipe.config["simclr_loss"]), recipe.encoder.seed)
    return alone.key == recipe.encoder.key


def keys_of_baseline(recipe: Recipe) -> set[str]:
    """Keys that decide something in the SimCLR run of the same images and encoder, measured by the same probe."""
    alone = Recipe(recipe.config, recipe.images)
    alone.dataset, alone.own_evaluation  # noqa: B018  every setting of them
    alone.probe_of(alone.simclr(alone.wiring, str(recipe.config["simclr_loss"]), seed=0))
    return alone.wiring.read
