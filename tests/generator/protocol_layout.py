"""The key and shape lists of PROTOCOLS 4 at full width, written out from that page."""

Layout = dict[str, tuple[int, ...]]


def generator_layout(size: int) -> Layout:
    """g and g_ema for size 32 or 64: 512 channels everywhere (64: 256·multiplier 2)."""
    blocks = {32: 3, 64: 4}[size]
    layout: Layout = {}
    for layer in range(1, 9):
        layout |= {f"style.{layer}.weight": (512, 512), f"style.{layer}.bias": (512,)}
    layout["input.input"] = (1, 512, 4, 4)
    for name in ["conv1"] + [f"convs.{index}" for index in range(2 * blocks)]:
        layout |= {
            f"{name}.conv.weight": (1, 512, 512, 3, 3),
            f"{name}.conv.modulation.weight": (512, 512),
            f"{name}.conv.modulation.bias": (512,),
            f"{name}.noise.weight": (1,),
            f"{name}.activate.bias": (512,),
        }
    for index in range(0, 2 * blocks, 2):
        layout[f"convs.{index}.conv.blur.kernel"] = (4, 4)
    for name in ["to_rgb1"] + [f"to_rgbs.{index}" for index in range(blocks)]:
        layout |= {
            f"{name}.bias": (1, 3, 1, 1),
            f"{name}.conv.weight": (1, 3, 512, 1, 1),
            f"{name}.conv.modulation.weight": (512, 512),
            f"{name}.conv.modulation.bias": (512,),
        }
    for index in range(blocks):
        layout[f"to_rgbs.{index}.upsample.kernel"] = (4, 4)
    heights = [4] + [2**power for power in range(3, 3 + blocks) for _ in range(2)]
    for index, height in enumerate(heights):
        layout[f"noises.noise_{index}"] = (1, 1, height, height)
    return layout


def discriminator_layout(size: int) -> Layout:
    """d for size 32 or 64."""
    layout: Layout = {"convs.0.0.weight": (512, 3, 1, 1), "convs.0.1.bias": (512,)}
    for block in range(1, {32: 4, 64: 5}[size]):
        layout |= {
            f"convs.{block}.conv1.0.weight": (512, 512, 3, 3),
            f"convs.{block}.conv1.1.bias": (512,),
            f"convs.{block}.conv2.0.kernel": (4, 4),
            f"convs.{block}.conv2.1.weight": (512, 512, 3, 3),
            f"convs.{block}.conv2.2.bias": (512,),
            f"convs.{block}.skip.0.kernel": (4, 4),
            f"convs.{block}.skip.1.weight": (512, 512, 1, 1),
        }
    return layout | {
        "final_conv.0.weight": (512, 513, 3, 3),
        "final_conv.1.bias": (512,),
        "final_linear.0.weight": (512, 8192),
        "final_linear.0.bias": (512,),
        "final_linear.1.weight": (1, 512),
        "final_linear.1.bias": (1,),
    }
