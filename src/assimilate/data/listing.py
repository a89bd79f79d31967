"""Which images a folder holds, how they are labelled, and which of them are for testing: without opening one."""

import hashlib
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from assimilate.data.seeding import derive_seed

EXTENSIONS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")
# Looked for in this order; the first that exists is the test set.
TEST_FOLDERS = ("test", "val", "valid", "validation")
_MAX_LISTED = 50


@dataclass(frozen=True)
class ImageFile:
    """An image below the root; ``label`` indexes the class names and is None in an unlabelled folder."""

    path: str  # relative to the root, with forward slashes
    num_bytes: int
    modified_ns: int
    label: int | None


@dataclass(frozen=True)
class FolderListing:
    """The images of a folder. ``test`` is None if the folder brings no test images of its own."""

    root: Path
    train: tuple[ImageFile, ...]
    test: tuple[ImageFile, ...] | None
    class_names: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def key(self) -> str:
        """Digest of names, sizes, times of change and labels: it changes when the folder's content does."""
        digest = hashlib.sha256()
        for part, files in (("train", self.train), ("test", self.test)):
            digest.update(f"{part} {None if files is None else len(files)}\n".encode())
            for file in files or ():
                digest.update(f"{file.path}\0{file.num_bytes}\0{file.modified_ns}\0{file.label}\n".encode())
        return digest.hexdigest()

    def split(self, test_fraction: float) -> tuple[tuple[ImageFile, ...], tuple[ImageFile, ...] | None]:
        """Return (train, test): the folder's own test set, or else ``test_fraction`` of every class.

        Which images are chosen depends on a hash of their names alone. A class of two or more images gives at least
        one to each part. An unlabelled folder keeps all for training: there is nothing to test. Raises ValueError
        if ``test_fraction`` is not in [0, 1).
        """
        if not 0 <= test_fraction < 1:
            raise ValueError(f"dataset.test_fraction is {test_fraction}; allowed: at least 0 (no test set) and below 1")
        if self.test is not None or not self.class_names or test_fraction == 0:
            return self.train, self.test
        chosen: set[str] = set()
        for label in range(len(self.class_names)):
            members = sorted(
                (file.path for file in self.train if file.label == label),
                key=lambda path: derive_seed("folder split", path),
            )
            count = min(max(1, round(len(members) * test_fraction)), len(members) - 1)
            chosen.update(members[:count])
        train = tuple(file for file in self.train if file.path not in chosen)
        return train, tuple(file for file in self.train if file.path in chosen) or None


def scan_folder(root: Path | str) -> FolderListing:
    """List the images below ``root``; nothing is decoded.

    Layouts: ``root/<class>/...`` (class folders, searched to any depth), ``root/train/<class>/...`` with an optional
    ``root/test`` (or val, valid, validation) of the same classes, or images directly in ``root`` (or ``root/train``):
    unlabelled. Hidden files and folders are skipped, and so are files that are not images by their extension.
    Raises ValueError, naming ``dataset.root``, if there is no such folder, no image, a class folder without images,
    images beside class folders, or a test class that is no training class.
    """
    root = Path(root).expanduser().absolute()
    if not root.exists():
        raise ValueError(f"dataset.root is {root}, which does not exist; give a folder of images")
    if not root.is_dir():
        raise ValueError(f"dataset.root is {root}, which is a file; give a folder of images (unpack an archive first)")
    folders = [entry.name for entry in _visible(root) if entry.is_dir()]
    ignored: Counter[str] = Counter()
    notes: list[str] = []
    # A data set of vehicles may have a class called train: it is a split only if nothing but a test set is beside it.
    if "train" in folders and set(folders) <= {"train", *TEST_FOLDERS}:
        names, train = _scan_part(root, root / "train", None, ignored)
        own_tests = [name for name in TEST_FOLDERS if name in folders]
        test = None
        if own_tests:
            _, test = _scan_part(root, root / own_tests[0], names, ignored)
            notes.append(f"folder: {len(train)} training and {len(test)} test images, split as given.")
        if len(own_tests) > 1:
            notes.append(f"folder: {own_tests[0]} is the test set; not used: {', '.join(own_tests[1:])}.")
    else:
        names, train = _scan_part(root, root, None, ignored)
        test = None
    if not names:
        notes.append(f"folder: {len(train)} images without class folders, so there are no labels and no probes.")
    if ignored:
        kinds = ", ".join(f"{count} {kind or 'without an extension'}" for kind, count in sorted(ignored.items()))
        notes.append(f"folder: files that are not images were skipped ({kinds}).")
    return FolderListing(root, train, test, names, tuple(notes))


