"""W-search's engine against a straightforward search of the same quality, and serving from a view cache.

python benchmarks/search.py                       32x32, a generator of 256 channels (half an hour)
python benchmarks/search.py --channels 512        the published generator (hours on a CPU)

Steps are counted on many anchors and a narrow generator, since a step is a step at any width; time is taken on few
anchors and a wide one, where the straightforward search takes seconds a step.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from assimilate.data.seeding import generator as seeded
from assimilate.encoder.encoder import EmbeddingOf, Encoder, EncoderSpec
from assimilate.generator.architecture import Architecture, stylegan2_channels
from assimilate.generator.stylegan2 import Generator
from assimilate.generator.truncated import TruncatedStyleGAN2
from assimilate.views.cache import CachedViews
from assimilate.views.embedding import FrozenEmbedding, to_pixels
from assimilate.views.equation3 import FoundViews
from assimilate.views.objective import search_loss
from assimilate.views.search import SearchEngine, SearchSettings
from grouped_generator import GroupedGenerator
from losses import largest_resident_kilobytes
from pairs import medians, overheads, report, seconds, speedups, time_pairs, turns

UNEVENNESS = 0.4
MEAN, STD, TRUNCATION = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25), 0.7


class World:
    """Random networks whose statistics are those of images that the generator makes."""

    def __init__(self, size: int, channels: int, count: int, encoder_width: int = 4) -> None:
        torch.manual_seed(0)
        dim = min(512, 8 * channels)
        network = Generator(Architecture(size, dim, 8, stylegan2_channels(size, max_channels=channels)))
        mean = torch.zeros(dim)
        self.generator = TruncatedStyleGAN2(network, mean, truncation=TRUNCATION)
        state = {name: value.detach() for name, value in network.state_dict().items()}
        self.grouped = GroupedGenerator(state, mean, truncation=TRUNCATION)
        with torch.no_grad():
            codes = network.map(torch.randn(count, dim))
            # Inverted codes differ from layer to layer.
            spread = codes[:, None] + 0.1 * codes.std() * torch.randn(count, self.generator.num_codes, dim)
            # Real anchors take unequal numbers of steps: with CIFAR-10 images and narrow networks the slowest of 8
            # needed 1.5 times the mean, of 16 1.6, of 128 1.9. Those of random networks do where codes differ in size;
            # here they are more uneven than that (of 8 1.65, of 16 1.9), with every other value that was tried as well.
            spread = spread * torch.exp(UNEVENNESS * torch.randn(count, 1, 1))
            images = torch.cat([self.generator.synthesize(part) for part in spread.split(32)])
        encoder = Encoder.from_spec(
            EncoderSpec(width=encoder_width, hidden_dim=128, output_dim=128), init_seed=0
        ).train()
        with torch.no_grad():
            for _ in range(30):  # running statistics
                encoder((to_pixels(images).float() / 255 - 0.5) / 0.25)
        self.embedding = FrozenEmbedding(EmbeddingOf(encoder.eval()), mean=MEAN, std=STD)
        self.latents, self.images = spread.numpy(), to_pixels(images).numpy()


def search_settings(arguments: argparse.Namespace, **changes: object) -> SearchSettings:
    values: dict[str, object] = {
        "num_views": arguments.views, "epsilon1": arguments.epsilon, "epsilon2": 5 / 3 * arguments.epsilon,
        "uniformity_weight": 0.01, "hinge": "image", "anchor": "reconstruction", "optimizer": "adam", "lr": 0.0025,
        "iterations": 120, "tolerance": None, "tolerance_relative": 0.05, "initial_noise": 0.002,
        "noise_first_view": True, "width": arguments.width, "seed": 0,
    }  # fmt: skip
    return SearchSettings(**(values | changes))  # type: ignore[arg-type]


class Straightforward:
    """Batches of `width` anchors, grouped convolutions, torch's Adam on all, until the last anchor has converged."""

    def __init__(self, world: World, settings: SearchSettings) -> None:
        self.world, self.settings = world, settings
        self.view_steps = 0

    def run(self) -> list[float]:
        """Each anchor's final √boundary."""
        world, settings = self.world, self.settings
        self.view_steps, errors = 0, []
        for start in range(0, len(world.latents), settings.width):
            codes = torch.from_numpy(world.latents[start : start + settings.width])
            count = len(codes)
            with torch.no_grad():
                anchors = world.embedding(world.grouped.synthesize(codes).clamp(-1, 1))
            noise = torch.stack(
                [
                    torch.randn((settings.num_views, *codes.shape[1:]), generator=seeded(0, "search", start + image))
                    for image in range(count)
                ]
            )
            moving = (codes[:, None] + settings.initial_noise * noise).requires_grad_()
            optimizer = torch.optim.Adam([moving], lr=settings.lr)
            for _ in range(settings.iterations):
                h = world.embedding(world.grouped.synthesize(moving.flatten(0, 1)).clamp(-1, 1))
                loss = search_loss(
                    h.unflatten(0, (count, settings.num_views)), anchors, epsilon1=settings.epsilon1,
                    epsilon2=settings.epsilon2, uniformity_weight=settings.uniformity_weight,
                )  # fmt: skip
                assert settings.tolerance_relative is not None
                if bool((loss.boundary.sqrt() <= settings.tolerance_relative * settings.epsilon1).all()):
                    break
                optimizer.zero_grad()
                loss.total.sum().backward()
                optimizer.step()
                self.view_steps += count * settings.num_views
            errors += loss.boundary.sqrt().tolist()
        return errors


