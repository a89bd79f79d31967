"""Stage: train the generator of the views, or take one that is brought.

python -m assimilate.train_generator dataset=cifar10
python -m assimilate.train_generator dataset=cifar10 generator._target_=my.module.MyGenerator
"""

import csv
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from assimilate.artifacts.artifact import Artifact
from assimilate.config import Job
from assimilate.generator.step import GENERATOR, BigBiGAN, Own
from assimilate.generator_record import CURVE, make_observers, read_curve, recorded_files, write_curve
from assimilate.graph.built import Built
from assimilate.jobs.command import stage
from assimilate.jobs.session import Session

if TYPE_CHECKING:
    from assimilate.generator.protocol import LatentGenerator
    from assimilate.generator.settings import TrainingSettings
    from assimilate.generator.state import GeneratorState

DESCRIPTION = "generator.json"
HISTORY = "history.csv"
# What an interrupted training goes on from; the last one is the finished generator.
RESUMABLE = "training.pt"


def build(session: Session, artifact: Artifact, staging: Path) -> Built:
    """Fill `staging` with a trained StyleGAN2, with the checkpoint that the user brings, or with a note of their code.

    Raises:
        ValueError: the checkpoint does not fit the data set, the ranks cannot share a batch, or training is not finite.
        UserError: generator._target_ is no generator of images of that size, or a rank failed.
    """
    config, size = session.config["generator"], session.config["dataset"]["image_size"]
    if isinstance(artifact.step, Own):
        from assimilate.generator.own import describe, make_own_generator

        describe(make_own_generator(config, image_size=size, device=session.device), config, staging / DESCRIPTION)
        return Built({"imported": True})
    if isinstance(artifact.step, BigBiGAN):
        from assimilate.generator.bigbigan_checkpoint import load_bigbigan, save_bigbigan

        path = Path(config["checkpoint"]).expanduser()
        save_bigbigan(staging / GENERATOR, load_bigbigan(path, image_size=size, latent_dim=config["latent_width"]))
        return Built({"imported": True})
    return _make_stylegan2(session, artifact, staging)


def _make_stylegan2(session: Session, artifact: Artifact, staging: Path) -> Built:
    from assimilate.generator.checkpoint import load_stylegan2, save_stylegan2
    from assimilate.launch import launch_ranks

    config, ranks = session.config["generator"], session.config["trainer"]["devices"]
    if config["checkpoint"] is not None:
        size = session.config["dataset"]["image_size"]
        state = load_stylegan2(Path(config["checkpoint"]).expanduser(), image_size=size)
        for note in state.notes:
            session.terminal.say(f"note: {note}")
        save_stylegan2(staging / GENERATOR, state)
        return Built({"imported": True, **({"notes": list(state.notes)} if state.notes else {})})
    if ranks != 1:
        from assimilate.generator.training import check_settings

        check_settings(_settings(session), ranks)
        launch_ranks(session, artifact)
    else:
        fit_generator(session, staging)
    state = load_stylegan2(staging / RESUMABLE)
    _write_history(staging / HISTORY, state)
    (staging / GENERATOR).unlink(missing_ok=True)
    (staging / GENERATOR).hardlink_to(staging / RESUMABLE)
    facts = {"steps": state.step, "parameters": _num_parameters(state), "ranks": ranks}
    write_curve(staging)
    if curve := read_curve(staging / CURVE):
        facts["frechet"] = curve
    recorded = recorded_files(staging)
    kept = {GENERATOR, HISTORY, *(name.split("/")[0] for name in recorded)}
    # What interrupted writes left behind is no part of the artifact either.
    leftovers = {path.name for path in staging.iterdir()} - kept
    return Built(facts, recorded, leftovers=frozenset(leftovers))


