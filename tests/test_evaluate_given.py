"""`evaluate checkpoint=`: weights that somebody else trained, through the command."""

import json
import os
import pickle
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from sklearn.neighbors import KNeighborsClassifier

from assimilate import evaluate, make_views, report, train
from assimilate.encoder.backbone import make_backbone
from assimilate.encoder.checkpoint import load_encoder, save_encoder
from assimilate.encoder.encoder import Encoder, EncoderSpec
from assimilate.run.composing import compose
from assimilate.run.config import make_job

sys.path.insert(0, str(Path(__file__).parent))

from fake_timm import fake_timm

pytestmark = pytest.mark.xdist_group("given")

SMOKE = ["budget=smoke", "trainer=cpu", "trainer.num_threads=1"]
MEAN, STD = (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)


def run(stage, *overrides) -> int:
    return stage.main([*SMOKE, *map(str, overrides)])


def results(out: Path) -> list[dict]:
    return [json.loads(path.read_text()) for path in sorted(out.rglob("metrics.json"))]


def prepared(out: Path) -> Path:
    return next(path.parent for path in (out / "artifacts" / "datasets").rglob("dataset.json"))


def encoder_file(out: Path) -> Path:
    (path,) = (out / "artifacts" / "encoders").rglob("encoder.pt")
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """An output folder in which the digits are prepared."""
    from assimilate import prepare_data

    out = tmp_path_factory.mktemp("data") / "out"
    assert run(prepare_data, f"out={out}") == 0
    return out


@pytest.fixture
def out(data, tmp_path) -> Path:
    shutil.copytree(data, tmp_path / "out")
    return tmp_path / "out"


def narrow(path: Path, *, stem: str = "cifar", seed: int = 0, **more) -> Path:
    torch.manual_seed(seed)
    torch.save({**make_backbone("resnet18", width=4, stem=stem).state_dict(), **more}, path)
    return path


ENCODERS = ("encoder_q", "encoder_k")


# ------------------------------------------------------------------------------------------------ what is probed


def test_a_torchvision_resnet(out, tmp_path, capsys):
    torch.manual_seed(0)
    theirs = torchvision.models.resnet18(weights=None)
    # As a self-supervised program saves it.
    state = {f"module.backbone.{name}": value for name, value in theirs.state_dict().items()}
    torch.save({"epoch": 7, "state_dict": state}, tmp_path / "theirs.pth")
    assert run(evaluate, f"checkpoint={tmp_path / 'theirs.pth'}", f"out={out}") == 0
    (result,) = results(out)
    assert (result["row"], result["knn_curve"]) == (None, [])
    weights = result["weights"]
    assert (weights["kind"], weights["prefix"], weights["left_out"]) == ("torchvision", "module.backbone.", ["fc"])
    for label in result["protocols"].values():
        assert "theirs.pth" in label
        assert "resnet18 of width 64, stem imagenet" in label
        assert "images of 16², normalised by the data set's mean and std" in label
    assert "an ImageNet stem shrinks 16² to 1²" in capsys.readouterr().out
    # Features by torchvision, neighbours by scikit-learn.
    folder = prepared(out)
    description = json.loads((folder / "dataset.json").read_text())
    mean, std = (torch.tensor(description[key]).view(3, 1, 1) for key in ("mean", "std"))
    theirs.fc = torch.nn.Identity()
    theirs.eval()
    with torch.no_grad():
        train_x, test_x = (
            theirs((torch.from_numpy(np.load(folder / f"{part}_images.npy")).float() / 255 - mean) / std).numpy()
            for part in ("train", "test")
        )
    train_y, test_y = np.load(folder / "train_labels.npy"), np.load(folder / "test_labels.npy")
    nearest = KNeighborsClassifier(1, metric="cosine").fit(train_x, train_y)
    expected = 100 * float((nearest.predict(test_x) == test_y).mean())
    assert run(evaluate, f"checkpoint={tmp_path / 'theirs.pth'}", "probe.neighbours=[1,5]", f"out={out}") == 0
    (second,) = (found for found in results(out) if "knn1" in found["metrics"])
    assert second["metrics"]["knn1"]["mean"] == pytest.approx(expected)
    assert len(list((out / "artifacts" / "encoders").rglob("encoder.pt"))) == 1
    # The imported weights are untouched by two probes: BatchNorm's statistics are the file's own.
    ours = load_encoder(encoder_file(out))
    for name, value in ours.backbone.state_dict().items():
        assert torch.equal(value, theirs.state_dict()[name])


