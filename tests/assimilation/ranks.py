"""What each of two gloo processes computes for test_ddp.py (spawned processes import it by name)."""

import os
from pathlib import Path

import torch
import torch.distributed as dist
from tiny_training import BOTH, METHODS, fit_tiny, sgd, tiny_data, tiny_module, weights
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from assimilate.assimilation.alignment import Alignment
from assimilate.assimilation.contrastive import ContrastiveModule
from assimilate.assimilation.loss import FullNTXent, InfoNCE, Loss, NTXent, SimSiamLoss, ViewmakerLoss
from assimilate.assimilation.simsiam import SimSiam
from assimilate.encoder.batchnorm import synchronize_batchnorm

BATCH, NUM_VIEWS = 8, 3
FIRST = Alignment(alpha=0.5, align_anchors=[0])
LOSSES: dict[str, tuple[Loss, Alignment]] = {
    "infonce": (InfoNCE(temperature=0.2), BOTH),
    "ntxent": (NTXent(temperature=0.2, base_temperature=0.07), FIRST),
    "full": (FullNTXent(temperature=0.2), BOTH),
    "viewmaker": (ViewmakerLoss(temperature=0.2), BOTH),
    "simsiam": (SimSiamLoss(), FIRST),
    **{name: (method["loss"], BOTH) for name, method in METHODS.items()},
}
# Those of the projections alone; a moving average is part of a whole step.
OF_PROJECTIONS = [name for name in LOSSES if name not in ("moco", "byol")]
BATCHNORMS = ("per_view", "concatenated", "per_view_backbone", "per_source")
# All for a loss of projections alone, with a predictor and with a second network; to the others they are the same.
STEPS = [
    (loss, batchnorm)
    for loss in LOSSES
    for batchnorm in (BATCHNORMS if loss in ("infonce", "simsiam", "moco") else BATCHNORMS[:1])
]


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
    chosen, alignment = LOSSES[loss]
    assim = "simsiam" if chosen.needs_predictor else "a2"
    module = tiny_module(assim, loss=chosen, alignment=alignment, batchnorm=batchnorm, generated_views=[2]).double()
    step: torch.nn.Module = Step(module)
    if world_size > 1:
        synchronize_batchnorm(module)
        step = DistributedDataParallel(step)
    share = BATCH // world_size
    value = step([view[rank * share : (rank + 1) * share] for view in step_views()])
    value.backward()
    module.method.after_backward()
    with torch.no_grad():
        for parameter in module.encoder.parameters():  # as a step of the optimiser does, and the average follows
            parameter.sub_(0.1 * parameter.grad)
    module.method.after_step(module.encoder, progress=0.0)
    result = {"loss": value.detach() / world_size}
    if world_size > 1:
        dist.all_reduce(result["loss"])
    result |= {f"grad {name}": parameter.grad for name, parameter in module.encoder.named_parameters()}
    return result | {f"state {name}": value.detach() for name, value in module.state_dict().items()}


def loss_gradients(rank: int, world_size: int) -> dict[str, Tensor]:
    """Gradients of each loss with respect to this rank's embeddings, without a network."""
    results = {}
    for name in OF_PROJECTIONS:
        loss, alignment = LOSSES[name]
        rng = torch.Generator().manual_seed(1)
        share = BATCH // world_size
        views = [
            torch.randn(BATCH, 5, generator=rng, dtype=torch.float64)[rank * share : (rank + 1) * share]
            .clone()
            .requires_grad_()
            for _ in range(NUM_VIEWS)
        ]
        if loss.needs_predictor:  # predictions: the same embeddings, in another order of dimensions
            terms = SimSiam(alignment).of_projections(views, [view.roll(1, dims=1) for view in views])
        else:
            terms = loss.terms(views, alignment, gather=True)
        terms.total.backward()
        # The loss of all is the mean over ranks.
        results[name] = torch.stack([view.grad for view in views]) / world_size
    return results


def training(workdir: Path, devices: int) -> dict[str, Tensor]:
    """20 steps on fixed views in float64."""
    # A larger rate makes this small network chaotic: rounding then grows tenfold a step.
    module = tiny_module("a2", optimizer=sgd(0.002, weight_decay=0.0), epochs=10)
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


def training_on_rays(workdir: Path, devices: int) -> dict[str, Tensor]:
    """Weights and state after an epoch with online rays."""
    from test_online import RAYS, data, module

    trained = module(**RAYS, measure_every=2)
    fit_tiny(trained, data(), workdir, max_epochs=1, devices=devices, strategy="ddp")
    return weights(trained)


def run_rank(rank: int, world_size: int, port: int, folder: str) -> None:
    """Everything that needs several processes, in one start of them."""
    torch.set_num_threads(1)
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), WORLD_SIZE=str(world_size))
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), NODE_RANK="0", TORCHELASTIC_RUN_ID="test")
    dist.init_process_group("gloo", rank=rank, world_size=world_size)
    results = {
        "gradients": loss_gradients(rank, world_size),
        "steps": {(loss, batchnorm): one_step(loss, batchnorm, rank, world_size) for loss, batchnorm in STEPS},
    }
    dist.barrier()
    results["training"] = training(Path(folder) / "two", world_size)
    results["adversarial"] = adversarial_training(Path(folder) / "adversarial", world_size)
    results["rays"] = training_on_rays(Path(folder) / "rays", world_size)
    torch.save(results, Path(folder) / f"rank{rank}.pt")
