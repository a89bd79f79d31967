"""What each of two gloo processes computes for test_ddp.py (spawned processes import it by name)."""

import os
from pathlib import Path

import torch
import torch.distributed as dist
from tiny_training import fit_tiny, tiny_data, tiny_module
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from assimilate.assimilation.contrastive import ContrastiveModule
from assimilate.assimilation.objective import LossSpec, compute_loss
from assimilate.encoder.batchnorm import synchronize_batchnorm

BATCH, NUM_VIEWS = 8, 3
LOSSES = {
    "infonce": {"name": "infonce", "temperature": 0.2},
    "ntxent": {"name": "ntxent", "temperature": 0.2, "base_temperature": 0.07, "align_anchors": [0]},
    "full": {"name": "full", "temperature": 0.2},
    "viewmaker": {"name": "viewmaker", "temperature": 0.2},
    "simsiam": {"name": "simsiam", "align_anchors": [0]},
}
BATCHNORMS = ("per_view", "concatenated", "per_view_backbone", "per_source")


class Step(torch.nn.Module):
    """A training step as one forward, so that DDP can wrap it."""

    def __init__(self, module: ContrastiveModule) -> None:
        super().__init__()
        self.module = module

    def forward(self, views: list[Tensor]) -> Tensor:
        return self.module.loss_terms(views).total


def step_views() -> list[Tensor]:
    rng = torch.Generator().manual_seed(0)
    shifts = torch.linspace(-1, 1, BATCH, dtype=torch.float64).view(-1, 1, 1, 1)
    return [torch.randn(BATCH, 3, 8, 8, generator=rng, dtype=torch.float64) + shifts for _ in range(NUM_VIEWS)]


def one_step(loss: str, batchnorm: str, rank: int, world_size: int) -> dict[str, Tensor]:
    """Loss, gradients and running statistics after a step on this rank's part of the batch."""
    assim = "simsiam" if loss == "simsiam" else "a2"
    module = tiny_module(assim, loss=LOSSES[loss], batchnorm=batchnorm, generated_views=[2]).double()
    step: torch.nn.Module = Step(module)
    if world_size > 1:
        synchronize_batchnorm(module)
        step = DistributedDataParallel(step)
    share = BATCH // world_size
    value = step([view[rank * share : (rank + 1) * share] for view in step_views()])
    value.backward()
    result = {"loss": value.detach() / world_size}
    if world_size > 1:
        dist.all_reduce(result["loss"])
    result |= {f"grad {name}": parameter.grad for name, parameter in module.named_parameters()}
    return result | {f"buffer {name}": buffer for name, buffer in module.named_buffers()}


def loss_gradients(rank: int, world_size: int) -> dict[str, Tensor]:
    """Gradients of each loss with respect to this rank's embeddings, without a network."""
    results = {}
    for name, values in LOSSES.items():
        rng = torch.Generator().manual_seed(1)
        share = BATCH // world_size
        views = [
            torch.randn(BATCH, 5, generator=rng, dtype=torch.float64)[rank * share : (rank + 1) * share]
            .clone()
            .requires_grad_()
            for _ in range(NUM_VIEWS)
        ]
        # SimSiam's predictions: the same embeddings, in another order of dimensions.
        predictions = [view.roll(1, dims=1) for view in views]
        compute_loss(views, LossSpec.from_dict(values), predictions=predictions, gather=True).total.backward()
        # The loss of all is the mean over ranks.
        results[name] = torch.stack([view.grad for view in views]) / world_size
    return results


def training(workdir: Path, devices: int) -> dict[str, Tensor]:
    """20 steps on fixed views in float64."""
    # A larger rate makes this small network chaotic: rounding then grows tenfold a step.
    module = tiny_module("a2", optimizer={"name": "sgd", "lr": 0.002, "epochs": 10, "warmup_epochs": 1})
    record = fit_tiny(
        module,
        tiny_data("a2", fixed=True, batch_size=12),
        workdir,
        max_epochs=10,
        devices=devices,
        strategy="ddp" if devices > 1 else "auto",
        precision="64-true",
        log_every_n_steps=7,
    )
    losses = torch.tensor([row["loss"] for row in record.rows], dtype=torch.float64)
    assert record.rows[-1]["step"] == 20
    return {"losses": losses, **{name: tensor.clone() for name, tensor in module.state_dict().items()}}


def adversarial_training(workdir: Path, devices: int) -> dict[str, Tensor]:
    """Weights after an epoch against a Viewmaker."""
    from test_viewmaker_training import data, module

    trained = module()
    settings = {"devices": devices, "strategy": "ddp"} if devices > 1 else {}
    fit_tiny(trained, data(), workdir, max_epochs=1, **settings)
    return {name: value.clone() for name, value in trained.named_parameters()}


def run_rank(rank: int, world_size: int, port: int, folder: str) -> None:
    """Everything that needs several processes, in one start of them."""
    torch.set_num_threads(1)
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), WORLD_SIZE=str(world_size))
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), NODE_RANK="0", TORCHELASTIC_RUN_ID="test")
    dist.init_process_group("gloo", rank=rank, world_size=world_size)
    results = {
        "gradients": loss_gradients(rank, world_size),
        "steps": {(loss, bn): one_step(loss, bn, rank, world_size) for loss in LOSSES for bn in BATCHNORMS},
    }
    dist.barrier()
    results["training"] = training(Path(folder) / "two", world_size)
    results["adversarial"] = adversarial_training(Path(folder) / "adversarial", world_size)
    torch.save(results, Path(folder) / f"rank{rank}.pt")
