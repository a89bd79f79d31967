"""What a class from outside this package is made of: the file that defines it, and what that imports from beside it.

Nothing is imported or run to know it, so a plan stays quick.
"""

import ast
import functools
import hashlib
import importlib.util
import re
import sysconfig
import tomllib
from collections.abc import Iterator
from importlib import metadata
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

DISTRIBUTION = "assimilate-ssl"
PACKAGE = Path(__file__).resolve().parents[1]


def source_digest(target: str) -> str | None:
    """Digest of the source behind a dotted name, byte for byte.

    Counted are the module's file, the `__init__.py` of the packages that hold it, and every module of its own package,
    or of its own folder where it is in none, that these import by name, directly or not. Where the files lie does not
    matter; installed libraries beside the target's own are left to their versions.

    Args:
        target: module.Class or module.function, as Python imports it.

    Returns:
        None for a target of this package, of a library that this package needs, whose version is recorded, or one that
        cannot be found, which is said when it is imported.
    """
    top = target.split(".")[0]
    if top == __package__.split(".")[0] or top in _needed():
        return None
    importlib.invalidate_caches()
    spec = find_module(top)
    if spec is None or _folder(spec) / top == PACKAGE:
        return None
    files: dict[str, bytes] = {}
    waiting, seen = [target], set[str]()
    while waiting:
        name = waiting.pop()
        parts = name.split(".")
        waiting += [".".join(parts[:count]) for count in range(1, len(parts))]
        found = find_module(name) if name not in seen and _is_beside(top, spec, parts[0]) else None
        seen.add(name)
        if found is None or found.origin is None or not Path(found.origin).is_file():
            continue
        files[name] = Path(found.origin).read_bytes()
        if found.origin.endswith(".py"):
            waiting += _imported(files[name], name, is_package=found.submodule_search_locations is not None)
    contents = [f"{name} {hashlib.sha256(source).hexdigest()}" for name, source in sorted(files.items())]
    return hashlib.sha256("\n".join(contents).encode()).hexdigest()


@functools.cache
def _needed() -> frozenset[str]:
    """The libraries that this package declares, extras included."""
    try:
        declared = metadata.requires(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:  # a checkout that is on the path without being installed
        project = tomllib.loads((PACKAGE.parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        declared = [
            *project["dependencies"],
            *(each for some in project["optional-dependencies"].values() for each in some),
        ]
    return frozenset(re.split(r"[^\w.-]", requirement)[0].replace("-", "_") for requirement in declared)


def _is_beside(top: str, spec: ModuleSpec, other: str) -> bool:
    """Whether a top-level module is the target's own, or lies in its folder where the target is in no package."""
    if other == top:
        return True
    libraries = {Path(path).resolve() for path in sysconfig.get_paths().values()}
    folder = _folder(spec)
    found = find_module(other) if spec.submodule_search_locations is None and folder not in libraries else None
    return found is not None and _folder(found) == folder and folder / other != PACKAGE


def _folder(spec: ModuleSpec) -> Path:
    """The folder that holds a top-level module or package; that of nothing, for one that is built in."""
    places = list(spec.submodule_search_locations or [])
    return Path(places[0] if places else spec.origin or "").resolve().parent


def find_module(name: str) -> ModuleSpec | None:
    """Where Python would import a module from, without importing anything."""
    parts = name.split(".")
    try:
        spec = importlib.util.find_spec(parts[0])
        for end in range(2, len(parts) + 1):
            places = None if spec is None else spec.submodule_search_locations
            spec = None if places is None else PathFinder.find_spec(".".join(parts[:end]), list(places))
    except (ImportError, ValueError):
        return None
    return spec


def defines(path: str) -> bool:
    """Whether the module of a dotted path, which is there, gives a value to its last name; true if it may."""
    module, _, name = path.rpartition(".")
    spec = find_module(module)
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return True
    try:
        tree = ast.parse(Path(spec.origin).read_bytes())
    except (OSError, SyntaxError, ValueError):
        return True  # said when it is imported
    bound = set[str]()
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            bound.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            bound.add(node.id)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            bound |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
    return bool(bound & {name, "*", "__getattr__"})


def _imported(source: bytes, name: str, *, is_package: bool) -> Iterator[str]:
    """Full names of the modules that a file's import statements may mean."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return  # said when it is imported
    package = name.split(".") if is_package else name.split(".")[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = [*above, *([node.module] if node.module else [])]
            yield from (".".join([*base, alias.name]) for alias in node.names)
            yield ".".join(base)
