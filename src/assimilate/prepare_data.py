"""Stage: decode a data set once into uint8 arrays with a fingerprint.

python -m assimilate.prepare_data dataset=folder dataset.root=/my/images
python -m assimilate.prepare_data dataset=imagenet_fake generator.checkpoint=/my/bigbigan.pth
python -m assimilate.prepare_data dataset=imagenet_fake generator.checkpoint=/my/bigbigan.pth shard=3/8   a part of it
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from assimilate.artifacts.store import Artifact, Built
from assimilate.config import Job
from assimilate.data.directory import in_line
from assimilate.errors import UserError
from assimilate.jobs.command import stage
from assimilate.jobs.session import Session
from assimilate.jobs.sharing import RowWork, describe_missing, discard_all, fill_shard, fill_whole
from assimilate.settings.identity import SAMPLED_DATA, data_is_sampled

if TYPE_CHECKING:
    from assimilate.data.images import ImageDataset

# File stems of the images that a generator makes and of the codes that it makes them from.
SAMPLES, LATENTS = "train_images", "latents"
# Sampled images between two flushes: what a kill may cost.
SAMPLES_FLUSHED = 512


def build(session: Session, artifact: Artifact, staging: Path) -> Built:
    """Fill `staging` with the prepared arrays.

    Raises:
        UserError: an unknown kind, or a size that its images do not have.
        ValueError: the data set is not there, is another, or is damaged; all images that cannot be read are listed.
    """
    from assimilate.data.images import FILES, add_notes, set_statistics
    from assimilate.data.twins import describe_twins

    config = session.dataset_config(artifact)
    if config["kind"] == SAMPLED_DATA:
        return _sample(session, artifact, config, staging)
    with session.terminal.bar(f"Preparing {config['name']}") as progress:
        dataset = _prepare(config, staging, session.job.out, progress)
        mean, std = config.get("mean"), config.get("std")
        if (mean is not None and tuple(mean) != dataset.mean) or (std is not None and tuple(std) != dataset.std):
            dataset = set_statistics(staging, mean or dataset.mean, std or dataset.std)
        dataset = _limited(staging, dataset, {"train": config["max_train_images"], "test": config["max_test_images"]})
        if (twins := describe_twins(dataset.train, dataset.test)) is not None:
            dataset = add_notes(staging, [twins])
    facts = {
        "num_train": len(dataset.train),
        "num_test": 0 if dataset.test is None else len(dataset.test),
        "classes": len(dataset.class_names),
        "fingerprint": dataset.fingerprint,
    }
    for note in dataset.notes:
        session.terminal.say(f"  {note}")
    return Built(facts, volatile=frozenset({FILES}))


def _sample(session: Session, artifact: Artifact, config: dict[str, Any], staging: Path) -> Built:
    """Fill `staging` with images that the generator makes, and the latents that it makes them from."""
    from assimilate.data.images import ImageArrays, save_prepared

    fill_whole(session, artifact, _sampling(session, artifact), staging)
    images = np.load(staging / f"{SAMPLES}.npy", mmap_mode="r")
    limit = artifact.content["latent_limit"]
    drawn = "N(0, I)" if limit is None else f"N(0, I) truncated at ±{limit:g}"
    note = f"{config['name']}: {len(images):,} images sampled from {artifact.parents['generator'].name}"
    if artifact.content["truncation"] is not None:
        note += f", latents from {drawn}, truncation {artifact.content['truncation']:g}"
    mean, std = (None if config[key] is None else tuple(config[key]) for key in ("mean", "std"))
    dataset = save_prepared(
        staging,
        name=config["name"],
        train=ImageArrays(images, None),
        test=None,
        class_names=(),
        mean=mean,
        std=std,
        notes=[note + "; no labels, and their latents are known."],
    )
    session.terminal.say(f"  {dataset.notes[0]}")
    facts = {"num_train": len(images), "num_test": 0, "classes": 0, "fingerprint": dataset.fingerprint}
    kept = {f"{SAMPLES}.npy", f"{LATENTS}.npy", "dataset.json"}
    return Built(facts, leftovers=frozenset(path.name for path in staging.iterdir()) - kept)


def _sampling(session: Session, artifact: Artifact) -> RowWork:
    """How the images of `artifact` are sampled; loads the generator.

    Raises:
        UserError: it makes images of another size.
    """
    from assimilate.generator.sampling import SamplingSettings, sample_images
    from assimilate.train_generator import load_generator

    config = session.dataset_config(artifact)
    generator, size = load_generator(session, artifact.parents["generator"]), config["image_size"]
    if generator.image_size != size:
        raise UserError(f"dataset.image_size={size}: the generator makes images of {generator.image_size}²")
    settings = SamplingSettings(tile=config["tile"], seed=config["seed"])
    return RowWork(
        title=f"Sampling {config['name']}",
        count=artifact.content["num_images"],
        image_shape=(3, size, size),
        fields={LATENTS: ((generator.num_codes, generator.latent_dim), "<f4")},
        fill=lambda write, pending, progress: sample_images(
            generator, write, pending, settings, device=session.device, progress=progress
        ),
        images=SAMPLES,
        tile=settings.tile,
        flush_every=SAMPLES_FLUSHED,
    )


def _limited(staging: Path, dataset: "ImageDataset", limits: dict[str, int | None]) -> "ImageDataset":
    """The data set in `staging`, written anew if it has more images of a part than its limit."""
    from assimilate.data.images import load_files, save_prepared
    from assimilate.data.order import subset_of_classes

    parts = {"train": dataset.train} | ({} if dataset.test is None else {"test": dataset.test})
    chosen = {part: np.arange(len(arrays)) for part, arrays in parts.items()}
    notes, files = list(dataset.notes), load_files(staging)
    for part, arrays in parts.items():
        limit, what = limits[part], {"train": "training", "test": "test"}[part]
        if limit is None or limit >= len(arrays):
            continue
        chosen[part] = subset_of_classes(arrays.labels, len(arrays), limit)
        notes.append(f"A fixed random subset of {limit} of the {len(arrays)} {what} images is used.")
        if arrays.labels is not None and (lost := set(arrays.labels) - set(arrays.labels[chosen[part]])):
            names = in_line([dataset.class_names[label] for label in sorted(lost)])
            notes.append(f"The {limit} {what} images are too few for all classes: none is of {names}.")
    if all(len(chosen[part]) == len(arrays) for part, arrays in parts.items()):
        return dataset
    copies = {part: arrays.subset(chosen[part]) for part, arrays in parts.items()}
    for stale in staging.glob("*.npy"):
        stale.unlink()
    return save_prepared(
        staging,
        name=dataset.name,
        train=copies["train"],
        test=copies.get("test"),
        class_names=dataset.class_names,
        mean=dataset.mean,
        std=dataset.std,
        notes=notes,
        files=None if files is None else {part: [files[part][i] for i in chosen[part]] for part in parts},
    )


def _prepare(config: dict[str, Any], staging: Path, out: Path, progress: Any) -> Any:
    size, kind = config["image_size"], config["kind"]
    statistics = {key: tuple(config[key]) for key in ("mean", "std") if config.get(key) is not None}
    if kind == "digits":
        from assimilate.data.digits import prepare_digits

        return prepare_digits(staging, image_size=size, progress=progress)
    if kind == "folder":
        from assimilate.data.folder import prepare_folder

        return prepare_folder(
            staging,
            config["root"],
            image_size=size,
            test_fraction=config["test_fraction"],
            name=config["name"],
            **statistics,
            out=out,
            progress=progress,
        )
    if kind in ("cifar10", "cifar100"):
        from assimilate.data.cifar import prepare_cifar

        if size != 32:
            raise UserError(f"dataset.image_size={size}: {kind} has images of 32²")
        root = Path(config["root"]).expanduser()
        return prepare_cifar(staging, root, variant=kind, download=config["download"], **statistics, progress=progress)
    if kind == "tinyimagenet":
        from assimilate.data.tinyimagenet import IMAGE_SIZE, prepare_tinyimagenet

        if size != IMAGE_SIZE:
            raise UserError(f"dataset.image_size={size}: tinyimagenet has images of {IMAGE_SIZE}²")
        root = Path(config["root"]).expanduser()
        return prepare_tinyimagenet(staging, root, download=config["download"], **statistics, progress=progress)
    if kind == "imagenet":
        from assimilate.data.imagenet import prepare_imagenet

        return prepare_imagenet(
            staging,
            Path(config["root"]).expanduser(),
            image_size=size,
            max_train_images=config["max_train_images"],
            max_test_images=config["max_test_images"],
            **statistics,
            progress=progress,
        )
    raise UserError(
        f"dataset.kind={kind} is unknown; known: digits, folder, cifar10, cifar100, tinyimagenet, imagenet, sampled"
    )


@stage("prepare_data")
def main(job: Job) -> None:
    """Prepare the images and say what they are."""
    session = Session(job)
    if session.prepare == "plan":
        session.print_plan()
        return
    data = session.data
    if job.config["shard"] is not None:
        fill_shard(session, data, str(job.config["shard"]), lambda: _sampling(session, data))
        return
    if session.prepare == "never" and data_is_sampled(job.config) and not data.path.is_dir():
        raise UserError(describe_missing(session, data))
    if job.config["force"]:
        discard_all(session, data)
    path = session.ensure(data)
    dataset = session.dataset
    session.terminal.say(f"{dataset.name}: {dataset.summary}, in {path}")
    session.summarize()


if __name__ == "__main__":
    sys.exit(main())
