"""The kNN curve during training (Figure 4)."""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import WeightAveraging
from torch import nn

from assimilate.data.augmentation import Augmentation
from assimilate.data.images import ImageArrays
from assimilate.probes.features import evaluating, extract_features
from assimilate.probes.knn import knn_accuracy


def _as_written(module: nn.Module) -> contextlib.AbstractContextManager[object]:
    """A block in which what torch.compile made of a module's parts is not used.

    It would compile them again, for eval mode and for the last batch's size: minutes, to save seconds.
    """
    compiled = any(part._compiled_call_impl is not None for part in module.modules())
    return torch.compiler.set_stance("force_eager") if compiled else contextlib.nullcontext()


@contextlib.contextmanager
def _averaged(trainer: pl.Trainer, module: pl.LightningModule) -> Iterator[None]:
    """A block in which the module has the weights that its training will end with, where a callback averages them."""
    averages = [callback for callback in trainer.callbacks if isinstance(callback, WeightAveraging)]  # type: ignore[attr-defined]
    for callback in averages:
        callback.on_validation_epoch_start(trainer, module)
    try:
        yield
    finally:
        for callback in reversed(averages):
            callback.on_validation_epoch_end(trainer, module)


class KNNMonitor(pl.Callback):
    """Measures k-NN accuracy of clean backbone features before training and every `every_n_epochs` epochs.

    `curve` holds (epochs completed, accuracy in percent), from (0, random network) on, and is part of the
    checkpoint. Loggers get it as `knn{k}_cosine`; callbacks may monitor it as `knn{k}`, on every rank. Nothing random
    is drawn and the encoder is left as it was.

    Args:
        train, test: labelled images; the bank and the queries.
        k: neighbours (majority vote, cosine).
        transform: what is done to the images, drawing nothing (the central crop, say); None only converts them.
    """

    def __init__(
        self,
        train: ImageArrays,
        test: ImageArrays,
        *,
        every_n_epochs: int = 1,
        k: int = 5,
        transform: Augmentation | None = None,
    ) -> None:
        if every_n_epochs < 1:
            raise ValueError(f"knn.every_n_epochs={every_n_epochs} must be at least 1")
        assert train.labels is not None, "kNN needs labels"
        assert test.labels is not None, "kNN needs labels"
        self.curve: list[tuple[int, float]] = []
        self.every_n_epochs = every_n_epochs
        self.k = k
        self._bank = train
        self._test = test
        self._transform = transform

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """The random network's point, unless a resumed curve has it."""
        if not self.curve:
            self._measure(trainer, pl_module, epoch=0)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """A point every so many epochs and after the last one."""
        epoch = trainer.current_epoch + 1
        if epoch % self.every_n_epochs == 0 or epoch == trainer.max_epochs:
            self._measure(trainer, pl_module, epoch=epoch)

    def _measure(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *, epoch: int) -> None:
        # No collective is involved in eval mode, so the other ranks simply wait for the result.
        accuracy = 0.0
        if trainer.is_global_zero:
            with _averaged(trainer, pl_module):
                accuracy = self._accuracy(pl_module)
        accuracy = float(trainer.strategy.broadcast(accuracy))
        trainer.callback_metrics[f"knn{self.k}"] = torch.tensor(accuracy)
        if not trainer.is_global_zero:
            return
        self.curve.append((epoch, accuracy))
        for logger in trainer.loggers:
            logger.log_metrics({f"knn{self.k}_cosine": accuracy, "epoch": epoch}, step=trainer.global_step)

    def _accuracy(self, pl_module: pl.LightningModule) -> float:
        encoder, mean, std = pl_module.encoder, pl_module.mean, pl_module.std
        with evaluating(encoder), _as_written(encoder):  # type: ignore[arg-type]
            bank, queries = (
                extract_features(
                    encoder,  # type: ignore[arg-type]
                    arrays,
                    mean=mean,  # type: ignore[arg-type]
                    std=std,  # type: ignore[arg-type]
                    transform=self._transform,
                )
                for arrays in (self._bank, self._test)
            )
        return knn_accuracy(
            bank, torch.as_tensor(self._bank.labels), queries, torch.as_tensor(self._test.labels), k=self.k
        )

    def state_dict(self) -> dict[str, Any]:
        """The curve so far."""
        return {"curve": [list(point) for point in self.curve]}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continues a curve."""
        self.curve = [(int(epoch), float(accuracy)) for epoch, accuracy in state_dict["curve"]]
