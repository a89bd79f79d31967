"""What makes two configurations the same: canonical values, content hashes, and the keys that are no part of a run."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from assimilate.settings.options import INITIALIZATIONS

# Recorded in every result, never hashed: where and how a run is computed, not what (DESIGN §4).
NEUTRAL_KEYS = frozenset(
    {
        *("trainer", "logger", "prepare", "out", "force", "verify", "shard", "preview", "knn", "objective"),
        *("row", "paper", "analysis", "hydra"),
    }
)
NEUTRAL_PATHS = frozenset(
    {("data", "placement"), ("data", "compile_augmentation"), ("budget", "caps"), ("dataset", "download")}
)
# With `checkpoint=`, all that a result depends on; `data` by its normalisation alone.
OF_GIVEN_WEIGHTS = ("checkpoint", "input", "dataset", "probe", "budget", "seed")
# What a measurement of a pair of views has no part in.
OF_APPENDED_VIEWS = ("alpha", "align_anchors")
OF_TRAINED_RUNS = ("assim", "probe", "checkpoint", "input")
# Recorded while a generator trains, without moving it.
GENERATOR_RECORDS = frozenset(
    {"sample_every", "save_every_images", "frechet", "frechet_every", "frechet_images", "frechet_encoder"}
)
# So is what a kill may cost: checkpoint_every, checkpoint_every_n_epochs, of whatever is trained.
CHECKPOINTING = "checkpoint_every"
GENERATED = "generated"
# Name of a generator that is the user's own code (generator._target_).
OWN = "own"
# A data set that a generator makes, so that the latents of its images are known.
SAMPLED_DATA = "sampled"
# Views that come from a generator and the latents of the images.
LATENT_SOURCES = frozenset({"wsearch", "wperturb", "wmix", "online", "reconstruction"})
# Views of the real image, drawn anew by a transformation; "original" takes that of `assim.generated_transform`.
IMAGE_VIEWS = frozenset({"expert", "basic", "crop50", "crop70", "crop90", "original"})


def canonical(value: Any) -> Any:
    """The same value whatever its spelling: 1 and 1.0 are one number, tuples are lists, keys are strings and sorted."""
    if isinstance(value, Mapping):
        return {str(key): canonical(value[key]) for key in sorted(value, key=str)}
    if isinstance(value, str | bool) or value is None:
        return value
    if isinstance(value, Sequence):
        return [canonical(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def content_hash(value: Any, length: int = 12) -> str:
    """Hex digest of a canonical value."""
    text = json.dumps(canonical(value), sort_keys=True, ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def view_slots(config: Mapping[str, Any]) -> list[str]:
    """The run's views in order, e.g. ["expert", "expert", "generated"]: two contrasted, the rest appended."""
    assim = config["assim"]
    slots = [assim["view1"], assim["view2"]]
    if assim.get("view3") is not None:
        slots += [assim["view3"]] * (config["view"]["n_sampled"] if assim["view3"] == GENERATED else 1)
    return slots


def uses_view(config: Mapping[str, Any]) -> bool:
    """Whether the arrangement of views has a place for the chosen `view`."""
    return GENERATED in view_slots(config)


def needs_cache(config: Mapping[str, Any]) -> bool:
    """Whether the run is trained with a cache of views."""
    view = config["view"]
    return uses_view(config) and (view["name"] in ("wsearch", "external") or bool(view.get("cached", False)))


def reading_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """How given weights read images (`input`), as it is known by: without a prefix where the file holds one network."""
    return {key: value for key, value in config["input"].items() if key != "prefix" or value is not None}


def views_used(config: Mapping[str, Any]) -> int | None:
    """How many of an image's cached views the run reads, the first ones; None: all of them."""
    used, cached = config["view"].get("n_used"), config["view"].get("n_cached")
    binding = used is not None and needs_cache(config) and (cached is None or used < cached)
    return int(used) if binding else None


def draws_one_of_many(config: Mapping[str, Any]) -> bool:
    """Whether a training step draws one of several cached views of each image."""
    if not needs_cache(config) or view_slots(config).count(GENERATED) != 1:
        return False
    return (views_used(config) or config["view"]["n_cached"]) != 1  # null, of view=external: as many as there are


def transforms_generated(config: Mapping[str, Any]) -> bool:
    """Whether `assim.generated_transform` is read: a transformation drawn on the fly and a Viewmaker do without."""
    view = config["view"]["name"]
    return uses_view(config) and view != "viewmaker" and (view == "original" or not draws_view_on_the_fly(config))


def needs_generator(config: Mapping[str, Any]) -> bool:
    """Whether the run's views come from a generator."""
    return uses_view(config) and config["view"]["name"] in LATENT_SOURCES


def data_is_sampled(config: Mapping[str, Any]) -> bool:
    """Whether the images themselves come from the generator (dataset=imagenet_fake)."""
    return bool(config["dataset"]["kind"] == SAMPLED_DATA)


def draws_view_on_the_fly(config: Mapping[str, Any]) -> bool:
    """Whether the chosen view is a transformation of the image itself, drawn anew: then nothing is generated."""
    return uses_view(config) and config["view"]["name"] in IMAGE_VIEWS and not needs_cache(config)


