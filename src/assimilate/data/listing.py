"""Which images a folder holds, how they are labelled, and which of them are for testing: without opening one."""

import hashlib
import os
import re
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from assimilate.data.directory import EXTENSIONS, Directory, Identity, ImageFile, Walk, displayed, identity_of, in_line
from assimilate.data.seed import derive_seed
from assimilate.graph.counted import counted

# What the folders of a split are called, in any case; of test and val the first is the test set.
_ROLES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("test", "testing"), "test"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("unlabeled", "unlabelled"), "unlabeled"),
}
_SPLIT_HINT = (
    "call the folders train and test (or val), move what is no part of the split away, or give the one folder that "
    "holds the class folders as dataset.root="
)
_MAX_LISTED = 50


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
                line = f"{file.path}\0{file.num_bytes}\0{file.modified_ns}\0{file.label}\n"
                digest.update(line.encode("utf-8", "surrogateescape"))
        return digest.hexdigest()

    def split(
        self, test_fraction: float, *, twins: Mapping[str, bytes] | None = None
    ) -> tuple[tuple[ImageFile, ...], tuple[ImageFile, ...] | None]:
        """Return (train, test): the folder's own test set, or else ``test_fraction`` of every class.

        Which images are chosen depends on a hash of their names alone. A class of two or more images gives at least
        one to each part. Images with the same value in ``twins`` (by path) stay together, for training if their classes
        differ. An unlabelled folder keeps all for training: there is nothing to test. Raises ValueError if
        ``test_fraction`` is not in [0, 1).
        """
        if not 0 <= test_fraction < 1:
            raise ValueError(f"dataset.test_fraction is {test_fraction}; allowed: at least 0 (no test set) and below 1")
        if self.test is not None or not self.class_names or test_fraction == 0:
            return self.train, self.test
        key_of: Mapping[str, str | bytes] = twins or {file.path: file.path for file in self.train}
        classes: list[list[str]] = [[] for _ in self.class_names]
        labels_of: dict[str | bytes, set[int]] = {}
        for file in self.train:
            assert file.label is not None
            classes[file.label].append(file.path)
            labels_of.setdefault(key_of[file.path], set()).add(file.label)
        chosen: set[str] = set()
        for members in classes:
            members.sort(key=lambda path: derive_seed("folder split", path))
            groups: dict[str | bytes, list[str]] = {}
            for path in members:
                groups.setdefault(key_of[path], []).append(path)
            left = min(max(1, round(len(members) * test_fraction)), len(members) - 1)
            for key, group in groups.items():
                if len(group) <= left and len(labels_of[key]) == 1:
                    chosen.update(group)
                    left -= len(group)
        train = tuple(file for file in self.train if file.path not in chosen)
        return train, tuple(file for file in self.train if file.path in chosen) or None