class Compared:
    """The two searches of the same anchors."""

    def __init__(self, world: World, settings: SearchSettings) -> None:
        self.world, self.settings = world, settings
        self._engine = SearchEngine(world.generator, world.embedding, settings)
        self._reference = Straightforward(world, settings)
        self._found: list[FoundViews] = []
        self._errors: list[float] = []

    def ours(self) -> None:
        self._found.clear()
        self._engine.view_steps = 0
        latents = self.world.latents
        self._engine.run(latents, self.world.images, list(range(len(latents))), self._found.append)

    def straightforward(self) -> None:
        self._errors = self._reference.run()

    def saved_steps(self) -> float:
        """Steps of views that the straightforward search takes for one of ours."""
        return self._reference.view_steps / self._engine.view_steps

    def details(self) -> dict[str, object]:
        """Size of the comparison, and the quality on both sides."""
        settings, (count, num_codes, dim) = self.settings, self.world.latents.shape
        assert settings.tolerance_relative is not None
        allowed = settings.tolerance_relative * settings.epsilon1
        return {
            "shape": f"{count} anchors x {settings.num_views}, {settings.width} at a time, latents {num_codes} x {dim}",
            "mean_steps": round(statistics.mean(views.steps for views in self._found), 1),
            "converged": f"{sum(views.converged for views in self._found)}/{count}",
            "reference_converged": f"{sum(error <= allowed for error in self._errors)}/{count}",
        }


def bare_steps(world: World, settings: SearchSettings, num_steps: int) -> Callable[[], None]:
    """Forward and gradient of g and f at the engine's width, and nothing else."""
    codes = torch.from_numpy(world.latents[: settings.width]).repeat_interleave(settings.num_views, dim=0)
    target = torch.zeros(settings.width * settings.num_views, 128)

    def run() -> None:
        for _ in range(num_steps):
            moving = codes.clone().requires_grad_()
            h = world.embedding(world.generator.synthesize(moving).clamp(-1, 1))
            torch.autograd.grad((h - target).square().sum(), moving)

    return run


def serving(megabytes: int, batch: int, pairs: int) -> None:
    """One of eight cached views for each image of a batch, against a flat memory map and a float32 tensor."""
    count = megabytes * 10**6 // (8 * 3 * 32 * 32)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "images.npy"
        rng = np.random.default_rng(0)
        stored = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(count, 8, 3, 32, 32))
        block = rng.integers(0, 256, (256, 8, 3, 32, 32), dtype=np.uint8)
        for start in range(0, count, 256):
            stored[start : start + 256] = block[: len(stored[start : start + 256])]
        stored.flush()
        del stored
        flat = np.load(path, mmap_mode="r").reshape(-1, 3, 32, 32)
        batches = batches_of(count, batch)
        ours = serve(Path(folder), batches)

        def gather() -> None:
            for indices in batches:
                torch.from_numpy(flat[indices.numpy() * 8 + rng.integers(0, 8, len(indices))])

        timed = time_pairs(ours, gather, pairs=pairs)
        report(
            "views/serving_vs_flat_memory_map", speedups(timed), at_least=0.9, megabytes=megabytes,
            views_per_second=round(len(batches) * batch / statistics.median(own for own, _ in timed)), **medians(timed),
        )  # fmt: skip
        command = [sys.executable, str(Path(__file__).resolve()), "--serve", folder]
        grown = [float(subprocess.check_output(command, text=True).split()[-1]) for _ in range(3)]
        float_megabytes = 4 * path.stat().st_size / 1e6  # of a tensor that holds the same views, nothing else
        report(
            "views/serving_memory_vs_float32", [each / float_megabytes for each in grown], at_most=0.3,
            megabytes=round(grown[0]), reference_megabytes=round(float_megabytes),
        )  # fmt: skip


