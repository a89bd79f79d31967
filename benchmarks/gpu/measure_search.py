"""W-search with the full-width 32² generator: converged views a second.

Networks are random unless --generator names a trained one; f has the statistics of the generator's images either way.

python benchmarks/gpu/measure_search.py --work /tmp/pack                (the pack runs it: pack.py --piece 1)
"""

import time
from typing import Any

from measuring import Measuring, peak_gigabytes, synchronize

from assimilate.views.equation3 import FoundViews
from assimilate.views.search import SearchEngine
from profile_steps import profile_search
from workloads import SearchWorld, search_settings

TARGET, GOAL = 100, 300
NUM_VIEWS = 8
# Anchors in flight, precision, compiled, and the seconds that it may need.
OPTIONS = (
    (16, "fp32", False, 20),
    (64, "fp32", False, 25),
    (64, "bf16", False, 25),
    (64, "bf16", True, 70),
    (64, "fp32", True, 70),
    (256, "bf16", False, 30),
)
# An option is measured on so many times its anchors in flight, so that filling and draining do not decide.
ROUNDS = 4
LIMIT_SECONDS = 20.0


class _TimeUp(Exception):
    """The search has been watched for long enough."""


def search(world: SearchWorld, measuring: Measuring, *, width: int, precision: str, compiled: bool) -> dict[str, Any]:
    """Converged views a second of one run of the engine, cut after a while."""
    num_views = 2 if measuring.rehearse else NUM_VIEWS
    iterations = 5 if measuring.rehearse else 200
    settings = search_settings(
        num_views=num_views, width=width, precision=precision, compiled=compiled, iterations=iterations
    )
    chosen = list(range(min(ROUNDS * width, len(world.images))))
    warm = SearchEngine(
        world.generator,
        world.embedding,
        search_settings(num_views=num_views, width=width, precision=precision, compiled=compiled, iterations=3),
        device=measuring.device.type,
    )
    warm.run(world.latents, world.images, chosen[:width], lambda found: None)
    engine = SearchEngine(world.generator, world.embedding, settings, device=measuring.device.type)
    if compiled:  # each engine compiles its own
        engine._see = warm._see
    found: list[FoundViews] = []
    synchronize()
    started = time.perf_counter()

    def emit(views: FoundViews) -> None:
        found.append(views)
        if time.perf_counter() - started > LIMIT_SECONDS:
            raise _TimeUp

    try:
        engine.run(world.latents, world.images, chosen, emit)
        cut = False
    except _TimeUp:
        cut = True
    synchronize()
    seconds = time.perf_counter() - started
    converged = sum(views.converged for views in found)
    return {
        "converged_views_per_second": round(converged * num_views / seconds, 2),
        "target": f"≥ {TARGET}, goal {GOAL}",
        "converged_share": round(converged / max(1, len(found)), 4),
        "steps_mean": round(sum(views.steps for views in found) / max(1, len(found)), 1),
        "view_steps_per_second": round(engine.view_steps / seconds),
        "anchors": len(found),
        "cut": cut,
        "views": num_views,
        "width": width,
        "channels": world.generator.network.architecture.channels[0],
        "peak_gigabytes": peak_gigabytes(),
    }


def main() -> None:
    measuring = Measuring(__doc__)
    checkpoint = measuring.arguments.generator
    if measuring.rehearse:
        world = SearchWorld(size=16, channels=8, width=2, count=8, device=measuring.device, checkpoint=checkpoint)
    else:
        world = SearchWorld(size=32, channels=512, width=64, count=1024, device=measuring.device, checkpoint=checkpoint)
    kind = "random" if checkpoint is None else "trained"
    for width, precision, compiled, seconds in ((2, "fp32", False, 5),) if measuring.rehearse else OPTIONS:
        measuring.measure(
            f"wsearch/{kind} generator,width {width},{precision}{',compiled' if compiled else ''}",
            lambda chosen=(width, precision, compiled): search(
                world, measuring, width=chosen[0], precision=chosen[1], compiled=chosen[2]
            ),
            seconds=seconds,
        )

    def shares() -> dict[str, Any]:
        width, num_views, steps = (2, 2, 3) if measuring.rehearse else (64, NUM_VIEWS, 20)
        precision = "fp32" if measuring.rehearse else "bf16"
        found = profile_search(world, num_views=num_views, width=width, steps=steps, precision=precision)
        print(found.table())
        return {**found.summary(), "shares": found.rows()}

    measuring.measure("wsearch shares", shares, seconds=30)


if __name__ == "__main__":
    main()
