"""Views made elsewhere, for example by a diffusion model: found, checked against the data set, read."""

import functools
import hashlib
import itertools
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from numpy.typing import NDArray
from PIL import Image

from assimilate.data.decoding import decode_image
from assimilate.data.directory import clutter, displayed
from assimilate.files.cpus import whole_cpus
from assimilate.graph.counted import counted
from assimilate.graph.place import Progress, silent

EXTENSIONS = (".png", ".jpg", ".jpeg")
# Problems of one kind that a message names; the rest is counted.
MAX_LISTED = 20
# An index beyond twice the number of folders and this is a stray folder's name, a date for one.
MAX_GAP = 100_000
# Images decoded between two looks at what failed.
BLOCK = 256

Views = UInt8[np.ndarray, "views 3 height width"]


@dataclass(frozen=True)
class ExternalViews:
    """What is at `view.path`.

    Attributes:
        path: a folder of `<index>/<k>.png|jpg` or `<image's file>/<k>.png|jpg`, or a file with a uint8 array
            [N, n, 3, H, W].
        files: names below the folder for each index from 0, sorted by k; None for an array.
        num_images: N.
        num_views: the views that every image has at least.
        key: digest of names, sizes and times of change.
        names: the images that the folders are called by, where they are not called by an index (`in_order`).
        problems: indices without a folder or without pictures, folders or pictures of one number.
    """

    path: Path
    files: tuple[tuple[str, ...], ...] | None
    num_images: int
    num_views: int
    key: str
    problems: tuple[str, ...]
    names: tuple[str, ...] | None = None


@functools.lru_cache(maxsize=4)
def scan_external(path: Path) -> ExternalViews:
    """Look at what `view.path` holds; no picture is opened.

    Raises:
        ValueError: it is not there, or neither such a folder nor such an array.
    """
    if path.is_file():
        return _scan_array(path)
    if not path.is_dir():
        raise ValueError(f"view.path={path}: there is no such folder or file")
    named = sorted(
        (int(entry.name), entry.name, entry) for entry in os.scandir(path) if entry.is_dir() and entry.name.isdecimal()
    )
    folders = {index: entry for index, _, entry in named}
    if (
        not any(_pictures(entry.path, entry.name) for entry in folders.values())
        and (by_name := _scan_by_name(path)) is not None
    ):
        return by_name
    if not folders:
        raise ValueError(f"view.path={path} has no folder <index>/ with pictures <index>/<k>.png: 0/0.png, 0/1.png, …")
    if max(folders) > 2 * len(folders) + MAX_GAP:
        raise ValueError(
            f"view.path={path} has {counted(len(folders), 'folder')} <index>/, but one is called "
            f"{folders[max(folders)].name}: indices run from 0 without a gap"
        )
    found = [_pictures(folders[i].path, folders[i].name) if i in folders else [] for i in range(max(folders) + 1)]
    problems = [
        f"{one}/ and {other}/ are one index"
        for (index, one, _), (again, other, _) in itertools.pairwise(named)
        if index == again
    ]
    for index, pictures in enumerate(found):
        if index not in folders:
            problems.append(f"{index}/ is missing")
        elif not pictures:
            problems.append(f"{folders[index].name}/ holds no picture <k>.png or .jpg")
        for (one, *_), (other, *_) in itertools.pairwise(pictures):  # 0.png and 0.jpg: which is meant is not said
            if int(Path(one).stem) == int(Path(other).stem):
                problems.append(f"{one} and {other} are one view")
    files = tuple(tuple(name for name, *_ in pictures) for pictures in found)
    fewest = min((len(names) for names in files if names), default=0)
    return ExternalViews(path, files, len(files), fewest, _key(found), tuple(problems))


