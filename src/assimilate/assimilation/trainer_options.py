"""Keys of `trainer` that are Lightning's: whatever `lightning.Trainer` takes and assimilate does not decide itself."""

from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import create_model, model_validator

from assimilate.graph.settings import NEUTRAL, Allowed, Settings, is_neutral
from assimilate.graph.signature import keyword_parameters

TRAINER = "lightning.pytorch.trainer.trainer.Trainer"
# Keys that `trainer` has of its own.
OWN = ("accelerator", "strategy", "devices", "precision")
# What assimilate decides, and by what.
_NOT_VALIDATED = "nothing is validated while an encoder trains; the kNN curve is knn.every_n_epochs="
_ITS_LOADER = "images come from a loader that resumes exactly and shares each batch among the ranks"
DECIDED: Mapping[str, str] = {
    "num_nodes": "ranks are processes of this machine, trainer.devices=",
    "logger": "it is logger=, or loggers.<name>._target_=",
    "callbacks": "they are callbacks.<name>._target_=",
    "plugins": "checkpoints are written so that a kill cannot spoil them",
    "max_epochs": "it is epochs=",
    "accumulate_grad_batches": "it is accumulate_grad_batches=, without trainer.",
    "log_every_n_steps": "it is logger.every_n_steps=",
    "benchmark": "it is trainer.cudnn_benchmark=",
    "enable_checkpointing": "a training always resumes; trainer.checkpoint_every_n_epochs= says how often it saves",
    "enable_progress_bar": "the terminal has one",
    "barebones": "a training always resumes and keeps its record",
    "default_root_dir": "it is out=",
    "use_distributed_sampler": _ITS_LOADER,
    "reload_dataloaders_every_n_epochs": _ITS_LOADER,
    "sync_batchnorm": "ranks always share the statistics of BatchNorm",
    "model_registry": "networks are drawn from the seed",
    **dict.fromkeys(("limit_val_batches", "val_check_interval", "check_val_every_n_epoch"), _NOT_VALIDATED),
    **dict.fromkeys(("num_sanity_val_steps", "inference_mode"), _NOT_VALIDATED),
    **dict.fromkeys(("limit_test_batches", "limit_predict_batches"), _NOT_VALIDATED),
}
# What decides no number: what is shown or checked, or by which of two equal kernels it is computed.
SHOWN = ("profiler", "detect_anomaly", "deterministic", "enable_model_summary", "enable_autolog_hparams")
# Of these a whole number counts batches, and a number with a point is a share of them.
BATCHES = ("limit_train_batches", "overfit_batches")


def _fields() -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, (kind, default) in keyword_parameters(TRAINER, without={*OWN, *DECIDED}).items():
        if name in DECIDED:
            fields[name] = Annotated[None, NEUTRAL, Allowed(f"null: {DECIDED[name]}")], None
        elif name not in OWN:
            fields[name] = (Annotated[kind, NEUTRAL] if name in SHOWN else kind), default
    return fields


_Of_lightning: Any = create_model("_Of_lightning", __base__=Settings, **_fields())


class TrainerOptions(_Of_lightning):
    """Arguments of `lightning.Trainer` for the trainings of encoders, f's as well; its fields are those of Lightning.

    One that is not given is as Lightning has it, and in no key.
    """

    @model_validator(mode="after")
    def _something_is_trained(self) -> Self:
        for name in ("limit_train_batches", "max_steps"):
            if getattr(self, name) == 0:
                raise ValueError(f"trainer.{name}=0 cannot be used: nothing would be trained")
        return self

    def content(self) -> Mapping[str, Any]:
        """Which of two equal numbers is a share."""
        return {f"share_of_{name}": True for name in BATCHES if isinstance(self.given.get(name), float)}

    @property
    def given(self) -> dict[str, Any]:
        """What differs from Lightning's defaults, by name."""
        fields = type(self).model_fields
        values = {name: getattr(self, name) for name in fields}
        return {name: value for name, value in values.items() if value != fields[name].default}


def moves_numbers(key: str) -> bool:
    """Whether a key is one of Lightning's that decides what is computed."""
    group, _, name = key.partition(".")
    field = TrainerOptions.model_fields.get(name) if group == "trainer" else None
    return field is not None and not is_neutral(field)


def check_options(options: TrainerOptions) -> None:
    """Let Lightning look at its arguments before anything long starts; imports it.

    Raises:
        UserError: Lightning does not take them.
    """
    if not options.given:
        return
    from assimilate.assimilation.fit import refuse_arguments

    refuse_arguments(options.given)
