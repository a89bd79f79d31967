"""Stage: decode a data set once into uint8 arrays with a fingerprint.

python -m assimilate.prepare_data dataset=folder dataset.root=/my/images
python -m assimilate.prepare_data dataset=imagenet_fake generator.checkpoint=/my/bigbigan.pth
python -m assimilate.prepare_data dataset=imagenet_fake generator.checkpoint=/my/bigbigan.pth shard=3/8   a part of it
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from assimilate.artifacts.artifact import Artifact
from assimilate.config import Job
from assimilate.data.dataset import Dataset
from assimilate.data.directory import in_line
from assimilate.errors import UserError
from assimilate.generator.sampled_dataset import Sampled
from assimilate.graph.built import Built
from assimilate.graph.rows import RowWork
from assimilate.jobs.command import stage
from assimilate.jobs.session import Session
from assimilate.jobs.sharing import describe_missing, discard_all, fill_shard, fill_whole

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

    step = artifact.step
    assert isinstance(step, Dataset)
    if isinstance(step, Sampled):
        return _sample(session, artifact, step, staging)
    with session.terminal.bar(f"Preparing {step.name}") as progress:
        dataset = step.prepare(staging, progress)
        mean, std = step.mean, step.std
        if (mean is not None and mean != dataset.mean) or (std is not None and std != dataset.std):
            dataset = set_statistics(staging, mean or dataset.mean, std or dataset.std)
        dataset = _limited(staging, dataset, {"train": step.max_train_images, "test": step.max_test_images})
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


def _sample(session: Session, artifact: Artifact, step: Sampled, staging: Path) -> Built:
    """Fill `staging` with images that the generator makes, and the latents that it makes them from."""
    from assimilate.data.images import ImageArrays, save_prepared

    fill_whole(session, artifact, _sampling(session, artifact), staging)
    images = np.load(staging / f"{SAMPLES}.npy", mmap_mode="r")
    limit = step.latent_limit
    drawn = "N(0, I)" if limit is None else f"N(0, I) truncated at ±{limit:g}"
    note = f"{step.name}: {len(images):,} images sampled from {artifact.parents['generator'].name}"
    if step.truncation is not None:
        note += f", latents from {drawn}, truncation {step.truncation:g}"
    mean, std = step.mean, step.std
    dataset = save_prepared(
        staging,
        name=step.name,
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

    step = artifact.step
    assert isinstance(step, Sampled)
    generator, size = load_generator(session, artifact.parents["generator"]), step.image_size
    if generator.image_size != size:
        raise UserError(f"dataset.image_size={size}: the generator makes images of {generator.image_size}²")
    settings = SamplingSettings(tile=step.tile, seed=step.seed)
    return RowWork(
        title=f"Sampling {step.name}",
        count=step.count(),
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
    if session.prepare == "never" and isinstance(data.step, Sampled) and not data.path.is_dir():
        raise UserError(describe_missing(session, data))
    if job.config["force"]:
        discard_all(session, data)
    path = session.ensure(data)
    dataset = session.dataset
    session.terminal.say(f"{dataset.name}: {dataset.summary}, in {path}")
    session.summarize()


if __name__ == "__main__":
    sys.exit(main())
