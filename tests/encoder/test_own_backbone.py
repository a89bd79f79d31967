"""A backbone from outside: settings, identity, the checkpoint, and what cannot be used."""

import sys
from pathlib import Path

import pytest
import torch

from assimilate import train
from assimilate.encoder.backbone import make_backbone
from assimilate.encoder.checkpoint import load_encoder, save_encoder
from assimilate.encoder.encoder import Encoder, EncoderSpec
from assimilate.run.composing import compose
from assimilate.run.config import make_job
from assimilate.run.recipe import Recipe
from assimilate.run.words import read_command_line


@pytest.fixture(autouse=True)
def found(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    yield
    sys.modules.pop("own_nets", None)


def network_of(*words):
    line = read_command_line(words)
    return Recipe(make_job("train", compose(line.words), line.words).config).encoder.network


PATCHES = ("encoder.backbone=own_nets.Patches", "encoder.dim=6")
PLAIN = "encoder.backbone={_target_:own_nets.Plain,dim:5}"


@pytest.mark.parametrize(("words", "dim"), [((*PATCHES, "encoder.patch=2"), 6), ((PLAIN,), 5)])
def test_it_is_built_saved_and_loaded_again(words, dim, tmp_path):
    spec = EncoderSpec.from_dict(network_of(*words).plain)
    encoder = Encoder.from_spec(spec, init_seed=3).eval()
    assert encoder.feature_dim == dim
    save_encoder(tmp_path / "encoder.pt", spec, encoder.state_dict(), mean=(0.5,) * 3, std=(0.25,) * 3)
    loaded = load_encoder(tmp_path / "encoder.pt")
    assert loaded.spec == spec
    images = torch.rand(2, 3, 16, 16)
    assert torch.equal(loaded(images), encoder(images))
    assert not torch.equal(Encoder.from_spec(spec, init_seed=4).eval()(images), encoder(images))


def test_its_settings_and_source_are_in_the_identity():
    known = network_of(*PATCHES).identity["backbone"]
    assert known["class"] == "own_nets.Patches"
    assert len(known["source"]) == 64
    assert known["dim"] == 6
    assert "patch" not in known  # its default
    assert network_of(*PATCHES, "encoder.patch=2").identity["backbone"]["patch"] == 2
    assert network_of(PLAIN).identity["backbone"]["arguments"] == {"dim": 5}


def test_shipped_ones_are_known_as_they_were():
    known = network_of("encoder.width=8").identity
    assert known == {
        "class": "assimilate.encoder.step.Network",
        "version": 1,
        "backbone": "resnet18",
        "width": 8,
        "stem": "cifar",
        "projector": "essl",
        "hidden_dim": 128,
        "output_dim": 64,
        "predictor_dim": None,
    }


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("encoder.backbone=resnet19",), "allowed is resnet18, resnet34, resnet50, timm or module.Class of your own"),
        (("encoder.backbone=own_nets.Patched",), "encoder.backbone=own_nets.Patched cannot be imported"),
        (("encoder.backbone=torch.nn.functional.relu",), "allowed is a subclass of torch.nn.Module"),
        (("encoder.backbone=own_nets.Patches",), "encoder.dim has no value"),
        ((*PATCHES, "encoder.patch=0"), "encoder.patch=0 cannot be used: allowed is a whole number ≥ 1"),
        ((*PATCHES, "encoder.path=2"), "nothing reads encoder.path. Did you mean encoder.patch"),
        ((*PATCHES, "encoder.width=8"), "encoder.backbone=own_nets.Patches does not read it"),
        (("encoder.backbone={_target_:own_nets.Plain,depth:5}",), "own_nets.Plain does not take (depth)"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(words, message, tmp_path, capsys):
    assert train.main([*words, f"out={tmp_path}"]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_one_that_gives_no_features_says_so():
    with pytest.raises(ValueError, match="Conv2d gives no features"):
        make_backbone({"_target_": "torch.nn.Conv2d", "in_channels": 3, "out_channels": 4, "kernel_size": 3})
    with pytest.raises(ValueError, match="Linear has no attribute feature_dim, and cannot see images"):
        make_backbone({"_target_": "torch.nn.Linear", "in_features": 3, "out_features": 4})
