"""BigBiGAN re-derived from a state dict in float64 with NumPy: loops over taps, pixels and images. Slow on purpose.

It shares no code with the package. The layout is that of PROTOCOLS 12, typed from that page.
"""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
State = dict[str, Array]
Layout = dict[str, tuple[int, ...]]

INS = (1536, 1536, 768, 384, 192)
OUTS = (1536, 768, 384, 192, 96)


def protocol_layout() -> Layout:
    """Every key and shape of the checkpoint at full width."""
    layout: Layout = {
        "shared.weight": (1000, 128),
        "linear.weight": (24576, 20),
        "linear.bias": (24576,),
        "linear.u0": (1, 24576),
        "linear.sv0": (1,),
    }
    for index, (before, after) in enumerate(zip(INS, OUTS, strict=True)):
        block = f"blocks.{index}.0"
        for name, shape in (
            ("conv1", (after, before, 3, 3)),
            ("conv2", (after, after, 3, 3)),
            ("conv_sc", (after, before, 1, 1)),
        ):
            layout |= {
                f"{block}.{name}.weight": shape,
                f"{block}.{name}.bias": (after,),
                f"{block}.{name}.u0": (1, after),
                f"{block}.{name}.sv0": (1,),
            }
        for name, channels in (("bn1", before), ("bn2", after)):
            layout |= {f"{block}.{name}.stored_mean": (channels,), f"{block}.{name}.stored_var": (channels,)}
            for part in ("gain", "bias"):
                layout |= {
                    f"{block}.{name}.{part}.weight": (channels, 148),
                    f"{block}.{name}.{part}.u0": (1, channels),
                    f"{block}.{name}.{part}.sv0": (1,),
                }
    for name, out, into in (("theta", 24, 192), ("phi", 24, 192), ("g", 96, 192), ("o", 192, 96)):
        layout |= {
            f"blocks.3.1.{name}.weight": (out, into, 1, 1),
            f"blocks.3.1.{name}.u0": (1, out),
            f"blocks.3.1.{name}.sv0": (1,),
        }
    layout["blocks.3.1.gamma"] = ()
    layout |= {f"output_layer.0.{name}": (96,) for name in ("gain", "bias", "stored_mean", "stored_var")}
    return layout | {
        "output_layer.2.weight": (3, 96, 3, 3),
        "output_layer.2.bias": (3,),
        "output_layer.2.u0": (1, 3),
        "output_layer.2.sv0": (1,),
    }


def spectral(state: State, name: str) -> Array:
    """W over one step of the power method from u0: v = u0·W, u = W·v, σ = u·W·v, each of norm 1 (at least 1e-4)."""
    weight = state[f"{name}.weight"]
    matrix = weight.reshape(len(weight), -1)
    right = np.array([sum(state[f"{name}.u0"][0, i] * matrix[i, j] for i in range(len(matrix))) for j in
                      range(matrix.shape[1])])  # fmt: skip
    right /= max(float(np.sqrt((right**2).sum())), 1e-4)
    left = np.array([float((row * right).sum()) for row in matrix])
    left /= max(float(np.sqrt((left**2).sum())), 1e-4)
    return weight / sum(float(left[i] * (matrix[i] * right).sum()) for i in range(len(matrix)))


def conv(state: State, name: str, image: Array) -> Array:
    """One image [C, H, W]; zeros around it."""
    weight = spectral(state, name)
    out, _, size, _ = weight.shape
    _, height, width = image.shape
    pad = size // 2
    padded = np.pad(image, ((0, 0), (pad, pad), (pad, pad)))
    result = np.zeros((out, height, width))
    for row in range(size):
        for column in range(size):
            window = padded[:, row : row + height, column : column + width]
            result += np.tensordot(weight[:, :, row, column], window, axes=1)
    bias = state.get(f"{name}.bias")
    return result if bias is None else result + bias[:, None, None]


def twice(image: Array) -> Array:
    """Every pixel becomes four."""
    _, height, width = image.shape
    return np.array([[[plane[y // 2, x // 2] for x in range(2 * width)] for y in range(2 * height)] for plane in image])


def conditional_norm(state: State, name: str, image: Array, condition: Array) -> Array:
    gain = 1 + spectral(state, f"{name}.gain") @ condition
    bias = spectral(state, f"{name}.bias") @ condition
    mean, var = state[f"{name}.stored_mean"], state[f"{name}.stored_var"]
    return np.array([(plane - m) / np.sqrt(v + 1e-4) * g + b for plane, m, v, g, b in
                     zip(image, mean, var, gain, bias, strict=True)])  # fmt: skip


def relu(values: Array) -> Array:
    return np.where(values > 0, values, 0.0)


def block(state: State, name: str, image: Array, condition: Array) -> Array:
    inner = twice(relu(conditional_norm(state, f"{name}.bn1", image, condition)))
    inner = conv(state, f"{name}.conv1", inner)
    inner = conv(state, f"{name}.conv2", relu(conditional_norm(state, f"{name}.bn2", inner, condition)))
    return inner + conv(state, f"{name}.conv_sc", twice(image))


def pooled(image: Array) -> Array:
    """Maxima of 2×2 pixels, flattened."""
    _, height, width = image.shape
    return np.array([[plane[y : y + 2, x : x + 2].max() for y in range(0, height, 2) for x in range(0, width, 2)]
                     for plane in image])  # fmt: skip


def attention(state: State, name: str, image: Array) -> Array:
    """Pixel by pixel: how much of the value at every place it takes."""
    theta = conv(state, f"{name}.theta", image)
    phi, values = pooled(conv(state, f"{name}.phi", image)), pooled(conv(state, f"{name}.g", image))
    taken = np.zeros((len(values), *image.shape[1:]))
    for y in range(image.shape[1]):
        for x in range(image.shape[2]):
            scores = np.exp(theta[:, y, x] @ phi)
            taken[:, y, x] = values @ (scores / scores.sum())
    return image + float(state[f"{name}.gamma"]) * conv(state, f"{name}.o", taken)


def generate(state: State, latent: Array) -> Array:
    """One latent to one image [3, S, S]."""
    chunk = state["linear.weight"].shape[1]
    chunks = [latent[start : start + chunk] for start in range(0, len(latent), chunk)]
    values = spectral(state, "linear") @ chunks[0] + state["linear.bias"]
    image = values.reshape(-1, 4, 4)
    for index, part in enumerate(chunks[1:]):
        condition = np.concatenate([state["shared.weight"][0], part])
        image = block(state, f"blocks.{index}.0", image, condition)
        if f"blocks.{index}.1.gamma" in state:
            image = attention(state, f"blocks.{index}.1", image)
    mean, var = state["output_layer.0.stored_mean"], state["output_layer.0.stored_var"]
    gain, bias = state["output_layer.0.gain"], state["output_layer.0.bias"]
    normed = (image - mean[:, None, None]) / np.sqrt(var + 1e-5)[:, None, None] * gain[:, None, None]
    return np.tanh(conv(state, "output_layer.2", relu(normed + bias[:, None, None])))
