"""What is recorded while a generator trains: pictures, snapshots, the Fréchet curve. None of it moves the training."""

import csv
import io
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image

from assimilate.data.grids import picture_grid
from assimilate.data.images import ImageDataset, Statistics
from assimilate.data.seeding import generator as seeded
from assimilate.encoder.checkpoint import load_encoder
from assimilate.encoder.encoder import Encoder, PixelFeatures
from assimilate.files.checked_files import check_zip, digest_file, read_sealed, write_sealed
from assimilate.files.whole_file import write_whole
from assimilate.generator.checkpoint import save_stylegan2
from assimilate.generator.protocol import to_pixels
from assimilate.generator.settings import StyleGAN2Settings
from assimilate.generator.state import GeneratorState
from assimilate.generator.training import Observer
from assimilate.generator.truncated import TruncatedStyleGAN2
from assimilate.graph.counted import counted

if TYPE_CHECKING:
    from assimilate.generator.frechet import FrechetDistance

SAMPLES = "samples"
SNAPSHOTS = "snapshots"
CURVE = "frechet.csv"
# The same points with a checksum, which a training that goes on reads.
_POINTS = ".frechet.json"
_COLUMNS = ("step", "images", "frechet", "space", "generated", "real", "seed")
_PNG_END = b"\0\0\0\0IEND\xaeB`\x82"
_ROWS = _PICTURES_A_ROW = 8
# Distances of two generators are compared over the same latents, whatever seed each was trained with.
FRECHET_SEED = 0


def make_observers(
    settings: StyleGAN2Settings,
    dataset: ImageDataset,
    folder: Path,
    *,
    device: str,
    say: Callable[[str], None],
    watching: bool,
) -> list[Observer]:
    """What the settings ask for, written below `folder`.

    Args:
        settings: of the generator that trains.
        dataset: the images that it learns from.
        folder: of its artifact.
        device: "cpu" or "cuda".
        say: is told each distance.
        watching: whether this process is the one that is shown the networks; another only needs the schedule.

    Raises:
        ValueError: the feature space cannot be had, or `generator.frechet_encoder` cannot be read.
    """
    batch = settings.batch_size
    observers = []
    if settings.sample_every:

        def paint(state: GeneratorState) -> None:
            _write_samples(folder / SAMPLES / f"{state.step:07d}.png", state, settings)

        observers.append(Observer(paint, settings.sample_every * batch, batch))
    if settings.save_every_images:

        def save(state: GeneratorState) -> None:
            save_stylegan2(folder / SNAPSHOTS / f"{state.step * batch}.pt", state)

        # The last one is the generator itself.
        observers.append(Observer(save, settings.save_every_images, batch, at_the_end=False))
    if settings.measures:
        measure: Callable[[GeneratorState], None] = _not_shown
        if watching:
            measure = _FrechetRecorder(_distance(settings, dataset, device), batch, folder / CURVE, say)
        observers.append(Observer(measure, settings.frechet_every * batch, batch))
    return observers


def _not_shown(state: GeneratorState) -> None:
    raise AssertionError("only rank 0 observes")


