"""PYTHONPATH as a printed command needs it: where it led Python to a class that the run names."""

import os
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

VARIABLE = "PYTHONPATH"
# The package itself is found wherever the command is typed, or no command of it would be printed.
_OURS = __package__.split(".")[0]


def needed_python_path(config: Mapping[str, Any]) -> str:
    """PYTHONPATH with whole paths, where a class that the configuration names was found through it; else "".

    All of it, as the module of the class may import others. What is in the working directory or installed needs none.

    Args:
        config: the configuration, whose classes have been imported.
    """
    folders = [str(Path(part).absolute()) for part in os.environ.get(VARIABLE, "").split(os.pathsep) if part]
    real = {os.path.realpath(folder) for folder in folders}
    found = any(os.path.realpath(folder) in real for name in _modules(config) for folder in _folders_of(name))
    return os.pathsep.join(dict.fromkeys(folders)) if found else ""


def _modules(config: Any) -> set[str]:
    """The top modules of dotted paths in a configuration, as far as they have been imported."""
    paths = {text for text in _texts(config) if re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)+", text)}
    return {name for name in (path.split(".")[0] for path in paths) if name != _OURS and name in sys.modules}


def _texts(node: Any) -> Iterator[str]:
    if isinstance(node, Mapping | list):
        for value in node.values() if isinstance(node, Mapping) else node:
            yield from _texts(value)
    elif isinstance(node, str):
        yield node


def _folders_of(name: str) -> list[str]:
    """The folders in which a top module lies; several of a package without an `__init__.py`."""
    module = sys.modules[name]
    places = list(getattr(module, "__path__", ())) or [getattr(module, "__file__", None)]
    return [os.path.dirname(place) for place in places if place]
