"""Components from outside the package: the examples of docs/extend.md, as they stand there, through whole runs."""

import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from assimilate import analyze, make_views, report, train
from assimilate.data.seeding import generator as seeded
from assimilate.encoder.checkpoint import load_encoder
from assimilate.errors import UserError
from assimilate.graph.wiring import find_class
from assimilate.run.composing import compose, searching
from assimilate.run.config import make_job
from assimilate.views.step import Cached, View
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
    logger = ("loggers.csv._target_=lightning.pytorch.loggers.CSVLogger", f"loggers.csv.save_dir={out}/csv")
    assert run(my, *OWN, *logger, f"out={out}") == 0
    return out


OWN = (
    *("view=wsphere", "assim=a2", "view.radius=2", "loss=mean_square", "optimizer.schedule=my_schedules.Linear"),
    "assim.generated_transform=my_transforms.Inverted",
    *("callbacks=ema", "callbacks.ema.decay=0.5", "trainer.gradient_clip_val=1.0"),
    *("optimizer._target_=torch.optim.AdamW", "optimizer.betas=[0.9,0.95]"),
    *("encoder=patches", "encoder.patch=2", "metrics=alignment", "metrics.alignment.power=1"),
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
    assert 0 < result["metrics"]["alignment"]["mean"] < 2
    assert result["protocols"]["alignment"] == "mean distance of test images of one class"
    assert 0 < result["untrained"]["alignment"] < 2
    assert "alignment" in (metrics.parent / "report.html").read_text()
    (encoder,) = artifacts(out, "encoders")
    assert load_encoder(encoder / "encoder.pt").feature_dim == 32
    assert result["titles"]["run"] == "A2-mean square with W-sphere"
    assert (metrics.parent / "report.html").is_file()
    (views,) = artifacts(out, "views")
    assert views.name.startswith("wsphere-")
    content = json.loads((views / "manifest.json").read_text())["content"]
    assert (content["class"], content["radius"]) == ("my_views.WSphere", 2)
    assert len(content["source"]) == 64
    assert len(list((out / "csv").rglob("metrics.csv"))) == 1  # of the one training, as W-sphere needs no f
    trained = json.loads(next((out / "artifacts" / "encoders").rglob("manifest.json")).read_text())["content"]
    assert trained["callbacks"]["ema"]["arguments"] == {"decay": 0.5}
    assert len(trained["callbacks"]["ema"]["source"]) == 64
    backbone = trained["network"]["backbone"]
    assert (backbone["class"], backbone["patch"]) == ("my_nets.Patches", 2)
    assert trained["optimizer"]["arguments"] == {"betas": [0.9, 0.95]}
    assert trained["trainer"]["gradient_clip_val"] == 1


def test_a_setting_that_its_file_leaves_out_can_be_given(my, out, capsys):
    assert run(my, "loss=mean_square", "view=wsphere", "loss.weight=0", f"out={out}") == 2
    assert "loss.weight=0 cannot be used: allowed is a number > 0" in capsys.readouterr().err
    assert run(my, "view=clouds", "view.passes=0", f"out={out}") == 2
    assert "view.passes=0 cannot be used: allowed is a whole number ≥ 1" in capsys.readouterr().err
    assert run(my, "view=wsphere", "view.radiuss=2", f"out={out}") == 2
    assert "Did you mean view.radius" in capsys.readouterr().err


def test_the_command_finds_classes_in_the_working_directory(my, tmp_path):
    code = "import sys; from assimilate.cli import main; sys.exit(main())"  # as the console script, which -P is like
    words = ["train", "--config-dir", "conf", "view=wsphere", "prepare=plan", "budget=smoke", f"out={tmp_path}"]
    found = subprocess.run([sys.executable, "-P", "-c", code, *words], cwd=my, capture_output=True, text=True)
    assert (found.returncode, found.stderr) == (0, "")
    assert "views/wsphere" in found.stdout


def test_a_method_of_ones_own(my, out):
    assert run(my, "view=wsphere", "loss=mean_teacher", "loss.decay=0.5", f"out={out}") == 0
    (metrics,) = [path for path in out.rglob("metrics.json") if "mean_teacher" in str(path)]
    assert json.loads(metrics.read_text())["titles"]["run"] == "A2-mean teacher with W-sphere"
    folders = [path.parent for path in (out / "artifacts" / "encoders").rglob("manifest.json")]
    (loss,) = [
        content["loss"]
        for content in (json.loads((folder / "manifest.json").read_text())["content"] for folder in folders)
        if content["loss"].get("class") == "my_teachers.MeanTeacher"
    ]
    assert loss["decay"] == 0.5


def test_a_generator_of_ones_own(my, tmp_path):
    words = ["generator._target_=my_generators.Linear", "+generator.width=8", "view=wperturb", "view.sigma=0.2"]
    inverted = ["inversion.adversarial_weight=0", "inversion.perceptual=encoder", f"out={tmp_path}"]
    assert make_views.main([*SMOKE, *words, *inverted]) == 0
    (views,) = artifacts(tmp_path, "views")
    assert np.load(views / "images.npy", mmap_mode="r").shape[2:] == (3, 16, 16)


def test_a_method_follows_the_encoder(my):
    teachers = importlib.import_module("my_teachers")
    encoder = torch.nn.Linear(2, 2)
    method = teachers.MeanTeacher(decay=0.75).method(encoder, None, seed=0)
    before = encoder.weight.detach().clone()
    encoder.weight.data += 4
    method.after_step(encoder, progress=0.0)
    torch.testing.assert_close(method.teacher.weight, before + 1)


def test_its_settings_are_validated(my, out, capsys):
    for words, message in (
        (["metrics.alignment.power=0"], "metrics.alignment.power=0 cannot be used: allowed is a number > 0"),
        (
            ["+metrics.acc1._target_=my_metrics.Alignment"],
            "metrics.acc1 cannot be used: a shipped metric has that name",
        ),
        (["callbacks.ema.dekay=1"], "callbacks.ema._target_=my_callbacks.EMA does not take (decay, dekay)"),
        (["encoder.patch=0"], "encoder.patch=0 cannot be used: allowed is a whole number ≥ 1"),
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


TINTED = ("view=tinted", "assim=a2")


@pytest.fixture(scope="module")
def tinted(my, tmp_path_factory) -> Path:
    """A run with views by a program of one's own."""
    out = tmp_path_factory.mktemp("tinted") / "out"
    assert run(my, *TINTED, f"out={out}") == 0
    return out


def test_views_by_a_program_need_no_generator(my, tinted):
    assert {path.name for path in (tinted / "artifacts").iterdir()} == {
        "datasets",
        "encoders",
        "floors",
        "probes",
        "views",
    }
    (metrics,) = tinted.rglob("metrics.json")
    assert json.loads(metrics.read_text())["titles"]["run"] == "A2 with tints"
    (data,), (views,) = artifacts(tinted, "datasets"), artifacts(tinted, "views")
    images, stored = np.load(data / "train_images.npy"), np.load(views / "images.npy")
    assert stored.shape == (128, 2, 3, 16, 16)
    for index in (0, 77):
        tints = 40.0 * np.random.default_rng([0, index]).standard_normal((2, 3))
        expected = np.rint((images[index].astype(float) + tints[:, :, None, None]).clip(0, 255))
        assert np.array_equal(stored[index], expected)
    assert np.isnan(np.load(views / "distances.npy")).all()
    assert np.load(views / "done.npy").all()


def test_a_figure_shows_views_by_a_program(my, tinted, capsys):
    words = [*SMOKE[:-1], "--config-dir", str(my / "conf"), "analysis=grid", f"out={tinted}"]
    assert analyze.main([*words, "analysis.columns=[original,tinted]", "analysis.num_images=2"]) == 0
    (record,) = tinted.rglob("analysis.json")
    assert json.loads(record.read_text())["caption"].endswith("from left to right: original, tints (×2).")
    assert analyze.main([*words, "analysis=tsne", "analysis.views=[tinted]"]) == 2
    assert "tinted cannot be used with analysis=tsne: allowed are" in capsys.readouterr().err


def test_views_by_a_program_go_on_after_it_crashed_and_may_be_made_in_shards(my, tinted, tmp_path, capsys, monkeypatch):
    shutil.copytree(tinted / "artifacts" / "datasets", tmp_path / "artifacts" / "datasets")
    words = [*SMOKE, "--config-dir", str(my / "conf"), *TINTED, f"out={tmp_path}"]
    program = importlib.import_module("my_programs").Tinted
    fill = program.fill

    def crashing(self, at, write, indices, progress):
        fill(self, at, write, indices[:20], progress)
        raise ValueError("the program crashed")

    with monkeypatch.context() as patched:
        patched.setattr(program, "fill", crashing)
        assert make_views.main([*words, "shard=2/2"]) == 2
    crashed = re.search(r"make_views: \S*crashing, line \d+: the program crashed\n", capsys.readouterr().err)
    assert crashed is not None
    assert make_views.main([*words, "shard=2/2"]) == 0
    assert "going on: 20 of 64 images are there already" in capsys.readouterr().out
    assert make_views.main(words) == 0
    assert "took over 64 of 128 images from 1 shard" in capsys.readouterr().out
    (views,), (whole,) = artifacts(tmp_path, "views"), artifacts(tinted, "views")
    assert (views / "images.npy").read_bytes() == (whole / "images.npy").read_bytes()
    digests = [json.loads((folder / "manifest.json").read_text())["digest"] for folder in (views, whole)]
    assert digests[0] == digests[1]


def test_views_of_another_shape_or_kind_are_refused(my, tinted, tmp_path, capsys, monkeypatch):
    shutil.copytree(tinted / "artifacts" / "datasets", tmp_path / "artifacts" / "datasets")
    program = importlib.import_module("my_programs").Tinted
    monkeypatch.setattr(program, "fill", lambda self, at, write, indices, progress: write(5, np.zeros((4, 3, 8, 8))))
    words = [*SMOKE, "--config-dir", str(my / "conf"), *TINTED, f"out={tmp_path}"]
    assert make_views.main(words) == 2
    message = "view=tinted: views of image 5 are float64 [4, 3, 8, 8]; needed is uint8 [2, 3, 16, 16]"
    assert message in capsys.readouterr().err


def test_views_by_a_program_at_a_distance(my, tinted, tmp_path, capsys):
    shutil.copytree(tinted / "artifacts" / "datasets", tmp_path / "artifacts" / "datasets")
    near = ("view=clouds", "view.epsilon1=0.15", "+view.calibration_images=8")
    words = [*SMOKE, "--config-dir", str(my / "conf"), *near, f"out={tmp_path}"]
    assert make_views.main(words) == 0
    said = capsys.readouterr().out
    assert "100.0% of the anchors are within the tolerance" in said
    (data,), (whole,) = artifacts(tmp_path, "datasets"), artifacts(tmp_path, "views")
    names = ("images", "distances", "strengths", "steps", "converged")
    images, stored = np.load(data / "train_images.npy"), {name: np.load(whole / f"{name}.npy") for name in names}
    summary = json.loads((whole / "summary.json").read_text())
    assert np.abs(stored["distances"] / summary["epsilon1"] - 1).max() <= 0.05 + 1e-5
    assert stored["converged"].all()
    assert summary["distance_mean"] == pytest.approx(stored["distances"].mean(), rel=1e-6)
    assert "not measured" not in str(summary)
    assert stored["steps"].mean() <= 5 * 2
    clouds = importlib.import_module("my_clouds").Clouds
    for index in (0, 77):
        image = torch.from_numpy(images[index]).expand(2, -1, -1, -1) / 127.5 - 1
        strengths = torch.from_numpy(stored["strengths"][index])
        rng = seeded(0, "program", index)
        made = clouds.views(SimpleNamespace(size=4), image, strengths, rng).clamp(-1, 1)
        assert np.abs((made + 1).numpy() * 127.5 - stored["images"][index]).max() <= 0.51
    before = {path.name: path.read_bytes() for path in whole.glob("*.npy")}
    shutil.rmtree(whole)
    assert [make_views.main([*words, *shard]) for shard in (["shard=2/2"], [])] == [0, 0]
    assert {path.name: path.read_bytes() for path in whole.glob("*.npy")} == before


def test_views_by_a_program_at_a_strength_need_no_f(my, tinted, tmp_path, capsys):
    shutil.copytree(tinted / "artifacts" / "datasets", tmp_path / "artifacts" / "datasets")
    words = [*SMOKE, "--config-dir", str(my / "conf"), "view=clouds", f"out={tmp_path}"]
    assert make_views.main([*words, "view.strength=0.5"]) == 0
    assert {path.name for path in (tmp_path / "artifacts").iterdir()} == {"datasets", "views"}
    (whole,) = artifacts(tmp_path, "views")
    assert "not measured (NaN)" in json.loads((whole / "summary.json").read_text())["distances"]
    assert "are all the same picture" not in capsys.readouterr().out
    assert make_views.main([*words, "view.strength=0.5", "view.epsilon1=0.3"]) == 2
    assert "view.epsilon1 would be ignored: view.strength=auto alone looks through f" in capsys.readouterr().err
    assert make_views.main([*words, "view.strength=0"]) == 0
    assert "warning: the 2 views of an image are all the same picture" in capsys.readouterr().out


class Unfinished(Cached):
    """A kind of cached view that cannot make any."""


def test_a_class_that_leaves_out_what_it_needs_is_refused_when_it_is_composed():
    with pytest.raises(
        UserError, match=r"^view._target_=\S+Unfinished cannot be used: the class has no fill of its own$"
    ):
        find_class("view._target_", f"{__name__}.Unfinished", View)


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
    assert not re.search(r"[1-9]\d* of 121", (tmp_path / "report.md").read_text())


def test_two_ranks_train_it(my, out, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(my), *sys.path]))
    assert run(my, *OWN, "seed=1", "trainer=ddp", "trainer.devices=2", "trainer.accelerator=cpu", f"out={out}") == 0