def batches_of(count: int, batch: int) -> list[torch.Tensor]:
    """Forty batches of images."""
    rng = np.random.default_rng(0)
    return [torch.from_numpy(rng.choice(count, batch, replace=False)) for _ in range(40)]


def serve(folder: Path, batches: list[torch.Tensor]) -> Callable[[], None]:
    """One view of each image of the batches."""
    cache, draws = CachedViews.open(folder), torch.Generator().manual_seed(0)

    def run() -> None:
        for indices in batches:
            cache.gather(indices, 1, draws)

    return run


def print_served(folder: Path) -> None:
    """In a fresh process: what serving every image adds to the largest resident set, in megabytes.

    The pages of the map that were touched count as ours, although the system may take them back at any time.
    """
    count = len(np.load(folder / "images.npy", mmap_mode="r"))
    serve(folder, [torch.arange(min(count, 512))])()
    before = largest_resident_kilobytes()
    serve(folder, list(torch.randperm(count).split(512)))()
    print((largest_resident_kilobytes() - before) * 1024 / 1e6)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--channels", type=int, default=256)
    parser.add_argument("--anchors", type=int, default=40)
    parser.add_argument("--width", type=int, default=8)
    parser.add_argument("--counted-channels", type=int, default=64, help="where steps are counted")
    parser.add_argument("--counted-anchors", type=int, default=64)
    parser.add_argument("--counted-width", type=int, default=16)
    parser.add_argument("--views", type=int, default=2)
    parser.add_argument("--epsilon", type=float, default=0.3)
    parser.add_argument("--pairs", type=int, default=2, help="searches take minutes: fewer pairs than elsewhere")
    parser.add_argument("--cache-megabytes", type=int, default=1200)
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        print_served(arguments.serve)
        return
    counted = World(arguments.size, arguments.counted_channels, arguments.counted_anchors)
    compared = Compared(counted, search_settings(arguments, width=arguments.counted_width))
    compared.ours()
    compared.straightforward()
    report("search/view_steps_vs_last_anchor", compared.saved_steps(), at_least=1.5, **compared.details())

    world, settings = World(arguments.size, arguments.channels, arguments.anchors), search_settings(arguments)
    compared = Compared(world, settings)
    timed = [
        (seconds(compared.ours), seconds(compared.straightforward)) for _ in turns(arguments.pairs, fewest=1, limit=600)
    ]
    report(
        "search/time_vs_straightforward", speedups(timed), at_least=5.0, view_steps=round(compared.saved_steps(), 2),
        **compared.details(), **medians(timed),
    )  # fmt: skip

    num_steps = 10
    capped = search_settings(arguments, iterations=num_steps, tolerance_relative=None)
    busy = SearchEngine(world.generator, world.embedding, capped)
    first: Sequence[int] = list(range(arguments.width))
    # Steps alone: the same search with none of them is taken off.
    idle = SearchEngine(
        world.generator, world.embedding, search_settings(arguments, iterations=0, tolerance_relative=None)
    )
    bare = bare_steps(world, capped, num_steps)
    ratios, idling = [], []
    for _ in turns(15):
        full = seconds(lambda: busy.run(world.latents, world.images, first, lambda views: None))
        none = seconds(lambda: idle.run(world.latents, world.images, first, lambda views: None))
        ratios.append((full - none, seconds(bare)))
        idling.append(none)
    report(
        "search/engine_overhead", overheads(ratios), at_most=1.15, channels=arguments.channels, steps=num_steps,
        anchors_and_delivery_seconds=round(statistics.median(idling), 3), **medians(ratios),
    )  # fmt: skip
    serving(arguments.cache_megabytes, 512, 15)


if __name__ == "__main__":
    main()
