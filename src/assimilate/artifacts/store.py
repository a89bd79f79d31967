"""Artifacts: folders keyed by content, complete once they have a manifest, built once, resumable after a kill."""

import contextlib
import errno
import os
import resource
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from assimilate.artifacts.artifact import MANIFEST, SCHEMA, Artifact, held, read_manifest
from assimilate.artifacts.provenance import provenance
from assimilate.errors import UserError
from assimilate.files.checked_files import SeenFiles, digest_file, write_sealed
from assimilate.files.own_code import named, own_frames
from assimilate.files.whole_file import sync_folder
from assimilate.graph.identity import canonical, content_hash
from assimilate.graph.place import Built

# Files up to this size are hashed by every job that uses them. Larger ones are hashed again when their times, place or
# size have changed since they were found sound; verify=true hashes all.
HASH_UP_TO_BYTES = 512 * 2**20


def finish(artifact: Artifact, config: Mapping[str, Any], built: Built) -> None:
    """Turn the staging folder into the finished artifact: checksums, manifest, flush, rename.

    Args:
        artifact: what was built in `artifact.staging`.
        config: the full configuration, recorded.
        built: what the builder says of it.
    """
    staging = artifact.staging
    files: dict[str, dict[str, Any]] = {}
    for path in sorted(staging.rglob("*")):
        name = path.relative_to(staging).as_posix()
        if path.name.startswith("."):  # temporary files of a killed writer
            continue
        if path.is_file() and name != MANIFEST and name.split("/")[0] not in built.leftovers:
            with path.open("rb") as stream:
                os.fsync(stream.fileno())
            files[name] = {"bytes": path.stat().st_size, "sha256": digest_file(path)}
    lasting = {name: entry["sha256"] for name, entry in files.items() if name not in built.volatile}
    manifest = {
        "schema": SCHEMA,
        "complete": True,
        "kind": artifact.step.kind,
        "name": artifact.name,
        "key": artifact.key,
        "digest": content_hash(lasting, 64),
        "stage": artifact.step.stage,
        "content": canonical(artifact.step.identity),
        "parents": {
            role: {"path": parent.label, "key": parent.key, "digest": parent.manifest()["digest"]}
            for role, parent in artifact.parents.items()
        },
        "seed": getattr(artifact.step, "seed", None),
        "config": canonical(config),
        "facts": dict(built.facts),
        "provenance": provenance(),
        "files": files,
    }
    write_sealed(staging / MANIFEST, manifest)
    publish(artifact)


def publish(artifact: Artifact) -> None:
    """Rename a staging folder whose manifest is written; what the manifest does not name is deleted first."""
    staging = artifact.staging
    named = set(read_manifest(staging)["files"]) | {MANIFEST}
    for path in list(staging.rglob("*")):
        if path.is_file() and path.relative_to(staging).as_posix() not in named:
            path.unlink()
    folders = [path for path in staging.rglob("*") if path.is_dir()]
    for folder in sorted(folders, reverse=True):
        if any(folder.iterdir()):
            sync_folder(folder)
        else:
            folder.rmdir()
    sync_folder(staging)
    staging.rename(artifact.path)
    sync_folder(artifact.path.parent)


def damage(artifact: Artifact, folder: Path | None = None, *, thorough: bool = False) -> str | None:
    """What is wrong with a finished artifact; None if nothing is.

    Args:
        artifact: the artifact.
        folder: it is looked for there, which must exist; None: in its own.
        thorough: hash files of any size, whatever was found of them before.
    """
    folder = artifact.path if folder is None else folder
    try:
        return _damage_by(artifact, folder, read_manifest(folder), thorough=thorough)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:  # as of one that was edited by hand
        return f"its manifest cannot be read ({error.__class__.__name__})"


def _damage_by(artifact: Artifact, folder: Path, manifest: dict[str, Any], *, thorough: bool) -> str | None:
    if manifest.get("schema") not in (1, SCHEMA) or not manifest.get("complete"):
        return "its manifest is of another version"
    if manifest["key"] != artifact.key:
        return f"it holds key {manifest['key']}"
    seen = SeenFiles(artifact.path.with_name(artifact.path.name + ".seen.json"))
    for name, entry in manifest["files"].items():
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != entry["bytes"]:
            return f"{name} has {path.stat().st_size} bytes instead of {entry['bytes']}"
        if entry["bytes"] <= HASH_UP_TO_BYTES:
            sound = digest_file(path) == entry["sha256"]
        else:
            sound = (not thorough and seen.has(path, entry["sha256"])) or seen.digest_is(path, entry["sha256"])
        if not sound:
            return f"{name} does not match its checksum"
    for role, recorded in manifest["parents"].items():
        parent = artifact.parents.get(role)
        if parent is None or recorded["key"] != parent.key:
            return f"it was built from another {role}"
        if parent.path.is_dir() and _digest_of(parent) not in (None, recorded["digest"]):
            return f"its {role} was rebuilt with other bytes ({parent.label})"
    return None


