"""A `_target_` that names no component of ours is called with the keys beside it: optimizers, callbacks, loggers."""

import sys

import pytest
import torch

from assimilate import train
from assimilate.graph.source import source_digest
from assimilate.run.composing import compose
from assimilate.run.config import make_job
from assimilate.run.recipe import Recipe
from assimilate.run.words import read_command_line
from tests.test_separation import keys_of

CALLBACK = """
import lightning.pytorch as pl


class Freeze(pl.Callback):
    def __init__(self, layers, after=1):
        self.layers = layers
"""


@pytest.fixture(autouse=True)
def outside(tmp_path, monkeypatch):
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "own_callbacks.py").write_text(CALLBACK)
    monkeypatch.syspath_prepend(str(folder))
    yield folder
    sys.modules.pop("own_callbacks", None)


def job_of(*words):
    line = read_command_line(words)
    return make_job("train", compose(line.words), line.words)


FREEZE = "callbacks.freeze._target_=own_callbacks.Freeze"
CSV = "loggers.mine._target_=lightning.pytorch.loggers.CSVLogger"
ADAMW = "optimizer._target_=torch.optim.AdamW"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([ADAMW, "optimizer.beta=[0.9,0.95]"], "optimizer._target_=torch.optim.AdamW does not take (beta)"),
        ([ADAMW, "optimizer.momentum=0.5"], "optimizer.momentum would be ignored: torch.optim.AdamW takes no momentum"),
        (["optimizer._target_=torch.optim.AdamV"], "optimizer._target_=torch.optim.AdamV cannot be imported"),
        (["optimizer._target_=assimilate.assimilation.optimizers.Adam"], "give optimizer=<its name>"),
        ([FREEZE, "callbacks.freeze.layer=3"], "callbacks.freeze._target_=own_callbacks.Freeze does not take (layer)"),
        ([FREEZE], "missing a required argument: 'layers'; it takes layers, after"),
        (["callbacks.freeze._target_=own_callbacks.Frieze"], "own_callbacks.Frieze cannot be imported"),
        (["callbacks.freeze._target_=torch.nn.Linear"], "allowed is a subclass of lightning.pytorch.Callback"),
        (["callbacks.freeze.layers=3"], "callbacks.freeze names no class: give callbacks.freeze._target_=module.Class"),
        (["callbacks.freeze=3"], "callbacks.freeze names no class: give callbacks.freeze._target_=module.Class"),
        ([CSV], "loggers.mine._target_=lightning.pytorch.loggers.CSVLogger does not take (): missing"),
        (["callbacks=nothing"], "callbacks=nothing: there is no such option"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(words, message, tmp_path, capsys):
    assert train.main([*words, f"out={tmp_path / 'out'}"]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_an_optimizer_is_what_its_own_option_would_make():
    named = job_of(ADAMW, "+optimizer.betas=[0.9,0.95]", "optimizer.lr=0.1")
    chosen = job_of("optimizer=any", "optimizer.factory=torch.optim.AdamW", "optimizer.arguments.betas=[0.9,0.95]")
    parameters = [{"params": [torch.nn.Parameter(torch.zeros(2))]}]
    assert Recipe(named.config).encoder.optimizer.build(parameters).defaults["betas"] == (0.9, 0.95)
    one, other = (Recipe(job.config).encoder.optimizer.identity for job in (named, chosen))
    assert {**one, "lr": None, "schedule": None} == {**other, "lr": None, "schedule": None}
    assert "source" not in one  # torch is left to its version
    assert source_digest("torch.optim.AdamW") is None


def test_a_callback_is_in_the_key_with_its_source_and_a_logger_is_not(outside):
    plain, _ = keys_of(job_of().config)
    frozen, recipe = keys_of(job_of(FREEZE, "callbacks.freeze.layers=3").config)
    both = {"encoder", "reference", "calibration", "views", "probe"}
    assert {role for role in plain if plain[role] != frozen[role]} == both
    (known,) = recipe.encoder.identity["callbacks"].values()
    assert (known["factory"], known["arguments"]) == ("own_callbacks.Freeze", {"layers": 3})
    (outside / "own_callbacks.py").write_text(CALLBACK.replace("after=1", "after=2"))
    edited, _ = keys_of(job_of(FREEZE, "callbacks.freeze.layers=3").config)
    assert edited["encoder"] != frozen["encoder"]
    logged = job_of(CSV, "loggers.mine.save_dir=/somewhere")
    assert keys_of(logged.config)[0] == plain
    assert logged.run_dir == job_of().run_dir
    made = Recipe(logged.config).job.loggers["mine"].call()
    assert made.save_dir == "/somewhere"


def test_an_option_of_ones_own_that_is_switched_off_is_none():
    assert not Recipe(job_of("callbacks=average", "callbacks.average=null").config).encoder.callbacks
    (average,) = Recipe(job_of("callbacks=average", "callbacks.average.decay=0.9").config).encoder.callbacks.values()
    assert average.arguments == {"decay": 0.9}
