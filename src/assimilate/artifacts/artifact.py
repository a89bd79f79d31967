"""The place of a step on disk, and the manifest of a finished one."""

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from assimilate.files.checked_files import read_sealed
from assimilate.graph.step import Step

# 2: the manifest ends with a checksum of itself. Artifacts of schema 1 are used as they are.
SCHEMA = 2
MANIFEST = "manifest.json"


def artifact_root(out: Path) -> Path:
    """Where artifacts are kept below `out`."""
    return out / "artifacts"


def lock_of(folder: Path) -> FileLock:
    """The lock of a folder, there or not. The operating system releases it when its holder dies."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(folder.with_name(folder.name + ".lock"))


@contextlib.contextmanager
def held(lock: FileLock, say: Callable[[str], None], waiting: str) -> Iterator[None]:
    """Hold a lock for the block; where another process holds it, say that this one waits."""
    try:
        lock.acquire(blocking=False)
    except Timeout:
        say(waiting)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@dataclass(frozen=True)
class Artifact:
    """A step's place on disk. Its key is a hash of what decides its bytes, so equal content is built once.

    Attributes:
        step: what it is and what it is made from.
        dataset: name of the data set, a folder level.
        root: the folder `artifacts/`.
        parents: the artifacts that it is built from, by the step's field.
    """

    step: Any
    dataset: str
    root: Path = field(repr=False)
    parents: Mapping[str, "Artifact"]

    @classmethod
    def of(cls, step: Step, dataset: str, root: Path) -> "Artifact":
        """The place of a step and of what it is made from.

        Args:
            step: the step.
            dataset: name of the run's data set; a data set's own name wins.
            root: the folder `artifacts/`.
        """
        parents = {role: cls.of(parent, dataset, root) for role, parent in step.sources.items()}
        return cls(step, step.place or dataset, root, parents)

    @property
    def name(self) -> str:
        """What a reader calls it, e.g. "stylegan2" or "a2-wsearch"."""
        return self.step.label

    @property
    def key(self) -> str:
        """Hash of the step and of what it is made from."""
        return self.step.key

    @property
    def path(self) -> Path:
        """The finished artifact's folder."""
        return self.root / self.step.kind / self.dataset / f"{self.name}-{self.key}"

    @property
    def staging(self) -> Path:
        """Where it is built. It survives a kill, and the next build resumes from it."""
        return self.path.with_name(self.path.name + ".partial")

    @property
    def label(self) -> str:
        """Kind, name and key in one word."""
        return f"{self.step.kind}/{self.dataset}/{self.name}-{self.key}"

    def lock(self) -> FileLock:
        """Held while building."""
        return lock_of(self.path)

    def manifest(self) -> dict[str, Any]:
        """The finished artifact's manifest.

        Raises:
            OSError, ValueError: it is not there, or a byte of it has changed.
        """
        return read_manifest(self.path)


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest in a folder, which is checked.

    Raises:
        OSError: it is not there.
        ValueError: a byte of it has changed.
    """
    path = folder / MANIFEST
    try:
        return read_sealed(path)
    except ValueError:
        manifest = json.loads(path.read_bytes())
        # Schema 1 had no checksum. One changed byte cannot turn a manifest of schema 2 into one of schema 1.
        if not isinstance(manifest, dict) or manifest.get("schema") != 1 or "sha256" in manifest:
            raise
        return manifest
