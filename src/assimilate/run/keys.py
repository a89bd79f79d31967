"""Every key that a component reads, derived from the fields of the classes."""

import functools
import pkgutil
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic.fields import FieldInfo

from assimilate.assimilation.alignment import Alignment
from assimilate.assimilation.arrangement import (
    A1Views,
    A2Views,
    Arrangement,
    Drawing,
    GeneratedTransform,
    Replacement,
    SimCLRViews,
)
from assimilate.assimilation.loss import Loss
from assimilate.assimilation.step import Trained, TrainingOfF
from assimilate.data.dataset import Dataset, Images
from assimilate.encoder.step import ImportedEncoder
from assimilate.generator.sampled_dataset import Sampled
from assimilate.generator.step import Generator
from assimilate.graph.settings import NAMED, Settings, choices, holds_a_path, settings_type
from assimilate.graph.step import Step
from assimilate.graph.wiring import TARGET, places_of
from assimilate.inversion.step import Latents
from assimilate.probes.step import Probe
from assimilate.run.job_settings import JobSettings
from assimilate.views import external_step, learned, of_the_image, synthesised, wsearch
from assimilate.views.calibration_step import Calibration
from assimilate.views.step import View

# Imported for the kinds of view that they define.
KINDS_OF_VIEW = (wsearch, synthesised, external_step, of_the_image, learned)
# What stands where in a configuration.
PLACES: tuple[tuple[str | None, type[Settings]], ...] = (
    ("", JobSettings),
    ("dataset", Dataset),
    ("dataset", Sampled),
    ("dataset.evaluation", Dataset),
    ("generator", Generator),
    ("inversion", Latents),
    ("view", View),
    ("view", Drawing),
    ("view.encoder", ImportedEncoder),
    ("assim", Arrangement),
    ("assim", A1Views),
    ("assim", A2Views),
    ("assim", SimCLRViews),
    ("assim", Replacement),
    ("loss", Loss),
    ("loss", Alignment),
    ("assim", GeneratedTransform),
    (None, Trained),
    (None, TrainingOfF),
    (None, Calibration),
    ("probe", Probe),
)


@functools.cache
def _readers() -> tuple[tuple[str, FieldInfo, type[Settings]], ...]:
    """Every key that a component reads, with the field and the class that read it."""
    return tuple(found for path, base in PLACES for found in places_of(path, base))


@functools.cache
def known_keys() -> dict[str, bool]:
    """Every key that a component reads; whether it can hold nothing but a path."""
    found: dict[str, bool] = {}
    for key, field, _ in _readers():
        found[key] = found.get(key, False) or holds_a_path(field)
    return found


@functools.cache
def value_keys() -> frozenset[str]:
    """Keys of settings that hold a value, not further settings; whether a file has them or not."""
    return frozenset(key for key, field, _ in _readers() if settings_type(field.annotation) is None)


def is_settable(key: str) -> bool:
    """Whether a component has the key as a setting of its own, rather than to say which option was chosen."""
    return any(known == key and NAMED not in field.metadata for known, field, _ in _readers())


def why_absent(key: str) -> str | None:
    """What the class that reads a key, or one that it stands in, says of a run that makes none; None if nothing."""
    reading = (cls for known, _, cls in _readers() if key == known or key.startswith(f"{known}."))
    return next((cls.absent for cls in reading if cls.absent), None)


def named_keys(config: Mapping[str, Any]) -> set[str]:
    """Every key that the classes named in a configuration read, those from outside the package too.

    A class that cannot be imported has none here; it is refused when it is made.
    """
    found = {key for path, named in _named(config) for key, _, _ in places_of(path, named)}
    for key in chosen_by_path():
        node: Any = config
        for part in key.split("."):
            node = node.get(part) if isinstance(node, Mapping) else None
        if isinstance(node, Mapping) and TARGET in node:
            found.add(f"{key}.{TARGET}")
        if isinstance(node, str) and (named := component(node)) is not None:
            found |= {place for place, _, _ in places_of(key.rpartition(".")[0], named)}
    return found


def fields_at(path: str, config: Mapping[str, Any]) -> tuple[str, set[str]] | None:
    """The component that a node names by `_target_`, and the fields that a run with it reads there; None without one.

    Args:
        path: the node's, dotted.
        config: the configuration.
    """
    node: Any = config
    for part in path.split("."):
        node = node.get(part) if isinstance(node, Mapping) else None
    target = node.get(TARGET) if isinstance(node, Mapping) else None
    named = component(target) if isinstance(target, str) else None
    if named is None:
        return None
    bases = [base for place, base in PLACES if place == path]
    family = tuple(base for base in bases if issubclass(named, base))
    beside = [base for base in bases if not issubclass(base, family)]
    keys = (key for cls in (named, *beside) for key, _, _ in places_of(path, cls) if key.startswith(f"{path}."))
    types = {name: settings_type(field.annotation) for name, field in named.model_fields.items()}
    upstream = {name for name, each in types.items() if each is not None and issubclass(each, Step | Images)}
    return str(target), {key.removeprefix(f"{path}.").partition(".")[0] for key in keys} - upstream


def _named(config: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, type[Settings]]]:
    """The places of nodes that name a component by `_target_`, and the component."""
    if isinstance(target := config.get(TARGET), str) and (named := component(target)) is not None:
        yield path, named
    for name, value in config.items():
        if isinstance(value, Mapping):
            yield from _named(value, f"{path}.{name}" if path else str(name))


@functools.cache
def chosen_by_path() -> frozenset[str]:
    """Keys that choose a class by a word, or by the dotted path of one from outside, whose settings stand beside."""
    nested = ((key, settings_type(field.annotation)) for key, field, _ in _readers())
    return frozenset(key for key, base in nested if base is not None and choices(base))


def is_argument(key: str, config: Mapping[str, Any]) -> bool:
    """Whether a key stands below a `_target_` that is no component: what that takes is checked where it is called."""
    node: Any = config
    for part in key.split("."):
        if not isinstance(node, Mapping):
            return False
        if isinstance(target := node.get(TARGET), str) and component(target) is None:
            return True
        node = node.get(part)
    return False


def component(target: str) -> type[Settings] | None:
    """The component that a dotted path names; None where it names something else, or nothing."""
    if "." not in target:
        return None
    try:
        found = pkgutil.resolve_name(target)
    except Exception:  # it is the user's code, which may raise anything; it is refused when it is made
        return None
    return found if isinstance(found, type) and issubclass(found, Settings) else None
