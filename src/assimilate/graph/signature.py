"""What a library's class takes, read from its source: nothing is imported, so a plan and a refusal stay quick."""

import ast
import builtins
import typing
from collections.abc import Container, Mapping
from pathlib import Path
from typing import Any

from assimilate.graph.settings import Flag, Integer, Number
from assimilate.graph.source import find_module

# What the plain types of an annotation mean in a configuration.
PLAIN: Mapping[str, Any] = {"int": Integer, "float": Number, "bool": Flag}


class NotPlain:
    """Stands for every class whose instances no configuration can hold."""


def keyword_parameters(target: str, *, without: Container[str] = ()) -> dict[str, tuple[Any, Any]]:
    """The keyword-only parameters of a class's constructor.

    Args:
        target: module.Class, where the class itself is defined.
        without: names of parameters whose type is not asked for.

    Returns:
        (type, default) by name. The type is what a configuration may hold of it, e.g. bool or str of
        Union[bool, str, Profiler]; that of None where it can hold nothing but null, or is not asked for.

    Raises:
        LookupError: there is no such class with a constructor of its own.
    """
    module, _, name = target.rpartition(".")
    names = _Names(module)
    found = [node for node in names.tree.body if isinstance(node, ast.ClassDef) and node.name == name]
    methods = [node for cls in found for node in cls.body if isinstance(node, ast.FunctionDef)]
    arguments = next((node.args for node in methods if node.name == "__init__"), None)
    if arguments is None:
        raise LookupError(f"{target} has no constructor of its own")
    found_types: dict[str, tuple[Any, Any]] = {}
    for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        if argument.arg in without:
            found_types[argument.arg] = type(None), None
        else:
            found_types[argument.arg] = _plain(_evaluated(argument.annotation, names)), _evaluated(default, names)
    return found_types


class _Names(dict[str, Any]):
    """The names of a module, each looked up in its source when it is asked for."""

    def __init__(self, module: str) -> None:
        super().__init__(PLAIN)
        spec = find_module(module)
        if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
            raise LookupError(f"there is no source of {module}")
        self.tree = ast.parse(Path(spec.origin).read_bytes())

    def __missing__(self, name: str) -> Any:
        if hasattr(typing, name) or hasattr(builtins, name):
            return getattr(typing, name, None) or getattr(builtins, name)
        for node in self.tree.body:
            if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == [name]:
                return _evaluated(node.value, self)
            # Of what is imported, only a name that is spelt as a constant can be another one for plain types.
            if isinstance(node, ast.ImportFrom) and name.isupper() and name in [alias.name for alias in node.names]:
                return _Names(str(node.module))[name]
        return NotPlain


def _evaluated(node: ast.expr | None, names: _Names) -> Any:
    if node is None:
        return None
    return eval(compile(ast.Expression(node), "<annotation>", "eval"), {"__builtins__": {}}, names)


def _plain(annotation: Any) -> Any:
    """An annotation without what no configuration can hold."""
    if typing.get_origin(annotation) is not typing.Union:
        return type(None) if _holds_objects(annotation) else annotation
    kept = tuple(part for part in typing.get_args(annotation) if not _holds_objects(part))
    return typing.Union[kept] if kept else type(None)  # noqa: UP007  of parts that are known only here


def _holds_objects(annotation: Any) -> bool:
    return annotation is NotPlain or any(_holds_objects(part) for part in typing.get_args(annotation))
