"""The GPU that `pretend_gpu` imitates refuses what a GPU refuses, and allows what it allows."""

import numpy as np
import pytest
import torch
from torch import nn

from tests.pretend_gpu import GPU, WrongDevice, place_of, pretend_gpu


def here(*shape: int) -> torch.Tensor:
    return torch.ones(shape, device="cuda")


REFUSED = {
    "sum": lambda: here(3) + torch.ones(3),
    "scalar of the device": lambda: torch.ones(3) + here(),
    "joined": lambda: torch.cat([here(3), torch.ones(3)]),
    "stacked scalars": lambda: torch.stack([here(), torch.ones(())]),
    "index of the device": lambda: torch.ones(3)[here(1).long()],
    "gathered by the CPU": lambda: here(3).gather(0, torch.zeros(1, dtype=torch.long)),
    "values of the CPU": lambda: here(3).__setitem__(torch.tensor([0, 1]), torch.ones(2)),
    "numpy": lambda: here(3).numpy(),
    "an array": lambda: np.asarray(here(3)),
    "the CPU's draws": lambda: torch.randn(3, device="cuda", generator=torch.Generator()),
    "the device's draws": lambda: torch.randn(3, generator=torch.Generator("cuda")),
    "drawn in place": lambda: here(3).normal_(generator=torch.Generator()),
    "a copy that is not waited for": lambda: here(3).to("cpu", non_blocking=True),
    "within a library": lambda: nn.functional.cross_entropy(here(3, 2), torch.zeros(3, dtype=torch.long)),
    "in a module": lambda: nn.Linear(3, 3).to("cuda")(torch.ones(1, 3)),
    "in backward": lambda: _Careless.apply(here(3).requires_grad_()).sum().backward(),
}


class _Careless(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x * 2

    @staticmethod
    def backward(ctx, gradient):
        return gradient * torch.full((3,), 2.0)


@pytest.mark.parametrize("case", REFUSED)
def test_what_a_gpu_refuses_is_refused(case, gpu):
    with pytest.raises((WrongDevice, TypeError)):
        REFUSED[case]()


def test_what_a_gpu_allows_is_allowed(gpu):
    assert (here(3) + torch.ones(())).device == here(3)[torch.tensor([0])].device == GPU
    assert torch.where(here(3) > 0, here(3), 0.0).device == GPU
    assert here(3).cpu().numpy().sum() == 3
    assert torch.ones(3).device == here(3).cpu().device == torch.device("cpu")
    network = nn.Linear(3, 3)
    network(torch.ones(1, 3)).sum().backward()
    network.cuda()
    assert {place_of(value) for value in (network.weight, network.weight.grad)} == {"cuda"}
    assert torch.randn(3, device=GPU, generator=torch.Generator(GPU)).is_cuda


def test_nothing_stays_replaced():
    with pretend_gpu():
        left = here(3)
    assert left.device.type == "cpu"
    assert not isinstance(torch.Generator(), type(None))
    assert torch.ones(3).add(1).device.type == "cpu"
    assert torch.Tensor.device is torch._C.TensorBase.device
