"""The loader that composes options once: what it returns and raises is Hydra's own, whatever was composed before."""

import pickle
import subprocess
import sys

import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import ConfigRepository
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import OmegaConf

from assimilate import train
from assimilate.run.composing import CONFIG_NAME, hydra_ready
from assimilate.run.once_loader import OnceLoader, ReadOnce
from tests import quick_hydra

MIXTURES = [
    [],
    ["seed=3", "out=/tmp/x", "view.epsilon1=0.3"],
    ["seed=4", "out=/tmp/x", "view.epsilon1=0.3", "seed=5"],
    ["view.epsilon1=0.3", "view=wperturb", "loss=viewmaker", "seed=1"],
    ["+table3=expert_expert_wsearch_a2", "dataset=cifar10", "+trainer.max_steps=3", "seed=2"],
    ["+table3=expert_expert_wsearch_a2", "dataset=cifar10", "seed=1", "++loss.alpha=0.25"],
    ["encoder={width: 8}", "encoder=resnet50", "~view.epsilon1"],
    [
        "hydra.job.chdir=true",
        "seed=1",
        "+hydra.job.env_set.X=1",
        "hydra.job.config.override_dirname.exclude_keys=[seed]",
    ],
    ["hydra.job.env_copy=[HOME]", "dataset=cifar10", "hydra.run.dir=x/${seed}"],
    ["data.expert.crop_scale=[0.1,1]", "out=${oc.env:HOME}"],
]
WRONG = [
    ["sede=1"],
    ["view=none_such"],
    ["+no_group=x", "view=none_such"],
    ["seed=1", "encoder=resnet50,resnet18"],
    ["seed=1,2"],
    ["out=(", "seed=1"],
    ["+seed=1"],
    ["~nothing"],
    ["hydra.searchpath=3"],
]


@pytest.fixture(params=["of a command", "of these tests"])
def loaders(request, monkeypatch):
    """Hydra's and ours, with what a command remembers, and with what this process of tests does."""
    if request.param == "of a command":
        monkeypatch.setattr(OnceLoader, "_compose_options", quick_hydra._compose_options)
        monkeypatch.setattr(ReadOnce, "initialize_sources", quick_hydra._initialize)
    with hydra_ready() as loader:
        yield ConfigLoaderImpl(loader.get_search_path()), loader


def outcome(loader, words, mode=RunMode.RUN):
    try:
        return OmegaConf.to_yaml(loader.load_configuration(CONFIG_NAME, list(words), mode), resolve=False)
    except HydraException as error:
        return f"{type(error)}: {error} {error.__cause__!r}"


def test_the_configuration_is_the_one_that_hydra_composes(loaders):
    theirs, ours = loaders
    for words in [*MIXTURES, *WRONG, *MIXTURES]:
        assert outcome(ours, words) == outcome(theirs, words), words


def test_so_is_that_of_a_multirun(loaders):
    theirs, ours = loaders
    words = ["seed=1,2", "view=wperturb,wsearch", "loss.temperature=0.2", "hydra.mode=MULTIRUN"]
    assert outcome(ours, words, RunMode.MULTIRUN) == outcome(theirs, words, RunMode.MULTIRUN)


def test_what_a_caller_changes_is_its_own(loaders):
    _, ours = loaders
    before = outcome(ours, ["seed=1"])
    changed = ours.load_configuration(CONFIG_NAME, ["seed=1"], RunMode.RUN)
    OmegaConf.set_struct(changed, False)
    changed.view.epsilon1, changed.hydra.run.dir = 99, "elsewhere"
    changed.pop("loss")
    assert outcome(ours, ["seed=1"]) == before


def test_which_files_are_merged_is_what_hydra_says(loaders):
    for words in (["loss=viewmaker", "seed=1"], ["seed=2"], ["+table3=expert_expert_wsearch_a2", "dataset=cifar10"]):
        lists = [loader.compute_defaults_list(CONFIG_NAME, words, RunMode.RUN) for loader in loaders]
        assert lists[0].defaults == lists[1].defaults
        assert lists[0].overrides.known_choices == lists[1].overrides.known_choices


def test_another_process_gets_a_loader_of_its_own(loaders):
    _, ours = loaders
    expected = outcome(ours, ["seed=7"])
    assert outcome(pickle.loads(pickle.dumps(ours)), ["seed=7"]) == expected


def test_a_process_that_has_no_plugins_yet_can_be_sent_it(tmp_path):
    """A launcher's: joblib's unpickles the job before it restores Hydra's plugins."""
    with hydra_ready() as loader:
        (tmp_path / "loader").write_bytes(pickle.dumps(OnceLoader(loader.config_search_path)))
    received = "import pickle, sys; print(type(pickle.load(open(sys.argv[1], 'rb'))).__name__)"
    command = [sys.executable, "-c", received, str(tmp_path / "loader")]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "OnceLoader\n"


def test_a_command_reads_a_file_once_and_composes_its_options_once(monkeypatch, tmp_path):
    read, composed = [], []
    load, compose = ConfigRepository.load_config, ConfigLoaderImpl.load_configuration
    monkeypatch.setattr(OnceLoader, "_compose_options", quick_hydra._compose_options)
    monkeypatch.setattr(ReadOnce, "initialize_sources", quick_hydra._initialize)
    monkeypatch.setattr(ConfigRepository, "load_config", lambda self, path: read.append(path) or load(self, path))

    def composing(self, *given, **more):
        composed.append(given)
        return compose(self, *given, **more)

    monkeypatch.setattr(ConfigLoaderImpl, "load_configuration", composing)
    assert train.main(["prepare=plan", "seed=1", "view.epsilon1=0.3", f"out={tmp_path}"]) == 0
    assert len(composed) == 1
    assert len(read) == len(set(read)) > 10
