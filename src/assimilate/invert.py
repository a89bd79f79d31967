"""Stage: find the latents of the training images.

python -m assimilate.invert dataset=cifar10
python -m assimilate.invert dataset=cifar10 shard=3/8     the optimisation of one part, in a process of its own
"""

import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from assimilate.artifacts.artifact import Artifact
from assimilate.errors import UserError
from assimilate.graph.built import Built
from assimilate.inversion.step import ERRORS, LATENTS
from assimilate.jobs.children import run_shards
from assimilate.jobs.command import stage
from assimilate.jobs.session import Session
from assimilate.jobs.sharing import parent_digests, shard_to_fill, start_over_if_needed, told_to_the_user
from assimilate.run.job import Job

if TYPE_CHECKING:
    from assimilate.generator.discriminator import Discriminator
    from assimilate.generator.protocol import LatentGenerator
    from assimilate.inversion.encoder import InversionEncoder
    from assimilate.inversion.perceptual import FeatureExtractor
    from assimilate.inversion.settings import EncoderSettings, OptimizationSettings

INITIAL_ERRORS = "initial_errors.npy"
ENCODER = "encoder.pt"
# Of the published encoder, and so of one that inverts a generator of unknown widths.
FULL_WIDTH = 512
# Keys of conf/inversion that the training of the encoder reads.
ENCODER_KEYS = (
    "num_steps",
    "batch_size",
    "lr",
    "mse_weight",
    "perceptual_weight",
    "adversarial_weight",
    "r1_weight",
    "r1_every",
    "perceptual_norm",
)


@dataclass(frozen=True)
class _Room:
    """What both parts of the inversion work with."""

    generator: "LatentGenerator"
    features: "FeatureExtractor"
    encoder_settings: "EncoderSettings"
    optimization_settings: "OptimizationSettings"
    discriminator: "Discriminator | None"  # that opposes the encoder
    discriminator_optimizer: dict[str, Any] | None  # of the one that trained it, where the checkpoint has it
    channels: tuple[int, ...]


def build(session: Session, artifact: Artifact, staging: Path) -> Built:
    """Fill `staging` with pre-truncation latents [N, L, D] and the reconstruction error of every image.

    Of images that the generator made, the latents are those of the data set, the same file, and there is no error.

    Raises:
        ValueError: a checkpoint or latents that the user brings do not fit, the perceptual network cannot be had, or
            training is not finite.
    """
    if artifact.step.is_known:
        return _link_known(artifact.parents["dataset"].path, staging)
    from assimilate.inversion.invert import invert

    images = session.dataset.train
    if session.config["inversion"]["latents"] is not None:
        return Built(_import_latents(session, artifact, staging))
    start_over_if_needed(session, artifact, staging)
    room = _prepare(session, artifact)
    encoder = _encoder(session, room, staging)
    _keep_encoder(staging, encoder)
    devices = int(session.config["trainer"]["devices"])
    if devices > 1:
        run_shards(session, artifact, devices, range(1, devices + 1))
    with session.terminal.bar("Optimising latents") as progress:
        result = invert(
            room.generator,
            images,
            encoder_settings=room.encoder_settings,
            optimization_settings=room.optimization_settings,
            encoder_channels=room.channels,
            features=room.features,
            discriminator=None,
            workdir=staging,
            seed=session.config["inversion"]["seed"],
            encoder=encoder,
            device=session.device,
            progress=progress,
        )
    np.save(staging / ERRORS, result.errors.astype(np.float32))
    np.save(staging / INITIAL_ERRORS, result.initial_errors.astype(np.float32))
    facts: dict[str, Any] = {
        "reconstruction_mse_mean": float(result.errors.mean()),
        "reconstruction_mse_worst": float(result.errors.max()),
        "encoder_mse_mean": float(result.initial_errors.mean()),
    }
    if room.discriminator is not None:
        facts["discriminator_optimizer"] = "new" if room.discriminator_optimizer is None else "continued"
    session.terminal.say(
        f"  reconstruction error (MSE on [−1, 1]): {facts['encoder_mse_mean']:.4f} after the encoder, "
        f"{facts['reconstruction_mse_mean']:.4f} after optimisation"
    )
    kept = {LATENTS, ERRORS, INITIAL_ERRORS, ENCODER}
    return Built(facts, leftovers=frozenset(path.name for path in staging.iterdir() if path.name not in kept))


