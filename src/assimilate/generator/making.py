"""Making the folder of a generator's artifact, and what opens it again; it imports torch, which settings do not."""

from pathlib import Path
from typing import Any

from assimilate.data.images import ImageDataset
from assimilate.data.transform import make_transform
from assimilate.encoder.curves import write_rows
from assimilate.generator.bigbigan import load_bigbigan as load_bigbigan
from assimilate.generator.bigbigan import save_bigbigan as save_bigbigan
from assimilate.generator.checkpoint import load_stylegan2, save_stylegan2
from assimilate.generator.diffaugment import DiffAugment
from assimilate.generator.own import make_own_generator as make_own_generator
from assimilate.generator.ranks import Ranks, joined
from assimilate.generator.record import CURVE, make_observers, read_curve, recorded_files, write_curve
from assimilate.generator.settings import StyleGAN2Settings
from assimilate.generator.training import check_settings as check_settings
from assimilate.generator.training import train_stylegan2
from assimilate.generator.truncated import TruncatedBigBiGAN as TruncatedBigBiGAN
from assimilate.generator.truncated import TruncatedStyleGAN2 as TruncatedStyleGAN2
from assimilate.graph.place import Built, Place

GENERATOR = "generator.pt"
HISTORY = "history.csv"
# An interrupted training resumes from it; the last one is the finished generator.
RESUMABLE = "training.pt"


def take_stylegan2(checkpoint: Path, into: Path, at: Place, *, image_size: int) -> Built:
    """Fill a folder with a StyleGAN2 of a user's file.

    Raises:
        ValueError: it is none, or makes images of another size.
    """
    state = load_stylegan2(checkpoint, image_size=image_size)
    for note in state.notes:
        at.say(f"note: {note}")
    save_stylegan2(into / GENERATOR, state)
    return Built({"imported": True, **({"notes": list(state.notes)} if state.notes else {})})


def fit_stylegan2(settings: StyleGAN2Settings, into: Path, at: Place) -> None:
    """Train in this process, alone or as one of several ranks, from the checkpoint in the folder, if any.

    Raises:
        ValueError: training is not finite, or does not fit the images.
    """
    dataset: ImageDataset = at.dataset
    leaking = None
    if settings.leaks:
        assert settings.expert is not None, "data.expert stands in every configuration"
        size = dataset.train.image_size
        leaking = make_transform("expert", size, flip=settings.flip, expert=settings.expert.model_dump())
    with joined(at.settings.trainer.devices, at.device), at.bar("Training StyleGAN2") as progress:
        watching = Ranks.current().index == 0
        train_stylegan2(
            dataset.train,
            architecture=settings.architecture,
            settings=settings.training,
            workdir=into,
            seed=settings.seed,
            device=at.device,
            augmentation=leaking,
            diffaugment=DiffAugment() if settings.augments_all else None,
            observers=make_observers(settings, dataset, into, device=at.device, say=at.say, watching=watching),
            progress=at.tracker.following(progress, "generator"),
        )


def keep_trained(into: Path, *, ranks: int) -> Built:
    """Turn the folder of a finished training into an artifact."""
    state = load_stylegan2(into / RESUMABLE)
    write_rows(into / HISTORY, state.history)
    (into / GENERATOR).unlink(missing_ok=True)
    (into / GENERATOR).hardlink_to(into / RESUMABLE)
    parameters = sum(parameter.numel() for parameter in state.generator_ema.parameters())
    facts: dict[str, Any] = {"steps": state.step, "parameters": parameters, "ranks": ranks}
    write_curve(into)
    if curve := read_curve(into / CURVE):
        facts["frechet"] = curve
    recorded = recorded_files(into)
    kept = {GENERATOR, HISTORY, *(name.split("/")[0] for name in recorded)}
    # Temporary files of interrupted writes are not part of the artifact either.
    leftovers = {path.name for path in into.iterdir()} - kept
    return Built(facts, recorded, leftovers=frozenset(leftovers))
