"""Rays against Adam on Eq. 3: same networks, same anchors, same tolerance of 5% of ε1, in one run.

python benchmarks/ray_search.py                     the demo's networks, and random ones of 256 channels at 32²
python benchmarks/ray_search.py --out outputs       networks of a finished run with view=wsearch that lies there
python benchmarks/ray_search.py --only demo         or: --only wide
python benchmarks/ray_search.py --curve             rays alone: what more candidates and other directions buy

A step of Adam is a forward pass of g and f and a gradient with respect to the codes; what such a step costs in forward
passes is measured here, at the width of the search. Passes of rays are all of them, those of the first guess included.
Both sides are judged by their views as they are stored. The search stops by views that are not rounded yet, as the
reference code does; so a second reference is Adam on rounded images, whose gradient takes no notice of the rounding.
"""

import argparse
import statistics
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import assimilate
from assimilate.generator.protocol import LatentGenerator
from assimilate.views.directions import Isotropic, OneForAllLayers
from assimilate.views.embedding import FrozenEmbedding, from_pixels, to_pixels
from assimilate.views.equation3 import Equation3, FoundViews
from assimilate.views.rays import RayEngine, RaySettings
from assimilate.views.search import SearchEngine, SearchSettings
from pairs import medians, report, seconds, speedups, turns
from search import World

TOLERANCE = 0.05
DEMO = Path(__file__).resolve().parents[1] / "build" / "benchmark-demo"


class Networks(Protocol):
    """What is searched with, and where from."""

    generator: LatentGenerator
    embedding: FrozenEmbedding
    latents: NDArray[np.float32]
    images: NDArray[np.uint8]


class Trained:
    """The networks and images of a finished run with view=wsearch."""

    def __init__(self, out: Path) -> None:
        searched = [run for run in assimilate.runs(out) if any("views/" in label for label in run.artifacts)]
        searched = [run for run in searched if "spread_bound" in run.views.facts]
        if not searched:
            raise SystemExit(f"{out} holds no finished run with view=wsearch")
        cache = searched[0].views
        self.facts = cache.facts
        self.generator = assimilate.load_generator(searched[0])
        self.embedding = FrozenEmbedding.of(assimilate.load_encoder(cache.parent("reference")))
        self.latents, self.images = np.array(cache.latents), np.array(cache.dataset.train.images)


class OnPixels(SearchEngine):
    """The search, with f seeing what would be stored; gradients are those of the images before they are rounded."""

    def _seen(self, flat: Tensor) -> tuple[Tensor, Tensor]:
        images, _ = super()._seen(flat)
        images = images + (from_pixels(to_pixels(images)) - images).detach()
        return images, self._embedding(images)


class Solved:
    """One solver's views of all anchors."""

    def __init__(self, networks: Networks, equation: Equation3, engine: SearchEngine | RayEngine) -> None:
        self._networks, self._equation, self._engine = networks, equation, engine
        self.found: list[FoundViews] = []
        self.per_view = 0.0  # steps or passes

    def run(self) -> None:
        """Find them."""
        self.found.clear()
        indices = list(range(len(self._networks.latents)))
        before = self._spent
        self._engine.run(self._networks.latents, self._networks.images, indices, self.found.append)
        self.per_view = (self._spent - before) / (len(indices) * self._equation.num_views)

    @property
    def _spent(self) -> int:
        return self._engine.view_steps if isinstance(self._engine, SearchEngine) else self._engine.view_passes

    def quality(self) -> dict[str, float]:
        """Of the stored views."""
        distances = np.stack([views.distances.double().numpy() for views in self.found])
        spread = np.array([views.spread for views in self.found])
        total, boundary = self._equation.stored_losses(distances, spread)
        within = self._equation.within(distances, spread)
        assert total is not None
        assert within is not None
        return {
            "rms_share": float(np.sqrt(boundary.mean())) / self._equation.epsilon1,
            "missed": 1 - float(within.mean()),
            "total": float(total.mean()),
            "spread": float(spread.mean()),
        }


def passes_of_a_step(networks: Networks, codes_in_flight: int) -> list[float]:
    """What forward and gradient cost, in forward passes: timed seven times."""
    chosen = np.resize(np.arange(len(networks.latents)), codes_in_flight)
    codes = torch.from_numpy(networks.latents[chosen])

    def forward() -> None:
        with torch.no_grad():
            networks.embedding(networks.generator.synthesize(codes).clamp(-1, 1))

    def step() -> None:
        moving = codes.clone().requires_grad_()
        seen = networks.embedding(networks.generator.synthesize(moving).clamp(-1, 1))
        torch.autograd.grad(seen.square().sum(), moving)

    forward()
    step()
    return [seconds(step) / seconds(forward) for _ in range(15)]