def _link_known(data: Path, staging: Path) -> Built:
    (staging / LATENTS).unlink(missing_ok=True)
    (staging / LATENTS).hardlink_to(data / LATENTS)  # the stage prepare_data gave it the same name
    return Built({"known": True})


def _beside_generator(
    session: Session, generator: Artifact
) -> tuple["Discriminator | None", dict[str, Any] | None, int]:
    """The discriminator that was trained with a generator and its Adam, if there are, and the encoder's width."""
    config, discriminator, optimizer = session.config["inversion"], None, None
    if (state := generator.step.load_state(generator.path)) is not None:
        discriminator = None if state.discriminator is None else state.discriminator.to(session.device)
        optimizer = state.optimizers.get("d_optim")
        widest = config["max_channels"] or max(state.architecture.channels)
    else:
        widest = config["max_channels"] or FULL_WIDTH
    return discriminator, optimizer, widest


def _prepare(session: Session, artifact: Artifact) -> _Room:
    from assimilate.generator.architecture import stylegan2_channels
    from assimilate.inversion.settings import EncoderSettings, OptimizationSettings
    from assimilate.train_generator import load_generator

    config = session.config["inversion"]
    generator = load_generator(session, artifact.parents["generator"])
    discriminator, optimizer, widest = _beside_generator(session, artifact.parents["generator"])
    if discriminator is None and (lacking := artifact.step.lacking_discriminator()):
        raise UserError(lacking)
    channels: tuple[int, ...] = ()  # an encoder that is brought has its own
    trains = config["checkpoint"] is None
    if trains:
        # For 64 pixels and up the encoder's own, narrower layout (PROTOCOLS 5).
        channels = stylegan2_channels(generator.image_size, channel_multiplier=1, max_channels=widest)
    return _Room(
        generator=generator,
        features=_features(session, artifact, discriminator),
        encoder_settings=EncoderSettings(
            **{key: config[key] for key in ENCODER_KEYS},
            flip_probability=session.config["dataset"]["flip"],
            checkpoint_every=config["checkpoint_every"],
        ),
        optimization_settings=OptimizationSettings(**config["optimization"], perceptual_norm=config["perceptual_norm"]),
        discriminator=discriminator if trains and config["adversarial_weight"] > 0 else None,
        discriminator_optimizer=optimizer,
        channels=channels,
    )


def _finished_encoder(room: _Room, path: Path) -> "InversionEncoder | None":
    """The encoder in a file; None where there is none, or, with a warning, where a byte of it has changed."""
    from assimilate.inversion.checkpoint import load_inversion_encoder

    generator = room.generator
    try:
        return load_inversion_encoder(
            path, image_size=generator.image_size, num_codes=generator.num_codes, latent_dim=generator.latent_dim
        )
    except ValueError as error:
        if path.exists():
            warnings.warn(f"{path} is damaged: {error}; it is made again", stacklevel=2)
            path.unlink()
        return None


def _encoder(session: Session, room: _Room, staging: Path) -> "InversionEncoder":
    """The encoder: the one that was finished before a kill, the user's, or trained now."""
    from assimilate.inversion.checkpoint import load_inversion_encoder
    from assimilate.inversion.training import train_inversion_encoder

    given, generator = session.config["inversion"]["checkpoint"], room.generator
    if (finished := _finished_encoder(room, staging / ENCODER)) is not None:
        return finished
    if given is not None:
        return load_inversion_encoder(
            Path(given).expanduser(),
            image_size=generator.image_size,
            num_codes=generator.num_codes,
            latent_dim=generator.latent_dim,
        )
    if room.discriminator is not None and room.discriminator_optimizer is None:
        session.terminal.say(
            "note: the generator came without d_optim, so the discriminator's Adam begins anew, at inversion.lr"
        )
    with session.terminal.bar("Training the inversion encoder") as progress:
        encoder, _ = train_inversion_encoder(
            generator,
            session.dataset.train,
            channels=room.channels,
            settings=room.encoder_settings,
            features=room.features,
            discriminator=room.discriminator,
            discriminator_optimizer=room.discriminator_optimizer,
            workdir=staging,
            seed=session.config["inversion"]["seed"],
            device=session.device,
            progress=session.tracker.following(progress, "inversion"),
        )
    return encoder


def _keep_encoder(staging: Path, encoder: "InversionEncoder") -> None:
    """Put the finished encoder into `staging`: one that was trained with d and the optimisers (PROTOCOLS 5)."""
    from assimilate.inversion.checkpoint import save_inversion_encoder
    from assimilate.inversion.training import TRAINING_CHECKPOINT

    path, trained = staging / ENCODER, staging / TRAINING_CHECKPOINT
    if path.exists():
        return
    if trained.exists():
        path.hardlink_to(trained)
    else:
        save_inversion_encoder(path, encoder)


