"""The data sets: what decides the prepared arrays of each."""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, Field

from assimilate.data.statistics import MEANS, STDS, is_mean, is_std
from assimilate.graph.settings import NEUTRAL, Allowed, Count, From, Probability, Seed, Settings
from assimilate.graph.step import Step


def _folder_name(name: str) -> str:
    if not name.strip() or name in (".", "..") or set(name) & set("/\\\0") or len(name.encode()) > 255:
        raise ValueError("no name of a folder")
    return name


def _mean(values: list[float]) -> list[float]:
    if not is_mean(values):
        raise ValueError("out of range")
    return values


def _std(values: list[float]) -> list[float]:
    if not is_std(values):
        raise ValueError("out of range")
    return values


Mean = Annotated[list[float], AfterValidator(_mean), Allowed(MEANS)]
Std = Annotated[list[float], AfterValidator(_std), Allowed(STDS)]


class Images(Settings):
    """The prepared images, as steps that are made from them know them: by their pixels, wherever they came from."""

    fingerprint: str
    num_train: Annotated[int, NEUTRAL] = 0
    labelled: Annotated[bool, NEUTRAL] = True
    has_test: Annotated[bool, NEUTRAL] = True
    mean: Annotated[tuple[float, ...], NEUTRAL] = ()
    std: Annotated[tuple[float, ...], NEUTRAL] = ()

    @property
    def known_as(self) -> str:
        """The fingerprint."""
        return self.fingerprint


class Dataset(Step):
    """Images of one size as uint8 arrays, a training and perhaps a test part, with labels or without."""

    kind: ClassVar[str] = "datasets"
    title: ClassVar[str] = "Preparing images"
    name: Annotated[
        str, AfterValidator(_folder_name), NEUTRAL, Allowed("the name of one folder, without / or \\")
    ]  # a level of the artifacts' folders
    image_size: Annotated[int, Field(ge=8), Allowed("a whole number ≥ 8")]
    # Of those who flip, not of the arrays.
    flip: Annotated[Probability, NEUTRAL] = 0.5
    max_train_images: Annotated[Count | None, Allowed("null or a whole number ≥ 1")]
    max_test_images: Annotated[Count | None, Allowed("null or a whole number ≥ 1")] = None
    mean: Annotated[Mean | None, Allowed(MEANS)] = None
    std: Annotated[Std | None, Allowed(STDS)] = None
    # Known for every image (`dataset=imagenet_fake`), so nothing is inverted.
    latents_are_known: ClassVar[bool] = False

    @property
    def label(self) -> str:
        """The images' size."""
        return f"{self.image_size}px"

    def count(self) -> int:
        """Training images, before anything is prepared."""
        found = self.available()
        return found if self.max_train_images is None else min(found, self.max_train_images)

    def available(self) -> int:
        """Training images that there are, before any limit."""
        raise NotImplementedError


class Digits(Dataset):
    """scikit-learn's 1,797 scans of handwritten digits."""

    def available(self) -> int:
        """Of the fixed split."""
        return 1437


class Downloaded(Dataset):
    """A published data set below `root`, fetched if it is not there."""

    root: Annotated[str, NEUTRAL, Allowed("a folder")]
    download: Annotated[bool, NEUTRAL]


class CIFAR(Downloaded):
    """CIFAR-10 and CIFAR-100."""

    def available(self) -> int:
        """Of the published split."""
        return 50_000


class CIFAR10(CIFAR):
    """CIFAR-10."""


class CIFAR100(CIFAR):
    """CIFAR-100."""


class TinyImageNet(Downloaded):
    """TinyImageNet."""

    def available(self) -> int:
        """Of the published split."""
        return 100_000


class Folder(Dataset):
    """A folder of images of the user's, known by the names, sizes and times of its files."""

    version: ClassVar[int] = 2
    root: Annotated[str, NEUTRAL, Allowed("a folder")]
    out: Annotated[str, NEUTRAL, From("out")]
    test_fraction: Annotated[float, Field(gt=0, lt=1), Allowed("a share between 0 and 1")]

    def _listing(self) -> Any:
        from assimilate.data.listing import scan_folder

        return scan_folder(self.root, out=Path(self.out).expanduser().resolve())

    def content(self) -> Mapping[str, Any]:
        """The listing of the folder."""
        return {"listing": self._listing().key}

    def available(self) -> int:
        """As the folder is split."""
        train, _ = self._listing().split(self.test_fraction)
        return len(train)


class ImageNet(Dataset):
    """ImageNet as ILSVRC2012 lays it out, known by the names of its files."""

    root: Annotated[str, NEUTRAL, Allowed("a folder")]

    def content(self) -> Mapping[str, Any]:
        """The listing of the folder."""
        return {"listing": _scan_imagenet(self.root)[0]}

    def available(self) -> int:
        """Files of the training part."""
        return _scan_imagenet(self.root)[1]


@functools.lru_cache(maxsize=4)
def _scan_imagenet(root: str) -> tuple[str, int]:
    # A million file names take seconds to list: once a process.
    from assimilate.data.imagenet import scan_imagenet

    listing = scan_imagenet(root)
    return listing.key, len(listing.train)
