"""The safe form of narrow 1×1 convolutions with stride."""

from functools import partial
from typing import Any

from torch import Tensor, nn

# The widest SIMD block of oneDNN in float32: 16 channels with AVX-512; 8 with AVX2.
_SIMD_CHANNELS = 16


def subsample_before_narrow_pointwise(network: nn.Module) -> None:
    """Lets each 1×1 convolution of the network with stride and fewer than 16 input channels read every stride-th pixel
    and go over them with stride 1: the same result, the same parameters and keys.

    In channels_last the weight gradient of such a convolution writes past its workspace on a CPU when its input
    channels are fewer than the SIMD block (uxlfoundation/oneDNN issue 6035; oneDNN 3.13 in torch 2.15, float32, no
    padding, no groups): the process ends, or the gradients are wrong. With 16 channels or more nothing is changed.
    """
    for module in network.modules():
        if (
            isinstance(module, nn.Conv2d)
            and module.kernel_size == (1, 1)
            and max(module.stride) > 1
            and module.padding in ((0, 0), "valid")
            and module.in_channels < _SIMD_CHANNELS
        ):
            module.register_forward_pre_hook(partial(_subsample, module.stride))
            module.stride = (1, 1)


def _subsample(stride: tuple[int, ...], module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    images: Tensor = inputs[0]
    return (images[..., :: stride[0], :: stride[1]], *inputs[1:])
