"""The data sets: what decides the prepared arrays of each."""

import functools
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, Field, model_validator

from assimilate.data.folder import prepare_folder
from assimilate.data.images import FILES, ImageDataset, load_prepared
from assimilate.data.listing import FolderListing, scan_folder, shown
from assimilate.data.statistics import MEANS, SMALLEST_STD, STDS, divided_by_255
from assimilate.data.tinyimagenet import prepare_tinyimagenet
from assimilate.errors import UserError
from assimilate.files.cpus import usable_cpus
from assimilate.graph.cost import Effort
from assimilate.graph.place import Built, Place, Progress
from assimilate.graph.required import required
from assimilate.graph.settings import NEUTRAL, PATH, Allowed, Count, Flag, From, Probability, Settings
from assimilate.graph.step import Step

# File stem of the latents of images that a generator made.
LATENTS = "latents"


def _folder_name(name: str) -> str:
    if not name.strip() or name in (".", "..") or set(name) & set("/\\\0") or len(name.encode()) > 255:
        raise ValueError("no name of a folder")
    return name


Three = tuple[float, float, float]

_Mean = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
_Std = Annotated[float, Field(ge=SMALLEST_STD, le=1, allow_inf_nan=False)]
Mean = Annotated[tuple[_Mean, _Mean, _Mean], Allowed(MEANS, divided_by_255)]
Std = Annotated[tuple[_Std, _Std, _Std], Allowed(STDS, divided_by_255)]


class Images(Settings):
    """The prepared images, as steps that are made from them know them: by their pixels, wherever they came from."""

    fingerprint: str
    num_train: Annotated[int, NEUTRAL] = 0
    labelled: Annotated[Flag, NEUTRAL] = True
    has_test: Annotated[Flag, NEUTRAL] = True
    mean: Annotated[Three, NEUTRAL] = (0.0, 0.0, 0.0)
    std: Annotated[Three, NEUTRAL] = (1.0, 1.0, 1.0)

    @property
    def known_as(self) -> str:
        return self.fingerprint


class Dataset(Step):
    """Images of one size as uint8 arrays, a training and perhaps a test part, with labels or without.

    Attributes:
        name: how runs and artifacts call the data set, a level of their folders.
        image_size: side of the square images. With a StyleGAN2 8, 16, 32, 64, 128 or 256, as it doubles from 4.
        flip: probability of a horizontal flip in expert views, generator and probes; 0 where a mirrored image is
            another.
        max_train_images: a fixed random subset of the training images; null: all.
        max_test_images: a fixed random subset of the test images; null: all.
        mean: channel means; null: measured on the training images.
        std: channel standard deviations; null: measured on the training images.
    """

    kind: ClassVar[str] = "datasets"
    stage: ClassVar[str] = "prepare_data"
    title: ClassVar[str] = "Preparing images"
    whole: ClassVar[str] = "data set"
    name: Annotated[
        str, AfterValidator(_folder_name), NEUTRAL, Allowed("the name of one folder, without / or \\")
    ]  # a level of the artifacts' folders
    image_size: Annotated[int, Field(ge=8), Allowed("a whole number ≥ 8")]
    # Used by views, the generator and probes; the arrays do not depend on it.
    flip: Annotated[Probability, NEUTRAL] = 0.5
    max_train_images: Annotated[Count | None, Allowed("null or a whole number ≥ 1")]
    max_test_images: Annotated[Count | None, Allowed("null or a whole number ≥ 1")] = None
    mean: Annotated[Mean | None, Allowed(MEANS, divided_by_255)] = None
    std: Annotated[Std | None, Allowed(STDS, divided_by_255)] = None
    # Known for every image (`dataset=imagenet_fake`), so nothing is inverted.
    latents_are_known: ClassVar[bool] = False
    # Whether it is one of the data sets that papers report numbers of, rather than images that have its name.
    published: ClassVar[bool] = False
    # Whether they are files of the user's, whose folder may have any data set's name.
    from_files: ClassVar[bool] = False

    @property
    def label(self) -> str:
        return f"{self.image_size}px"

    @property
    def place(self) -> str:
        return self.name

    def count(self) -> int:
        """Training images, before anything is prepared."""
        found = self.available()
        return found if self.max_train_images is None else min(found, self.max_train_images)

    @abstractmethod
    def available(self) -> int:
        """Training images that there are, before any limit."""

    def overruled(self, field: str) -> str | None:
        """Why the files that are there leave a field without any effect; None where it has one, or nothing is there."""
        return None

    @property
    def can_be_probed(self) -> bool:
        """Whether there are labels and test images, as far as that is known before anything is prepared."""
        return True

    def build(self, into: Path, at: Place) -> Built:
        from assimilate.data.preparing import finish

        with at.bar(f"Preparing {self.name}") as progress:
            dataset = finish(
                into,
                self.prepare(into, progress),
                mean=self.mean,
                std=self.std,
                limits={"train": self.max_train_images, "test": self.max_test_images},
            )
        return self.built(dataset, at)

    def built(self, dataset: ImageDataset, at: Place, *, leftovers: frozenset[str] = frozenset()) -> Built:
        """What is said of a prepared data set, and recorded."""
        for note in dataset.notes:
            at.say(f"  {note}")
        facts = {
            "num_train": len(dataset.train),
            "num_test": 0 if dataset.test is None else len(dataset.test),
            "classes": len(dataset.class_names),
            "fingerprint": dataset.fingerprint,
        }
        return Built(facts, volatile=frozenset({FILES}), leftovers=leftovers)

    @required(unless="build")
    def prepare(self, into: Path, progress: Progress) -> ImageDataset:
        """Decode all images into arrays.

        Raises:
            ValueError: the data set is not there, is another, or is damaged; all images that cannot be read are listed.
        """
        raise NotImplementedError

    def load(self, folder: Path, at: Place) -> "ImageDataset":
        """The arrays, behind a memory map."""
        return load_prepared(folder)

    @property
    def statistics(self) -> dict[str, Any]:
        """The mean and std that are given, rather than measured."""
        given = {"mean": self.mean, "std": self.std}
        return {name: tuple(value) for name, value in given.items() if value is not None}

    def effort(self, images: int) -> Effort:
        """Decoding."""
        return Effort(images * 0.02, images * 1.2 * 3 * self.image_size**2 / 1e6)


