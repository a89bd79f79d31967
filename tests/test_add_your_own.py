"""Components from outside the package: the examples of docs/extend.md, as they stand there, through whole runs."""

import json
import os
import re
import sys
from pathlib import Path

import pytest

from assimilate import report, train
from assimilate.composing import compose, searching
from assimilate.config import make_job
from tests.chain_run import artifacts

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "extend.md"
SMOKE = ("budget=smoke", "trainer=cpu", "trainer.num_threads=1", "logger=none")

pytestmark = pytest.mark.xdist_group("own")


@pytest.fixture(scope="module")
def my(tmp_path_factory) -> Path:
    """The files of the document, in a folder of their own that Python finds."""
    folder = tmp_path_factory.mktemp("outside")
    for _, name, text in re.findall(r"^```(python|yaml) (\S+)\n(.*?)^```$", DOCUMENT.read_text(), re.M | re.S):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    sys.path.insert(0, str(folder / "my"))
    yield folder / "my"
    sys.path.remove(str(folder / "my"))
    for name in [name for name in sys.modules if name.startswith("my_")]:
        del sys.modules[name]


@pytest.fixture(scope="module")
def out(my, tmp_path_factory) -> Path:
    """One chain with a view, a transformation, a loss and a schedule of one's own."""
    out = tmp_path_factory.mktemp("own") / "out"
    assert run(my, *OWN, f"out={out}") == 0
    return out


OWN = (
    *("view=wsphere", "assim=a2", "view.radius=2", "loss=mean_square", "optimizer.schedule=my_schedules.Linear"),
    "assim.generated_transform=my_transforms.Inverted",
)


def run(my: Path, *words: str) -> int:
    return train.main([*SMOKE, "--config-dir", str(my / "conf"), *words])


def job_of(my: Path, *words: str):
    with searching((f"file://{my / 'conf'}",)):
        return make_job("train", compose(words), words)


def test_examples_are_short(my):
    for path in my.rglob("*"):
        if path.suffix in (".py", ".yaml"):
            assert len(path.read_text().splitlines()) <= (30 if path.suffix == ".py" else 12), path


def test_a_run_of_ones_own_parts(out):
    (metrics,) = out.rglob("metrics.json")
    result = json.loads(metrics.read_text())
    assert {"acc1", "knn5"} <= result["metrics"].keys()
    assert result["titles"]["run"] == "A2-mean square with W-sphere"
    assert (metrics.parent / "report.html").is_file()
    (views,) = artifacts(out, "views")
    assert views.name.startswith("wsphere-")
    content = json.loads((views / "manifest.json").read_text())["content"]
    assert (content["class"], content["radius"]) == ("my_views.WSphere", 2)
    assert len(content["source"]) == 64


def test_its_settings_are_validated(my, out, capsys):
    for words, message in (
        (["view.radius=-1"], "view.radius=-1 cannot be used: allowed is a number ≥ 0"),
        (["+view.raduis=1"], "nothing reads view.raduis"),
        (["loss.weight=0"], "loss.weight=0 cannot be used: allowed is a number > 0"),
        (["optimizer.schedule=my_schedules.Nothing"], "optimizer.schedule=my_schedules.Nothing cannot be imported"),
    ):
        kept = [word for word in OWN if word.split("=")[0] not in {other.split("=")[0] for other in words}]
        assert run(my, *kept, *words, f"out={out}") == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1


def test_an_edit_of_its_source_builds_anew(my, out, capsys):
    assert run(my, *OWN, "prepare=plan", f"out={out}") == 0
    assert "nothing to build" in capsys.readouterr().out
    source = my / "my_views.py"
    before = source.read_text()
    source.write_text(before.replace("self.radius * drawn", "2 * self.radius * drawn"))
    try:
        assert run(my, *OWN, "prepare=plan", f"out={out}") == 0
    finally:
        source.write_text(before)
    plan = capsys.readouterr().out
    assert re.search(r"exists +latents/", plan)
    assert re.search(r"build +views/digits/wsphere-", plan)


def test_a_key_that_comes_later_moves_nothing(my):
    """A field with a default is in a key only where its value is another."""
    from assimilate.data.transform import Expert

    class Later(Expert):
        blur_probability: float = 0.0

    settings = compose(["dataset=cifar10"])["data"]["expert"]
    before, after, blurred = Expert(**settings), Later(**settings), Later(**settings, blur_probability=0.5)
    own = {"class", "source"}  # of the class that stands in for an edited Expert
    assert {key: value for key, value in after.identity.items() if key not in own} == {
        key: value for key, value in before.identity.items() if key not in own
    }
    assert blurred.identity["blur_probability"] == 0.5


def test_a_data_set_and_a_table_of_ones_own_under_multirun(my, tmp_path):
    words = ["-m", "+mytable=glob(*)", "dataset=stripes", "seed=0,1", f"out={tmp_path}"]
    assert run(my, *words) == 0
    results = [json.loads(path.read_text()) for path in sorted(tmp_path.rglob("metrics.json"))]
    assert [(result["row"], result["seed"]) for result in results] == [("mytable/sphere", 0), ("mytable/sphere", 1)]
    assert report.main(["--config-dir", str(my / "conf"), f"out={tmp_path}"]) == 0
    index = (tmp_path / "report.html").read_text()
    assert "mytable" in index
    assert "0 of 121" in index


def test_two_ranks_train_it(my, out, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(my), *sys.path]))
    assert run(my, *OWN, "seed=1", "trainer=ddp", "trainer.devices=2", "trainer.accelerator=cpu", f"out={out}") == 0
