"""The archive of images, unpacked once: train/<class>/*.jpg and test/<class>/*.jpg."""

import shutil
import tarfile
from collections import Counter
from pathlib import Path, PurePosixPath

PARTS = ("train", "test")


def unpack(archive: Path, folder: Path, *, per_class: int | None = None) -> None:
    """Unpack `archive` into `folder`, at most `per_class` images of each class and part; nothing if that was done.

    Raises:
        ValueError: it is no archive, or its layout is another.
    """
    marker = folder.with_name(folder.name + ".complete")
    described = f"{archive.name} {archive.stat().st_size} {per_class}"
    if marker.is_file() and marker.read_text() == described:
        return
    beside = folder.with_name(folder.name + ".partial")
    for stale in (folder, beside):
        if stale.is_dir():
            shutil.rmtree(stale)
    seen: Counter[tuple[str, ...]] = Counter()
    try:
        with tarfile.open(archive) as stream:
            for member in stream:
                place = PurePosixPath(member.name).parts
                place = place[1:] if place[:1] == (".",) else place
                if not member.isfile() or len(place) != 3 or place[0] not in PARTS:
                    continue
                seen[place[:2]] += 1
                if per_class is None or seen[place[:2]] <= per_class:
                    stream.extract(member, beside, filter="data")
    except tarfile.TarError as error:
        raise ValueError(f"--archive={archive} cannot be read: {error}") from error
    missing = [part for part in PARTS if not any(place[0] == part for place in seen)]
    if missing:
        raise ValueError(f"--archive={archive} has no {' and no '.join(f'{part}/<class>/*' for part in missing)}")
    beside.rename(folder)
    marker.write_text(described)
    print(f"{archive.name}: {sum(seen.values())} images of {len({place[1] for place in seen})} classes")
