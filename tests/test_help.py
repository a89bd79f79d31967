"""The command `assimilate`, its help and its completion."""

import importlib
import pkgutil
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

import assimilate
from assimilate import cli, report, train
from assimilate.graph.settings import Count, Settings
from assimilate.jobs.command import SAID_BY
from assimilate.run.explained import keys, meaning_of, topic_of
from assimilate.run.help_pages import completion_script
from assimilate.run.keys import is_settable
from assimilate.run.known_keys import CONF, settings_in

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def _a_terminal_of_80_columns(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")


def shown(capsys, main, *words):
    code = main(list(words))
    told = capsys.readouterr()
    return code, told.out, told.err


def given_by_hand():
    """The keys of conf/ that a command line may set."""
    found = {key for path in CONF.rglob("*.yaml") for key in settings_in(path)}
    said = {*SAID_BY, "generator._target_"}
    for key in sorted(found):
        by_an_option = any(key == name or key.startswith(f"{name}.") for name in said) or key.endswith("_target_")
        named = key.endswith((".name", ".kind")) and not is_settable(key)
        nested = key.startswith(
            ("hydra.", "callbacks.", "loggers.", "analysis.of_paper", "view.encoder.training.")
        )  # other keys' values
        if not (by_an_option or named or nested):
            yield key


@pytest.mark.parametrize("stage", sorted(cli.stages()))
def test_the_help_of_a_stage_is_one_screen(capsys, stage):
    code, out, _ = shown(capsys, importlib.import_module(f"assimilate.{stage}").main, "--help")
    lines = out.splitlines()
    assert code == 0
    assert len(lines) <= 40
    assert max(map(len, lines)) <= 80
    assert lines[0].startswith(f"assimilate {stage}: ")


def test_every_key_says_what_it_means_and_may_hold():
    known = keys()
    silent = [key for key in given_by_hand() if key not in known]
    assert not silent, f"say what they mean under Attributes of the class that reads them: {silent}"
    assert [key for key, told in known.items() if not all(sense.allowed for sense in told.senses)] == []


def test_the_help_of_a_group_has_all_its_options_and_keys(capsys):
    for topic in sorted({topic_of(key) for key in given_by_hand()}):
        code, out, _ = shown(capsys, train.main, "--help", topic)
        assert code == 0
        for key in given_by_hand():
            assert topic_of(key) != topic or f"  {key}" in out, key
        for option in (CONF / topic).glob("*.yaml"):
            assert f"  {option.stem} " in out, option


def test_nothing_points_to_a_document_that_is_not_here():
    files = [path for folder in (CONF, ROOT / "experiments") for path in folder.rglob("*.yaml")]
    for text in [*(path.read_text() for path in files), *(path.read_text() for path in (ROOT / "src").rglob("*.py"))]:
        assert not re.search(r"(PROTOCOLS|DESIGN)\s+(# )?§?\d", text)


def test_values_are_those_of_the_command(capsys):
    _, out, _ = shown(capsys, train.main, "--help", "view", "view=wperturb", "view.sigma=0.3")
    assert "view.sigma=0.3\n" in out
    assert "view.epsilon2  (online: 0.5; wsearch: auto)" in out
    _, out, _ = shown(capsys, train.main, "dataset=cifar100", "--help", "epochs")
    assert "epochs=1200\n" in out


def test_the_classes_say_different_things_of_one_key(capsys):
    _, out, _ = shown(capsys, train.main, "--help", "loss.momentum")
    assert "moco: m of the key encoder" in out
    assert "byol: m of the target" in out


def test_a_table_has_its_rows_and_an_unknown_topic_its_neighbours(capsys):
    _, out, _ = shown(capsys, train.main, "--help", "table3")
    assert "expert_expert_wsearch_a2" in out
    assert "paper 92.90 / 72.76 / 51.05" in " ".join(out.split())
    code, _, err = shown(capsys, train.main, "--help", "view.epsilon")
    assert code == 2
    assert "Did you mean view.epsilon1 or view.epsilon2?" in err
    code, _, err = shown(capsys, train.main, "--help", "wsearch")
    assert code == 2
    assert "wsearch is an option, which its group explains: --help view" in err


def test_what_a_field_means_is_found_on_the_nearest_class():
    class Base(Settings):
        """Settings.

        Attributes:
            one: the first, which takes
                two lines.
            two: the second.
        """

        one: Count
        two: Count

    class Derived(Base):
        """Attributes that are its own.

        Attributes:
            two: another second.
        """

    assert meaning_of(Derived, "one") == "the first, which takes two lines."
    assert meaning_of(Derived, "two") == "another second."
    assert meaning_of(Derived, "three") == ""


def test_a_key_says_which_options_have_it(capsys):
    _, out, _ = shown(capsys, train.main, "--help", "loss")
    assert "  loss.variance  (vicreg: 25.0)\n      vicreg: " in out
    _, out, _ = shown(capsys, train.main, "--help", "loss", "loss=vicreg")
    assert "  loss.variance=25.0\n      vicreg: " in out
    assert "  loss.queue_size  (moco: 65536)\n" in out


@pytest.mark.parametrize("main", [cli.main, train.main, report.main])
def test_an_option_is_explained_with_its_own_keys(capsys, main):
    code, out, _ = shown(capsys, main, "--help", "view=wperturb")
    assert code == 0
    assert out.startswith("view=wperturb: W-perturb (Section 3.2): ")
    assert "\n  view.sigma=0.2\n      standard deviation of the noise" in out
    assert "view.search" not in out
    assert "wmix" not in out
    code, _, err = shown(capsys, main, "--help", "view=wpertrub")
    assert code == 2
    assert "there is no such option. Did you mean view=wperturb?" in err


def test_a_word_with_a_value_is_explained(capsys):
    assert shown(capsys, train.main, "--help", "epochs=3")[1].startswith("  epochs=3\n      epochs of training. ")
    out = shown(capsys, train.main, "--help", "+table3=expert_wsearch_a1")[1]
    assert out.startswith('+table3=expert_wsearch_a1: Table 3, row 2, "expert, W-search, ')
    out = shown(capsys, train.main, "--help", "view_encoder=essl")[1]
    assert "It sets:\n  simclr_loss=infonce view.encoder.training.optimizer.weight_decay=5e-05\n" in out
    code, _, err = shown(capsys, train.main, "--help", "view=wsearch,wmix")
    assert (code, err) == (2, "assimilate.train: --help view=wsearch,wmix: give one value, to be explained\n")


def test_help_of_a_stage_by_its_name_says_what_to_type(capsys):
    code, _, err = shown(capsys, cli.main, "--help", "report")
    assert (code, err) == (2, "assimilate.train: --help report: report is a stage: assimilate report --help\n")


def test_a_key_that_chooses_a_class_lists_the_words(capsys):
    told = " ".join(shown(capsys, train.main, "--help", "assim", "simclr_loss")[1].split())
    words = "basic, crop50, crop70, crop90, expert, flip, none, weak_crop or module.Class of your own."
    assert told.count(f"Allowed: generated, {words} assim.view") == 2
    assert f"null: none. Allowed: null, generated, {words}" in told
    assert f"only flips). Allowed: {words}" in told
    assert "loads. Allowed: barlowtwins, byol, full, " in told


def test_a_sentence_that_ends_in_a_command_is_whole(capsys):
    told = " ".join(shown(capsys, train.main, "--help", "view_encoder")[1].split())
    assert (
        "on CIFAR-10 is recipe=simsiam dataset=cifar10 view=wsearch assim=a2 loss=simsiam view_encoder=essl s" in told
    )
    assert told.endswith("on CIFAR-10 is dataset=cifar10 view=wsearch assim=a2 view_encoder=simsiam")


def test_options_of_ones_own_and_their_keys_are_explained(capsys, tmp_path, monkeypatch):
    (tmp_path / "explained_loss.py").write_text(
        "from assimilate import Loss\n\n\nclass Mine(Loss):\n"
        '    """A loss.\n\n    Attributes:\n        sharpness: how sharp it is.\n    """\n\n    sharpness: float\n'
    )
    (tmp_path / "loss").mkdir()
    text = "# What mine does.\n_target_: explained_loss.Mine\nname: mine\nsharpness: 2.0\n"
    (tmp_path / "loss/mine.yaml").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    _, out, _ = shown(capsys, train.main, "--config-dir", str(tmp_path), "--help", "loss")
    assert f"  {'mine':<14}  What mine does\n" in out
    assert "  loss.sharpness  (mine: 2.0)\n      mine: how sharp it is. Allowed: " in out


def test_the_command_runs_stages_and_passes_on_their_exit_codes(capsys, tmp_path):
    code, out, _ = shown(capsys, cli.main, "train", "prepare=plan", f"out={tmp_path}")
    assert code == 0
    assert "train" in out
    code, _, err = shown(capsys, cli.main, "train", "epochs=many")
    assert code == 2
    assert "epochs=many" in err
    code, _, err = shown(capsys, cli.main, "trian")
    assert code == 2
    assert "Did you mean train?" in err


def test_the_command_lists_every_stage(capsys):
    code, out, _ = shown(capsys, cli.main)
    bodies = {path.stem for path in Path(assimilate.__file__).parent.glob("*.py") if "\n@stage(" in path.read_text()}
    assert code == 0
    assert set(cli.stages()) == bodies
    assert all(f"  {name} " in out for name in bodies)


def test_the_version_stands_in_one_place(capsys):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert "version" in project["project"]["dynamic"]
    assert project["tool"]["hatch"]["version"]["path"] == "src/assimilate/__init__.py"
    assert pkgutil.resolve_name(project["project"]["scripts"]["assimilate"]) is cli.main
    code, out, _ = shown(capsys, cli.main, "--version")
    assert code == 0
    assert out.startswith(f"assimilate {assimilate.__version__}, Python ")
    assert shown(capsys, train.main, "--version") == (0, out, "")


def completed(line: str) -> list[str]:
    """What bash offers behind a line."""
    ask = f"COMP_WORDBREAKS=$' \\t\\n=:'; COMP_LINE='{line}'; COMP_POINT=${{#COMP_LINE}}; _assimilate"
    code = f"{completion_script('bash', list(cli.stages()))}\n{ask}\nprintf '%s\\n' \"${{COMPREPLY[@]}}\""
    done = subprocess.run(["bash", "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout.split()


def test_bash_completes_stages_options_keys_and_rows():
    assert completed("assimilate tr") == ["train", "train_generator"]
    assert completed("assimilate train view=") == sorted(path.stem for path in (CONF / "view").glob("*.yaml"))
    assert completed("assimilate train seed=1 view.search.it") == ["view.search.iterations="]
    assert completed("assimilate train +table3=expert_expert_ws") == ["expert_expert_wsearch_a2"]
    assert "tr" not in completed("assimilate train tr")
