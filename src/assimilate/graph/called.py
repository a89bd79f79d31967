"""Classes and functions that are no component of ours: a dotted path, and the arguments that it is called with."""

import difflib
import functools
import inspect
import pkgutil
from collections.abc import Callable, Mapping
from typing import Annotated, Any, ClassVar, Self

from pydantic import Field, model_validator

from assimilate.graph.settings import Allowed, Settings, Text
from assimilate.graph.source import source_digest

TARGET = "_target_"
# What a mapping of classes from outside may hold.
NAMED_CLASSES = "<name>._target_=module.Class, under a name of yours"


class Called(Settings):
    """A class or function of a library, or of the user's, that is called where it is needed.

    A subclass with the keyword `adapts` stands in for its base where `_target_` names what is no component; the other
    keys beside `_target_` are then the arguments.

    Attributes:
        factory: its dotted path.
        arguments: its own, by name; a mapping that has a `_target_` is made first.
    """

    # What it must be a subclass of, as a dotted path; None for anything that can be called.
    makes: ClassVar[str | None] = None
    factory: Annotated[Text, Allowed("a dotted path, module.Class")]
    arguments: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _it_takes_these_arguments(self) -> Self:
        # Imported at once, so that a typo is refused before anything is trained.
        found = resolved(self.factory)
        base = object if self.makes is None else resolved(self.makes)
        if not (self.makes is None or (isinstance(found, type) and isinstance(base, type) and issubclass(found, base))):
            raise ValueError(f"{self.factory} cannot be used: allowed is a subclass of {self.makes}")
        positional, named = self.supplied()
        signature = signature_of(found)
        try:
            if signature is not None:
                signature.bind(*positional, **{**named, **self.arguments})
        except TypeError as error:
            takes = ", ".join(list(signature.parameters)[len(positional) :]) if signature is not None else ""
            raise ValueError(
                f"{self.factory} does not take ({', '.join(self.arguments)}): {error}; it takes {takes or 'nothing'}"
            ) from error
        return self

    def supplied(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """What it is called with beside its arguments: by position and by name."""
        return (), {}

    def content(self) -> Mapping[str, Any]:
        source = source_digest(self.factory)
        return {} if source is None else {"source": source}

    def call(self, *positional: Any) -> Any:
        """What it makes.

        Args:
            positional: in the place of those of `supplied`.
        """
        named = {**self.supplied()[1], **self.arguments}
        return resolved(self.factory)(*positional, **{name: _made(value) for name, value in named.items()})


def _made(value: Any) -> Any:
    if isinstance(value, Mapping):
        inner = {name: _made(item) for name, item in value.items() if name != TARGET}
        return resolved(value[TARGET])(**inner) if TARGET in value else inner
    return [_made(item) for item in value] if isinstance(value, list) else value


def resolved(name: Any) -> Callable[..., Any]:
    """What a dotted path names.

    Raises:
        ValueError: it cannot be imported, or called.
    """
    try:
        found = pkgutil.resolve_name(name)
    except ModuleNotFoundError as error:
        raise ValueError(
            f"{name} cannot be imported: there is no module {error.name!r}; run from the folder that holds it, or put "
            "that on PYTHONPATH"
        ) from error
    except Exception as error:  # importing it runs the user's code, which may raise anything
        raise ValueError(f"{name} cannot be imported: {in_one_line(error)}{_nearest_in_module(name, error)}") from error
    if not callable(found):
        raise ValueError(f"{name} cannot be used: it is no class or function")
    return found


def _nearest_in_module(name: str, error: Exception) -> str:
    """Which public class or function of the named module was meant; "" where none is alike."""
    module, _, last = name.rpartition(".")
    if not (isinstance(error, AttributeError) and error.name == last and inspect.ismodule(error.obj)):
        return ""
    public = [known for known, value in vars(error.obj).items() if callable(value) and not known.startswith("_")]
    near = difflib.get_close_matches(last, public, n=1)
    return f". Did you mean {module}.{near[0]}?" if near else ""


def in_one_line(error: Exception) -> str:
    """The kind of an error and its text."""
    return " ".join(f"{type(error).__name__}: {error}".split())


@functools.lru_cache(maxsize=64)
def signature_of(found: Callable[..., Any]) -> inspect.Signature | None:
    """Its parameters; None where they cannot be known."""
    try:
        return inspect.signature(found)
    except (TypeError, ValueError):
        return None
