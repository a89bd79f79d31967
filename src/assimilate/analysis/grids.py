"""Pictures side by side as one PNG."""

import io
from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8
from PIL import Image

GAP = 2  # pixels of an unscaled image


def picture_grid(
    rows: Sequence[Sequence[UInt8[np.ndarray, "3 height width"]]], *, scale: int, gap_after: Sequence[int] = ()
) -> bytes:
    """A grid of equally large pictures as PNG bytes, enlarged without smoothing; gaps are transparent.

    Args:
        rows: pictures, row by row; rows may differ in length.
        scale: how many pixels of the PNG a pixel becomes, each way.
        gap_after: columns after which a wider gap sets the next ones apart.
    """
    height, width = rows[0][0].shape[1:]
    num_columns = max(len(row) for row in rows)
    extra = [GAP * 3 if column in gap_after else 0 for column in range(num_columns)]
    left = [column * (width + GAP) + sum(extra[:column]) for column in range(num_columns)]
    canvas = np.zeros((len(rows) * (height + GAP) - GAP, left[-1] + width, 4), dtype=np.uint8)
    for position, row in enumerate(rows):
        top = position * (height + GAP)
        for column, picture in enumerate(row):
            cell = canvas[top : top + height, left[column] : left[column] + width]
            cell[..., :3] = np.transpose(picture, (1, 2, 0))
            cell[..., 3] = 255
    enlarged = canvas.repeat(scale, axis=0).repeat(scale, axis=1)
    stream = io.BytesIO()
    Image.fromarray(enlarged, "RGBA").save(stream, format="PNG", optimize=True)
    return stream.getvalue()