def _key(found: Iterable[Sequence[tuple[str, int, int]]]) -> str:
    digest = hashlib.sha256()
    for name, size, modified in itertools.chain.from_iterable(found):
        digest.update(f"{name}\0{size}\0{modified}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _scan_by_name(path: Path) -> ExternalViews | None:
    """What `path` holds if its folders are called by images, <class>/<file>/<k>.png; None where there are none."""
    found: dict[str, list[tuple[str, int, int]]] = {}
    for place, below, _ in os.walk(path):
        below[:] = sorted(name for name in below if clutter(name) is None)
        relative = os.path.relpath(place, path)
        if relative != "." and (pictures := _pictures(place, relative)):
            found[displayed(relative)] = pictures
    if not found:
        return None
    files = tuple(tuple(name for name, *_ in pictures) for pictures in found.values())
    return ExternalViews(path, files, len(files), min(map(len, files)), _key(found.values()), (), tuple(found))


def in_order(views: ExternalViews, images: Sequence[str] | None) -> ExternalViews:
    """Views whose folders are called by images, in the order of `images`; others as they are.

    Args:
        views: what `scan_external` found.
        images: names of the training images' files, None where they have none. A folder has the whole name, or the name
            without its extension where that is one image's alone.

    Raises:
        ValueError: the data set has no names.
    """
    if views.names is None:
        return views
    if images is None:
        raise ValueError(
            f"view.path={views.path} has folders called {views.names[0]}/, but the images of this data set have no "
            "names: call the folders by the index of the image, 0/, 1/, …"
        )
    assert views.files is not None
    place = {name: index for index, name in enumerate(views.names)}
    stems = Counter(os.path.splitext(name)[0] for name in images)
    problems, files = list(views.problems), list[tuple[str, ...]]()
    for name in images:
        stem = os.path.splitext(name)[0]
        index = place.get(name, place.get(stem) if stems[stem] == 1 else None)
        files.append(() if index is None else views.files[index])
        if index is None:
            problems.append(f"{name} has no folder {name}/")
    return replace(views, files=tuple(files), num_images=len(files), problems=tuple(problems), names=tuple(images))


def _pictures(folder: str, name: str) -> list[tuple[str, int, int]]:
    """(name below the root, bytes, time of change) of <k>.png or .jpg, by k."""
    found = []
    for entry in os.scandir(folder):
        stem, extension = os.path.splitext(entry.name)
        if stem.isdecimal() and extension.lower() in EXTENSIONS and entry.is_file():  # a pipe would be waited for
            status = entry.stat()
            found.append((int(stem), f"{name}/{entry.name}", status.st_size, status.st_mtime_ns))
    return [(name, size, modified) for _, name, size, modified in sorted(found)]


def _scan_array(path: Path) -> ExternalViews:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise ValueError(f"view.path={path} cannot be read as an array: {error}") from error
    if not isinstance(array, np.ndarray) or array.dtype != np.uint8 or array.ndim != 5 or array.shape[2] != 3:
        described = f"{array.dtype} {list(array.shape)}" if isinstance(array, np.ndarray) else "several arrays"
        raise ValueError(f"view.path={path} holds {described}; needed is uint8 [images, views, 3, height, width]")
    status = path.stat()
    key = hashlib.sha256(f"{path.name}\0{status.st_size}\0{status.st_mtime_ns}".encode()).hexdigest()
    return ExternalViews(path, None, len(array), int(array.shape[1]), key, ())


def check_external(views: ExternalViews, *, num_images: int, image_size: int, num_views: int) -> None:
    """Compare with the data set: every image has its views.

    No picture is opened where names and numbers are right; where they are not, all are, so that whoever has to mend the
    folder learns everything at once.

    Raises:
        ValueError: indices are missing or too many, or views too few; all that is wrong, in one message.
    """
    problems = list(views.problems)
    if views.num_images != num_images:
        wanted = counted(num_images, "training image")
        problems.append(f"it has views for {counted(views.num_images, 'image')}, the data set has {wanted}")
    for index, names in enumerate(views.files or ()):
        if names and len(names) < num_views:
            problems.append(f"{index}/ holds {counted(len(names), 'picture')}, but view.n_cached={num_views}")
    if views.files is None:
        height, width = np.load(views.path, mmap_mode="r").shape[3:]
        if (height, width) != (image_size, image_size):
            problems.append(f"its pictures are {height}x{width}, the data set's are {image_size}x{image_size}")
        if views.num_views < num_views:
            problems.append(f"it holds {counted(views.num_views, 'view')} an image, but view.n_cached={num_views}")
    if problems:
        raise ValueError(_listed(views.path, problems, _wrong_pictures(views, image_size, num_views)))


def _wrong_pictures(views: ExternalViews, image_size: int, num_views: int) -> list[str]:
    if views.files is None:  # an array
        return []
    return [each for _, _, wrong in _read_all(views, range(len(views.files)), image_size, num_views) for each in wrong]


def _read_all(
    views: ExternalViews, indices: Sequence[int], image_size: int, num_views: int
) -> Iterator[tuple[int, list[NDArray[np.uint8]], list[str]]]:
    """(image, its pictures, what is wrong with them), on many threads."""
    files = views.files
    assert files is not None
    with ThreadPoolExecutor(max_workers=min(32, whole_cpus())) as threads:
        for start in range(0, len(indices), BLOCK):
            block = indices[start : start + BLOCK]
            outcomes = threads.map(lambda index: _read(views.path, files[index][:num_views], image_size), block)
            for index, (pictures, wrong) in zip(block, outcomes, strict=True):
                yield index, pictures, wrong


def read_external(
    views: ExternalViews,
    indices: Sequence[int],
    emit: Callable[[int, Views], None],
    *,
    image_size: int,
    num_views: int,
    progress: Progress = silent,
) -> None:
    """Read the first `num_views` views of `indices`.

    Args:
        views: what `scan_external` found.
        indices: images of the data set.
        emit: receives (image, its views) in order.
        image_size: height and width that every picture must have.
        num_views: views an image.
        progress: called as images are read.

    Raises:
        ValueError: pictures cannot be read or have another size; all of them, after the others were handed over.
    """
    if views.files is None:
        array = np.load(views.path, mmap_mode="r")
        for done, index in enumerate(indices, start=1):
            emit(index, np.asarray(array[index, :num_views]))
            if done % BLOCK == 0 or done == len(indices):
                progress(done, len(indices), {})
        return
    problems: list[str] = []
    outcomes = _read_all(views, indices, image_size, num_views)
    for done, (index, pictures, wrong) in enumerate(outcomes, start=1):
        problems += wrong
        if not wrong:
            emit(index, np.stack(pictures))
        if done % BLOCK == 0 or done == len(indices):
            progress(done, len(indices), {})
    if problems:
        raise ValueError(_listed(views.path, problems))


def _read(root: Path, names: Sequence[str], image_size: int) -> tuple[list[NDArray[np.uint8]], list[str]]:
    pictures: list[NDArray[np.uint8]] = []
    wrong: list[str] = []
    for name in names:
        try:
            with Image.open(root / name) as opened:
                size = opened.size
            if size != (image_size, image_size):
                wrong.append(f"{name} is {size[0]}x{size[1]}, the data set's images are {image_size}x{image_size}")
                continue
            pictures.append(decode_image(root / name, image_size))
        except Exception as error:  # a damaged file can make a decoder raise anything; all of them are listed together
            wrong.append(
                f"{name} cannot be read ({str(error).splitlines()[0] if str(error) else type(error).__name__})"
            )
    return pictures, wrong


def _listed(path: Path, *kinds: Sequence[str]) -> str:
    said: list[str] = []
    for problems in kinds:
        said += problems[:MAX_LISTED]
        said += [f"and {len(problems) - MAX_LISTED} more"] if len(problems) > MAX_LISTED else []
    return f"view.path={path} cannot be used: {'; '.join(said)}"