class Digits(Dataset):
    """scikit-learn's 1,797 scans of handwritten digits."""

    published: ClassVar[bool] = True

    def available(self) -> int:
        return 1437

    def prepare(self, into: Path, progress: Progress) -> ImageDataset:
        from assimilate.data.digits import prepare_digits

        return prepare_digits(into, image_size=self.image_size, progress=progress)


class Downloaded(Dataset):
    """A published data set below `root`, fetched if it is not there.

    Attributes:
        published_size: side of its images.
        root: holds the published archive or its folder, or receives it; ASSIMILATE_DATA is its default.
        download: fetch the archive if it is not there.
    """

    published: ClassVar[bool] = True
    root: Annotated[str, NEUTRAL, PATH, Allowed("a folder")]
    download: Annotated[Flag, NEUTRAL]
    published_size: ClassVar[int]

    @model_validator(mode="after")
    def _of_its_size(self) -> "Downloaded":
        if self.image_size != self.published_size:
            raise ValueError(
                f"dataset.image_size={self.image_size} cannot be used: allowed is {self.published_size}, the side of "
                f"{type(self).__name__}'s images"
            )
        return self

    @property
    def folder(self) -> Path:
        """`root`."""
        return Path(self.root).expanduser()


class CIFAR(Downloaded):
    """CIFAR-10 and CIFAR-100."""

    published_size: ClassVar[int] = 32
    # What torchvision calls the data set and its labels; the mean and std of E-SSL and of SupContrast.
    source: ClassVar[str]
    label_key: ClassVar[str]
    usual_mean: ClassVar[Three]
    usual_std: ClassVar[Three]

    def prepare(self, into: Path, progress: Progress) -> ImageDataset:
        from assimilate.data.cifar import prepare_cifar

        return prepare_cifar(
            into,
            self.folder,
            source=self.source,
            label_key=self.label_key,
            download=self.download,
            **{"mean": self.usual_mean, "std": self.usual_std, **self.statistics},
            progress=progress,
        )

    def available(self) -> int:
        return 50_000


class CIFAR10(CIFAR):
    """CIFAR-10."""

    source, label_key = "CIFAR10", "labels"
    usual_mean, usual_std = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)


