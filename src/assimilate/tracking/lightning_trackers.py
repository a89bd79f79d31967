"""A job as a run of TensorBoard or MLflow, through Lightning's own loggers."""

import io
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch.loggers import MLFlowLogger, TensorBoardLogger
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from PIL import Image

from assimilate.errors import UserError
from assimilate.run.job import Job, shell_word
from assimilate.tracking.run_tracker import (
    RunTracker,
    Say,
    axis_of,
    job_type,
    recorded,
    run_group,
    run_name,
    settings_of,
)


class LightningTracker(RunTracker):
    """Tells a job to a logger of Lightning's."""

    def __init__(self, job: Job, service: str) -> None:
        super().__init__(job, service)
        # Loggers of other ranks are silent, and SLURM numbers the copies of a command.
        rank_zero_only.rank = 0  # type: ignore[attr-defined]
        self._config: dict[str, Any] = recorded(job)
        self.logger = self.open(job)

    def open(self, job: Job) -> Any:
        """The logger."""
        raise NotImplementedError

    def log(self, metrics: Mapping[str, float]) -> None:
        self.logger.log_metrics({name: float(value) for name, value in metrics.items()}, step=axis_of(metrics))

    def describe(self, values: Mapping[str, Any]) -> None:
        self._config |= values

    def close(self, *, failed: bool) -> None:
        self.logger.finalize("failed" if failed else "success")


class TensorBoardTracker(LightningTracker):
    """Event files in `out`/tensorboard/<the run's name>."""

    def __init__(self, job: Job, say: Say) -> None:
        super().__init__(job, "tensorboard")
        self._concluded: dict[str, float] = {}
        say(f"  TensorBoard: tensorboard --logdir {shell_word(str(self.folder))}")

    def open(self, job: Job) -> Any:
        name = "/".join(str(part) for part in (run_name(job), settings_of(job).suffix) if part)
        # Metrics are written with the settings when the job ends: none is there before, and none is -1.
        return TensorBoardLogger(self.folder, name=name, version="", default_hp_metric=False)

    def histogram(self, name: str, values: np.ndarray[Any, Any]) -> None:
        self.logger.experiment.add_histogram(name, np.asarray(values, dtype=np.float64).reshape(-1))

    def picture(self, name: str, png: bytes, caption: str) -> None:
        pixels = np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))
        self.logger.experiment.add_image(name, pixels, dataformats="HWC")
        self.logger.experiment.add_text(f"{name}_caption", caption)

    def conclude(self, values: Mapping[str, Any]) -> None:
        numbers = {name: float(value) for name, value in values.items() if isinstance(value, int | float)}
        self._concluded |= numbers
        self.logger.log_metrics(numbers)

    def close(self, *, failed: bool) -> None:
        self.logger.log_hyperparams(self._config, self._concluded)
        super().close(failed=failed)


class MLflowTracker(LightningTracker):
    """A run of the experiment `logger.project`, on `MLFLOW_TRACKING_URI`, or in a database below `out`/mlflow."""

    def __init__(self, job: Job, say: Say) -> None:
        self._keeps_files = settings_of(job).checkpoints
        super().__init__(job, "mlflow")
        self._client = self._reached()
        self._run = str(self.logger.run_id)
        if self._known.is_file():  # of a run that goes on; its settings are those of its identity, and are there
            self._client.update_run(self._run, status="RUNNING")
        else:
            self.logger.log_hyperparams(self._config)
            self._known.write_text(self._run, encoding="utf-8")
        say(f"  MLflow: mlflow ui --backend-store-uri {shell_word(self._uri)}")

    def open(self, job: Job) -> Any:
        for name in ("alembic", "mlflow.store", "lightning.pytorch.loggers.mlflow"):  # what they do to a new database
            logging.getLogger(name).setLevel(logging.ERROR)
        self._uri = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{self.folder.resolve() / 'mlflow.db'}"
        self._known = self.folder / f".{self.id}.run"
        budget = job.config["budget"]["name"]
        return MLFlowLogger(
            experiment_name=settings_of(job).project,
            run_name=run_name(job),
            tracking_uri=self._uri,
            tags={"budget": budget, "group": run_group(job), "job_type": job_type(job), "row": job.row or "adhoc"},
            artifact_location=None
            if "MLFLOW_TRACKING_URI" in os.environ
            else (self.folder / "files").resolve().as_uri(),
            run_id=self._known.read_text(encoding="utf-8") if self._known.is_file() else None,
        )

    def _reached(self) -> Any:
        try:
            return self.logger.experiment
        except Exception as error:  # MLflow's own, of its database or of the network
            raise UserError(
                f"logger=mlflow: {self._uri} cannot be used ({' '.join(str(error).split())[:300]}): set "
                "MLFLOW_TRACKING_URI, or give logger=csv"
            ) from error

    def histogram(self, name: str, values: np.ndarray[Any, Any]) -> None:
        """MLflow has none: percentiles."""
        shares = (5, 25, 50, 75, 95)
        told = np.percentile(np.asarray(values, dtype=np.float64), shares)
        self.conclude({f"{name}_p{share}": float(value) for share, value in zip(shares, told, strict=True)})

    def picture(self, name: str, png: bytes, caption: str) -> None:
        self._client.log_image(self._run, Image.open(io.BytesIO(png)), artifact_file=f"{name}.png")

    def conclude(self, values: Mapping[str, Any]) -> None:
        self.log({name: value for name, value in values.items() if isinstance(value, int | float)})

    def describe(self, values: Mapping[str, Any]) -> None:
        self.logger.log_hyperparams(dict(values))

    def keep(self, file: Path, name: str, kind: str) -> None:
        if self._keeps_files:
            self._client.log_artifact(self._run, str(file), artifact_path=f"{kind}/{name}")
