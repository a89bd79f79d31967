"""Commands that are printed find the classes of one's own that the printing command found through PYTHONPATH."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import assimilate
from assimilate import train
from assimilate.run.job import shell_command
from assimilate.run.python_path import needed_python_path

LOSS = """
from assimilate.assimilation.loss import Loss


class MeanSquare(Loss):
    title = "mean square"
    contrasts = False

    def base(self, views, *, gather=False):
        return (views[0] - views[1]).square().mean()
"""
OPTION = "_target_: my_square_loss.MeanSquare\nname: mean_square\nalpha: 0.5\nalign_anchors: [0, 1]\n"
SHIPPED = str(Path(assimilate.__file__).parents[1])


@pytest.fixture
def my(tmp_path, monkeypatch):
    """A folder of code and options, its name with a space, that PYTHONPATH leads to."""
    folder = tmp_path / "my code"
    (folder / "conf" / "loss").mkdir(parents=True)
    (folder / "my_square_loss.py").write_text(LOSS)
    (folder / "conf" / "loss" / "mean_square.yaml").write_text(OPTION)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), SHIPPED]))
    monkeypatch.syspath_prepend(folder)
    yield folder
    sys.modules.pop("my_square_loss", None)


def test_a_printed_command_works_when_it_is_pasted_elsewhere(my, tmp_path, capsys):
    words = ["loss=mean_square", "assim=simclr", "budget=smoke", "prepare=plan", f"out={tmp_path / 'out'}"]
    assert train.main(["--config-dir", str(my / "conf"), *words]) == 0
    told = capsys.readouterr().out.splitlines()
    printed = [line.strip().removeprefix("plan for ") for line in told if "python -m " in line]
    assert len(printed) > 3
    assert {line.partition(" python -m ")[0] for line in printed} == {f"PYTHONPATH='{my}:{SHIPPED}'"}
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shell = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    shell["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), shell["PATH"]])
    done = subprocess.run(
        ["bash", "-c", printed[0]], cwd=elsewhere, env=shell, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "encoders/simclr" in done.stdout


def test_nothing_stands_before_a_command_that_needs_nothing(tmp_path, monkeypatch):
    config = {"loss": {"_target_": "my_square_loss.MeanSquare"}, "encoder": {"backbone": "assimilate.encoder.step.X"}}
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{SHIPPED}")
    assert needed_python_path(config) == "", "it is not imported"
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "my_square_loss.py").write_text("MeanSquare = 1\n")
    monkeypatch.syspath_prepend(tmp_path / "here")  # as the working directory is
    __import__("my_square_loss")
    try:
        assert needed_python_path(config) == ""
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("PYTHONPATH", f"here{os.pathsep}{os.pathsep}here")
        assert needed_python_path(config) == str(tmp_path / "here")
    finally:
        del sys.modules["my_square_loss"]
    assert shell_command("train", ["a=b c"]) == "python -m assimilate.train 'a=b c'"
