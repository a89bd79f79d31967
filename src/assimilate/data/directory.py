"""The images of a directory tree, without circular links and files that other programs add."""

import errno
import os
import re
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

EXTENSIONS = (".png", ".jpg", ".jpeg", ".jfif", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")
# What storage servers and operating systems add to folders; names that begin with a dot are passed over as well.
_CLUTTER = frozenset(
    {
        "@eadir", "@tmp", "@sharebin", "@appstore", "@database", "@__thumb", "#recycle", "@recycle", "#snapshot",
        "~snapshot", "@recently-snapshot", "lost+found", "lost.dir", "$recycle.bin", "recycler",
        "system volume information", "__macosx", "network trash folder", "temporary items", "thevolumesettingsfolder",
        "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "__pycache__",
    }
)  # fmt: skip
_REPAIRED = re.compile(r"found\.\d{3}", re.IGNORECASE)  # chkdsk's
_NOT_READABLE = -1, -1

Identity = tuple[int, int]
"""Device and inode: the same directory whatever it is called."""


def displayed(name: str) -> str:
    r"""Return a file's name as text that can be printed and stored: bytes that are no UTF-8 become ``\xe9``."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def clutter(name: str) -> str | None:
    """Return the kind of a file that a system adds ("@eaDir", "._*", "hidden"); None for a user's own name."""
    if name.startswith("._"):
        return "._*"
    if (
        name.lower() in _CLUTTER
        or _REPAIRED.fullmatch(name)
        or name in (".DS_Store", ".AppleDouble", ".ipynb_checkpoints")
    ):
        return name.strip()
    return "hidden" if name.startswith(".") else None


def identity_of(path: Path | str) -> Identity | None:
    """Return device and inode of what ``path`` leads to; None if there is nothing."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


@dataclass(frozen=True)
class ImageFile:
    """An image below the root; ``label`` indexes the class names and is None in an unlabelled folder."""

    path: str  # relative to the root, with forward slashes; bytes that are no UTF-8 as surrogates
    num_bytes: int
    modified_ns: int
    label: int | None


@dataclass
class Passed:
    """What a walk did not take."""

    clutter: Counter[str] = field(default_factory=Counter)
    others: Counter[str] = field(default_factory=Counter)  # by extension
    links: list[str] = field(default_factory=list)
    special: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def add(self, other: "Passed") -> None:
        """Count what another directory held as well."""
        self.clutter += other.clutter
        self.others += other.others
        for name in ("links", "special", "outputs", "problems"):
            getattr(self, name).extend(getattr(other, name))

    def notes(self) -> Iterator[str]:
        """Yield a sentence for each kind of file that was skipped."""
        if self.others:
            kinds = ", ".join(
                f"{count} {kind or 'without an extension'}" for kind, count in sorted(self.others.items())
            )
            yield f"folder: files that are not images were skipped ({kinds})."
        if self.clutter:
            kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(self.clutter.items()))
            yield f"folder: files and folders that belong to the system were skipped ({kinds})."
        for what, names in (
            ("links were skipped", self.links),
            ("pipes, sockets and devices were skipped", self.special),
            ("folders of results (out=) were skipped", self.outputs),
        ):
            if names:
                yield f"folder: {what}: {in_line(names)}."


class Directory:
    """One directory below a root, read when it is first looked at.

    ``out`` is where results go: it is no part of the images, wherever it lies.
    """

    def __init__(self, root: Path, relative: str = "", *, linked: bool = False, out: Identity | None = None) -> None:
        self.root, self.relative, self.linked, self._out = root, relative, linked, out
        self.path = root / relative
        self.name = os.path.basename(relative)
        self.passed = Passed()
        self._folders: list[Directory] = []
        self._images: list[ImageFile] = []
        self._read = False

    @cached_property
    def identity(self) -> Identity:
        """Device and inode."""
        return identity_of(self.path) or _NOT_READABLE

    @property
    def images(self) -> list[ImageFile]:
        """The images directly in it, by name, without labels."""
        self._read_once()
        return self._images

    @property
    def folders(self) -> list["Directory"]:
        """The directories directly in it, by name; links to directories among them."""
        self._read_once()
        return self._folders

    @property
    def is_output(self) -> bool:
        """Whether results lie there: this run's ``out``, or another's."""
        holds_artifacts = any(folder.name == "artifacts" for folder in self.folders)
        return self.identity == self._out or (holds_artifacts and (self.path / "artifacts" / "datasets").is_dir())

    def _read_once(self) -> None:
        if self._read:
            return
        self._read = True
        try:
            with os.scandir(self.path) as entries:
                found = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            self.passed.problems.append(f"{displayed(self.relative) or '.'}/: {error.strerror}")
            return
        for entry in found:
            path = f"{self.relative}/{entry.name}" if self.relative else entry.name
            if kind := clutter(entry.name):
                self.passed.clutter[kind] += 1
                continue
            try:
                self._take(entry, path)
            except OSError as error:
                # Not a link that leads nowhere: the file was there a moment ago.
                vanished = "vanished while the folder was listed" if error.errno == errno.ENOENT else error.strerror
                self.passed.problems.append(f"{displayed(path)}: {vanished}")

    def _take(self, entry: os.DirEntry[str], path: str) -> None:
        suffix = os.path.splitext(entry.name)[1].lower()
        linked = entry.is_symlink()
        if linked and (why := _broken(entry)) is not None:
            if suffix in EXTENSIONS:  # listed with the unreadable ones when they are decoded
                self._images.append(ImageFile(path, 0, 0, None))
            else:
                self.passed.links.append(f"{displayed(path)} ({why})")
        elif entry.is_dir():
            self._folders.append(Directory(self.root, path, linked=linked, out=self._out))
        elif suffix not in EXTENSIONS:
            self.passed.others[suffix] += 1
        elif stat.S_ISREG((status := entry.stat()).st_mode):
            self._images.append(ImageFile(path, status.st_size, status.st_mtime_ns, None))
        else:
            self.passed.special.append(displayed(path))


class Walk:
    """Walks ``parts`` of the directory ``top``, follows links out of them, and takes no directory twice."""

    def __init__(self, top: Directory, parts: Sequence[Directory]) -> None:
        self.passed = Passed()
        resolved = Path(os.path.realpath(top.path))
        self._above = frozenset(filter(None, map(identity_of, (resolved, *resolved.parents))))
        self._listed: set[Identity] = set()
        for part in parts:
            self._find_real(part)

    def folders(self, directory: Directory) -> list[Directory]:
        """Return the directories in ``directory`` that hold images of their own; note the others."""
        return [folder for folder in directory.folders if self._leads_on(folder, self._above)]

    def images(self, directory: Directory) -> list[ImageFile]:
        """Return all images of ``directory``: its own by name, then those of its directories."""
        return list(self._images(directory, self._above | {directory.identity}, foreign=directory.linked))

    def note(self, directory: Directory) -> None:
        """Count what ``directory`` itself holds beside images and directories."""
        self.passed.add(directory.passed)
        directory.passed = Passed()

    def _find_real(self, directory: Directory) -> None:
        self._listed.add(directory.identity)
        for folder in directory.folders:
            if not folder.linked and not folder.is_output:
                self._find_real(folder)

    def _images(self, directory: Directory, above: frozenset[Identity], *, foreign: bool) -> Iterator[ImageFile]:
        yield from directory.images
        self.note(directory)
        for folder in directory.folders:
            if self._leads_on(folder, above, foreign=foreign):
                yield from self._images(folder, above | {folder.identity}, foreign=foreign or folder.linked)

    def _leads_on(self, folder: Directory, above: frozenset[Identity], *, foreign: bool = False) -> bool:
        name = displayed(folder.relative)
        if folder.is_output:
            self.passed.outputs.append(name)
        elif folder.linked and folder.identity in above:
            self.passed.links.append(f"{name} (leads back to a folder that holds it)")
        elif (folder.linked or foreign) and folder.identity in self._listed:
            self.passed.links.append(f"{name} (leads to a folder that is listed anyway)")
        else:
            self._listed.add(folder.identity)
            return True
        return False


def in_line(items: Sequence[str]) -> str:
    """Return the first three, and a count of the rest, on the line that they end."""
    return "; ".join(items[:3]) + (f"; and {len(items) - 3} more" if len(items) > 3 else "")


def _broken(entry: os.DirEntry[str]) -> str | None:
    try:
        entry.stat()
    except OSError as error:
        if error.errno == errno.ELOOP:
            return "leads to itself"
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return "leads nowhere"
        raise
    return None
