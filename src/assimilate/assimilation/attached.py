"""Callbacks and loggers of a library, or of the user's, beside those that assimilate gives Lightning's Trainer."""

from typing import ClassVar

from assimilate.graph.called import Called


class Callback(Called):
    """A callback of the trainings of encoders: callbacks.<name>._target_=module.Class."""

    makes: ClassVar[str | None] = "lightning.pytorch.Callback"


class FurtherLogger(Called):
    """A logger of the trainings of encoders: loggers.<name>._target_=module.Class."""

    makes: ClassVar[str | None] = "lightning.pytorch.loggers.Logger"
