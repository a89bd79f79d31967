"""What a chain begins with: the images, the data set that probes use, and a generator that is brought."""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from assimilate.artifacts.brought import brought_generator
from assimilate.artifacts.store import Artifact
from assimilate.errors import UserError
from assimilate.settings.identity import SAMPLED_DATA, data_is_sampled

# Raised when a stage's output changes for the same content.
STAGE_VERSIONS = {
    "prepare_data": 1,
    "train_generator": 1,
    "invert": 1,
    "train": 1,
    "calibrate": 1,
    "make_views": 1,
    "evaluate": 1,
}


def artifact_root(out: Path) -> Path:
    """Where artifacts are kept below `out`."""
    return out / "artifacts"


@functools.lru_cache(maxsize=4)
def _scan_imagenet(root: str) -> tuple[str, int]:
    """The listing's key and its number of training images."""
    # A million file names take seconds to list: once a process.
    from assimilate.data.imagenet import scan_imagenet

    listing = scan_imagenet(root)
    return listing.key, len(listing.train)


def count_train_images(config: Mapping[str, Any], out: Path) -> int:
    """Training images of a data set that is not prepared yet: those on disk where that differs from user to user."""
    dataset = config["dataset"]
    if dataset["kind"] == "folder":
        from assimilate.data.listing import scan_folder

        train, _ = scan_folder(dataset["root"], out=out).split(dataset["test_fraction"])
        count = len(train)
    elif dataset["kind"] == "imagenet":
        _, count = _scan_imagenet(str(dataset["root"]))
    elif dataset["kind"] == SAMPLED_DATA:
        count = int(dataset["num_images"])
    else:
        count = {"digits": 1437, "tinyimagenet": 100_000}.get(dataset["kind"], 50_000)
    limit = dataset["max_train_images"]
    return count if limit is None else min(count, int(limit))


def data_artifact(config: Mapping[str, Any], out: Path) -> Artifact:
    """The prepared arrays. A folder of images is known by the names, sizes and times of its files, ImageNet by their
    names; cifar and tinyimagenet are what they are, and what is elsewhere is refused when it is read. A data set that a
    generator makes is known by the generator and what is drawn from it.

    Raises:
        UserError: `dataset.root` is missing, empty, or not a folder of images; no trained generator to sample from.
    """
    dataset = config["dataset"]
    if data_is_sampled(config):
        return _sampled_data(config, out)
    content: dict[str, Any] = {
        key: dataset[key] for key in ("kind", "image_size", "max_train_images", "max_test_images")
    }
    revision = 0
    if dataset["kind"] == "folder":
        from assimilate.data.listing import scan_folder

        try:
            listing = scan_folder(dataset["root"], out=out)
        except ValueError as error:
            raise UserError(str(error)) from error
        content |= {"listing": listing.key, "test_fraction": dataset["test_fraction"]}
        revision = 1  # once, identical images could be on both sides of the split, and classes lost to a limit
    if dataset["kind"] == "imagenet":
        try:
            content["listing"], _ = _scan_imagenet(str(dataset["root"]))
        except ValueError as error:
            raise UserError(str(error)) from error
    if dataset.get("mean") is not None or dataset.get("std") is not None:
        content |= {"mean": dataset["mean"], "std": dataset["std"]}
    return Artifact(
        "datasets",
        dataset["name"],
        f"{dataset['image_size']}px",
        content,
        {},
        "prepare_data",
        STAGE_VERSIONS["prepare_data"] + revision,
        artifact_root(out),
    )


def _sampled_data(config: Mapping[str, Any], out: Path) -> Artifact:
    dataset, generator = config["dataset"], config["generator"]
    parent = brought_artifact(config, out)
    if parent is None:
        raise UserError(
            f"dataset={dataset['name']} is sampled from a generator that is trained already: give generator.checkpoint="
        )
    content = {
        **{key: dataset[key] for key in ("kind", "image_size", "seed", "tile", "mean", "std")},
        "num_images": count_train_images(config, out),
        "truncation": generator.get("truncation"),
        "latent_limit": generator.get("latent_limit"),
    }
    return Artifact(
        "datasets",
        dataset["name"],
        f"{dataset['image_size']}px",
        content,
        {"generator": parent},
        "prepare_data",
        STAGE_VERSIONS["prepare_data"],
        artifact_root(out),
    )


def brought_artifact(config: Mapping[str, Any], out: Path) -> Artifact | None:
    """A generator that is not trained here, and so depends on no images; None for another."""
    brought = brought_generator(config["generator"])
    if brought is None:
        return None
    name, content = brought
    size = {"image_size": config["dataset"]["image_size"]}
    stage = "train_generator"
    return Artifact(
        "generators",
        config["dataset"]["name"],
        name,
        content | size,
        {},
        stage,
        STAGE_VERSIONS[stage],
        artifact_root(out),
    )


def evaluation_config(config: Mapping[str, Any]) -> dict[str, Any] | None:
    """The configuration with the data set that probes use in the run's place; None where that is the run's own."""
    evaluation = config["dataset"].get("evaluation")
    return None if evaluation is None else {**config, "dataset": evaluation}


def evaluation_artifact(config: Mapping[str, Any], out: Path) -> Artifact | None:
    """The data set that probes use, where it is not the run's own.

    Raises:
        UserError: it is not there.
    """
    config_of = evaluation_config(config)
    if config_of is None:
        return None
    try:
        return data_artifact(config_of, out)
    except UserError as error:
        name, real = config["dataset"]["name"], config_of["dataset"]["name"]
        raise UserError(
            f"dataset={name} is probed on {real} ({str(error).replace('dataset.root', 'dataset.evaluation.root')}): "
            "give dataset.evaluation.root=, or dataset.evaluation=null to train without a probe"
        ) from error
