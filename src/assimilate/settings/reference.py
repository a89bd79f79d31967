"""f, the encoder that views are searched with: whether a run needs one, and which settings are its own."""

from collections.abc import Mapping
from typing import Any

from assimilate.errors import UserError
from assimilate.settings.identity import data_is_sampled, needs_generator

# Where f's own settings stand, and what they may be; images and views are the run's.
OWN_SETTINGS = "view.encoder.training."
GROUPS = ("epochs", "batch_size", "accumulate_grad_batches", "drop_last", "batchnorm", "loss", "optimizer", "encoder")


def uses_reference(config: Mapping[str, Any]) -> bool:
    """Whether anything upstream of the run looks at images through f."""
    view = config["view"]
    followed = view["name"] == "wsearch" or (view["name"] == "online" and view["frozen"])
    compared = config["inversion"]["perceptual"] == "encoder" and not data_is_sampled(config)
    return needs_generator(config) and (followed or compared)


def trains_reference(config: Mapping[str, Any]) -> bool:
    """Whether the run's chain trains f, rather than taking the user's."""
    return uses_reference(config) and config["view"].get("encoder", {}).get("checkpoint") is None


def reference_overrides(config: Mapping[str, Any]) -> dict[str, Any]:
    """What f's training does not inherit from the run's (conf/view_encoder); usually nothing."""
    overrides: dict[str, Any] = config["view"].get("encoder", {}).get("training") or {}
    return overrides


def reference_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration that f is trained with: the run's, but for `reference_overrides`."""
    return _merged(config, reference_overrides(config))


def _merged(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """`second` over `first`, mapping by mapping."""
    result = dict(first)
    for key, value in second.items():
        both = isinstance(value, Mapping) and isinstance(first.get(key), Mapping)
        result[key] = _merged(first[key], value) if both else value
    return result


def reference_run(config: Mapping[str, Any]) -> dict[str, Any]:
    """f's training as a run: two expert views, and the loss that f learns by."""
    f = reference_config(config)
    arranged = {"name": "simclr", "view1": "expert", "view2": "expert", "view3": None}
    return f | {"assim": {**f["assim"], **arranged}, "loss": {**f["loss"], "name": config["simclr_loss"]}}


def check_reference(config: Mapping[str, Any]) -> None:
    """Refuse settings that f's training has not, and a SimSiam f without a predictor.

    Raises:
        UserError: one of these.
    """
    own = reference_overrides(config)
    unknown = [group for group in own if group not in GROUPS]
    for group in ("encoder", "loss"):
        unknown += [f"{group}.{key}" for key in own.get(group, {}) if key not in config[group]]
    if unknown:
        raise UserError(f"{OWN_SETTINGS}{unknown[0]} is no setting of f's training: it may have {', '.join(GROUPS)}")
    learns_by_simsiam = trains_reference(config) and config["simclr_loss"] == "simsiam"
    if learns_by_simsiam and reference_config(config)["encoder"]["predictor_dim"] is None:
        raise UserError(
            "simclr_loss=simsiam needs a predictor for f (512 wide in PROTOCOLS 11): take view_encoder=simsiam, "
            "or recipe=simsiam for the run too"
        )
