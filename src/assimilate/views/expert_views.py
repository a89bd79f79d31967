"""Cached expert views (Table 6, "Expert + A2", not on the fly): n draws of the expert transformation, kept."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import UInt8
from numpy.typing import NDArray
from torch import Tensor

from assimilate.data.augmentation import Augmentation
from assimilate.data.seeding import generator as seeded
from assimilate.graph.place import Progress, silent


def draw_expert_views(
    images: NDArray[np.uint8],
    indices: Sequence[int],
    transform: Augmentation,
    emit: Callable[[int, UInt8[Tensor, "views 3 height width"]], None],
    *,
    num_views: int,
    seed: int,
    shared_by: int | None = None,
    progress: Progress = silent,
) -> None:
    """Draw `num_views` views of each image, independently for every image and view unless draws are shared.

    Args:
        images: uint8 [N, 3, H, W].
        indices: which images to work on.
        transform: the expert transformation.
        emit: receives (image, its views) in order.
        num_views: views an image.
        seed: with the image's index, the only source of randomness.
        shared_by: so many images in turn share the draws of their views, as a batch does in the code behind
            Table 3; None: independent draws.
        progress: called as images are finished.
    """
    for done, index in enumerate(indices, start=1):
        image = torch.from_numpy(np.array(images[index]))
        views = transform(image.expand(num_views, -1, -1, -1).contiguous(), _draws(seed, int(index), shared_by))
        emit(index, (views * 255).round_().to(torch.uint8))
        if done % 64 == 0 or done == len(indices):
            progress(done, len(indices), {})


def _draws(seed: int, index: int, shared_by: int | None) -> torch.Generator:
    if shared_by is None:
        return seeded(seed, "expert", index)
    return seeded(seed, "expert, shared", index // shared_by)
