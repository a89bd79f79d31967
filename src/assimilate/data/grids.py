"""Pictures side by side as one PNG."""

import io
from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8
from numpy.typing import NDArray
from PIL import Image

GAP = 2  # pixels of an unscaled image


def picture_grid(
    rows: Sequence[Sequence[UInt8[np.ndarray, "3 height width"]]], *, scale: int, gap_after: Sequence[int] = ()
) -> bytes:
    """A grid of pictures as PNG bytes, enlarged without smoothing; gaps are transparent.

    Args:
        rows: pictures, row by row; rows may differ in length. One that is smaller than the largest, as a crop beside
            its image, is shown in the middle of its place.
        scale: how many pixels of the PNG a pixel becomes, each way.
        gap_after: columns after which a wider gap sets the next ones apart.
    """
    height, width = np.max([picture.shape[1:] for row in rows for picture in row], axis=0).tolist()
    num_columns = max(len(row) for row in rows)
    extra = [GAP * 3 if column in gap_after else 0 for column in range(num_columns)]
    left = [column * (width + GAP) + sum(extra[:column]) for column in range(num_columns)]
    canvas = np.zeros((len(rows) * (height + GAP) - GAP, left[-1] + width, 4), dtype=np.uint8)
    for position, row in enumerate(rows):
        top = position * (height + GAP)
        for column, picture in enumerate(row):
            above, beside = (height - picture.shape[1]) // 2, (width - picture.shape[2]) // 2
            cell = canvas[top + above :, left[column] + beside :][: picture.shape[1], : picture.shape[2]]
            cell[..., :3] = np.transpose(picture, (1, 2, 0))
            cell[..., 3] = 255
    enlarged = canvas.repeat(scale, axis=0).repeat(scale, axis=1)
    stream = io.BytesIO()
    Image.fromarray(enlarged, "RGBA").save(stream, format="PNG")
    return stream.getvalue()


def spread_over_classes(labels: NDArray[np.int64] | None, count: int, wanted: int) -> list[int]:
    """Indices of pictures to show: one class after the other where there are labels."""
    if labels is None:
        return [int(index) for index in np.linspace(0, count - 1, min(wanted, count)).astype(int)]
    queues = [list(np.flatnonzero(labels == label)) for label in np.unique(labels)]
    chosen: list[int] = []
    while len(chosen) < min(wanted, count):
        for queue in queues:
            if queue and len(chosen) < wanted:
                chosen.append(int(queue.pop(0)))
    return chosen


def grid_scale(size: int, columns: int, *, most: int = 6) -> int:
    """Enlargement at which a grid is about 900 pixels wide, from 1 to `most`.

    Args:
        size: of its pictures, in pixels.
        columns: of pictures.
        most: the largest.
    """
    return max(1, min(most, 900 // (columns * (size + GAP))))
