"""Typed settings of a component: what each may hold, in words too, and which of them decide its output."""

import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, ValidatorFunctionWrapHandler, field_validator
from pydantic.fields import FieldInfo
from pydantic_core import core_schema

from assimilate.files.checked_files import digest_once
from assimilate.graph.identity import describe_class

# ------------------------------------------------------------------------------------- marks that stand on a field


@dataclass(frozen=True)
class From:
    """The value stands elsewhere in the configuration, at a dotted path: `Annotated[int, From("dataset.image_size")]`.

    Settings from there are of the class that the node names (`_target_`).
    """

    path: str


@dataclass(frozen=True)
class At:
    """The settings' own fields stand at that dotted path, among those of another component."""

    path: str


class When:
    """The field has a value only where another holds one of these: `When("epsilon1", "auto")`.

    Or where the class chosen there says so: `When("perceptual", fact="needs_encoder")`. Elsewhere the field is None,
    and a step that it would be is not made.
    """

    def __init__(self, field: str, *values: Any, fact: str | None = None) -> None:
        self.field, self.values, self.fact = field, values, fact

    def holds(self, value: Any) -> bool:
        """Whether the other field, with this value, asks for this one."""
        if self.fact is None:
            return value in self.values
        return isinstance(value, Settings) and bool(getattr(value, self.fact))  # one without a value is refused anyway


@dataclass(frozen=True)
class Allowed:
    """What a field may hold, for people: "a whole number ≥ 1".

    Attributes:
        text: in words.
        advice: what to say beside it of a value that the field may not hold; "" for none.
    """

    text: str
    advice: Callable[[Any], str] = lambda value: ""


@dataclass(frozen=True)
class Chooses:
    """The field's text chooses a class: by its word, or by the dotted path of one of the user's own.

    Attributes:
        base: what the class is.
        beside: other words that the field may hold.
    """

    base: "type[Settings]"
    beside: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """What the field may hold, in words."""
        return listed([*self.beside, *sorted(choices(self.base)), "module.Class of your own"])


class Mark(Enum):
    """What is true of a field, beside what it may hold."""

    NEUTRAL = "how the output is computed or called, not what it is: no part of the identity"
    NAMED = "it says which option of its group was chosen; set by hand, it would mislabel the run"
    BESIDE = "what decides the shipped class that its word chooses is known among the other settings, as it is typed"
    PATH = "it can hold nothing but a path, so that its text may be quoted for Hydra"


NEUTRAL, NAMED, BESIDE, PATH = Mark


_Float = Annotated[float, Field(allow_inf_nan=False)]
Integer = Annotated[int, Allowed("a whole number")]
Count = Annotated[int, Field(ge=1), Allowed("a whole number ≥ 1")]
Whole = Annotated[int, Field(ge=0), Allowed("a whole number ≥ 0")]
# What torch's generators take.
Seed = Annotated[int, Field(ge=0, lt=2**64), Allowed("a whole number from 0 to 2⁶⁴ − 1")]
Number = Annotated[_Float, Allowed("a number")]
Positive = Annotated[_Float, Field(gt=0), Allowed("a number > 0")]
NotNegative = Annotated[_Float, Field(ge=0), Allowed("a number ≥ 0")]
Probability = Annotated[_Float, Field(ge=0, le=1), Allowed("a probability, 0 to 1")]
Flag = Annotated[bool, Field(strict=True), Allowed("true or false")]
Compiling = Annotated[
    Flag | Literal["reduce-overhead", "max-autotune"],
    Allowed("true, false, reduce-overhead (CUDA graphs) or max-autotune"),
]
Text = Annotated[str, Field(pattern=r"\S"), Allowed("a word")]


MISSING_FILE = "there is no such file"


