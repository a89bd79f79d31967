"""What lightning.Trainer takes is a key of trainer=: known from its source, checked, and in a key where it counts."""

import inspect

import lightning.pytorch as pl
import pytest

from assimilate import train
from assimilate.assimilation.trainer_options import DECIDED, OWN, SHOWN, TRAINER, TrainerOptions, check_options
from assimilate.errors import UserError
from assimilate.graph.signature import keyword_parameters
from assimilate.run.composing import compose
from assimilate.run.config import make_job
from assimilate.run.words import read_command_line
from tests.test_separation import keys_of


def job_of(*words):
    line = read_command_line(words)
    return make_job("train", compose(line.words), line.words)


def test_its_signature_is_read_without_importing_it():
    parameters = inspect.signature(pl.Trainer).parameters
    read = keyword_parameters(TRAINER)
    assert {name: default for name, (_, default) in read.items()} == {
        name: parameter.default for name, parameter in parameters.items()
    }
    assert set(OWN) | set(DECIDED) | set(SHOWN) <= parameters.keys()
    assert set(TrainerOptions.model_fields) == parameters.keys() - set(OWN)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("trainer.gradient_clip=1", "Did you mean trainer.gradient_clip_val"),
        ("+trainer.gradient_clip=1", "nothing reads trainer.gradient_clip. Did you mean trainer.gradient_clip_val"),
        ("trainer.max_epochs=3", "trainer.max_epochs=3 cannot be used: allowed is null: it is epochs="),
        ("trainer.logger=false", "allowed is null: it is logger=, or loggers"),
        ("trainer.limit_val_batches=2", "allowed is null: nothing is validated while an encoder trains"),
        ("trainer.max_steps=true", "trainer.max_steps=true cannot be used: allowed is a whole number"),
        ("trainer.limit_train_batches=0", "nothing would be trained"),
        ("trainer.deterministic=maybe", "allowed is null, true or false or warn"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line(word, message, tmp_path, capsys):
    assert train.main([word, f"out={tmp_path}"]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"profiler": "slow"}, "trainer.profiler=slow cannot be used"),
        ({"gradient_clip_val": 1.0, "gradient_clip_algorithm": "half"}, "gradient_clip_algorithm=half cannot be used"),
        ({"limit_train_batches": 1.5}, "trainer.limit_train_batches=1.5 cannot be used"),
    ],
)
def test_what_lightning_itself_refuses_is_refused_before_anything_is_built(given, message):
    with pytest.raises(UserError, match=message) as raised:
        check_options(TrainerOptions(**given))
    assert "\n" not in str(raised.value)


def test_a_plus_may_be_left_out():
    with_it, without = job_of("+trainer.gradient_clip_val=1.0"), job_of("trainer.gradient_clip_val=1.0")
    assert with_it.identity == without.identity
    assert with_it.run_dir == without.run_dir


def test_what_moves_numbers_is_in_the_keys_of_both_encoders_and_nothing_else_is():
    plain, _ = keys_of(job_of().config)

    def moved(*words):
        keys, _ = keys_of(job_of(*words).config)
        return {role for role in keys if keys[role] != plain[role]}

    both = {"encoder", "reference", "calibration", "views", "probe"}
    assert moved("trainer.gradient_clip_val=1.0") == both
    for same in ("trainer.gradient_clip_val=null", "trainer.max_steps=-1", "trainer.profiler=simple"):
        assert not moved(same), same
    assert not moved("trainer.detect_anomaly=true", "trainer.deterministic=true")
    one, all_of_them = (job_of(f"trainer.limit_train_batches={value}").run_dir for value in ("1", "1.0"))
    assert one != all_of_them  # one batch, and all of them


def test_a_row_that_is_trained_otherwise_is_not_the_row():
    row = "+table3=expert_expert_wsearch_a2"
    assert job_of(row, "dataset=cifar10", "trainer.profiler=simple").row is not None
    clipped = job_of(row, "dataset=cifar10", "trainer.gradient_clip_val=1")
    assert clipped.row is None
    assert "trainer.gradient_clip_val=1" in str(clipped.run_dir)