def fit_generator(session: Session, staging: Path) -> None:
    """Train the generator in this process, alone or as one of several ranks, from the checkpoint in `staging`, if any.

    Raises:
        ValueError: training is not finite, or does not fit the images.
    """
    from assimilate.data.augmentation import make_transform
    from assimilate.generator.architecture import Architecture, stylegan2_channels
    from assimilate.generator.diffaugment import DiffAugment
    from assimilate.generator.ranks import Ranks
    from assimilate.generator.training import train_stylegan2

    config, dataset = session.config["generator"], session.config["dataset"]
    size = dataset["image_size"]
    leaking = None
    if config["augment"] == "leak":
        leaking = make_transform("expert", size, flip=dataset["flip"], expert=session.config["data"]["expert"])
    architecture = Architecture(
        image_size=size,
        latent_dim=config["latent_dim"],
        num_mapping_layers=config["num_mapping_layers"],
        channels=stylegan2_channels(
            size,
            channel_multiplier=config["channel_multiplier"],
            max_channels=config["max_channels"],
            channel_base=config["channel_base"],
        ),
    )
    observers = make_observers(session, staging, watching=Ranks.current().index == 0)
    with session.terminal.bar("Training StyleGAN2") as progress:
        train_stylegan2(
            session.dataset.train,
            architecture=architecture,
            settings=_settings(session),
            workdir=staging,
            seed=config["seed"],
            device=session.device,
            augmentation=leaking,
            diffaugment=DiffAugment() if config["augment"] == "diffaugment" else None,
            observers=observers,
            progress=session.tracker.following(progress, "generator"),
        )


def _settings(session: Session) -> "TrainingSettings":
    from assimilate.generator.settings import TrainingSettings

    config = session.config["generator"]
    return TrainingSettings(
        num_steps=config["num_steps"],
        batch_size=config["batch_size"],
        lr=config["lr"],
        r1_weight=config["r1_weight"],
        r1_every=config["r1_every"],
        path_length_weight=config["path_length_weight"],
        path_length_every=config["path_length_every"],
        path_length_batch_shrink=config["path_length_batch_shrink"],
        mixing_probability=config["mixing_probability"],
        ema_decay=0.5 ** (1 / config["ema_half_life_steps"]),
        flip_probability=session.config["dataset"]["flip"],
        augmentation_probability=config["augment_probability"],
        checkpoint_every=config["checkpoint_every"],
    )


def _num_parameters(state: "GeneratorState") -> int:
    return sum(parameter.numel() for parameter in state.generator_ema.parameters())


def _write_history(path: Path, state: "GeneratorState") -> None:
    names = list(dict.fromkeys(name for row in state.history for name in row))
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, names)
        writer.writeheader()
        writer.writerows(state.history)


def load_state(artifact: Artifact) -> "GeneratorState":
    """The trained networks of a StyleGAN2's artifact, on the CPU."""
    from assimilate.generator.checkpoint import load_stylegan2

    return load_stylegan2(artifact.path / GENERATOR)


def load_generator(session: Session, artifact: Artifact) -> "LatentGenerator":
    """g of a generator artifact: frozen, truncated, on the session's device."""
    generator: LatentGenerator = artifact.step.load(artifact.path, session)
    return generator


@stage("train_generator")
def main(job: Job) -> None:
    """Train the generator of this job's views."""
    from assimilate.errors import UserError

    session = Session(job)
    if session.prepare == "plan":
        session.print_plan()
        return
    if session.chain.generator is None:
        raise UserError(
            f"assim={job.config['assim']['name']} with view={job.config['view']['name']} needs no generator"
        )
    if job.config["force"]:
        session.store.discard(session.chain.generator)
    there = session.store.has(session.chain.generator)
    path = session.ensure(session.chain.generator)
    generator = job.config["generator"]
    recording = generator.get("sample_every") or generator.get("save_every_images")
    if there and generator["name"] == "stylegan2" and (recording or generator["frechet"] != "none"):
        session.terminal.say(
            "note: this generator was there; samples, snapshots and distances are recorded while one trains, "
            "which force=true does again"
        )
    session.terminal.say(f"generator: {path}")
    session.summarize()


if __name__ == "__main__":
    sys.exit(main())
