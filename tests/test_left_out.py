"""A class from outside that leaves out what it has to give is refused when it is composed, in one line."""

import functools
import sys
from abc import ABC, abstractmethod
from typing import ClassVar

import pytest

from assimilate import train
from assimilate.errors import UserError
from assimilate.graph.required import left_out, required
from assimilate.graph.settings import Settings
from assimilate.run.composing import compose, searching
from assimilate.run.config import make_job
from assimilate.run.keys import PLACES
from assimilate.views.program import Program

MODULE = """
from assimilate.assimilation.loss import Loss
from assimilate.assimilation.optimizers import Optimizer, Schedule
from assimilate.data.dataset import Dataset
from assimilate.data.transform import Transform
from assimilate.encoder.backbones import Backbone, ResNet
from assimilate.generator.step import Generator
from assimilate.probes.metric import Metric
from assimilate.views.online import OnlineSolver
from assimilate.views.solver import Solver
from assimilate.views.step import Cached
from assimilate.views.synthesised import Synthesised

BASES = (Loss, Optimizer, Schedule, Dataset, Transform, Backbone, ResNet, Generator, Metric, Cached, Synthesised)
for base in (*BASES, Solver, OnlineSolver):
    globals()["No" + base.__name__] = type("No" + base.__name__, (base,), {"__module__": __name__})


class OwnMethod(Loss):
    def method(self, encoder, alignment, *, seed):
        from assimilate.assimilation.method import Method

        return type("NoMethod", (Method,), {})(alignment)
"""


def test_a_field_by_the_name_of_what_is_inherited_is_refused():
    """Pydantic would warn, keep the field's value for the identity, and give methods the inherited one."""

    class Parent(Settings):
        field: int = 1
        constant: ClassVar[int] = 2

        @property
        def computed(self) -> int:
            return 3

    class Child(Parent):
        field: int = 4  # a field may have another default

    assert Child().field == 4
    for name in ("computed", "constant", "identity"):
        with (
            pytest.warns(UserWarning, match="shadows"),
            pytest.raises(TypeError, match=rf"its field {name} has the name of an attribute of \w+, which would hide"),
        ):
            type("Own", (Parent,), {"__module__": __name__, "__annotations__": {name: int}})


def computes(self) -> int:
    return 5


@pytest.mark.parametrize("computed", [property(computes), functools.cached_property(computes), computes])
def test_a_field_of_a_parent_is_not_computed(computed):
    """Pydantic would take what computes for the default: a property as it stands there."""

    class Parent(Settings):
        field: int = 1

    with pytest.raises(TypeError, match="Own: field is a field of a parent, and cannot be computed"):
        type("Own", (Parent,), {"__module__": __name__, "field": computed})


def test_a_field_that_another_base_brings_is_refused_as_well():
    """The class has no annotation of its own, which would tell of it."""

    class Fields(Settings):
        side: int = 1

    class Computes(Settings):
        @property
        def side(self) -> int:
            return 2

    with pytest.raises(TypeError, match="side"):
        type("Own", (Fields, Computes), {"__module__": __name__})


@pytest.fixture(scope="module", autouse=True)
def outside(tmp_path_factory):
    folder = tmp_path_factory.mktemp("outside")
    (folder / "incomplete.py").write_text(MODULE)
    sys.path.insert(0, str(folder))
    yield
    sys.path.remove(str(folder))
    sys.modules.pop("incomplete", None)


@pytest.mark.parametrize(
    ("word", "lacking"),
    [
        ("loss._target_=incomplete.NoLoss", "base"),
        ("optimizer._target_=incomplete.NoOptimizer", "build"),
        ("optimizer.schedule=incomplete.NoSchedule", "rate"),
        ("dataset._target_=incomplete.NoDataset", "available or prepare"),
        ("assim.view1=incomplete.NoTransform", "augmentation"),
        ("encoder.backbone=incomplete.NoBackbone", "build"),
        ("encoder.backbone=incomplete.NoResNet", "gflop_at_32 or num_blocks"),
        ("generator._target_=incomplete.NoGenerator", "load"),
        ("metrics.mine._target_=incomplete.NoMetric", "measure"),
        ("view._target_=incomplete.NoCached", "fill"),
        ("view._target_=incomplete.NoSynthesised", "move"),
        ("view.solver=incomplete.NoSolver", "effort_of_a_view or solves"),
        ("view=online assim=a2 view.solver=incomplete.NoOnlineSolver", "passes_of_a_step or trained_by"),
    ],
)
def test_it_is_refused_in_one_line(word, lacking, tmp_path, capsys):
    assert train.main([*word.split(), "prepare=plan", f"out={tmp_path}"]) == 2
    error = capsys.readouterr().err
    assert f"{word.split()[-1]} cannot be used: the class has no {lacking} of its own\n" in error
    assert error.count("\n") == 1


def test_a_method_without_forward_is_refused_before_anything_is_trained(tmp_path, capsys):
    words = ["view=expert", "budget=smoke", "trainer=cpu", "loss._target_=incomplete.OwnMethod", f"out={tmp_path}"]
    assert train.main(words) == 2
    error = capsys.readouterr().err
    assert "NoMethod" in error
    assert "forward" in error
    assert not list(tmp_path.rglob("last.ckpt"))


