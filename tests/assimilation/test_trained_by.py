"""A view from outside that is made within the training step, by a LightningModule of its own."""

import json
import sys

import pytest
from tests.chain_run import artifacts

from assimilate import train
from assimilate.run.composing import compose, searching
from assimilate.run.config import make_job
from assimilate.run.recipe import Recipe

VIEW = '''
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from assimilate.data.transform import NoTransform, Transform
from assimilate.graph.settings import NEUTRAL, At, Probability
from assimilate.views.learned import LearnedView


class Dimmed(LearnedView):
    """The image, darker."""

    title: ClassVar[str] = "dimmed"
    trained_by: ClassVar[str | None] = "my_dimming_training.Dimming"
    light: Probability = 0.5
    unchanged: Annotated[NoTransform, NEUTRAL, At("")]

    @property
    def given_images(self) -> Transform:
        return self.unchanged

    @property
    def training(self) -> Mapping[str, Any]:
        return {"light": self.light}
'''
MODULE = """
from assimilate.assimilation.contrastive import ContrastiveModule, StepBatch


class Dimming(ContrastiveModule):
    def __init__(self, *, light, **others):
        super().__init__(**others)
        self.light = light

    def training_step(self, batch, batch_idx):
        views = [view * self.light if place in self.generated_views else view for place, view in enumerate(batch.views)]
        outputs = super().training_step(StepBatch(tuple(views), batch.indices), batch_idx)
        return {**outputs, "darkest": views[-1].min()}
"""
WORDS = ("view=dimmed", "assim=a2", "view.light=0.25", "budget=smoke", "trainer=cpu", "trainer.num_threads=1")


@pytest.fixture
def conf(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "my_dimming.py").write_text(VIEW)
    (tmp_path / "my_dimming_training.py").write_text(MODULE)
    (tmp_path / "conf" / "view").mkdir(parents=True)
    (tmp_path / "conf" / "view" / "dimmed.yaml").write_text(
        "_target_: my_dimming.Dimmed\nname: dimmed\nn_sampled: 1\nlight: 0.5\n"
    )
    yield tmp_path / "conf"
    for name in ("my_dimming", "my_dimming_training"):
        sys.modules.pop(name, None)


def encoder_of(conf):
    with searching((f"file://{conf}",)):
        return Recipe(make_job("train", compose(WORDS), WORDS).config).encoder


def test_it_trains_and_its_source_is_in_the_key(conf, tmp_path):
    assert train.main(["--config-dir", str(conf), *WORDS, "logger=none", f"out={tmp_path / 'out'}"]) == 0
    (folder,) = artifacts(tmp_path / "out", "encoders")
    history = (folder / "history.csv").read_text().splitlines()
    assert "darkest" in history[0].split(",")
    (metrics,) = (tmp_path / "out").rglob("metrics.json")
    assert json.loads(metrics.read_text())["titles"]["run"] == "A2 with dimmed"
    before = encoder_of(conf)
    key_before = before.key  # a step reads the source when it is first asked for its key
    assert json.loads((folder / "manifest.json").read_text())["content"]["module"] == before.content()["module"]
    module = conf.parent / "my_dimming_training.py"
    module.write_text(module.read_text().replace("* self.light if", "* self.light**2 if"))
    assert encoder_of(conf).key != key_before


@pytest.mark.parametrize(
    ("written", "replaced", "by", "says"),
    [
        ("my_dimming_training.py", "class Dimming(", "class Dimmer(", "my_dimming_training defines no such class"),
        (
            "my_dimming.py",
            "    trained_by",
            "    other",
            "cannot be trained with: its class has no trained_by, the LightningModule",
        ),
        ("my_dimming.py", "LearnedView", "View", "its class has no trained_by, source or given_images"),
    ],
)
def test_a_class_that_trains_nothing_is_refused_by_the_plan(conf, tmp_path, capsys, written, replaced, by, says):
    file = conf.parent / written
    text = file.read_text().replace(replaced, by)
    if by == "View":
        text = text.replace("views.learned", "views.step").split("    trained_by")[0] + "    light: Probability = 0.5\n"
    file.write_text(text)
    assert train.main(["--config-dir", str(conf), *WORDS, "prepare=plan", f"out={tmp_path / 'out'}"]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1


def test_a_module_that_is_not_there_is_refused_before_anything(conf, tmp_path, capsys):
    (conf.parent / "my_dimming_training.py").unlink()
    assert train.main(["--config-dir", str(conf), *WORDS, f"out={tmp_path / 'out'}"]) == 2
    error = capsys.readouterr().err
    assert "view=dimmed trains by my_dimming_training.Dimming, and there is no module my_dimming_training" in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out" / "artifacts").exists()
