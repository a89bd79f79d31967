"""StyleGAN2 at 32² and full width: images a second of synthesis with its gradient in the codes, and of its training.

python benchmarks/gpu/measure_generator.py --work /tmp/pack             (the pack runs it: pack.py --piece 1)
"""

from collections.abc import Callable
from typing import Any

import torch
from measuring import Measuring, median_seconds, peak_gigabytes
from torch import Tensor

from assimilate.generator.real_images import RealImages
from assimilate.generator.stylegan2 import Generator
from assimilate.generator.truncated import TruncatedStyleGAN2
from grouped_generator import GroupedGenerator
from profile_steps import GENERATOR_ROUND, profile_generator
from workloads import TRUNCATION, architecture, generator_training, random_images

# (form, precision, compiled): the grouped form is the usual one, a weight for every image.
FORMS = (
    ("ours", "fp32", False),
    ("grouped", "fp32", False),
    ("ours", "bf16", False),
    ("grouped", "bf16", False),
    ("ours", "fp32", True),
    ("ours", "bf16", True),
)


def gradient_step(
    form: str, precision: str, compiled: bool, *, size: int, channels: int, batch: int, device: torch.device
) -> Callable[[], Tensor]:
    """Images of fixed codes and the gradient of their mean square in the codes."""
    torch.manual_seed(0)
    network = Generator(architecture(size, channels))
    for name, parameter in network.named_parameters():
        if name.endswith("noise.weight"):  # they start at 0, where a missing one would not show
            torch.nn.init.normal_(parameter, std=0.1)
    mean = torch.zeros(network.architecture.latent_dim)
    ours = TruncatedStyleGAN2(network, mean, truncation=TRUNCATION).to(device)
    state = {name: value.detach().to(device) for name, value in network.state_dict().items()}
    grouped = GroupedGenerator(state, mean.to(device), truncation=TRUNCATION)
    synthesize = ours.synthesize if form == "ours" else grouped.synthesize
    if compiled:
        synthesize = torch.compile(synthesize, dynamic=False)
    codes = torch.randn(batch, ours.num_codes, ours.latent_dim).to(device)

    def run() -> Tensor:
        moving = codes.clone().requires_grad_()
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16"):
            images = synthesize(moving)
        (gradient,) = torch.autograd.grad(images.float().square().mean(), moving)
        return gradient

    return run


def synthesis(measuring: Measuring, form: tuple[str, str, bool], *, channels: int, batch: int) -> dict[str, Any]:
    """Images a second, and how far the gradient is from that of the grouped form in fp32."""
    size = 16 if measuring.rehearse else 32
    shape = {"size": size, "channels": channels, "batch": batch, "device": measuring.device}
    run = gradient_step(*form, **shape)
    expected = gradient_step("grouped", "fp32", False, **shape)()
    error = float((run() - expected).norm() / expected.norm())
    repeats, calls = (1, 1) if measuring.rehearse else (5, 10)
    seconds = median_seconds(run, repeats=repeats, calls=calls, warmup=calls)
    return {
        "images_per_second": round(batch / seconds, 1),
        "step_ms": round(1000 * seconds, 3),
        "gradient_error": float(f"{error:.2g}"),
        "batch": batch,
        "channels": channels,
        "peak_gigabytes": peak_gigabytes(),
    }


def training(measuring: Measuring, *, channels: int, batch: int) -> dict[str, Any]:
    """Images a second of the adversarial training, over whole rounds of the lazy regularisers."""
    size = 16 if measuring.rehearse else 32
    state = generator_training(size, channels, batch, measuring.device)
    stream = RealImages(
        random_images(8 * batch, size), batch_size=batch, seed=0, flip_probability=0.5, device=measuring.device
    )

    def step() -> None:
        state.train_step(stream.batch(state.step))

    rounds, calls = (1, 1) if measuring.rehearse else (3, GENERATOR_ROUND)
    seconds = median_seconds(step, repeats=rounds, calls=calls, warmup=calls)
    return {
        "images_per_second": round(batch / seconds, 1),
        "step_ms": round(1000 * seconds, 3),
        "batch": batch,
        "channels": channels,
        "peak_gigabytes": peak_gigabytes(),
    }


def main() -> None:
    measuring = Measuring(__doc__)
    channels, batch = (8, 4) if measuring.rehearse else (512, 64)
    for form, precision, compiled in FORMS[:3] if measuring.rehearse else FORMS:
        name = f"generator synthesis and gradient/{form},{precision}{',compiled' if compiled else ''}"
        measuring.measure(
            name,
            lambda chosen=(form, precision, compiled): synthesis(measuring, chosen, channels=channels, batch=batch),
            seconds=60 if compiled else 15,
        )
    for wide, images in [(8, 4)] if measuring.rehearse else [(512, 16), (512, 64), (256, 64)]:
        measuring.measure(
            f"generator training/{wide} channels,B={images}",
            lambda wide=wide, images=images: training(measuring, channels=wide, batch=images),
            seconds=25,
        )

    def shares() -> dict[str, Any]:
        toy = measuring.rehearse
        shape, lengths = ((16, 8, 4), {"steps": 2}) if toy else ((32, 256, 64), {"warmup": GENERATOR_ROUND})
        found = profile_generator(*shape, **lengths, device=measuring.device)
        print(found.table())
        return {**found.summary(), "shares": found.rows()}

    measuring.measure("generator training shares", shares, seconds=30)


if __name__ == "__main__":
    main()
