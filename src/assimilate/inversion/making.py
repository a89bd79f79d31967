"""Making the folder of the latents' artifact: of what the user brings, or by an encoder and an optimisation."""

import hashlib
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from assimilate.data.images import ImageDataset
from assimilate.encoder.encoder import Encoder
from assimilate.generator.architecture import stylegan2_channels
from assimilate.generator.protocol import LatentGenerator
from assimilate.generator.state import GeneratorState
from assimilate.graph.place import Built, Place, Progress, RowWork, Shared, Write
from assimilate.inversion.encoder import InversionEncoder, load_inversion_encoder, save_inversion_encoder
from assimilate.inversion.optimization import optimize_images
from assimilate.inversion.settings import InDomainSettings, OptimizationSettings
from assimilate.inversion.training import TRAINING_CHECKPOINT, train_inversion_encoder

ENCODER = "encoder.pt"
# File stems of the rows.
LATENTS, ERRORS, INITIAL_ERRORS = "latents", "errors", "initial_errors"
# Of the published encoder, and so of one that inverts a generator of unknown widths.
FULL_WIDTH = 512


def foresee(settings: InDomainSettings, *, num_images: int, code_shape: tuple[int, int] | None) -> None:
    """Read what the user brings, and get the perceptual network's weights.

    Args:
        settings: of the inversion.
        num_images: training images.
        code_shape: codes of an image and numbers of each; None: they are known once the generator is read.

    Raises:
        ValueError: a file cannot be read or does not fit, or VGG19 cannot be had.
    """
    num_codes, latent_dim = code_shape or (None, None)
    if settings.latents is not None:
        read_given_latents(settings.latents.path, num_images=num_images, num_codes=num_codes, latent_dim=latent_dim)
        return
    if settings.checkpoint is not None:
        path, size = settings.checkpoint.path, settings.image_size
        load_inversion_encoder(path, image_size=size, num_codes=num_codes, latent_dim=latent_dim)
    settings.perceptual.foresee()


def take_latents(given: Path, target: Path, generator: LatentGenerator, at: Place) -> Built:
    """Copy latents of a user's file.

    Raises:
        ValueError: they do not fit the images or the generator.
    """
    latents = read_given_latents(
        given, num_images=len(at.dataset.train), num_codes=generator.num_codes, latent_dim=generator.latent_dim
    )
    np.save(target, latents)
    return Built({"imported": True})