def test_which_of_two_networks_is_probed_is_asked_and_kept_apart(out, tmp_path, capsys):
    state = make_backbone("resnet18", width=4, stem="cifar").state_dict()
    networks = {
        f"module.{name}.{key}": value + (name == "encoder_k") for name in ENCODERS for key, value in state.items()
    }
    torch.save({"state_dict": networks}, tmp_path / "moco.pth")
    given = f"checkpoint={tmp_path / 'moco.pth'}"
    assert run(evaluate, given, f"out={out}") == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "input.prefix='module.encoder_q.'" in error
    assert run(evaluate, given, "input.prefix='module.encoder_q.'", "probe.lr=1", f"out={out}") == 0
    (result,) = results(out)
    assert result["weights"]["prefix"] == "module.encoder_q."
    assert result["weights"]["left_out"] == ["module.encoder_k"]
    loaded = load_encoder(encoder_file(out))
    assert torch.equal(loaded.backbone.state_dict()["conv1.weight"], state["conv1.weight"])
    jobs = [
        make_job("evaluate", compose(words), words) for words in ([given], [given, "input.prefix=module.encoder_q."])
    ]
    assert "prefix" not in jobs[0].identity["encoder"]["reading"]  # as runs of files with one network are known by
    assert jobs[1].identity["encoder"]["reading"]["prefix"] == "module.encoder_q."


def test_an_encoder_of_ours_brings_its_own_architecture_and_normalisation(out, tmp_path, capsys):
    spec = EncoderSpec(backbone="resnet34", width=2, hidden_dim=4, output_dim=4)
    encoder = Encoder.from_spec(spec, init_seed=1)
    save_encoder(tmp_path / "mine.pt", spec, encoder.state_dict(), mean=MEAN, std=STD)
    assert run(evaluate, f"checkpoint={tmp_path / 'mine.pt'}", f"out={out}") == 0
    (result,) = results(out)
    assert result["weights"]["kind"] == "assimilate"
    assert "resnet34 of width 2" in result["protocols"]["acc1"]
    assert "come with the weights" in result["protocols"]["acc1"]
    loaded = load_encoder(encoder_file(out))
    assert (loaded.spec, loaded.mean, loaded.std) == (spec, MEAN, STD)
    # The page can be written again, and a second run finds everything.
    (page,) = out.rglob("report.html")
    assert "mine.pt on digits" in page.read_text()
    page.unlink()
    assert run(report, f"checkpoint={tmp_path / 'mine.pt'}", f"out={out}") == 0
    assert page.is_file()
    capsys.readouterr()
    assert run(evaluate, f"checkpoint={tmp_path / 'mine.pt'}", f"out={out}") == 0
    assert "built:  nothing" in capsys.readouterr().out


def test_input_says_how_images_are_read(out, tmp_path):
    path = narrow(tmp_path / "weights.pt", stem="cifar_maxpool")
    changes = ["input.image_size=24", "input.mean=[.1,.2,.3]", "input.std=[.4,.5,.6]", "input.stem=cifar_maxpool"]
    assert run(evaluate, f"checkpoint={path}", *changes, f"out={out}") == 0
    (result,) = results(out)
    assert "images of 16² resized to 24² (bicubic), normalised by input.mean and input.std" in result["weights"]["text"]
    loaded = load_encoder(encoder_file(out))
    assert (loaded.spec.input_size, loaded.spec.stem, loaded.mean, loaded.std) == (24, "cifar_maxpool", MEAN, STD)