def _write_samples(path: Path, state: GeneratorState, settings: StyleGAN2Settings) -> None:
    """A grid of images of the same latents each time, truncated as the views will be."""
    network = TruncatedStyleGAN2.from_state(state, truncation=settings.truncation)
    count = _ROWS * _PICTURES_A_ROW
    latents = network.sample_latents(count, seeded(settings.seed, "samples")).to(network.latent_mean.device)
    with torch.no_grad():
        codes = network.map(latents)[:, None].expand(-1, network.num_codes, -1)
        pixels = to_pixels(network.synthesize(codes)).cpu().numpy()
    rows = [list(pixels[first : first + _PICTURES_A_ROW]) for first in range(0, count, _PICTURES_A_ROW)]
    write_whole(path, picture_grid(rows, scale=max(1, 64 // network.image_size)))


class _FrechetRecorder:
    """Measures, prints, and writes the curve anew with each point: a training that goes on repeats some."""

    def __init__(self, distance: "FrechetDistance", batch: int, path: Path, say: Callable[[str], None]) -> None:
        self._distance, self._batch, self._path, self._say = distance, batch, path, say

    def __call__(self, state: GeneratorState) -> None:
        distance = self._distance
        value = distance(state)
        point = {
            "step": state.step,
            "images": state.step * self._batch,
            "frechet": value,
            "space": distance.space.label,
            "generated": distance.num_generated,
            "real": distance.num_real,
            "seed": distance.seed,
        }
        same = [name for name in _COLUMNS if name != "frechet"]
        others = [row for row in self._recorded() if any(row[name] != point[name] for name in same)]
        points = sorted([*others, point], key=lambda row: row["step"])
        write_sealed(self._path.with_name(_POINTS), {"points": points})
        write_curve(self._path.parent)
        self._say(f"  Fréchet distance {value:.4g} after {counted(state.step, 'step')} ({distance.label})")

    def _recorded(self) -> list[dict[str, Any]]:
        path = self._path.with_name(_POINTS)
        try:
            return list(read_sealed(path)["points"])
        except FileNotFoundError:
            return []
        except ValueError as error:
            warnings.warn(f"{path} is damaged: {error}; the curve begins anew", stacklevel=2)
            return []


def write_curve(staging: Path) -> None:
    """Write the Fréchet curve that was recorded so far, if there is one, where readers look for it.

    Raises:
        ValueError: a byte of the record has changed.
    """
    if (staging / _POINTS).is_file():
        stream = io.StringIO()
        writer = csv.DictWriter(stream, _COLUMNS)
        writer.writeheader()
        writer.writerows(read_sealed(staging / _POINTS)["points"])
        write_whole(staging / CURVE, stream.getvalue())


def read_curve(path: Path) -> list[dict[str, Any]]:
    """The Fréchet curve that was recorded so far; empty where there is none."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as stream:
        return [
            {
                name: value if name == "space" else float(value) if name == "frechet" else int(value)
                for name, value in row.items()
            }
            for row in csv.DictReader(stream)
        ]


def _distance(settings: StyleGAN2Settings, dataset: ImageDataset, device: str) -> "FrechetDistance":
    from assimilate.generator.frechet import FeatureSpace, FrechetDistance, inception_space  # and with it torchmetrics

    if settings.measures_by_encoder:
        encoder, label, mean, std = _random_or_given(settings, dataset)
        space = FeatureSpace(label, PixelFeatures(encoder, mean=mean, std=std), encoder.feature_dim)
    else:
        space = inception_space()
    number = settings.frechet_images
    return FrechetDistance(space, dataset.train, num_images=number, seed=FRECHET_SEED, device=device)


def _random_or_given(settings: StyleGAN2Settings, dataset: ImageDataset) -> tuple[Encoder, str, Statistics, Statistics]:
    """The encoder that is looked through, what it is called, and the mean and standard deviation of its inputs."""
    if settings.frechet_encoder is None:
        assert settings.network is not None, "frechet=encoder brings it"
        label = f"random {settings.network.backbone.text}, untrained, weights of seed {FRECHET_SEED}"
        encoder = Encoder.from_spec(settings.network.plain, init_seed=FRECHET_SEED).eval()
        return encoder, label, dataset.mean, dataset.std
    path = settings.frechet_encoder.path
    try:
        encoder = load_encoder(path)
    except (FileNotFoundError, ValueError) as error:
        raise ValueError(f"generator.frechet_encoder={path}: {error}") from error
    label = f"backbone of {path.name} ({encoder.spec.name}, sha256 {digest_file(path)[:12]})"
    return encoder, label, encoder.mean, encoder.std


def recorded_files(staging: Path) -> frozenset[str]:
    """Names of what the observers wrote, relative to `staging`; what is damaged is deleted, with a warning."""
    paths = []
    for path in sorted([*(staging / SAMPLES).glob("[!.]*.png"), *(staging / SNAPSHOTS).glob("[!.]*.pt")]):
        try:
            if path.suffix == ".pt":
                check_zip(path)
            else:
                with Image.open(path) as picture:
                    picture.verify()  # the checksums of all chunks but the last
                if not path.read_bytes().endswith(_PNG_END):
                    raise ValueError("its end is not PNG's")
            paths.append(path)
        except (ValueError, OSError, SyntaxError) as error:
            warnings.warn(f"{path} is damaged ({error}) and left out: only another training records it", stacklevel=2)
            path.unlink()
    return frozenset(path.relative_to(staging).as_posix() for path in [*paths, *staging.glob(CURVE)])