def test_what_calls_it_may_be_given_in_its_place():
    import incomplete

    assert left_out(incomplete.NoLoss) == ["base"]
    assert left_out(incomplete.OwnMethod) == []

    class Base(ABC):  # noqa: B024  part is as good as abstract
        @required(unless="whole")
        def part(self):
            raise NotImplementedError

        def whole(self):
            return self.part()

    class Whole(Base):
        def whole(self):
            return 1

    class Later(Whole):
        @abstractmethod
        def part(self):
            """Anew."""

    assert (left_out(Base), left_out(Whole), left_out(Later)) == (["part"], [], ["part"])


def test_shipped_classes_leave_nothing_out():
    def below(cls):
        return [cls, *(found for child in cls.__subclasses__() for found in below(child))]

    shipped = {cls for _, base in PLACES for cls in below(base) if cls.__module__.startswith("assimilate.")}
    assert all(issubclass(cls, Settings) for cls in shipped)
    leaves = {cls for cls in shipped if not any(child in shipped for child in cls.__subclasses__())}
    assert {cls for cls in leaves if left_out(cls)} == {Program}  # which is there to be a base


def test_a_setting_that_no_file_has_and_a_class_needs_is_given_like_any_other(tmp_path, capsys):
    words = ["assim=simclr", "prepare=plan", f"out={tmp_path}"]
    assert train.main([*words, "encoder.backbone=timm", "encoder.model=resnet10t"]) == 0
    assert train.main([*words, "encoder.backbone=timm"]) == 2
    assert "encoder.model has no value: give encoder.model=…" in capsys.readouterr().err
    assert train.main([*words, "encoder.model=resnet10t"]) == 2
    assert "encoder.model would be ignored: encoder.backbone=resnet18 does not read it" in capsys.readouterr().err


# ----------------------------------------------------------------------------------------------- options of one's own

VIEWS = '''
from assimilate.views.step import Cached


class Grey(Cached):
    """Grey views."""

    def fill(self, at, write, indices, progress):
        raise NotImplementedError
'''


@pytest.fixture
def refusal(tmp_path, monkeypatch):
    """What is said of an option of one's own, its YAML by group and name, in a run that has it."""

    def refused(option, text, *words, stage="train"):
        file = tmp_path / f"{option.replace('=', '/')}.yaml"
        file.parent.mkdir()
        file.write_text(text)
        with searching((f"file://{tmp_path}",)), pytest.raises(UserError) as caught:
            make_job(stage, compose([option, *words]), [option, *words])
        return str(caught.value).replace(str(file), "FILE")

    (tmp_path / "badview.py").write_text(VIEWS)
    monkeypatch.syspath_prepend(tmp_path)
    yield refused
    sys.modules.pop("badview", None)


@pytest.mark.parametrize(
    ("stage", "words"),
    [
        ("train", ["assim=a2", "budget=smoke"]),
        ("train", ["assim=a2"]),
        ("make_views", ["budget=smoke"]),
    ],
)
def test_a_key_that_an_own_option_lacks_is_named_with_its_file(refusal, stage, words):
    text = "_target_: badview.Grey\nname: grey\nn_cached: 2\n"
    said = "view.n_sampled has no value: give view.n_sampled=…, or n_sampled in FILE"
    assert refusal("view=grey", text, *words, stage=stage) == said


@pytest.mark.parametrize(
    ("option", "text", "key"),
    [
        ("view=grey", "_target_: badview.Grey\nn_cached: 2\n", "name"),
        ("view=grey", "_target_: badview.Grey\nname: grey\nn_sampled: ???\nn_cached: 2\n", "n_sampled"),
        ("loss=mine", "_target_: assimilate.assimilation.loss.NTXent\ntemperature: 0.5\n", "name"),
        ("budget=mine", "caps:\n  epochs: 3\n", "name"),
        ("budget=mine", "# @package _global_\nbudget:\n  caps: {}\n", "budget.name"),
        ("assim=mine", "_target_: assimilate.assimilation.arrangement.A2Views\nname: mine\n", "view1"),
    ],
)
def test_what_every_run_reads_is_asked_for(refusal, option, text, key):
    group = option.partition("=")[0]
    words = ["budget=smoke"] if group != "budget" else []
    said = refusal(option, text, *words)
    whole = key if "." in key else f"{group}.{key}"
    assert said == f"{whole} has no value: give {whole}=…, or {key} in FILE"


@pytest.mark.parametrize("text", ["", "name: grey\nn_cached: 2\n", "name: grey\nn_cached: 2\nn_sampled: 1\n"])
@pytest.mark.parametrize("words", [[], ["budget=smoke"]])
def test_a_class_that_is_not_there_comes_before_what_it_lacks(refusal, text, words):
    said = refusal("view=grey", f"_target_: badview.Greyy\n{text}", "assim=a2", *words)
    assert said.startswith("view._target_=badview.Greyy cannot be imported: AttributeError")
    assert said.endswith(". Did you mean badview.Grey?")


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("shade: 3", "view.shade: badview.Grey has no field shade. Its fields: n_cached, n_sampled, n_used, name"),
        ("shade: {a: 3}", "view.shade: badview.Grey has no field shade. Its fields: n_cached, n_sampled, n_used, name"),
        ("n_use: 1", "view.n_use: badview.Grey has no field n_use. Did you mean view.n_used?"),
        ("n_sample: 1", "view.n_sample: badview.Grey has no field n_sample. Did you mean view.n_sampled?"),
    ],
)
def test_a_key_that_a_class_has_no_field_for_is_told_with_the_class(refusal, key, said):
    text = f"_target_: badview.Grey\nname: grey\nn_cached: 2\nn_sampled: 1\n{key}\n"
    assert refusal("view=grey", text, "assim=a2") == said
