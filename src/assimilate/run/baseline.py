"""The SimCLR run that a run is compared with."""

from assimilate.errors import UserError
from assimilate.graph.wiring import Wiring
from assimilate.probes.step import Probe
from assimilate.run.recipe import Recipe


def probe_of_baseline(recipe: Recipe) -> Probe | None:
    """What measures the SimCLR run of the same images, recipe and seed; the run's own where it is that one.

    None where the run's settings make none: an InfoNCE run whose `simclr_loss` needs a predictor has no such layer.
    """
    wiring = Wiring(recipe.config, recipe.roles)
    try:
        alone = recipe.simclr(wiring, str(recipe.config["simclr_loss"]), recipe.encoder.seed)
    except UserError:
        return None
    return recipe.probe_of(alone)


def is_baseline(recipe: Recipe) -> bool:
    """Whether the run is that one."""
    found = probe_of_baseline(recipe)
    return found is not None and found.encoder.key == recipe.encoder.key


def keys_of_baseline(recipe: Recipe) -> set[str]:
    """Keys that decide something in the SimCLR run of the same images and encoder, measured by the same probe."""
    alone = Recipe(recipe.config, recipe.images)
    alone.dataset, alone.own_evaluation  # noqa: B018  every setting of them
    alone.probe_of(alone.simclr(alone.wiring, str(recipe.config["simclr_loss"]), seed=0))
    return alone.wiring.read