def compare(name: str, networks: Networks, adam: SearchSettings, rays: RaySettings, pairs: int) -> None:
    """The rows of one world."""
    reference = Solved(networks, adam, SearchEngine(networks.generator, networks.embedding, adam))
    ours = Solved(networks, rays, RayEngine(networks.generator, networks.embedding, rays))
    timed = [(seconds(ours.run), seconds(reference.run)) for _ in turns(pairs, fewest=1, limit=180)]
    of_a_step = passes_of_a_step(networks, adam.width * adam.num_views)
    mine, theirs = ours.quality(), reference.quality()
    on_pixels = Solved(networks, adam, OnPixels(networks.generator, networks.embedding, adam))
    on_pixels.run()
    rounded = on_pixels.quality()
    shape = f"{len(networks.latents)} anchors x {adam.num_views}"
    saved = [reference.per_view * passes / ours.per_view for passes in of_a_step]
    report(
        f"rays/{name}/passes_vs_adam", saved, at_least=15.0,
        passes_of_a_view=round(ours.per_view, 2), steps_of_adam=round(reference.per_view, 1),
        passes_of_a_step=round(statistics.median(of_a_step), 2), shape=shape,
    )  # fmt: skip
    report(f"rays/{name}/time_vs_adam", speedups(timed), at_least=12.0, **medians(timed))
    report(
        f"rays/{name}/rms", mine["rms_share"], at_most=0.03, reference=round(theirs["rms_share"], 4),
        on_pixels=round(rounded["rms_share"], 4),
    )  # fmt: skip
    report(
        f"rays/{name}/missed", mine["missed"], at_most=0.01, reference=round(theirs["missed"], 4),
        on_pixels=round(rounded["missed"], 4), steps_on_pixels=round(on_pixels.per_view, 1),
    )  # fmt: skip
    independent = replace(rays, opposite=False)
    second = Solved(networks, independent, RayEngine(networks.generator, networks.embedding, independent))
    second.run()
    for called, solved, goal in (("total", ours, 1.1), ("total_of_independent_rays", second, None)):
        found = solved.quality()
        report(
            f"rays/{name}/{called}_vs_adam", found["total"] / theirs["total"], at_most=goal,
            on_pixels=round(found["total"] / rounded["total"], 3), passes_of_a_view=round(solved.per_view, 2),
            rms=round(found["rms_share"], 4), missed=round(found["missed"], 4),
            mean_distance=round(found["spread"], 3), reference_mean_distance=round(theirs["spread"], 3),
        )  # fmt: skip


def curve(name: str, networks: Networks, rays: RaySettings) -> None:
    """Eq. 3's total against passes: more candidates, independent rays, other directions."""
    count = rays.num_views
    settings = {
        f"{share:g}n{'' if opposite else ', independent'}": {"candidates": int(share * count), "opposite": opposite}
        for opposite in (True, False)
        for share in (1, 1.5, 2)
    }
    for direction in (Isotropic(), OneForAllLayers()):
        for opposite in (True, False):
            called = f"1n, {direction.word}{'' if opposite else ', independent'}"
            settings[called] = {"direction": direction, "opposite": opposite}
    for called, changes in settings.items():
        changed = replace(rays, **changes)
        solved = Solved(networks, changed, RayEngine(networks.generator, networks.embedding, changed))
        spent, found = seconds(solved.run), solved.quality()
        report(
            f"rays/{name}/curve/{called}", found["total"], unit="total", passes_of_a_view=round(solved.per_view, 2),
            seconds=round(spent, 1), rms=round(found["rms_share"], 4), missed=round(found["missed"], 4),
            mean_distance=round(found["spread"], 3),
        )  # fmt: skip


def demo(out: Path | None, pairs: int, *, curve_only: bool) -> None:
    """The digits' networks."""
    if out is None:
        out = DEMO
        command = [sys.executable, "-m", "assimilate.train", "view=wsearch", "view.solver=ray", f"out={out}"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    networks = Trained(out)
    facts = networks.facts
    asked = {"epsilon1": facts["epsilon1"], "epsilon2": facts["epsilon2"], "num_views": 4, "anchor": facts["anchor"]}
    adam = SearchSettings(
        **asked, optimizer="adam", lr=0.02, iterations=150, tolerance=None, tolerance_relative=TOLERANCE,
        initial_noise=0.05, width=32,
    )  # fmt: skip
    rays = RaySettings(**asked, tolerance=TOLERANCE)
    if curve_only:
        curve("digits", networks, rays)
    else:
        compare("digits", networks, adam, rays, pairs)


def wide(channels: int, anchors: int, pairs: int, *, curve_only: bool) -> None:
    """Random networks of 32²."""
    world = World(32, channels, anchors)
    asked = {"epsilon1": 0.3, "epsilon2": 0.5, "num_views": 4}
    adam = SearchSettings(
        **asked, optimizer="adam", lr=0.0025, iterations=120, tolerance=None, tolerance_relative=TOLERANCE,
        initial_noise=0.002, noise_first_view=True, width=8,
    )  # fmt: skip
    # As of a data set: many more anchors than slots, which all stay busy, and than rays of the first guess.
    rays = RaySettings(**asked, tolerance=TOLERANCE, width=max(1, anchors // 3), calibration=max(1, anchors // 6))
    if curve_only:
        curve(f"{channels} channels", world, rays)
    else:
        compare(f"{channels} channels", world, adam, rays, pairs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="where a finished run with view=wsearch lies; else it is made")
    parser.add_argument("--only", choices=("demo", "wide"))
    parser.add_argument("--channels", type=int, default=256)
    parser.add_argument("--anchors", type=int, default=24, help="of the wide networks")
    parser.add_argument("--pairs", type=int, default=3, help="searches take minutes: fewer pairs than elsewhere")
    parser.add_argument("--curve", action="store_true", help="rays alone, without Adam")
    arguments = parser.parse_args()
    jobs: dict[str, Callable[[], None]] = {
        "demo": lambda: demo(arguments.out, arguments.pairs, curve_only=arguments.curve),
        "wide": lambda: wide(arguments.channels, arguments.anchors, arguments.pairs, curve_only=arguments.curve),
    }
    for name, job in jobs.items():
        if arguments.only in (None, name):
            job()


if __name__ == "__main__":
    main()