def bullets(lines: Sequence[str]) -> str:
    """Return one line each, indented, the first fifty and a count of the rest."""
    listed = "".join(f"\n  {line}" for line in lines[:_MAX_LISTED])
    return listed + (f"\n  ... and {len(lines) - _MAX_LISTED} more" if len(lines) > _MAX_LISTED else "")


def in_line(items: Sequence[str]) -> str:
    """Return the first three, and a count of the rest, on the line that they end."""
    return "; ".join(items[:3]) + (f"; and {len(items) - 3} more" if len(items) > 3 else "")


def _scan_part(
    root: Path, part: Path, known_names: tuple[str, ...] | None, ignored: Counter[str]
) -> tuple[tuple[str, ...], tuple[ImageFile, ...]]:
    """Return class names and images of one part; ``known_names`` are the training classes when it is the test set."""
    folders = sorted(entry.name for entry in _visible(part) if entry.is_dir())
    loose = list(_image_paths(part, ignored, deep=False))
    if folders and loose:
        raise ValueError(
            f"dataset.root: {part} holds {len(loose)} images beside {len(folders)} folders, so it is unclear whether "
            f"the folders are classes; move the images into class folders: {', '.join(p.name for p in loose[:5])}"
        )
    if not folders:
        if known_names:
            raise ValueError(f"dataset.root: {part} holds no class folders, but the training images have classes")
        if not loose:
            found = f"; it holds only {sum(ignored.values())} files of other kinds" if ignored else ""
            raise ValueError(f"dataset.root: {part} holds no images{found}; images are {', '.join(EXTENSIONS)}")
        return (), tuple(_image_file(root, path, None) for path in loose)
    paths = {name: list(_image_paths(part / name, ignored, deep=True)) for name in folders}
    empty = [str(part / name) for name in folders if not paths[name]]
    if len(empty) == len(folders):
        raise ValueError(
            f"dataset.root: {part} holds no images in any of its {len(folders)} folders; "
            f"images are {', '.join(EXTENSIONS)}"
        )
    if empty:
        raise ValueError(
            f"dataset.root: {len(empty)} class folders hold no image; remove or fill them:{bullets(empty)}"
        )
    names = tuple(folders) if known_names is None else known_names
    if strange := [name for name in folders if name not in names]:
        raise ValueError(f"dataset.root: {part} holds classes that the training images lack:{bullets(strange)}")
    label_of = {name: label for label, name in enumerate(names)}
    return names, tuple(_image_file(root, path, label_of[name]) for name in folders for path in paths[name])


def _image_paths(folder: Path, ignored: Counter[str], *, deep: bool) -> Iterator[Path]:
    """Yield images in the order of their names; links are followed, but none twice."""
    seen: set[str] = set()
    for directory, subfolders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(directory)
        if real in seen or not deep:
            subfolders.clear()
        if real in seen:
            continue
        seen.add(real)
        subfolders[:] = sorted(name for name in subfolders if not _hidden(name))
        for name in sorted(files):
            if _hidden(name):
                continue
            suffix = os.path.splitext(name)[1].lower()
            if suffix in EXTENSIONS:
                yield Path(directory, name)
            else:
                ignored[suffix] += 1


def _visible(folder: Path) -> Iterator[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        yield from (entry for entry in entries if not _hidden(entry.name))


def _hidden(name: str) -> bool:
    # macOS adds such a folder to its archives; the files in it are named like images and are none.
    return name.startswith(".") or name == "__MACOSX"


def _image_file(root: Path, path: Path, label: int | None) -> ImageFile:
    try:
        status = path.stat()
    except OSError:
        # A dangling link: it is listed with the unreadable images when they are decoded.
        return ImageFile(path.relative_to(root).as_posix(), 0, 0, label)
    return ImageFile(path.relative_to(root).as_posix(), status.st_size, status.st_mtime_ns, label)