class File(str):
    """The path of a file that the user brings; it is identified by its bytes, wherever it lies."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_after_validator_function(cls.checked, core_schema.str_schema(strict=True))

    @classmethod
    def checked(cls, path: str) -> Self:
        """The path of a file that is there.

        Raises:
            ValueError: there is none, or it cannot be read.
        """
        try:
            if not Path(path).expanduser().is_file():
                raise ValueError(MISSING_FILE)
            digest_once(Path(path).expanduser())
        except OSError as error:
            raise ValueError(f"it cannot be read ({error.strerror})") from error
        return cls(path)

    @property
    def path(self) -> Path:
        """Where it lies."""
        return Path(self).expanduser()

    @property
    def known_as(self) -> dict[str, str]:
        """What it is identified by."""
        return {"sha256": digest_once(self.path)}


# ------------------------------------------------------------------------------------------------------- settings


class Settings(BaseModel):
    """Settings of one component. Subclasses declare fields; a field's type says what it may hold.

    A field with a default is part of the identity only where its value is another, so a setting that is added later,
    with a default that means what was always done, moves no key. Raise `version` when the output changes for the same
    settings.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True, populate_by_name=True)
    version: ClassVar[int] = 1
    # Whether it is something else that is built before, rather than a part.
    is_upstream: ClassVar[bool] = False
    # How a class is chosen by a key that holds a word, e.g. optimizer.schedule=constant; others by their dotted path.
    word: ClassVar[str | None] = None
    # Where the settings of a class that a word chooses stand: beside the word, or in this node beside it.
    node: ClassVar[str | None] = None
    # What to say of its settings in a run that makes none: "this run trains no f".
    absent: ClassVar[str] = ""

    # What stands in where `_target_` names a class or function that is no component.
    adapter: ClassVar["type[Settings] | None"] = None

    def __init_subclass__(
        cls, word: str | None = None, node: str | None = None, adapts: bool = False, **kwargs: Any
    ) -> None:
        super().__init_subclass__(**kwargs)
        cls.word = word if is_shipped(cls) else None  # whoever has not imported another's class would not know its word
        cls.node = node or cls.node
        if adapts:
            cls.__bases__[-1].adapter = cls  # type: ignore[attr-defined]

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """Refuse fields that hide what a parent computes, and the reverse.

        Pydantic's own hook, since `__init_subclass__` sees no fields.

        Raises:
            TypeError: pydantic would give the field one value and the methods another.
        """
        for name, field in cls.model_fields.items():
            for parent in cls.__mro__[1:]:
                if issubclass(parent, Settings) and name in vars(parent):
                    raise TypeError(
                        f"{cls.__module__}.{cls.__qualname__}: its field {name} has the name of an attribute of "
                        f"{parent.__name__}, which would hide its value: call the field something else"
                    )
            if hasattr(type(field.default), "__get__"):
                raise TypeError(
                    f"{cls.__module__}.{cls.__qualname__}: {name} is a field of a parent, and cannot be computed: give "
                    "it a value, or call the property or method something else"
                )

    @field_validator("*", mode="wrap")
    @classmethod
    def _no_boolean_for_a_number(cls, value: Any, validate: ValidatorFunctionWrapHandler) -> Any:
        """Pydantic takes true for 1, within lists and mappings too."""
        found = validate(value)
        if _became_a_number(value, found):
            raise ValueError("a number is needed")
        return found

    def unused(self) -> Mapping[str, str]:
        """Fields that these settings leave without any effect, each with the reason, for people."""
        return {}

    def content(self) -> Mapping[str, Any]:
        """What decides the output beside the fields, e.g. a listing of the files in a folder."""
        return {}

    @cached_property
    def identity(self) -> dict[str, Any]:
        """Everything that decides the output, as plain values."""
        return {**self.decided, **self.content()}

    @cached_property
    def decided(self) -> dict[str, Any]:
        """The identity, as far as the settings decide it."""
        unused = self.unused()
        found: dict[str, Any] = describe_class(type(self))
        for name, field in type(self).model_fields.items():
            value = getattr(self, name)
            if name in unused or is_neutral(field) or getattr(value, "is_upstream", False):
                continue
            known = identity_of(value)
            # By what they are known as: settings that differ in what decides nothing are the default still.
            if field.is_required() or known != identity_of(field.get_default()):
                beside = getattr(value, "word", None) and BESIDE in field.metadata
                found |= known if beside else {name: known}
        return found

    @property
    def known_as(self) -> Any:
        """What it contributes to the identity of what has it as a field."""
        return self.identity


def is_shipped(cls: type) -> bool:
    """Whether a class is of this package: only these are there in every process."""
    return cls.__module__.split(".")[0] == __package__.split(".")[0]


