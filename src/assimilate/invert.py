"""Stage: find the latents of the training images.

python -m assimilate.invert dataset=cifar10
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from assimilate.artifacts import Artifact, Built
from assimilate.chain import KNOWN_LATENTS
from assimilate.command import stage
from assimilate.config import Job
from assimilate.errors import UserError
from assimilate.session import Session

if TYPE_CHECKING:
    from assimilate.generator.discriminator import Discriminator
    from assimilate.inversion.perceptual import FeatureExtractor

LATENTS = "latents.npy"
ERRORS = "errors.npy"
INITIAL_ERRORS = "initial_errors.npy"
ENCODER = "encoder.pt"
# Of the published encoder, and so of one that inverts a generator of unknown widths.
FULL_WIDTH = 512
# Keys of conf/inversion that belong to the training of the encoder.
ENCODER_KEYS = (
    "num_steps",
    "batch_size",
    "lr",
    "mse_weight",
    "perceptual_weight",
    "adversarial_weight",
    "r1_weight",
    "r1_every",
)


def build(session: Session, artifact: Artifact, staging: Path) -> Built:
    """Fill `staging` with pre-truncation latents [N, L, D] and the reconstruction error of every image.

    Of images that the generator made, the latents are those of the data set, the same file, and there is no error.

    Raises:
        ValueError: a checkpoint does not fit, the perceptual network cannot be had, or training is not finite.
        UserError: latents that the user brings do not fit.
    """
    if artifact.name == KNOWN_LATENTS:
        return _link_known(artifact.parents["data"].path, staging)
    from assimilate.generator.architecture import stylegan2_channels
    from assimilate.inversion.checkpoint import load_inversion_encoder, save_inversion_encoder
    from assimilate.inversion.invert import invert
    from assimilate.inversion.settings import EncoderSettings, OptimizationSettings
    from assimilate.train_generator import load_generator

    config, images = session.config["inversion"], session.dataset.train
    generator = load_generator(session, artifact.parents["generator"])
    shape = (len(images), generator.num_codes, generator.latent_dim)
    if config["latents"] is not None:
        return Built(_import_latents(Path(config["latents"]).expanduser(), shape, staging))
    discriminator, widest = _beside_generator(session, artifact.parents["generator"])
    given = None
    if config["checkpoint"] is not None:
        given = load_inversion_encoder(
            Path(config["checkpoint"]).expanduser(),
            image_size=generator.image_size,
            num_codes=generator.num_codes,
            latent_dim=generator.latent_dim,
        )
    with session.terminal.bars("Training the inversion encoder", "Optimising latents") as (encoder_progress, progress):
        result = invert(
            generator,
            images,
            encoder_settings=EncoderSettings(
                **{key: config[key] for key in ENCODER_KEYS},
                flip_probability=session.config["dataset"]["flip"],
                checkpoint_every=config["checkpoint_every"],
            ),
            optimization_settings=OptimizationSettings(**config["optimization"]),
            # For 64 pixels and up the encoder's own, narrower layout (PROTOCOLS 5).
            encoder_channels=stylegan2_channels(generator.image_size, channel_multiplier=1, max_channels=widest),
            features=_features(session, artifact, discriminator),
            discriminator=discriminator if config["adversarial_weight"] > 0 else None,
            workdir=staging,
            seed=config["seed"],
            encoder=given,
            device=session.device,
            encoder_progress=encoder_progress,
            progress=progress,
        )
    np.save(staging / ERRORS, result.errors.astype(np.float32))
    np.save(staging / INITIAL_ERRORS, result.initial_errors.astype(np.float32))
    save_inversion_encoder(staging / ENCODER, result.encoder)
    facts = {
        "reconstruction_mse_mean": float(result.errors.mean()),
        "reconstruction_mse_worst": float(result.errors.max()),
        "encoder_mse_mean": float(result.initial_errors.mean()),
    }
    session.terminal.say(
        f"  reconstruction error (MSE on [−1, 1]): {facts['encoder_mse_mean']:.4f} after the encoder, "
        f"{facts['reconstruction_mse_mean']:.4f} after optimisation"
    )
    kept = {LATENTS, ERRORS, INITIAL_ERRORS, ENCODER}
    return Built(facts, leftovers=frozenset(path.name for path in staging.iterdir() if path.name not in kept))


def _link_known(data: Path, staging: Path) -> Built:
    from assimilate.generator.sampling import LATENTS as SAMPLED

    (staging / LATENTS).unlink(missing_ok=True)
    (staging / LATENTS).hardlink_to(data / SAMPLED)
    return Built({"known": True})


def _beside_generator(session: Session, generator: Artifact) -> tuple["Discriminator | None", int]:
    """The discriminator that was trained with a generator, if there is one, and how wide the encoder may be."""
    from assimilate.train_generator import load_state

    config, discriminator = session.config["inversion"], None
    if session.config["generator"]["name"] == "stylegan2":
        state = load_state(generator)
        discriminator = None if state.discriminator is None else state.discriminator.to(session.device)
        widest = config["max_channels"] or max(state.architecture.channels)
    else:
        widest = config["max_channels"] or FULL_WIDTH
    return discriminator, widest


def _features(session: Session, artifact: Artifact, discriminator: "Discriminator | None") -> "FeatureExtractor":
    from assimilate.inversion.perceptual import DiscriminatorFeatures, ResNetFeatures, Vgg19Features, no_features

    kind = session.config["inversion"]["perceptual"]
    if kind == "none":
        return no_features
    if kind == "vgg19":
        return Vgg19Features().to(session.device)
    if kind == "encoder":
        from assimilate.train import load_trained

        encoder, mean, std = load_trained(artifact.parents["encoder"])
        return ResNetFeatures(encoder.backbone, mean, std).to(session.device)
    if discriminator is None:
        raise UserError(
            "inversion.perceptual=discriminator, but the generator comes without a discriminator (d): "
            "take inversion.perceptual=encoder, vgg19 or none"
        )
    return DiscriminatorFeatures(discriminator).to(session.device)


def _import_latents(path: Path, shape: tuple[int, int, int], staging: Path) -> dict[str, Any]:
    try:
        given = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise UserError(f"inversion.latents={path} cannot be read as an array: {error}") from error
    if given.shape != shape or given.dtype != np.float32:
        raise UserError(
            f"inversion.latents={path} holds {given.dtype} {list(given.shape)}; needed is float32 {list(shape)}: "
            "[training images, codes, latent width]"
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
    path = session.ensure(session.chain.latents)
    session.terminal.say(f"latents: {path}")
    session.summarize()


if __name__ == "__main__":
    sys.exit(main())