def _optimize_shard(session: Session, artifact: Artifact, text: str) -> None:
    """Optimise the latents of one shard's images into the folder where the whole is made.

    Raises:
        UserError: there is no such shard or nothing to share, the disk is full, or what `build` raises.
    """
    from assimilate.data.row_writer import is_made_from
    from assimilate.inversion.invert import optimize_tiles

    if session.config["inversion"]["latents"] is not None:
        raise UserError(f"shard={text}: inversion.latents are taken as they are, there is nothing to share")
    if artifact.step.is_known:
        raise UserError(
            f"shard={text}: the latents of dataset={session.data.dataset} are known, nothing is inverted; "
            "what can be shared is the sampling of its images, by prepare_data"
        )
    shard = shard_to_fill(session, artifact, text)
    if shard is None:
        return
    staging, room = artifact.staging, _prepare(session, artifact)
    sound = is_made_from(staging, parent_digests(artifact))
    encoder = _finished_encoder(room, staging / ENCODER) if sound else None
    if encoder is None:
        with artifact.lock():  # one process trains the encoder; the others wait for it
            start_over_if_needed(session, artifact, staging)
            encoder = _encoder(session, room, staging)
            _keep_encoder(staging, encoder)
    encoder = encoder.to(session.device).eval().requires_grad_(False)
    try:
        with session.terminal.bar(f"Optimising latents, shard {shard}") as progress:
            optimize_tiles(
                room.generator,
                encoder,
                room.features,
                session.dataset.train,
                room.optimization_settings,
                staging,
                shard=(shard.index - 1, shard.count),
                device=session.device,
                progress=progress,
            )
    except FileNotFoundError:
        if not artifact.path.is_dir():
            raise
        session.terminal.say(f"another process has finished all latents, {artifact.path}")
        return
    session.terminal.say(
        f"shard {shard} is done; once every shard is, this joins them: {session.command_for(artifact)}"
    )


def _features(session: Session, artifact: Artifact, discriminator: "Discriminator | None") -> "FeatureExtractor":
    from assimilate.inversion.perceptual import DiscriminatorFeatures, ResNetFeatures, Vgg19Features, no_features

    kind = session.config["inversion"]["perceptual"]
    if kind == "none":
        return no_features
    if kind == "vgg19":
        return Vgg19Features().to(session.device)
    if kind == "encoder":
        encoder = session.load(artifact.step.reference)
        mean, std = encoder.mean, encoder.std
        return ResNetFeatures(encoder.backbone, mean, std).to(session.device)
    assert discriminator is not None, "_prepare sees to it"
    return DiscriminatorFeatures(discriminator).to(session.device)


def _import_latents(session: Session, artifact: Artifact, staging: Path) -> dict[str, Any]:
    from assimilate.inversion.given_latents import read_given_latents
    from assimilate.train_generator import load_generator

    generator = load_generator(session, artifact.parents["generator"])
    given = read_given_latents(
        Path(session.config["inversion"]["latents"]).expanduser(),
        num_images=len(session.dataset.train),
        num_codes=generator.num_codes,
        latent_dim=generator.latent_dim,
    )
    np.save(staging / LATENTS, given)
    return {"imported": True}


def load_latents(artifact: Artifact) -> "np.ndarray[Any, np.dtype[np.float32]]":
    """Pre-truncation latents [N, L, D] behind a memory map."""
    result: np.ndarray[Any, np.dtype[np.float32]] = np.load(artifact.path / LATENTS, mmap_mode="r")
    return result


@stage("invert")
def main(job: Job) -> None:
    """Invert the training images of this job."""
    session = Session(job)
    if session.prepare == "plan":
        session.print_plan()
        return
    if session.chain.latents is None:
        raise UserError(f"assim={job.config['assim']['name']} with view={job.config['view']['name']} needs no latents")
    if job.config["shard"] is not None:
        with told_to_the_user(session.chain.latents):
            _optimize_shard(session, session.chain.latents, str(job.config["shard"]))
        return
    if job.config["force"]:
        session.store.discard(session.chain.latents)
    path = session.ensure(session.chain.latents)
    session.terminal.say(f"latents: {path}")
    session.summarize()


if __name__ == "__main__":
    sys.exit(main())
