"""One line for a setting that cannot be used: key, value, what is allowed, what helps."""

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from assimilate.errors import NoValueError, UserError
from assimilate.graph.settings import MISSING_FILE, Settings, advice_of, allowed_in, listed, settings_type


def refused(
    error: ValidationError, cls: type[Settings], places: Mapping[str, str], values: Mapping[str, Any]
) -> UserError:
    """The first fault that pydantic found, as a user may act on it.

    Args:
        error: what making an instance of `cls` raised.
        cls: the class.
        places: the dotted key of each of its fields.
        values: what each field was given.
    """
    first = error.errors(include_url=False)[0]
    location, kind = first["loc"], first["type"]
    if not location:  # of several fields together: the class itself says what is wrong
        return UserError(_said(first))
    name = str(location[0])
    called = {field.alias or known: known for known, field in cls.model_fields.items()}
    name = called.get(name, name)
    key, value = places.get(name, name), values.get(name, first["input"])
    if kind == "missing" and len(location) == 1:
        return NoValueError(key)
    if kind == "extra_forbidden":
        return UserError(f"{key}={value} cannot be used: nothing reads it. {nearest(key, places.values())}")
    for part in location[1:]:  # of nested settings, the field that is wrong; of a union, the field that holds it
        nested = settings_type(cls.model_fields[name].annotation) if name in cls.model_fields else None
        if nested is None or part not in nested.model_fields:
            break
        cls, name, key = nested, str(part), f"{key}.{part}"
        value = value.get(name) if isinstance(value, Mapping) else first["input"]
    field = cls.model_fields[name]
    shown = repr(value) if isinstance(value, str) and _spells_a_number(value) else as_typed(value)
    if kind == "value_error" and (_said(first) == MISSING_FILE or _said(first).startswith("it cannot be read")):
        return UserError(f"{key}={value}: {_said(first)}")
    return UserError(f"{key}={shown} cannot be used: allowed is {allowed_in(field)}{advice_of(field, value)}")


def as_typed(value: Any) -> Any:
    """A value as one types it."""
    if value is None:
        return "null"
    if isinstance(value, list | tuple):
        return f"[{','.join(str(as_typed(item)) for item in value)}]"
    return str(value).lower() if isinstance(value, bool) else value


def _said(fault: Mapping[str, Any]) -> str:
    return str(fault["msg"]).removeprefix("Value error, ").removeprefix("Assertion failed, ")


def _spells_a_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def unknown_word(key: str, word: Any, words: Iterable[str]) -> UserError:
    """A word that chooses no class."""
    known = list(words)
    return UserError(f"{key}={word} cannot be used: allowed is {listed([*known, 'module.Class of your own'])}")


# As many names as a hint has at most.
MOST_NAMED = 4


def nearest(key: str, known: Iterable[str]) -> str:
    """ "Did you mean a or b?", or where all keys are shown.

    A key of which only the end was typed (root) is nearest to those that end so (dataset.root).
    """
    known = sorted(set(known))
    ending = sorted((name for name in known if name.endswith(f".{key}")), key=lambda name: name.count("."))
    if ending and key not in known:
        whole = difflib.get_close_matches(key, [name for name in known if "." not in name], n=2, cutoff=0.65)
        return f"Did you mean {listed([*whole, *ending][:MOST_NAMED])}?"
    alike = {name: difflib.SequenceMatcher(None, name, key).ratio() for name in known}
    near = sorted((name for name in known if alike[name] >= 0.6), key=lambda name: -alike[name])[:3]
    # Keys of one group are all a little alike: others stand beside the nearest only if they are about as near.
    near = [name for name in near if alike[name] > alike[near[0]] - 0.1]
    return f"Did you mean {' or '.join(near)}?" if near else "All keys: --cfg job"