def _digest_of(artifact: Artifact) -> str | None:
    try:
        return str(artifact.manifest()["digest"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


class Store:
    """Finds and builds artifacts for one job, and remembers what it reused and what it built.

    Args:
        prepare: "auto" and "only" build what is missing, "never" refuses, "plan" only looks.
        command_for: the command line that builds an artifact, for messages.
        say: prints one line for the user.
    """

    def __init__(self, prepare: str, command_for: Callable[[Artifact], str], say: Callable[[str], None]) -> None:
        self._prepare = prepare
        self._command_for = command_for
        self._say = say
        self._sound: set[str] = set()
        self._damaged: dict[str, str] = {}
        self.reused: list[Artifact] = []
        self.built: list[tuple[Artifact, float]] = []

    def has(self, artifact: Artifact) -> bool:
        """Whether a sound artifact is there; looks, and changes nothing.

        Raises:
            UserError: it is damaged under prepare=never.
        """
        if artifact.label in self._sound:
            return True
        if not artifact.path.is_dir():
            return False
        wrong = damage(artifact)
        if wrong is None:
            self._sound.add(artifact.label)
            return True
        if self._prepare == "never":
            raise UserError(
                f"{artifact.path} is damaged: {wrong}. prepare=never does not rebuild it; this does: "
                f"{self._command_for(artifact)}"
            )
        if self._prepare == "plan" and artifact.label not in self._damaged:
            self._say(f"warning: {artifact.label} is damaged: {wrong}. It would be set aside and built again.")
        self._damaged[artifact.label] = wrong
        return False

    def discard(self, artifact: Artifact) -> None:
        """Delete a finished artifact and any unfinished build of it, so that it is built again.

        Raises:
            UserError: nothing may be built.
        """
        if self._prepare in ("never", "plan"):
            raise UserError(f"force=true builds again, prepare={self._prepare} builds nothing: give one of the two")
        with artifact.lock():
            for folder in (artifact.path, artifact.staging):
                if folder.is_dir():
                    shutil.rmtree(folder)
        self._sound.discard(artifact.label)

    def _set_aside(self, artifact: Artifact) -> None:
        """Under the artifact's lock: move a damaged folder out of the way and say so."""
        wrong = damage(artifact)
        if wrong is None:
            return
        aside = artifact.path.with_name(artifact.path.name + ".corrupt")
        if aside.exists():
            shutil.rmtree(aside)
        artifact.path.rename(aside)
        self._say(f"warning: {artifact.label} is damaged: {wrong}. It was moved to {aside.name} and is built again.")

    def reuse(self, artifact: Artifact) -> None:
        """Remember that a sound artifact was used as it is."""
        if artifact not in self.reused and all(artifact.label != built.label for built, _ in self.built):
            self.reused.append(artifact)

    def build(self, artifact: Artifact, config: Mapping[str, Any], builder: Callable[[Path], Built]) -> None:
        """Build an artifact unless another process finishes it first; leave something resumable if interrupted.

        Args:
            artifact: what to build; its parents must be complete.
            config: the full configuration, recorded in the manifest.
            builder: fills the staging folder it is given, which may hold an interrupted build.

        Raises:
            UserError: nothing may be built (names the command that builds it), it cannot be made of what is given, or
                the disk is full (what was done stays).
        """
        if self._prepare == "never":
            if not self.has(artifact):
                raise UserError(f"{artifact.label} is missing; this builds it: {self._command_for(artifact)}")
            return
        with held(artifact.lock(), self._say, f"waiting for another process that builds {artifact.label}"):
            if artifact.path.is_dir():
                self._set_aside(artifact)
            if self.has(artifact):
                self.reuse(artifact)
                return
            if damage(artifact, artifact.staging, thorough=True) is None:  # a kill came before it was renamed
                publish(artifact)
            else:
                with failures_explained(artifact):
                    artifact.staging.mkdir(parents=True, exist_ok=True)
                    finish(artifact, config, builder(artifact.staging))
            # What was built from other bytes of this artifact is looked at again.
            self._sound = {artifact.label}
            self.built.append((artifact, float(artifact.manifest()["facts"].get("seconds", 0.0))))


_FULL = "the disk is full"
_LIMITED = "a file would be larger than `ulimit -f` or the file system allows"


def refused_write(error: BaseException) -> str | None:
    """Why an error says that no more can be written; None where it is another error.

    numpy's says how many items were written, and has no errno; torch's is a RuntimeError that arose while the system's
    error was handled.
    """
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError):
            if seen.errno in (errno.ENOSPC, errno.EDQUOT):
                return _FULL
            if seen.errno == errno.EFBIG:
                return _LIMITED
            if seen.errno is None and " requested and " in str(seen) and " written" in str(seen):
                unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
                return _FULL if unlimited else f"{_FULL}, or {_LIMITED}"
        seen = seen.__cause__ or seen.__context__
    return None


@contextlib.contextmanager
def failures_explained(artifact: Artifact) -> Iterator[None]:
    """Say in one line what the work on an artifact cannot use, or what a full disk means for it.

    Raises:
        UserError: with that line.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if (why := refused_write(error)) is not None:
            raise UserError(
                f"{why} while building {artifact.label} under {artifact.root}: make room and run the same command "
                "again, it goes on where it stopped"
            ) from error
        if isinstance(error, ValueError | FloatingPointError):
            own = own_frames(error)  # numpy's "high <= 0" says nothing by itself
            place = f"{named(own[-1])}, line {own[-1].tb_lineno}: " if own else ""
            raise UserError(f"{place}{error}") from error
        raise