def scan_folder(root: Path | str, *, out: Path | None = None) -> FolderListing:
    """List the images below ``root``; nothing is decoded.

    Layouts: ``root/<class>/...`` (class folders, searched to any depth), ``root/train/<class>/...`` with an optional
    ``root/test`` (or val, valid, validation, dev; training and testing, in any case) of the same classes, or images
    directly in ``root`` (or ``root/train``): unlabelled. A single folder that holds class folders or a split stands for
    ``root``, and one that holds class folders for a part of a split; so does a single folder called unlabeled, which is
    never a class. Passed over with a note: hidden files, what operating systems leave in folders, links that lead back
    up or to a folder that is listed anyway, pipes, results below ``out``, and files without the extension of an image.
    Raises ValueError, naming ``dataset.root``, if there is no such folder, no image, a class folder without images,
    images or unlabeled beside class folders, a test class that is no training class, folders that look like a split
    but cannot be one, or something that cannot be read.
    """
    root = Path(root).expanduser().absolute()
    try:
        is_folder = stat.S_ISDIR(os.stat(root).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        raise ValueError(f"dataset.root is {shown(root)}, which does not exist; give a folder of images") from None
    except OSError as error:
        raise ValueError(f"dataset.root is {shown(root)}, which cannot be read ({error.strerror})") from error
    if not is_folder:
        raise ValueError(
            f"dataset.root is {shown(root)}, which is a file; give a folder of images (unpack an archive first)"
        )
    results = None if out is None else identity_of(out)
    if results is not None and results == identity_of(root):
        raise ValueError(
            f"out={shown(root)} is dataset.root itself, so results would lie among the images: give another folder, "
            f"out={shown(root / 'outputs')} for one"
        )
    return _scan(root, results)


def _scan(root: Path, out: Identity | None) -> FolderListing:
    top = Directory(root, out=out)
    inner = [folder for folder in top.folders if not folder.is_output]
    roles = {folder.name: _ROLES[folder.name.lower()] for folder in inner if folder.name.lower() in _ROLES}
    # A data set of vehicles may have a class called train: it is a split only if nothing but its parts is beside it.
    if "train" in roles.values() and len(roles) == len(inner):
        return _scan_split(root, top, inner, roles)
    _refuse_split_among_classes(root, inner, roles)
    below = _unwrapped(top)
    if below is not top:
        listing = _scan(below.path, out)
        top.passed.outputs += _results_in(top)
        note = f"folder: {shown(root)} holds one folder, so what is read is {displayed(below.relative)}/ in it."
        return replace(listing, notes=(note, *top.passed.notes(), *listing.notes))
    walk = Walk(top, [top])
    names, train = _scan_part(top, None, walk)
    return _listing(root, names, train, None, _note_on_equal_folders(inner), walk)


def _unwrapped(folder: Directory) -> Directory:
    """The folder that holds the class folders or the split: this one, or one that it holds and nothing beside it.

    One called unlabeled is read as if it were the root, whatever it holds.
    """
    below = folder
    while len(inner := [inside for inside in below.folders if not inside.is_output]) == 1:
        if below.images or inner[0].linked:
            break
        below = inner[0]
        if _is_unlabeled(below):
            return below
    return folder if below.images or not below.folders else below


def _scan_split(root: Path, top: Directory, inner: list[Directory], roles: dict[str, str]) -> FolderListing:
    """List a folder that holds nothing but the parts of a split; ``roles`` are those of its folders, by name."""
    by_role: dict[str, list[Directory]] = {}
    for folder in inner:
        by_role.setdefault(roles[folder.name], []).append(folder)
    tests = by_role.get("test") or by_role.get("val") or []
    for candidates in (by_role["train"], tests):
        if len(candidates) > 1:
            raise ValueError(
                f"dataset.root: {shown(root)} holds {_named(candidates)}, and it is unclear which is meant; "
                "keep one of them"
            )
    walk, notes = Walk(top, [by_role["train"][0], *tests]), list[str]()
    walk.note(top)
    walk.passed.outputs += _results_in(top)

    def inside(part: Directory) -> Directory:
        below = _unwrapped(part)
        if below is not part:
            walk.note(part)
            what = f"{displayed(part.name)}/ holds one folder, so what is read is {displayed(below.relative)}/."
            notes.append(f"folder: {what}")
        return below

    names, train = _scan_part(inside(by_role["train"][0]), None, walk)
    test = None
    if tests:
        as_it_is = {folder.name for folder in tests[0].folders} <= set(names)
        _, test = _scan_part(tests[0] if as_it_is else inside(tests[0]), names, walk)
        notes.append(f"folder: {len(train)} training and {len(test)} test images, split as given.")
    unused = [folder for folder in inner if folder not in (by_role["train"][0], *tests)]
    if vals := [folder for folder in unused if roles[folder.name] != "unlabeled"]:
        notes.append(f"folder: {displayed(tests[0].name)} is the test set; not used: {_named(vals)}.")
    for folder in unused:
        if folder not in vals:
            notes.append(
                f"folder: the images of {displayed(folder.name)}/ are not used, neither for training nor for tests; "
                f"to train an encoder on them alone, give dataset.root={shown(folder.path)}."
            )
    if top.images:
        notes.append(f"folder: {len(top.images)} images beside the folders {_named(inner)} are not used.")
    return _listing(root, names, train, test, notes, walk)


def _listing(
    root: Path,
    names: tuple[str, ...],
    train: tuple[ImageFile, ...],
    test: tuple[ImageFile, ...] | None,
    notes: list[str],
    walk: Walk,
) -> FolderListing:
    if not names:
        notes.append(f"folder: {len(train)} images without class folders, so there are no labels and no probes.")
    if problems := walk.passed.problems:
        entries = "1 entry" if len(problems) == 1 else f"{len(problems)} entries"
        raise ValueError(f"dataset.root: {entries} of {shown(root)} cannot be read:{bullets(problems)}")
    return FolderListing(root, train, test, tuple(map(displayed, names)), (*notes, *walk.passed.notes()))


def _refuse_split_among_classes(root: Path, inner: list[Directory], roles: dict[str, str]) -> None:
    """Raise ValueError if class folders are likely the parts of a split: their names would become the labels."""
    if len(inner) < 2:
        return
    alike = {folder.name: role for folder in inner if (role := _role_in(folder.name)) is not None}
    names = {folder.name for folder in inner}
    parts = len(set(alike.values())) > 1 and ("train" in alike.values() or len(roles) == len(inner))
    below = {folder.name: {inside.name for inside in folder.folders} for folder in inner if not folder.images}
    # train/cat and extra/cat; or cat and test/cat.
    shared = any(
        below.get(name, set()) & (names | below.get(other, set())) for name in alike for other in names - {name}
    )
    if parts or shared:
        raise ValueError(
            f"dataset.root: {shown(root)} holds {_named(inner)}, which look like the parts of a split and not like "
            f"classes; {_SPLIT_HINT}"
        )
    for folder in inner:
        inside = {_ROLES.get(name.lower()) for name in below.get(folder.name, ())}
        if "train" in inside and inside & {"test", "val"}:
            raise ValueError(
                f"dataset.root: {shown(root)} holds {_named(inner)}, and {displayed(folder.name)}/ holds a split; "
                f"give dataset.root={shown(folder.path)}"
            )


def _note_on_equal_folders(inner: list[Directory]) -> list[str]:
    """A sentence if all class folders hold the same folders and nothing else: trn/cat, trn/dog, tst/cat, tst/dog."""
    below = [frozenset(inside.name for inside in folder.folders) for folder in inner if not folder.images]
    if len(inner) < 2 or len(below) < len(inner) or len(set(below)) > 1 or len(below[0]) < 2:
        return []
    return [
        f"folder: {_named(inner)} are the classes, though all of them hold the same folders; if they are the parts of "
        f"a split, {_SPLIT_HINT}."
    ]


def _role_in(name: str) -> str | None:
    """Return the part of a split that a folder's name begins or ends with: test_set, testset, images-val."""
    words = re.findall("[a-z]+", re.sub("([a-z])([A-Z])", r"\1 \2", name).lower())
    for word in (words[0], words[-1]) if words else ():
        if role := _ROLES.get(word.removesuffix("set")):
            return role
    return None


def _results_in(folder: Directory) -> list[str]:
    return [displayed(inside.relative) for inside in folder.folders if inside.is_output]


def _is_unlabeled(folder: Directory) -> bool:
    return _ROLES.get(folder.name.lower()) == "unlabeled"


def _named(folders: Sequence[Directory]) -> str:
    return ", ".join(f"{displayed(folder.name)}/" for folder in folders[:8]) + (", …" if len(folders) > 8 else "")


def shown(path: Path) -> str:
    """Return a path as text that can be printed."""
    return displayed(str(path))


def bullets(lines: Sequence[str]) -> str:
    """Return one line each, indented, the first fifty and a count of the rest."""
    listed = "".join(f"\n  {line}" for line in lines[:_MAX_LISTED])
    return listed + (f"\n  ... and {len(lines) - _MAX_LISTED} more" if len(lines) > _MAX_LISTED else "")


def _scan_part(
    part: Directory, known_names: tuple[str, ...] | None, walk: Walk
) -> tuple[tuple[str, ...], tuple[ImageFile, ...]]:
    """Return class names and images of one part; ``known_names`` are the training classes when it is the test set."""
    classes, loose, path = walk.folders(part), part.images, shown(part.path)
    if classes and loose:
        raise ValueError(
            f"dataset.root: {path} holds {counted(len(loose), 'image')} beside {counted(len(classes), 'folder')}, "
            "so it is unclear whether the folders are classes; move the images into class folders: "
            f"{', '.join(os.path.basename(displayed(file.path)) for file in loose[:5])}"
        )
    if unlabeled := [folder for folder in classes if _is_unlabeled(folder)]:
        raise ValueError(
            f"dataset.root: {path} holds {_named(classes)}, and {displayed(unlabeled[0].name)}/ cannot be a class; "
            f"move it away, or give dataset.root={shown(unlabeled[0].path)} to train an encoder on its images alone"
        )
    walk.note(part)
    if not classes:
        if known_names:
            raise ValueError(f"dataset.root: {path} holds no class folders, but the training images have classes")
        if not loose:
            others = sum(walk.passed.others.values())
            found = f"; it holds only {counted(others, 'file')} of other kinds" if others else ""
            reasons = f": {in_line(walk.passed.problems)}" if walk.passed.problems else ""
            raise ValueError(
                f"dataset.root: {path} holds no images{found}; images are {', '.join(EXTENSIONS)}{reasons}"
            )
        return (), tuple(loose)
    paths = {folder.name: walk.images(folder) for folder in classes}
    if walk.passed.problems:  # a folder that cannot be read is not one without images
        return tuple(paths), ()
    empty = [shown(folder.path) for folder in classes if not paths[folder.name]]
    if len(empty) == len(classes):
        raise ValueError(
            f"dataset.root: {path} holds no images in any of its {len(classes)} folders; "
            f"images are {', '.join(EXTENSIONS)}"
        )
    if empty:
        found = "1 class folder holds no image" if len(empty) == 1 else f"{len(empty)} class folders hold no image"
        sets = [folder for folder in classes if paths[folder.name] and folder.folders and not folder.images]
        hint = "a class needs images, and dataset.root holds nothing but class folders"
        if len(sets) == 1:
            hint = f"is dataset.root={shown(sets[0].path)} meant?"
        raise ValueError(f"dataset.root: {found}; {hint}{bullets(empty)}")
    names = tuple(paths) if known_names is None else known_names
    if strange := [displayed(name) for name in paths if name not in names]:
        raise ValueError(f"dataset.root: {path} holds classes that the training images lack:{bullets(strange)}")
    label_of = {name: label for label, name in enumerate(names)}
    return names, tuple(replace(file, label=label_of[name]) for name, files in paths.items() for file in files)
