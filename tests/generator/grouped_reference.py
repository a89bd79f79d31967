"""StyleGAN2 re-derived layer by layer from a state dict: grouped convolutions, zero insertion, whole 4×4 filters.

It shares no code with the package. Slow on purpose.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

State = dict[str, Tensor]


def upfirdn(images: Tensor, kernel: Tensor, *, up: int = 1, down: int = 1, pad: tuple[int, int] = (0, 0)) -> Tensor:
    """Insert zeros behind every pixel, pad, convolve (kernel flipped) with a loop over taps, keep every ``down``-th."""
    batch, channels, height, width = images.shape
    spread = images.new_zeros(batch, channels, height * up, width * up)
    spread[:, :, ::up, ::up] = images
    padded = functional.pad(spread, (pad[0], pad[1], pad[0], pad[1]))
    rows, columns = kernel.shape
    out_height, out_width = padded.shape[2] - rows + 1, padded.shape[3] - columns + 1
    result = images.new_zeros(batch, channels, out_height, out_width)
    for row in range(rows):
        for column in range(columns):
            tap = kernel[rows - 1 - row, columns - 1 - column]
            result = result + tap * padded[:, :, row : row + out_height, column : column + out_width]
    return result[:, :, ::down, ::down]


def leaky(values: Tensor) -> Tensor:
    return torch.where(values >= 0, values, 0.2 * values) * math.sqrt(2)


def mapping(state: State, latents: Tensor) -> Tensor:
    values = latents / torch.sqrt((latents**2).mean(dim=1, keepdim=True) + 1e-8)
    layer = 1
    while f"style.{layer}.weight" in state:
        weight, bias = state[f"style.{layer}.weight"], state[f"style.{layer}.bias"]
        values = leaky(values @ (weight * 0.01 / math.sqrt(weight.shape[1])).T + bias * 0.01)
        layer += 1
    return values


def modulated(
    state: State, name: str, features: Tensor, codes: Tensor, *, up: bool = False, demodulate: bool = True
) -> Tensor:
    """One convolution with a weight for every image, as a grouped convolution."""
    weight = state[f"{name}.weight"]
    _, out_channels, in_channels, size, _ = weight.shape
    affine = state[f"{name}.modulation.weight"]
    styles = codes @ (affine / math.sqrt(affine.shape[1])).T + state[f"{name}.modulation.bias"]
    batch = len(codes)
    own = weight / math.sqrt(in_channels * size**2) * styles.view(batch, 1, in_channels, 1, 1)
    if demodulate:
        own = own / torch.sqrt((own**2).sum(dim=(2, 3, 4), keepdim=True) + 1e-8)
    height = features.shape[2]
    grouped = features.reshape(1, batch * in_channels, height, height)
    if up:
        stacked = own.transpose(1, 2).reshape(batch * in_channels, out_channels, size, size)
        result = functional.conv_transpose2d(grouped, stacked, stride=2, groups=batch)
        result = result.view(batch, out_channels, 2 * height + 1, 2 * height + 1)
        return upfirdn(result, state[f"{name}.blur.kernel"], pad=(1, 1))
    stacked = own.view(batch * out_channels, in_channels, size, size)
    return functional.conv2d(grouped, stacked, padding=size // 2, groups=batch).view(
        batch, out_channels, height, height
    )


def styled(state: State, name: str, features: Tensor, codes: Tensor, noise: Tensor, *, up: bool = False) -> Tensor:
    values = modulated(state, f"{name}.conv", features, codes, up=up) + state[f"{name}.noise.weight"] * noise
    return leaky(values + state[f"{name}.activate.bias"].view(1, -1, 1, 1))


def to_rgb(state: State, name: str, features: Tensor, codes: Tensor, skip: Tensor | None = None) -> Tensor:
    image = modulated(state, f"{name}.conv", features, codes, demodulate=False) + state[f"{name}.bias"]
    return image if skip is None else image + upfirdn(skip, state[f"{name}.upsample.kernel"], up=2, pad=(2, 1))


def synthesis(state: State, codes: Tensor, noise: list[Tensor] | None = None) -> Tensor:
    """Codes [batch, L, D] to images; registered noise unless given."""
    num_layers = codes.shape[1] - 1
    noise = noise or [state[f"noises.noise_{index}"] for index in range(num_layers)]
    features = state["input.input"].repeat(len(codes), 1, 1, 1)
    features = styled(state, "conv1", features, codes[:, 0], noise[0])
    image = to_rgb(state, "to_rgb1", features, codes[:, 1])
    layer = 1
    for block in range((num_layers - 1) // 2):
        features = styled(state, f"convs.{2 * block}", features, codes[:, layer], noise[layer], up=True)
        features = styled(state, f"convs.{2 * block + 1}", features, codes[:, layer + 1], noise[layer + 1])
        image = to_rgb(state, f"to_rgbs.{block}", features, codes[:, layer + 2], image)
        layer += 2
    return image


def equal_conv(weight: Tensor, images: Tensor, *, stride: int = 1, padding: int = 0) -> Tensor:
    return functional.conv2d(images, weight / math.sqrt(weight[0].numel()), stride=stride, padding=padding)


def residual_blocks(state: State, images: Tensor) -> list[Tensor]:
    """The maps behind from-RGB and behind each block; the in-domain encoder begins in the same way."""
    values = leaky(equal_conv(state["convs.0.0.weight"], images) + state["convs.0.1.bias"].view(1, -1, 1, 1))
    maps = [values]
    block = 1
    while f"convs.{block}.skip.1.weight" in state:
        name = f"convs.{block}"
        skip = upfirdn(values, state[f"{name}.skip.0.kernel"], pad=(1, 1))
        skip = equal_conv(state[f"{name}.skip.1.weight"], skip, stride=2)
        inner = equal_conv(state[f"{name}.conv1.0.weight"], values, padding=1)
        inner = leaky(inner + state[f"{name}.conv1.1.bias"].view(1, -1, 1, 1))
        inner = upfirdn(inner, state[f"{name}.conv2.0.kernel"], pad=(2, 2))
        inner = equal_conv(state[f"{name}.conv2.1.weight"], inner, stride=2)
        inner = leaky(inner + state[f"{name}.conv2.2.bias"].view(1, -1, 1, 1))
        values = (inner + skip) / math.sqrt(2)
        maps.append(values)
        block += 1
    return maps


def stddev_channel(features: Tensor, group: int = 4) -> Tensor:
    """Append the minibatch standard deviation with loops over groups and positions."""
    batch, channels, height, width = features.shape
    group = min(batch, group)
    groups = batch // group
    result = features.new_zeros(batch, 1, height, width)
    for which in range(groups):
        members = [which + groups * place for place in range(group)]
        total = features.new_zeros(())
        for channel in range(channels):
            for row in range(height):
                for column in range(width):
                    values = torch.stack([features[member, channel, row, column] for member in members])
                    total = total + torch.sqrt(((values - values.mean()) ** 2).mean() + 1e-8)
        for member in members:
            result[member] = total / (channels * height * width)
    return torch.cat([features, result], dim=1)


def discriminator(state: State, images: Tensor) -> Tensor:
    values = stddev_channel(residual_blocks(state, images)[-1])
    values = equal_conv(state["final_conv.0.weight"], values, padding=1)
    values = leaky(values + state["final_conv.1.bias"].view(1, -1, 1, 1)).reshape(len(images), -1)
    first, last = state["final_linear.0.weight"], state["final_linear.1.weight"]
    values = leaky(values @ (first / math.sqrt(first.shape[1])).T + state["final_linear.0.bias"])
    return (values @ (last / math.sqrt(last.shape[1])).T + state["final_linear.1.bias"])[:, 0]
