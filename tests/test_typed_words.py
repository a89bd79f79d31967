"""What a process shows of the words of its jobs, and what it knows of keys, whatever else it has run."""

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from assimilate.graph.wiring import places_of
from assimilate.jobs.command import stage
from assimilate.run.composing import compose
from assimilate.run.config import make_job
from assimilate.run.keys import known_keys, value_keys
from assimilate.run.words import override_word, read_command_line, typed_words
from assimilate.views.synthesised import WPerturb


@pytest.mark.parametrize(
    "typed",
    [
        ["callbacks.ema._target_=my.EMA", "callbacks.ema.decay=0.5", "view.epsilon1=0.3", "trainer.max_steps=5"],
        ["generator._target_=my.G", "generator.width=8", "+table3=expert_expert_simclr", "seed=1"],
        ["+view.encoder.training.epochs=3", "++view.epsilon1=0.3"],
    ],
)
def test_what_is_shown_of_a_command_can_be_typed_again(typed):
    read = read_command_line(typed).words
    assert typed_words(read) == typed
    assert read_command_line(typed_words(read)).words == read


def test_a_job_shows_its_words_as_they_were_typed():
    words = read_command_line(["callbacks.a._target_=lightning.pytorch.Callback", "budget=smoke"]).words
    job = make_job("train", compose(words), words)
    assert job.overrides[0].startswith("++callbacks")
    assert job.typed == ("callbacks.a._target_=lightning.pytorch.Callback", "budget=smoke")
    assert "+" not in job.command


def test_signs_that_change_nothing_are_not_shown():
    """`++key` of a key that the run has anyway, and `+` of an argument of a class of one's own."""
    words = read_command_line(["++view.epsilon1=0.3", "++loss={alpha: 0.2}", "+view.encoder.training.epochs=3"]).words
    job = make_job("train", compose(words), words)
    shown = ("view.epsilon1=0.3", "loss.alpha=0.2", "+view.encoder.training.epochs=3")
    assert job.typed == job.overrides == shown
    plain = make_job("train", compose(shown), shown)
    assert (plain.identity, plain.run_dir) == (job.identity, job.run_dir)
    assert typed_words(["generator._target_=my.G", "+generator.width=8"])[1] == "generator.width=8"


@pytest.mark.parametrize(
    "text", ["null", "true", "2020", "1e3", "1,2", "ö (1)", "nan", "0x10", "", "a/b-c.d", "range(1,3)"]
)
def test_a_text_is_written_such_that_hydra_reads_that_text(text):
    (read,) = OverridesParser.create().parse_overrides([override_word("dataset.root", text)])
    value = read.value()
    assert not read.is_sweep_override()
    assert (value if isinstance(value, str) else getattr(value, "text", value)) == text


def test_a_class_from_outside_makes_no_key_known_to_other_jobs(tmp_path, capsys, monkeypatch):
    """One process runs the jobs of a multirun: what one of them imports is no key of the others."""
    monkeypatch.setenv("ASSIMILATE_DATA", str(tmp_path / "data"))
    known = known_keys() | dict.fromkeys(value_keys())
    main = stage("train")(lambda job: None)
    words = ["view=wperturb", "view.sigmas=2", f"out={tmp_path / 'out'}"]
    assert main(words) == 2
    alone = capsys.readouterr().err

    class Another(WPerturb):
        __module__ = "my_views"
        sigmas: float = 1.0

    for found in (known_keys, value_keys):
        found.cache_clear()
    assert known_keys() | dict.fromkeys(value_keys()) == known
    assert main(words) == 2
    assert capsys.readouterr().err == alone
    assert "Did you mean view.sigma?" in alone
    assert "view.sigmas" in {key for key, _, _ in places_of("view", Another)}
