"""The views of a training's first batch, shown to who follows it."""

from typing import Any

import lightning.pytorch as pl
import numpy as np

from assimilate.data.grids import grid_scale, picture_grid

# Images of the grid.
NUM_ROWS = 8


class FirstBatch(pl.Callback):
    """Shows a tracker the views of the first batch, once, before the first step.

    Args:
        tracker: has `picture(name, png, caption)`.
        subject: the first word of the picture's name.
    """

    def __init__(self, tracker: Any, subject: str) -> None:
        self._tracker, self._subject = tracker, subject

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Draw the grid."""
        if trainer.global_step == 0 and batch_idx == 0 and trainer.is_global_zero:
            caption = "a row an image, a column a view, as the first step is served them"
            self._tracker.picture(f"{self._subject}/first_batch", _grid(batch.views, pl_module), caption)


def _grid(views: Any, module: Any) -> bytes:
    centre, spread = (np.asarray(value, dtype=np.float64)[:, None, None] for value in (module.mean, module.std))
    pixels = [view[:NUM_ROWS].detach().double().cpu().numpy() * spread + centre for view in views]
    pictures = [(view * 255).round().clip(0, 255).astype(np.uint8) for view in pixels]
    rows = [[view[row] for view in pictures] for row in range(len(pictures[0]))]
    size = max(view.shape[-1] for view in pictures)
    return picture_grid(rows, scale=grid_scale(size, len(pictures)))
