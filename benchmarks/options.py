"""What each option of the hot paths gains: the same steps with it and without it, in turns.

A ratio above 1 is that much faster. The steps are of SimCLR (a ResNet-18 on fixed views: forward, loss, backward,
optimiser) and of W-search's inner loop; views, codes and losses are the same on both sides.

python benchmarks/options.py                              widths at which two CPU cores answer in minutes
python benchmarks/options.py --width 64 --batch 512 ...   what a GPU should be asked
"""

import argparse
from collections.abc import Callable
from typing import Any

import torch

from assimilate.views.search import SearchEngine
from pairs import medians, report, speedups, time_pairs
from workloads import Contrastive, SearchWorld, device_here, search_settings


def training_steps(
    work: Contrastive,
    *,
    steps: int,
    channels_last: bool = True,
    fused: bool = True,
    precision: str = "fp32",
    compiled: str | None = None,
) -> Callable[[], None]:
    """`steps` steps of training on fixed views, computed as told; the defaults are those of conf/trainer."""
    device = device_here()
    torch.manual_seed(0)
    module = work.module().to(device).train()
    if channels_last:
        module.encoder.to(memory_format=torch.channels_last)
    if compiled is not None:
        module.compile_networks(compiled)
    views = [torch.randn(work.batch, 3, work.size, work.size, device=device) for _ in range(work.num_views)]
    sgd = torch.optim.SGD(module.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4, fused=fused)

    def run() -> None:
        for _ in range(steps):
            sgd.zero_grad()
            with torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16"):
                loss = module.loss_terms(views).total
            loss.backward()
            sgd.step()

    return run


def search_steps(world: SearchWorld, *, num_views: int, width: int, steps: int, **changes: Any) -> Callable[[], None]:
    """`steps` steps of a full batch of anchors, none of which may converge before."""
    settings = search_settings(
        num_views=num_views, width=width, iterations=steps, tolerance_relative=None, **changes
    )  # fmt: skip
    engine = SearchEngine(world.generator, world.embedding, settings, device=world.device.type)
    return lambda: engine.run(world.latents, world.images, list(range(width)), lambda views: None)


def compare(name: str, chosen: Callable[[], None], default: Callable[[], None], pairs: int, **details: Any) -> None:
    """Print how many times as fast `chosen` is."""
    timed = time_pairs(chosen, default, pairs=pairs, warmup=1)
    report(f"options/{name}", speedups(timed), **details, **medians(timed))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=16, help="of ResNet-18")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--steps", type=int, default=2, help="of a side of a pair")
    parser.add_argument("--channels", type=int, default=64, help="of the search's generator")
    parser.add_argument("--anchors", type=int, default=8, help="in flight")
    parser.add_argument("--views", type=int, default=4)
    parser.add_argument("--pairs", type=int, default=15)
    arguments = parser.parse_args()

    work = Contrastive(width=arguments.width, batch=arguments.batch, size=arguments.size)
    shape = f"ResNet-18 of width {work.width}, {work.size}x{work.size}, B={work.batch}"
    default = training_steps(work, steps=arguments.steps)
    compiling: dict[str, str] = {"trainer.compile=true": "default"}
    if torch.cuda.is_available():
        compiling["trainer.compile=reduce-overhead"] = "reduce-overhead"  # CUDA graphs; the same as true on a CPU
    without = {"trainer.channels_last": {"channels_last": False}, "a fused optimiser": {"fused": False}}
    for name, changes in without.items():
        # These are on by default: what they gain is the default against the step without them.
        slower = training_steps(work, steps=arguments.steps, **changes)
        compare(f"{name}, simclr step", default, slower, arguments.pairs, shape=shape)
    chosen = training_steps(work, steps=arguments.steps, precision="bf16")
    compare("trainer.precision=bf16-mixed, simclr step", chosen, default, arguments.pairs, shape=shape)
    for name, mode in compiling.items():
        chosen = training_steps(work, steps=arguments.steps, compiled=mode)
        compare(f"{name}, simclr step", chosen, default, arguments.pairs, shape=shape)

    world = SearchWorld(
        size=arguments.size, channels=arguments.channels, width=arguments.width, count=arguments.anchors,
        device=device_here(),
    )  # fmt: skip
    sizes = {"num_views": arguments.views, "width": arguments.anchors, "steps": 4 * arguments.steps}
    shape = (
        f"{arguments.channels} channels, f of width {arguments.width}, {arguments.size}x{arguments.size}, "
        f"{arguments.anchors} anchors x {arguments.views}"
    )
    default = search_steps(world, **sizes)
    for name, changed in {
        "view.search.precision=bf16": {"precision": "bf16"},
        "view.search.compile=true": {"compiled": True},
    }.items():
        compare(f"{name}, search step", search_steps(world, **sizes, **changed), default, arguments.pairs, shape=shape)


if __name__ == "__main__":
    main()