def measures_pair(config: Mapping[str, Any]) -> bool:
    """Whether the configuration is a line of Table 1: two kinds of views are compared, and nothing is trained."""
    return config["analysis"].get("pair") is not None


def measures_generated(config: Mapping[str, Any]) -> bool:
    """Whether one of the two is a generated view."""
    return measures_pair(config) and GENERATED in config["analysis"]["pair"]


def _without_checkpointing(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in settings.items() if not key.startswith(CHECKPOINTING)}


def generator_settings(generator: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a generator that its training depends on; an augmentation that is off is none of them."""
    left_out = set(GENERATOR_RECORDS)
    if generator.get("augment", "none") == "none":
        left_out.add("augment")
    if generator.get("augment") != "leak":
        left_out.add("augment_probability")
    return {key: value for key, value in _without_checkpointing(generator).items() if key not in left_out}


def encoder_settings(encoder: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of an encoder, without the initialization where it is the usual one, which came later."""
    return {key: value for key, value in encoder.items() if (key, value) != ("initialization", INITIALIZATIONS[0])}


def inversion_settings(inversion: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of the inversion, without those that came later where they say what was always done."""
    left_out = {"perceptual_norm"} if inversion["perceptual_norm"] == "l1" else set()
    settings = {key: value for key, value in _without_checkpointing(inversion).items() if key not in left_out}
    if settings["optimization"]["keep"] == "best":
        settings["optimization"] = {key: value for key, value in settings["optimization"].items() if key != "keep"}
    return settings


def run_identity(config: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a resolved configuration that decides a run's numbers.

    Neutral keys are dropped, and whole groups that the run does not use: `view` under `assim=simclr`, the generator
    of a run without generated views or images, the inversion of one without views or with known latents, and all that
    concerns training where given weights are probed.
    """
    identity = {key: _without_class(value) for key, value in config.items() if key not in NEUTRAL_KEYS}
    if config["checkpoint"] is None:
        del identity["checkpoint"], identity["input"]
    else:
        identity = {key: identity[key] for key in OF_GIVEN_WEIGHTS} | {"input": reading_of(config)}
        identity["data"] = {"normalize": config["data"]["normalize"]}
    # Where it is computed is neutral, in how many bits is not.
    identity["precision"] = config["trainer"]["precision"]
    if measures_pair(config):
        identity = _measurement(identity, config)
    elif not uses_view(config):
        identity.pop("view", None)
    if "view" in identity and views_used(config) is None:
        identity["view"] = {key: value for key, value in identity["view"].items() if key != "n_used"}
    if config["assim"]["name"] == "simclr" and not transforms_generated(config) and "assim" in identity:
        identity["assim"] = {key: value for key, value in identity["assim"].items() if key != "generated_transform"}
    if not needs_generator(config) and not data_is_sampled(config):
        identity.pop("generator", None)
    if not needs_generator(config) or data_is_sampled(config):
        identity.pop("inversion", None)
    if "encoder" in identity:
        identity["encoder"] = encoder_settings(identity["encoder"])
    if identity["data"].get("std") is None:  # the data set's own
        identity["data"] = {key: value for key, value in identity["data"].items() if key != "std"}
    if "generator" in identity:
        identity["generator"] = generator_settings(identity["generator"])
    if "inversion" in identity:
        identity["inversion"] = inversion_settings(identity["inversion"])
    for group, key in NEUTRAL_PATHS:
        if isinstance(identity.get(group), Mapping):
            identity[group] = {name: value for name, value in identity[group].items() if name != key}
    if config["dataset"]["kind"] not in ("folder", "imagenet"):
        identity["dataset"] = {name: value for name, value in identity["dataset"].items() if name != "root"}
    result: dict[str, Any] = canonical(identity)
    return result


def _without_class(value: Any) -> Any:
    if not isinstance(value, Mapping) or "arguments" in value:
        return value
    return {key: _without_class(item) for key, item in value.items() if key != "_target_"}


def _measurement(identity: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """Of a training's identity, what a pair of views and f depend on; and the settings of the measurement."""
    kept = {key: value for key, value in identity.items() if key not in OF_TRAINED_RUNS}
    kept["loss"] = {key: value for key, value in config["loss"].items() if key not in OF_APPENDED_VIEWS}
    kept["analysis"] = {key: config["analysis"][key] for key in ("pair", "mine")}
    if not measures_generated(config):
        kept["view"] = {"encoder": config["view"].get("encoder")}  # f has its settings there
        kept.pop("inversion", None)
        if not data_is_sampled(config):
            kept.pop("generator", None)
    return kept


def kept_identity(identity: Mapping[str, Any]) -> dict[str, Any]:
    """An identity that was written when how often checkpoints are saved was still a part of it, without that."""
    return {
        key: _without_checkpointing(value) if isinstance(value, Mapping) else value for key, value in identity.items()
    }


def differing_keys(first: Any, second: Any, prefix: str = "") -> list[str]:
    """Dotted paths at which two identities differ, each with both values."""
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        found = []
        for key in sorted({*first, *second}):
            found += differing_keys(first.get(key), second.get(key), f"{prefix}.{key}" if prefix else str(key))
        return found
    return [] if first == second else [f"{prefix}: {first!r} there, {second!r} here"]