class Part(Settings):
    """A part that is chosen by a word or a dotted path; its settings stand beside that, or with `_target_` below it."""

    # The key that chooses it.
    role: ClassVar[str]

    @property
    def called(self) -> str:
        """Its word, or its class's name."""
        return self.word or type(self).__name__

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What decides it, beside the other settings: a shipped one is known by its word."""
        known = dict(super().identity)
        if self.word is None:
            return known
        known = {name: value for name, value in known.items() if name not in ("class", "version", "source")}
        version = {} if self.version == 1 else {f"version_of_{self.role}": self.version}
        return {**known, self.role: self.word, **version}


def identity_of(value: Any) -> Any:
    """What a value contributes to an identity: components and files by what they are known as."""
    if isinstance(value, list | tuple):
        return [identity_of(item) for item in value]
    if isinstance(value, Mapping):
        return {key: identity_of(item) for key, item in value.items()}
    return getattr(value, "known_as", value)


def is_neutral(field: FieldInfo) -> bool:
    """Whether a field is no part of the identity."""
    return NEUTRAL in field.metadata


def holds_a_path(field: FieldInfo) -> bool:
    """Whether a field can hold nothing but a path."""
    return PATH in field.metadata or File in _parts(field.annotation)


def _parts(annotation: Any) -> tuple[Any, ...]:
    if typing.get_origin(annotation) in (types.UnionType, typing.Union):
        return tuple(part for each in typing.get_args(annotation) for part in _parts(each))
    return (annotation,)


def _became_a_number(given: Any, found: Any) -> bool:
    """Whether a boolean is now a number, in lists and mappings however deep."""
    if isinstance(given, Mapping) and isinstance(found, Mapping):
        given, found = [*given, *given.values()], [*found, *found.values()]
    if isinstance(given, list | tuple) and isinstance(found, list | tuple):
        return any(map(_became_a_number, given, found))
    return isinstance(given, bool) and isinstance(found, int | float) and not isinstance(found, bool)


def settings_type(annotation: Any) -> "type[Settings] | None":
    """The class of settings that a field holds, also where it may be None; None for a field of other values."""
    if typing.get_origin(annotation) is Annotated:
        return settings_type(typing.get_args(annotation)[0])
    if typing.get_origin(annotation) in (types.UnionType, typing.Union):
        found = [settings_type(part) for part in typing.get_args(annotation)]
        return next((part for part in found if part is not None), None)
    return annotation if isinstance(annotation, type) and issubclass(annotation, Settings) else None


def choices(base: type[Settings]) -> dict[str, type[Settings]]:
    """The subclasses of a class that a word chooses, by their words."""
    found = {} if base.word is None else {base.word: base}
    for subclass in base.__subclasses__():
        found |= choices(subclass)
    return found


# -------------------------------------------------------------------------------------------------- what is allowed


def allowed_in(field: FieldInfo) -> str:
    """What a field may hold, in words: those of its mark, or of its type."""
    marks = [mark.text for mark in field.metadata if isinstance(mark, Allowed | Chooses)]
    return marks[-1] if marks else _allowed_by(field.annotation)


def advice_of(field: FieldInfo, value: Any) -> str:
    """What to say of a value that a field may not hold."""
    return "".join(mark.advice(value) for mark in field.metadata if isinstance(mark, Allowed))


def _allowed_by(annotation: Any) -> str:
    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        marks = [mark.text for mark in parts[1:] if isinstance(mark, Allowed | Chooses)]
        return marks[-1] if marks else _allowed_by(parts[0])
    if origin in (types.UnionType, typing.Union):
        # None is first: "null or a number".
        ordered = sorted(parts, key=lambda part: part is not type(None))
        return listed([word for part in ordered for word in _words_of(part)])
    if origin is Literal:
        return listed(_words_of(annotation))
    if origin in (list, tuple):
        return f"a list, each {_allowed_by(parts[0])}"
    base = settings_type(annotation)
    if base is not None and (words := sorted(choices(base))):
        return listed([*words, "module.Class of your own"])
    known = {type(None): "null", bool: "true or false", int: "a whole number", float: "a number", File: "a path"}
    return known.get(annotation, "a word" if annotation is str else "settings")


def _words_of(part: Any) -> list[str]:
    if typing.get_origin(part) is Literal:
        return [str(word) for word in typing.get_args(part)]
    return [_allowed_by(part)]


def listed(words: list[str]) -> str:
    """ "a, b or c"."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"
