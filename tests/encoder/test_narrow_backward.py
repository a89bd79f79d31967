"""Narrow networks in channels_last neither end the process nor get wrong gradients (oneDNN issue 6035)."""

import ctypes
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.overrides import TorchFunctionMode

from assimilate.encoder.backbone import make_backbone, subsample_before_narrow_pointwise
from assimilate.generator.architecture import Architecture
from assimilate.generator.discriminator import Discriminator
from assimilate.inversion.encoder import InversionEncoder, InversionEncoderSpec
from assimilate.views.viewmaker import Viewmaker, ViewmakerSpec


@pytest.mark.parametrize("isa", ["AVX2", None], ids=["AVX2", "as the machine is"])
def test_gradients_of_every_narrow_width(isa: str | None) -> None:
    """Under an allocator that checks, which glibc keeps in a library of its own since 2.34."""
    checked = {"MALLOC_CHECK_": "3", **({"ONEDNN_MAX_CPU_ISA": isa} if isa else {})}
    if sys.platform == "linux" and _loads("libc_malloc_debug.so.0"):
        checked["LD_PRELOAD"] = "libc_malloc_debug.so.0"
    script = Path(__file__).parent / "narrow_backward.py"
    done = subprocess.run([sys.executable, str(script)], env={**os.environ, **checked}, capture_output=True, text=True)
    assert done.returncode == 0, (done.returncode, done.stderr[-2000:])
    worst = json.loads(done.stdout)
    assert {f"resnet18 {width}" for width in range(1, 17)} < worst.keys()
    assert {key: value for key, value in worst.items() if not value < 1e-3} == {}


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def test_a_safe_convolution_is_the_same_convolution() -> None:
    """The same keys and, in float64, the same output, whatever the stride; what is not at fault stays as it was."""
    torch.manual_seed(0)
    for stride in (2, 3, (1, 2)):
        images = torch.randn(2, 5, 9, 12, dtype=torch.float64)
        plain = nn.Conv2d(5, 4, 1, stride, dtype=torch.float64)
        safe = nn.Conv2d(5, 4, 1, stride, dtype=torch.float64)
        safe.load_state_dict(plain.state_dict())
        subsample_before_narrow_pointwise(safe)
        assert safe.stride == (1, 1)
        torch.testing.assert_close(safe(images), plain(images), rtol=0, atol=1e-14)
    others = nn.Sequential(
        nn.Conv2d(16, 4, 1, 2), nn.Conv2d(4, 4, 3, 2), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1, 2, padding=1)
    )
    subsample_before_narrow_pointwise(others)
    assert [module.stride for module in others] == [(2, 2), (2, 2), (1, 1), (2, 2)]
    assert not any(module._forward_pre_hooks for module in others)


class _StridedPointwise(TorchFunctionMode):
    """Counts convolutions as they are called, and those of the faulty kind among them."""

    def __init__(self) -> None:
        super().__init__()
        self.calls, self.faulty = 0, 0

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function in (F.conv2d, torch.conv2d):
            weight, stride, groups = (
                _argument(args, kwargs, 1, "weight", None),
                *(_argument(args, kwargs, place, name, 1) for place, name in ((3, "stride"), (6, "groups"))),
            )
            strided = stride > 1 if isinstance(stride, int) else max(stride) > 1
            self.calls += 1
            narrow = weight.shape[1] < 16 and weight.shape[2:] == (1, 1) and groups == 1
            self.faulty += bool(strided and narrow and weight.requires_grad)
        return function(*args, **(kwargs or {}))


def _argument(args: Any, kwargs: Any, place: int, name: str, default: Any) -> Any:
    return args[place] if len(args) > place else (kwargs or {}).get(name, default)


def _viewmaker() -> tuple[nn.Module, tuple[Any, ...]]:
    network = Viewmaker.from_spec(ViewmakerSpec(width=2), init_seed=0)
    return network, (torch.rand(2, 3, 16, 16), torch.Generator())


NETWORKS = {
    "resnet18": lambda: (make_backbone("resnet18", width=4), (torch.randn(2, 3, 16, 16),)),
    "resnet50": lambda: (make_backbone("resnet50", width=2, stem="imagenet"), (torch.randn(2, 3, 32, 32),)),
    "discriminator": lambda: (Discriminator(Architecture(16, 8, 2, (8, 8, 4))), (torch.randn(4, 3, 16, 16),)),
    "inversion encoder": lambda: (
        InversionEncoder(InversionEncoderSpec(16, 6, 8, (8, 8, 4))),
        (torch.randn(2, 3, 16, 16),),
    ),
    "viewmaker": _viewmaker,
}


@pytest.mark.parametrize("name", NETWORKS)
def test_no_network_that_is_trained_has_a_convolution_at_fault(name: str) -> None:
    network, inputs = NETWORKS[name]()
    with _StridedPointwise() as seen:
        network(*inputs)
    assert seen.calls > 0
    assert seen.faulty == 0


def test_the_count_sees_a_convolution_at_fault() -> None:
    with _StridedPointwise() as seen:
        nn.Conv2d(4, 4, 1, 2)(torch.randn(1, 4, 8, 8))
    assert (seen.calls, seen.faulty) == (1, 1)
