"""Callbacks and loggers of a library, or of the user's: what Lightning's Trainer has beside what assimilate gives it."""

from typing import ClassVar

from assimilate.graph.called import Called

NAMED_CLASSES = "<name>._target_=module.Class, under a name of yours"


class Callback(Called):
    """A callback of the trainings of encoders: callbacks.<name>._target_=module.Class."""

    makes: ClassVar[str | None] = "lightning.pytorch.Callback"


class FurtherLogger(Called):
    """A logger of the trainings of encoders: loggers.<name>._target_=module.Class."""

    makes: ClassVar[str | None] = "lightning.pytorch.loggers.Logger"
