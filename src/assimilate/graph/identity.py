"""What makes two things the same: canonical values, their hash, and what a class is known by."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from assimilate.graph.source import source_digest


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


def describe_class(cls: type) -> dict[str, Any]:
    """A class by its name and version; one from outside this package by its source too, which its author may edit."""
    name = f"{cls.__module__}.{cls.__qualname__}"
    source = source_digest(name)
    return {"class": name, "version": getattr(cls, "version", 1), **({} if source is None else {"source": source})}


def brings_code(identity: Any) -> bool:
    """Whether an identity holds the source of a class from outside."""
    if isinstance(identity, Mapping):
        return "source" in identity or any(map(brings_code, identity.values()))
    return isinstance(identity, list | tuple) and any(map(brings_code, identity))


def differing_keys(first: Any, second: Any, prefix: str = "") -> list[str]:
    """Dotted paths at which two identities differ, each with both values."""
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        found = []
        for key in sorted({*first, *second}):
            found += differing_keys(first.get(key), second.get(key), f"{prefix}.{key}" if prefix else str(key))
        return found
    return [] if first == second else [f"{prefix}: {first!r} there, {second!r} here"]