class Inverting:
    """The inversion of a data set: an encoder, which is trained or brought, then the optimisation of every latent.

    Args:
        settings: of the inversion.
        refining: of the optimisation.
        generator: frozen, on the job's device.
        state: the networks that were trained with it; None where there is but a generator.
        reference: f, where the perceptual network is f; otherwise None.
        at: the job.
    """

    def __init__(
        self,
        settings: InDomainSettings,
        refining: OptimizationSettings,
        generator: LatentGenerator,
        state: GeneratorState | None,
        reference: Encoder | None,
        at: Place,
    ) -> None:
        self._settings, self._refining, self._at = settings, refining, at
        self._generator, self._state = generator, state
        discriminator = None if state is None else state.discriminator
        features = settings.perceptual.features(discriminator, reference)
        self._features = features.to(at.device) if isinstance(features, nn.Module) else features
        self._encoder: InversionEncoder | None = None
        opposed = settings.trains and settings.adversarial_weight > 0
        self._opponent = discriminator if opposed else None
        self._optimizer = None if state is None else state.optimizers.get("d_optim")

    def rows(self) -> RowWork:
        """The optimisation, a row an image."""
        generator, tile = self._generator, self._refining.tile
        return RowWork(
            title="Optimising latents",
            count=len(self._at.dataset.train),
            image_shape=None,
            fields={
                LATENTS: ((generator.num_codes, generator.latent_dim), "<f4"),
                ERRORS: ((), "<f4"),
                INITIAL_ERRORS: ((), "<f4"),
            },
            fill=self._fill,
            tile=tile,
            flush_every=tile,
            shared=Shared("encoder", self._find_encoder, self._make_encoder),
        )

    def finish(self, into: Path) -> Built:
        """What is said of a folder whose rows are filled, and recorded."""
        errors, initial_errors = (np.load(into / f"{name}.npy") for name in (ERRORS, INITIAL_ERRORS))
        facts: dict[str, Any] = {
            "reconstruction_mse_mean": float(errors.mean()),
            "reconstruction_mse_worst": float(errors.max()),
            "encoder_mse_mean": float(initial_errors.mean()),
        }
        if self._opponent is not None:
            facts["discriminator_optimizer"] = "new" if self._optimizer is None else "continued"
        self._at.say(
            f"  reconstruction error (MSE on [−1, 1]): {facts['encoder_mse_mean']:.4f} after the encoder, "
            f"{facts['reconstruction_mse_mean']:.4f} after optimisation"
        )
        kept = {ENCODER, *(f"{name}.npy" for name in (LATENTS, ERRORS, INITIAL_ERRORS))}
        return Built(facts, leftovers=frozenset(path.name for path in into.iterdir()) - kept)

    # ------------------------------------------------------------------------------------------ the encoder

    def _find_encoder(self, folder: Path) -> str | None:
        """Take the encoder that a folder holds; a damaged one is deleted, with a warning."""
        path = folder / ENCODER
        if not path.exists():
            return None
        try:
            encoder = self._load(path)
        except ValueError as error:
            warnings.warn(f"{path} is damaged: {error}; it is made again", stacklevel=2)
            path.unlink()
            return None
        self._encoder = encoder.to(self._at.device).eval().requires_grad_(False)
        digest = hashlib.sha256()
        for name, value in encoder.state_dict().items():
            digest.update(name.encode())
            digest.update(value.cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def _make_encoder(self, folder: Path) -> None:
        """Put the encoder into a folder: the user's, or a trained one with d and the optimisers."""
        if self._settings.checkpoint is not None:
            save_inversion_encoder(folder / ENCODER, self._load(self._settings.checkpoint.path))
            return
        self._train(folder)
        (folder / ENCODER).hardlink_to(folder / TRAINING_CHECKPOINT)

    def _load(self, path: Path) -> InversionEncoder:
        generator = self._generator
        return load_inversion_encoder(
            path, image_size=generator.image_size, num_codes=generator.num_codes, latent_dim=generator.latent_dim
        )

    def _train(self, folder: Path) -> None:
        settings, at = self._settings, self._at
        if self._opponent is not None and self._optimizer is None:
            at.say("note: the generator came without d_optim, so the discriminator's Adam begins anew, at inversion.lr")
        widest = FULL_WIDTH if self._state is None else max(self._state.architecture.channels)
        # For 64 pixels and up the encoder's own, narrower layout.
        channels = stylegan2_channels(
            settings.image_size, channel_multiplier=1, max_channels=settings.max_channels or widest
        )
        with at.bar("Training the inversion encoder") as progress:
            train_inversion_encoder(
                self._generator,
                at.dataset.train,
                channels=channels,
                settings=settings.training,
                features=self._features,
                discriminator=self._opponent,
                discriminator_optimizer=self._optimizer,
                workdir=folder,
                seed=settings.seed,
                device=at.device,
                progress=at.tracker.following(progress, "inversion"),
            )

    # ------------------------------------------------------------------------------------------ the latents

    def _fill(self, write: Write, pending: list[int], progress: Progress) -> None:
        dataset: ImageDataset = self._at.dataset
        assert self._encoder is not None, "it is found before the first row"
        optimize_images(
            self._generator,
            self._encoder,
            self._features,
            dataset.train,
            pending,
            lambda index, codes, error, initial: write(
                index, **{LATENTS: codes, ERRORS: error, INITIAL_ERRORS: initial}
            ),
            self._refining,
            device=self._at.device,
            progress=progress,
        )


# Images whose codes are in memory at once.
_BLOCK = 4096
# Codes are of order 1 to 100, whatever network maps them; a number beyond this is of something else.
LARGEST_CODE = 1e6


def read_given_latents(
    path: Path, *, num_images: int, num_codes: int | None, latent_dim: int | None
) -> NDArray[np.float32]:
    """Return pre-truncation codes [num_images, num_codes, latent_dim] behind a memory map; None: not known yet.

    Raises ValueError (naming inversion.latents) for a file that is no array, another shape or type, and values that are
    not finite or beyond ±1e6.
    """
    origin = f"inversion.latents={path}"
    try:
        given = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{origin} cannot be read as an array: {' '.join(str(error).split())}") from None
    if not isinstance(given, np.ndarray):
        raise ValueError(f"{origin} holds several arrays; needed is one, a .npy file")
    needed = (num_images, num_codes, latent_dim)
    fits = given.ndim == 3 and all(size in (None, found) for size, found in zip(needed, given.shape, strict=True))
    if not fits or given.dtype != np.float32:
        shape = ", ".join("any" if size is None else str(size) for size in needed)
        raise ValueError(
            f"{origin} holds {given.dtype} {list(given.shape)}; needed is float32 [{shape}]: "
            "[training images, codes, latent width]"
        )
    for begin in range(0, len(given), _BLOCK):
        largest = np.abs(given[begin : begin + _BLOCK]).max(axis=(1, 2), initial=0)
        sound = largest <= LARGEST_CODE  # NaN is not
        if not sound.all():
            first = int(np.argmin(sound))
            finite = np.isfinite(largest[first])
            what = f"reach {largest[first]:.3g}, and codes never exceed 1e6" if finite else "are not finite (NaN or ∞)"
            raise ValueError(
                f"{origin}: the latents of image {begin + first} {what}, as may be those of others; invert these "
                "images again"
            )
    return given
