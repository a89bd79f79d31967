"""What each of two gloo processes computes for test_generator_ddp.py (spawned processes import it by name)."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from assimilate.data.images import ImageArrays
from assimilate.data.transform import make_transform
from assimilate.generator import steps as steps_module
from assimilate.generator.architecture import Architecture
from assimilate.generator.diffaugment import DiffAugment
from assimilate.generator.ranks import Ranks
from assimilate.generator.settings import TrainingSettings
from assimilate.generator.state import GeneratorState
from assimilate.generator.steps import AdversarialTraining
from assimilate.generator.training import Observer, train_stylegan2

BATCH = 16
TINY = Architecture(image_size=8, latent_dim=8, num_mapping_layers=2, channels=(8, 6))
# Regularisers fall due often and weigh much; the running mean of path lengths moves fast: its gradient is no detail.
SETTINGS = TrainingSettings(
    num_steps=6,
    batch_size=BATCH,
    r1_every=2,
    path_length_every=2,
    path_length_weight=5.0,
    path_length_decay=0.5,
    checkpoint_every=2,
    log_every=1,
)
CPU = torch.device("cpu")


@contextmanager
def float64() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


def steps(diffaugment: DiffAugment | None) -> dict[str, Tensor]:
    """Weights, losses and path length after some steps in float64, on all ranks of this process's group."""
    ranks = Ranks.current()
    with float64():
        training = AdversarialTraining(TINY, SETTINGS, seed=0, device=CPU, diffaugment=diffaugment, ranks=ranks)
        results = {}
        for step in range(SETTINGS.num_steps):
            # Unlike images: a share of the batch has other statistics than the whole.
            shifts = torch.linspace(-1, 1, BATCH).view(-1, 1, 1, 1)
            real = torch.randn(BATCH, 3, 8, 8, generator=torch.Generator().manual_seed(step)) + shifts
            for name, loss in training.train_step(real).items():
                results[f"{step} {name}"] = ranks.mean(loss)
        for name in ("generator", "discriminator", "generator_ema"):
            results |= {f"{name} {key}": value for key, value in getattr(training, name).state_dict().items()}
        return results | {"path length": training.mean_path_length}


def images() -> ImageArrays:
    return ImageArrays(np.random.default_rng(0).integers(0, 256, size=(40, 3, 8, 8), dtype=np.uint8), None)


def train(workdir: Path, num_steps: int, observed: list[int] | None = None) -> GeneratorState:
    """The whole training with leaking augmentation."""

    def observe(state: GeneratorState) -> None:
        assert observed is not None
        observed.append(state.step)

    return train_stylegan2(
        images(),
        architecture=TINY,
        settings=replace(SETTINGS, num_steps=num_steps),
        workdir=workdir,
        seed=0,
        augmentation=make_transform("expert", 8, flip=0.5, expert={}),
        observers=[] if observed is None else [Observer(observe, 3 * BATCH, BATCH)],
    )


def plain(state: GeneratorState) -> dict[str, Any]:
    assert state.generator is not None
    assert state.discriminator is not None
    networks = {"g": state.generator, "d": state.discriminator, "g_ema": state.generator_ema}
    weights = {f"{name} {key}": value for name, net in networks.items() for key, value in net.state_dict().items()}
    return {"weights": weights, "history": state.history, "path length": state.mean_path_length}


def plant_nan(rank: int, workdir: Path) -> str:
    """Train on with a loss that is NaN on rank 1 alone; return what is said."""
    original = steps_module.non_saturating_loss
    if rank == 1:
        steps_module.non_saturating_loss = lambda fake: original(fake) * float("nan")
    try:
        train(workdir, 6)
    except ValueError as error:
        return str(error)
    finally:
        steps_module.non_saturating_loss = original
    return ""


def run_rank(rank: int, world_size: int, port: int, folder: str) -> None:
    """Everything that needs several processes, in one start of them."""
    torch.set_num_threads(1)
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    dist.init_process_group("gloo", rank=rank, world_size=world_size)
    results: dict[str, Any] = {name: steps(how) for name, how in {"none": None, "diffaugment": DiffAugment()}.items()}
    observed: list[int] = []
    results["whole"] = plain(train(Path(folder) / "whole", 6, observed))
    results["observed"] = observed
    train(Path(folder) / "cut", 4)
    dist.barrier()
    results["nan"] = plant_nan(rank, Path(folder) / "cut")
    dist.barrier()
    results["resumed"] = plain(train(Path(folder) / "cut", 6))
    torch.save(results, Path(folder) / f"rank{rank}.pt")
    dist.destroy_process_group()