def test_the_identity_is_the_content(out, tmp_path):
    first = narrow(tmp_path / "a.pt")
    (tmp_path / "elsewhere").mkdir()
    shutil.copy(first, tmp_path / "elsewhere" / "a.pt")
    for path in (first, tmp_path / "elsewhere" / "a.pt"):
        assert run(evaluate, f"checkpoint={path}", f"out={out}") == 0
    assert len(results(out)) == 1
    narrow(first, seed=1)
    assert run(evaluate, f"checkpoint={first}", f"out={out}") == 0
    assert len(results(out)) == 2
    first_result, second_result = results(out)
    assert first_result["weights"]["sha256"] != second_result["weights"]["sha256"]


# ------------------------------------------------------------------------------------------------ timm


def test_a_timm_model(out, monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", fake_timm())
    assert run(evaluate, "checkpoint=timm/tiny", f"out={out}") == 0
    (result,) = results(out)
    weights = result["weights"]
    assert (weights["kind"], weights["name"], weights["source"]) == ("timm", "timm/tiny.a1", "timm/tiny.a1")
    assert (weights["mean"], weights["image_size"]) == ([0.5, 0.4, 0.3], 24)
    assert "16² resized to 24² (bicubic)" in result["protocols"]["knn5"]
    manifest = json.loads((encoder_file(out).parent / "manifest.json").read_text())
    assert manifest["content"]["weights"] == {"timm": "tiny.a1", "source": "timm/tiny.a1"}
    # Once imported, the weights need no network.
    monkeypatch.setitem(sys.modules, "timm", fake_timm(network=False))
    assert run(evaluate, "checkpoint=timm/tiny", "probe.lr=1", f"out={out}") == 0


@pytest.mark.parametrize(
    ("module", "overrides", "message"),
    [
        (None, ["checkpoint=timm/tiny"], "make extras EXTRAS=timm"),
        (fake_timm(), ["checkpoint=timm/tiny.b7"], "Invalid pretrained tag for tiny.b7"),
        (fake_timm(), ["checkpoint=timm/bare"], "no pretrained weights"),
        (fake_timm(network=False), ["checkpoint=timm/tiny"], "cannot be had from timm/tiny.a1 (OSError: We couldn't"),
        (fake_timm(), ["checkpoint=timm/tiny", "input.image_size=32"], "cannot read images of 32²"),
        (fake_timm(), ["checkpoint=timm/tiny", "input.stem=cifar"], "input.stem=cifar"),
        (fake_timm(), ["checkpoint=timm/tiny", "input.prefix=module."], "input.prefix=module."),
        (
            fake_timm(forgetful=True),
            ["checkpoint=timm/tiny"],
            "1 of its tensors were left at random by timm (embed.weight",
        ),
        (fake_timm(stubborn=True), ["checkpoint=timm/tiny"], "train mode"),
    ],
)
def test_timm_that_is_not_there_or_cannot(out, monkeypatch, capsys, module, overrides, message):
    monkeypatch.setitem(sys.modules, "timm", module)
    assert run(evaluate, *overrides, f"out={out}") == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not results(out)


def test_a_pickle_that_timm_would_run_is_not(tmp_path, monkeypatch):
    from assimilate.encoder.timm_backbone import describe_timm, pretrained_state

    evil(tmp_path / "weights.pt")
    monkeypatch.setitem(sys.modules, "timm", fake_timm(file=str(tmp_path / "weights.pt")))
    with pytest.raises(ValueError, match="its weights cannot be had"):
        pretrained_state(describe_timm("tiny"))
    assert not (tmp_path / "ran").exists()
    assert "TORCH_FORCE_WEIGHTS_ONLY_LOAD" not in os.environ


def test_the_real_timm_knows_these_functions():
    timm = pytest.importorskip("timm")
    from assimilate.encoder.timm_backbone import TimmBackbone, describe_timm

    found = describe_timm("resnet18.a1_in1k")
    assert (found.name, found.image_size) == ("resnet18.a1_in1k", 224)
    backbone = TimmBackbone("resnet18.a1_in1k").eval()
    assert backbone.feature_dim == 512
    model = timm.create_model("resnet18", pretrained=False, num_classes=0)
    assert {f"model.{name}" for name in model.state_dict()} == set(backbone.state_dict())


# ------------------------------------------------------------------------------------------------ what is refused


class _RunsCode:
    def __init__(self, marker: str) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple:
        return os.mkdir, (self.marker,)


def evil(path: Path) -> None:
    torch.save({"state_dict": _RunsCode(str(path.parent / "ran"))}, path, pickle_module=pickle)


def whole_model(path: Path) -> None:
    torch.save(make_backbone("resnet18", width=2), path)


def cut(path: Path) -> None:
    narrow(path)
    path.write_bytes(path.read_bytes()[:3000])


def another_architecture(path: Path) -> None:
    torch.save(torchvision.models.squeezenet1_1(weights=None).state_dict(), path)


def ours_of_another_architecture(path: Path) -> None:
    encoder = Encoder.from_spec(EncoderSpec(width=2, hidden_dim=4, output_dim=4))
    save_encoder(path, EncoderSpec(width=4, hidden_dim=4, output_dim=4), encoder.state_dict(), mean=MEAN, std=STD)


def not_finite(path: Path) -> None:
    narrow(path)
    content = torch.load(path)
    next(value for name, value in content.items() if name.endswith("bn1.weight"))[0] = torch.nan
    torch.save(content, path)


BAD_FILES = [
    (not_finite, r"its state dict: .*bn1\.weight is not finite|is no encoder file of assimilate"),
    (evil, "refused.*mkdir"),
    (whole_model, "refused.*save its state dicts alone"),
    (cut, "not a readable checkpoint"),
    (another_architecture, "no ResNet in torchvision's layout|is no encoder file of assimilate"),
    (ours_of_another_architecture, "weights do not fit the encoder.*size mismatch"),
]


@pytest.mark.parametrize(
    ("key", "harm", "message"),
    [
        *(("checkpoint", *case) for case in BAD_FILES),
        *(("view.encoder.checkpoint", *case) for case in BAD_FILES if case[0] not in (cut, whole_model)),
    ],
)
def test_bad_checkpoints_are_one_line(out, tmp_path, capsys, key, harm, message):
    import re

    harm(tmp_path / "weights.pt")
    overrides = [f"{key}={tmp_path / 'weights.pt'}", f"out={out}"]
    if key == "checkpoint":
        assert run(evaluate, *overrides) == 2
    else:
        assert run(make_views, *overrides) == 2
        assert not (out / "artifacts" / "generators").exists()  # nothing was trained before it was read
    error = capsys.readouterr().err
    assert re.search(message, error), error
    assert error.count("\n") == 1
    assert f"{key}" in error
    assert not (tmp_path / "ran").exists()
    assert not results(out)


@pytest.mark.parametrize(
    ("stage", "overrides", "message"),
    [
        (evaluate, ["checkpoint=/nowhere/at.all"], "checkpoint=/nowhere/at.all: there is no such file"),
        (train, ["checkpoint={file}"], "is probed by python -m assimilate.evaluate"),
        (evaluate, ["checkpoint={file}", "view=wperturb", "seed=3"], "view, seed would be ignored"),
        (evaluate, ["checkpoint={file}", "encoder.width=8"], "encoder.width would be ignored"),
        (evaluate, ["checkpoint={file}", "+table3=expert_expert_simclr"], "table3 would be ignored"),
        (evaluate, ["input.image_size=8"], "input.image_size would be ignored"),
        (evaluate, ["checkpoint={file}", "input.mean=[0,0,0]"], "input.mean and input.std go together"),
        (evaluate, ["checkpoint={file}", "input.mean=[0,0]"], "input.mean=[0,0] cannot be used"),
        (evaluate, ["checkpoint={file}", "dataset=imagenet_fake"], "give dataset=imagenet"),
        (evaluate, ["checkpoint={file}", "probe.name=moco"], "probe.name=moco cannot be used"),
    ],
)
def test_bad_commands_are_one_line_and_make_nothing(tmp_path, capsys, stage, overrides, message):
    file = narrow(tmp_path / "weights.pt")
    out = tmp_path / "out"
    assert run(stage, *(word.replace("{file}", str(file)) for word in overrides), f"out={out}") == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not out.exists()
