"""CIFAR-10 and CIFAR-100 in torchvision's format: unpacked batches or their archive, on disk or downloaded."""

import hashlib
import pickle
import tarfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torchvision import datasets

from assimilate.data.directory import in_line
from assimilate.data.download import download as fetch
from assimilate.data.images import ImageArrays, ImageDataset, Statistics, save_prepared
from assimilate.graph.place import Progress, silent

_NUM_TRAIN, _NUM_TEST = 50_000, 10_000


def prepare_cifar(
    folder: Path,
    root: Path | str,
    *,
    source: str,
    label_key: str,
    download: bool,
    mean: Statistics,
    std: Statistics,
    progress: Progress = silent,
) -> ImageDataset:
    """Write CIFAR-10 or CIFAR-100 to ``folder``.

    Looked for in this order: the unpacked batches (``root/cifar-10-batches-py``, or ``root`` itself if it has that
    name), the archive ``root/cifar-10-python.tar.gz``, which is read without being unpacked, and, with ``download``,
    the network, from where the archive goes to ``root``. Every file must have the MD5 sum that torchvision knows, and
    only then is it unpickled. ``source`` is the name of torchvision's class, ``label_key`` the entry of a batch that
    holds its labels. Raises one ValueError, naming ``dataset.root``, for whatever is missing, damaged, another archive,
    or of another number of images.
    """
    published, name = getattr(datasets, source), source.lower()
    root = Path(root).expanduser()
    files = _read_files(published, root, name, download=download, progress=progress)

    def part(batches: Sequence[Any], what: str, expected: int) -> ImageArrays:
        read = [_unpickle(files[file]) for file, _ in batches]
        pixels = np.concatenate([np.asarray(batch["data"], dtype=np.uint8) for batch in read]).reshape(-1, 3, 32, 32)
        labels = [label for batch in read for label in batch[label_key]]
        if len(pixels) != expected or len(labels) != expected:
            raise ValueError(
                f"{name}: dataset.root={root} holds {len(pixels)} {what} images and {len(labels)} labels "
                f"instead of {expected}"
            )
        return ImageArrays(pixels, np.asarray(labels, dtype=np.int64))

    return save_prepared(
        folder,
        name=name,
        train=part(published.train_list, "training", _NUM_TRAIN),
        test=part(published.test_list, "test", _NUM_TEST),
        class_names=_unpickle(files[published.meta["filename"]])[published.meta["key"]],
        mean=mean,
        std=std,
        notes=[f"{name}: the standard {_NUM_TRAIN:,} training and {_NUM_TEST:,} test images."],
    )


def _read_files(source: Any, root: Path, name: str, *, download: bool, progress: Progress) -> dict[str, bytes]:
    """Return the content of every batch file, checked, by its name."""
    sums = dict([*source.train_list, *source.test_list, (source.meta["filename"], source.meta["md5"])])
    unpacked = root if root.name == source.base_folder else root / source.base_folder
    archive = root / source.filename
    if unpacked.is_dir():
        place = unpacked
        files = {file: (unpacked / file).read_bytes() for file in sums if (unpacked / file).is_file()}
    else:
        if not archive.is_file():
            if not download:
                raise ValueError(
                    f"{name} is not below dataset.root={root}: neither {source.base_folder}/ nor {source.filename} "
                    "is there; set dataset.download=true, or give the folder that holds one of them as dataset.root"
                )
            fetch(source.url, archive, md5=source.tgz_md5, what=name, progress=progress)
        place, files = archive, _read_archive(archive, source.base_folder, sums)
    missing = [f"{file}: missing" for file in sums if file not in files]
    digests = {file: hashlib.md5(content, usedforsecurity=False).hexdigest() for file, content in files.items()}
    damaged = [f"{file}: damaged" for file, digest in digests.items() if digest != sums[file]]
    if missing or damaged:
        raise ValueError(
            f"dataset.root: {place} is not the genuine {name} ({in_line([*missing, *damaged])}); remove it and set "
            "dataset.download=true, or give another dataset.root"
        )
    progress(len(sums), len(sums), {})
    return files


def _read_archive(archive: Path, base_folder: str, sums: dict[str, str]) -> dict[str, bytes]:
    wanted = {f"{base_folder}/{name}": name for name in sums}
    files: dict[str, bytes] = {}
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                if member.isfile() and member.name in wanted:
                    stream = tar.extractfile(member)
                    assert stream is not None
                    files[wanted[member.name]] = stream.read()
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        # tarfile lists every compression that it tried on lines of their own.
        why = next(iter(str(error).splitlines()), type(error).__name__).rstrip(":")
        raise ValueError(
            f"dataset.root: {archive} is a damaged archive ({why}); remove it and set dataset.download=true, or "
            "put the genuine one there"
        ) from error
    return files


def _unpickle(content: bytes) -> dict[str, Any]:
    # Only genuine files come here: a pickle may run code, and what these hold is known by their checksums.
    return pickle.loads(content, encoding="latin1")
