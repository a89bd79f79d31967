"""A step: one artifact, as the settings that decide it and the steps that it is made from."""

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from assimilate.graph.cost import Effort
from assimilate.graph.identity import content_hash
from assimilate.graph.place import Built, Place, RowWork
from assimilate.graph.settings import Settings, is_neutral


class Step(Settings):
    """One artifact. Fields whose type is a Step are what it is made from; all others are its settings."""

    is_upstream: ClassVar[bool] = True
    # The folder of its artifacts: "generators", "views", …
    kind: ClassVar[str]
    # The command that builds it, without overrides: "make_views".
    stage: ClassVar[str]
    # What it is called for people; of a step other than a view, what is done to build it.
    title: ClassVar[str] = ""
    # Keys that bring what is otherwise built.
    brought_by: ClassVar[tuple[str, ...]] = ()
    # Modules that its work takes long to import: processes that share the work are forked from one that has them.
    # Importing one starts no process and leaves nothing of its own to `atexit`: each of those processes would do it.
    slow_imports: ClassVar[tuple[str, ...]] = ()
    # What its shards are parts of, for people.
    whole: ClassVar[str] = "artifact"

    @property
    def label(self) -> str:
        """What its artifact's folder is called, before the key."""
        return type(self).__name__.lower()

    @property
    def doing(self) -> str:
        """What is done to build it, for a progress bar: "Inverting images"."""
        return self.title

    @property
    def place(self) -> str | None:
        """The folder level of its data set, where that is not the run's."""
        return None

    @property
    def is_brought(self) -> bool:
        """Whether the user brings it, so that it is read before anything long is built."""
        return False

    @property
    def is_stored(self) -> bool:
        """Whether it leaves an artifact; otherwise it only helps to identify the step in which it is made."""
        return True

    @property
    def indivisible(self) -> str | None:
        """Why processes cannot share the work of building it; None where they may."""
        return None

    @cached_property
    def identity(self) -> dict[str, Any]:
        """Everything that decides the artifact's bytes, as plain values; stored steps before it by their keys."""
        fields = type(self).model_fields
        parents = {name: parent for name, parent in self.parents.items() if not is_neutral(fields[name])}
        known = {name: parent.key if parent.is_stored else parent.identity for name, parent in parents.items()}
        return {**self.decided, **self.content(), **known}

    @cached_property
    def key(self) -> str:
        """Hash of the identity, with that of every step that it is made from."""
        return content_hash(self.identity)

    @property
    def known_as(self) -> str:
        return self.key

    @property
    def parents(self) -> dict[str, "Step"]:
        """What it is made from, by field."""
        unused = self.unused()
        named = {name: getattr(self, name) for name in type(self).model_fields if name not in unused}
        return {name: value for name, value in named.items() if isinstance(value, Step)}

    @property
    def sources(self) -> dict[str, "Step"]:
        """The artifacts that it is made from: those of its parents, or of theirs where a parent is not stored."""
        found: dict[str, Step] = {}
        for name, parent in self.parents.items():
            found |= {name: parent} if parent.is_stored else parent.sources
        return found

    def upstream(self) -> Iterator["Step"]:
        """Every stored step before this one, in an order of building, each once."""
        found: dict[str, Step] = {}
        for parent in self.parents.values():
            found |= {step.key: step for step in parent.upstream()}
            if parent.is_stored:
                found[parent.key] = parent
        yield from found.values()

    def build(self, into: Path, at: Place) -> Built:
        """Fill a folder with the artifact, from what an interrupted build left there, if anything.

        Args:
            into: the folder.
            at: the job; the artifacts that this one is made from are there.

        Raises:
            ValueError, UserError: it cannot be made of what is given; says why, in one line.
        """
        raise NotImplementedError

    def rows(self, at: Place) -> RowWork:
        """The work on its rows, where processes may share it; loads what that needs."""
        raise NotImplementedError

    def fit(self, into: Path, at: Place) -> None:
        """What each of several processes does that learn one network together (`Place.fit_on_ranks`)."""
        raise NotImplementedError

    def load(self, folder: Path, at: Place) -> Any:
        """What a finished artifact holds.

        Args:
            folder: the artifact's.
            at: the job.
        """
        raise NotImplementedError

    def foresee(self, at: Place) -> None:
        """Look at what building it will read of the user's, before anything long is built.

        Raises:
            ValueError, UserError: it cannot be read or does not fit.
        """

    def require_images(self, count: int) -> None:
        """See that so many training images are enough.

        Raises:
            UserError: they are not.
        """

    def effort(self, images: int) -> Effort:
        """What building it takes, of so many training images."""
        return Effort()

    def tree(self) -> dict[str, Any]:
        """The settings with those of each parent in the place of its key: what two runs differ in, for people."""
        return {**self.decided, **{name: parent.tree() for name, parent in self.parents.items()}}

    def require(self) -> None:
        """Check that the files and code that the user has to provide exist.

        Raises:
            UserError: one does not exist.
        """
