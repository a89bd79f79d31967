"""Assimilate learned views into contrastive learning: every row of the paper as one override.

What a notebook needs is offered here by name (docs/api.md); `__init__.pyi` lists where each name comes from. A name is
imported when it is first used, so `import assimilate` costs nothing and the command line needs no torch.
"""

import ast
import functools
import importlib
import pkgutil
from typing import Any

from assimilate.files.cpus import usable_cpus as _usable_cpus

__version__ = "0.1.0"

_usable_cpus()  # remembered before torch starts its threads, which may bind this one to a single CPU


@functools.cache
def _places() -> dict[str, str]:
    """The module of each name that is offered, from the imports of the stub, which type checkers read."""
    stub = pkgutil.get_data(__name__, "__init__.pyi")
    assert stub is not None, "__init__.pyi ships with the package"
    imports = (node for node in ast.parse(stub).body if isinstance(node, ast.ImportFrom))
    return {alias.name: str(node.module) for node in imports for alias in node.names}


def __getattr__(name: str) -> Any:
    if name == "__all__":
        return sorted(_places())
    place = None if name.startswith("_") else _places().get(name)
    if place is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value = getattr(importlib.import_module(place), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_places()})