class CIFAR100(CIFAR):
    """CIFAR-100."""

    source, label_key = "CIFAR100", "fine_labels"
    usual_mean, usual_std = (0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)


class TinyImageNet(Downloaded):
    """TinyImageNet."""

    published_size: ClassVar[int] = 64

    def prepare(self, into: Path, progress: Progress) -> ImageDataset:
        return prepare_tinyimagenet(into, self.folder, download=self.download, **self.statistics, progress=progress)

    def available(self) -> int:
        return 100_000


# Of one core, to decode and resize it.
SECONDS_OF_AN_IMAGE = 0.005


class OfFiles(Dataset):
    """Images whose files lie below `root`, and are known by their names there.

    Attributes:
        root: the folder.
    """

    root: Annotated[str, NEUTRAL, PATH, Allowed("a folder")]

    def effort(self, images: int) -> Effort:
        """Decoding photographs of some hundred pixels a side, on all cores."""
        return replace(super().effort(images), gflop=0.0, seconds=images * SECONDS_OF_AN_IMAGE / usable_cpus())

    def tree(self) -> dict[str, Any]:
        """With the folder: another is another run."""
        return {**super().tree(), "root": self.root}


class Folder(OfFiles):
    """A folder of images of the user's, known by the names, sizes and times of its files.

    Attributes:
        root: <class>/<files>, or train/<class>/<files> with test/<class>/<files>, or a flat folder, which has no
            labels.
        test_fraction: held out where there is no test folder; decided by file name, so that it never moves. 0: none is,
            and nothing is probed.
    """

    version: ClassVar[int] = 2
    from_files: ClassVar[bool] = True
    out: Annotated[str, NEUTRAL, From("out")]
    test_fraction: Annotated[
        float, Field(ge=0, lt=1), Allowed("a share from 0 (train on all, probe nothing) to below 1")
    ]

    def _listing(self) -> FolderListing:
        try:
            return scan_folder(self.root, out=Path(self.out).expanduser().resolve())
        except ValueError as error:
            raise UserError(str(error)) from error

    def content(self) -> Mapping[str, Any]:
        return {"listing": self._listing().key}

    def available(self) -> int:
        train, _ = self._listing().split(self.test_fraction)
        return len(train)

    def overruled(self, field: str) -> str | None:
        if field != "test_fraction":
            return None
        try:
            listing = scan_folder(self.root, out=Path(self.out).expanduser().resolve())
        except ValueError:  # refused when the images are prepared
            return None
        if not listing.test:
            return None
        own = listing.root / Path(listing.test[0].path).parts[0]
        return f"{shown(own)} holds the test images, so none are held out"

    @property
    def can_be_probed(self) -> bool:
        listing = self._listing()
        return bool(listing.class_names) and listing.split(self.test_fraction)[1] is not None

    def prepare(self, into: Path, progress: Progress) -> ImageDataset:
        return prepare_folder(
            into,
            self.root,
            image_size=self.image_size,
            test_fraction=self.test_fraction,
            name=self.name,
            **self.statistics,
            out=Path(self.out).expanduser().resolve(),
            progress=progress,
        )


class ImageNet(OfFiles):
    """ImageNet as ILSVRC2012 lays it out, known by the names of its files.

    Attributes:
        root: holds train/<wnid>/*.JPEG and val/<wnid>/*.JPEG.
    """

    published: ClassVar[bool] = True

    def content(self) -> Mapping[str, Any]:
        return {"listing": _scan_imagenet(self.root)[0]}

    def available(self) -> int:
        return _scan_imagenet(self.root)[1]

    def prepare(self, into: Path, progress: Progress) -> ImageDataset:
        return _imagenet().prepare_imagenet(
            into,
            Path(self.root).expanduser(),
            image_size=self.image_size,
            max_train_images=self.max_train_images,
            max_test_images=self.max_test_images,
            **self.statistics,
            progress=progress,
        )


@functools.lru_cache(maxsize=4)
def _scan_imagenet(root: str) -> tuple[str, int]:
    # A million file names take seconds to list: once a process.
    try:
        listing = _imagenet().scan_imagenet(root)
    except ValueError as error:
        raise UserError(str(error)) from error
    return listing.key, len(listing.train)


def _imagenet() -> ModuleType:
    from assimilate.data import imagenet  # and with it torch

    return imagenet
