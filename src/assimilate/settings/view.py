"""Whether the chosen view can be what its settings say, asked before the hours upstream of it."""

import math
from collections.abc import Mapping
from typing import Any

from assimilate.errors import UserError
from assimilate.settings.identity import (
    GENERATED,
    draws_view_on_the_fly,
    needs_cache,
    needs_generator,
    uses_view,
    view_slots,
)

# Made by the training module itself, at every step.
MADE_IN_TRAINING = ("viewmaker", "online")
# A Viewmaker halves images twice, and its first convolution reflects 4 pixels at their edges.
SMALLEST_OF_VIEWMAKER = 8


def check_view(config: Mapping[str, Any]) -> None:
    """Refuse settings of the view that contradict each other, its images or its generator.

    Raises:
        UserError: the first of them.
    """
    view = config["view"]
    if "n_cached" in view and view["n_cached"] is None and view["name"] != "external":
        raise UserError("view.n_cached=null cannot be used: allowed is a whole number ≥ 1")
    if view.get("projected") and view.get("noise_limit") is not None:
        raise UserError(
            f"view.noise_limit={view['noise_limit']} cannot be used with view.projected=true, which fixes the radius "
            "of the noise: give view.noise_limit=null or view.projected=false"
        )
    if not uses_view(config):
        return
    if needs_cache(config) and view["n_cached"] is not None:
        key = "n_cached" if view.get("n_used") is None else "n_used"
        if view[key] > view["n_cached"]:
            raise UserError(f"view.n_used={view['n_used']} exceeds view.n_cached={view['n_cached']}, all that there is")
        check_enough_views(config, view[key], f"view.{key}={view[key]}")
    if view["name"] in MADE_IN_TRAINING and config["loss"]["name"] == "simsiam":
        raise UserError(f"view={view['name']} trains with a contrastive loss: loss=simsiam cannot be combined with it")
    _check_probability(config)
    _check_distances(view)
    if view["name"] == "viewmaker":
        _check_side(config)
    if needs_generator(config) and config["generator"]["name"] == "stylegan2":
        _check_codes(view, num_codes=2 * int(math.log2(config["dataset"]["image_size"])) - 2)


def check_enough_views(config: Mapping[str, Any], available: int, source: str) -> None:
    """Refuse a step with more generated views of an image than there are to draw from: they are distinct.

    Args:
        config: the resolved configuration.
        available: views that every image has.
        source: what says so, for the message.

    Raises:
        UserError: so.
    """
    view, slots = config["view"], view_slots(config)
    if config["assim"].get("view3") == GENERATED and view["n_sampled"] > available:
        raise UserError(
            f"view.n_sampled={view['n_sampled']} exceeds {source}: distinct views are drawn, so at most as many as "
            "are cached"
        )
    if (wanted := slots.count(GENERATED)) > available:
        raise UserError(
            f"{wanted} generated views are in a step ({', '.join(slots)}), which exceeds {source}: distinct views are "
            "drawn, so at most as many as are cached"
        )


def _check_probability(config: Mapping[str, Any]) -> None:
    probability, view = config["assim"].get("probability", 1), config["view"]["name"]
    if probability < 1 and (view in MADE_IN_TRAINING or draws_view_on_the_fly(config)):
        raise UserError(
            f"assim.probability={probability} cannot be used with view={view}: only views of a cache, or of a "
            "generator (view.cached=false), are replaced now and then"
        )


def _check_distances(view: Mapping[str, Any]) -> None:
    if view["name"] == "online":
        for key in ("epsilon1", "epsilon2"):
            if view[key] == "auto":
                raise UserError(
                    f"view.{key}=auto cannot be used with view=online: give a number "
                    "(python -m assimilate.calibrate view=wsearch view.epsilon1=auto measures ε1)"
                )
    if view["name"] == "wsearch" and view["epsilon1"] == 0 and view["search"]["tolerance_relative"] is not None:
        raise UserError(
            f"view.search.tolerance_relative={view['search']['tolerance_relative']} cannot be used with "
            "view.epsilon1=0, of which it is a share: give view.search.tolerance_relative=null "
            "view.search.tolerance=0.001"
        )


def _check_side(config: Mapping[str, Any]) -> None:
    side = config["data"]["crop_size"] or config["dataset"]["image_size"]
    if side % 4 or side < SMALLEST_OF_VIEWMAKER:
        key = "dataset.image_size" if config["data"]["crop_size"] is None else "data.crop_size"
        raise UserError(
            f"{key}={side} cannot be used with view=viewmaker, which halves images twice: allowed is a multiple of 4, "
            f"at least {SMALLEST_OF_VIEWMAKER}"
        )


def _check_codes(view: Mapping[str, Any], *, num_codes: int) -> None:
    split, sigma = view.get("split"), view.get("sigma")
    if split is not None and split > num_codes:
        raise UserError(f"view.split={split}: the generator has {num_codes} codes, allowed is 0 to {num_codes}")
    if isinstance(sigma, list) and len(sigma) not in (1, num_codes):
        raise UserError(
            f"view.sigma={sigma} has {len(sigma)} numbers, but the generator has {num_codes} codes: give one number, "
            "or one a code"
        )
