"""What `import assimilate` offers: cheap to import, documented with shapes, and equal to what the commands compute."""

import importlib.util
import inspect
import json
import re
import subprocess
import sys
import typing
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

import jaxtyping
import numpy as np
import pytest
import torch

import assimilate
from tests.made_up_out import result, write

ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT / "docs" / "api.md"
NAMES = assimilate.__all__
pytestmark = pytest.mark.xdist_group("chain")


# ------------------------------------------------------------------------------------------------ the names


def test_importing_it_and_reading_runs_imports_neither_torch_nor_hydra():
    script = (
        "import sys, assimilate\n"
        "assert len(dir(assimilate)) > len(assimilate.__all__) > 40\n"
        "light = sorted({'numpy', 'torch'} & set(sys.modules))\n"
        "assimilate.Run, assimilate.runs, assimilate.ViewCache, assimilate.load_prepared\n"
        "print(light, sorted({'torch', 'hydra', 'omegaconf', 'lightning'} & set(sys.modules)))\n"
        "assimilate.info_nce, assimilate.ExpertAugmentation, assimilate.load_encoder, assimilate.search_views\n"
        "print(sorted({'hydra', 'omegaconf', 'lightning'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (0, "[] []\n[]\n"), done.stderr


def test_names_that_are_not_offered_are_no_attributes():
    with pytest.raises(AttributeError, match="no attribute 'simclr_loss'"):
        _ = assimilate.simclr_loss
    namespace: dict[str, object] = {}
    exec("from assimilate import *", namespace)
    assert set(NAMES) <= set(namespace)


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_documented_with_its_shapes(name):
    offered = getattr(assimilate, name)
    assert importlib.util.find_spec(f"assimilate.{name}") is None, "importing the module of that name would replace it"
    assert offered.__name__ == name
    text = inspect.getdoc(offered) or ""
    assert len(text) >= 40
    assert text != inspect.getdoc(offered.__mro__[1] if inspect.isclass(offered) else object)
    shaped = {name: (offered, text)}
    if inspect.isclass(offered):
        shaped |= {f"{name}.{key}": (getattr(offered, key, None), text) for key in ("__init__", "__call__", "forward")}
        properties = inspect.getmembers(offered, _is_property_of_ours)
        shaped |= {f"{name}.{key}": (found.fget, inspect.getdoc(found) or "") for key, found in properties}
    for what, (described, words) in shaped.items():
        if any(map(_holds_arrays, getattr(described, "__annotations__", {}).values())):
            assert re.search(r"\[[^\[\]`]*\]", words), f"{what} is about arrays, and its docstring shows no [shape]"


def _is_property_of_ours(member: object) -> bool:
    return isinstance(member, property) and str(member.fget.__module__).startswith("assimilate.")


def _holds_arrays(annotation: object) -> bool:
    origin = typing.get_origin(annotation) or annotation
    if inspect.isclass(origin) and issubclass(origin, jaxtyping.AbstractArray | torch.Tensor | np.ndarray):
        return True
    if inspect.isclass(origin) and issubclass(origin, Mapping):  # weights by their names
        return False
    return any(map(_holds_arrays, typing.get_args(annotation)))


def test_the_document_names_all_that_is_offered_and_nothing_else():
    text = DOCUMENT.read_text()
    table = text[text.index("## What is offered") :]
    named = set(re.findall(r"`([A-Za-z_0-9]+)(?:\([^`]*\))?`", table))
    assert named == set(NAMES)
    assert set(re.findall(r"\basm\.(\w+)", text)) <= set(NAMES)


def test_types_ship_with_the_package():
    folder = Path(assimilate.__file__).parent
    assert (folder / "py.typed").is_file()
    assert (folder / "__init__.pyi").is_file()


# ------------------------------------------------------------------------------------------------ a finished run


def scripts(document: Path = DOCUMENT) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", document.read_text(), flags=re.MULTILINE | re.DOTALL)


def test_the_documented_script_runs(chain, monkeypatch, capsys):
    script, _ = scripts()
    lines = [line for line in script.splitlines() if line.strip() and not line.startswith("#")]
    assert len(lines) <= 30
    (chain.parent / "outputs").symlink_to(chain)
    monkeypatch.chdir(chain.parent)
    namespace: dict[str, object] = {}
    try:
        exec(compile(script, str(DOCUMENT), "exec"), namespace)
    finally:
        (chain.parent / "outputs").unlink()
    # The encoder's own features give the number that the command wrote.
    assert namespace["knn"] == namespace["run"].metrics["knn5"].mean
    assert torch.isfinite(namespace["loss"])
    assert "| digits" in capsys.readouterr().out


def test_the_readmes_encoder_gives_features(chain, monkeypatch, tmp_path):
    (tmp_path / "outputs").symlink_to(chain)
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {}
    exec(compile(scripts(ROOT / "README.md")[0], "README.md", "exec"), namespace)
    assert namespace["features"].shape == (8, namespace["encoder"].feature_dim)


def test_the_readme_makes_torchvisions_own_network_of_it(monkeypatch):
    """With an encoder of the width that the command above the script trains."""
    backbone = assimilate.make_backbone("resnet18", stem="cifar").eval()
    monkeypatch.setattr(assimilate, "runs", lambda out: [out])
    monkeypatch.setattr(assimilate, "load_encoder", lambda run: SimpleNamespace(backbone=backbone))
    namespace: dict[str, object] = {"assimilate": assimilate, "torch": torch}  # of the script before
    exec(compile(scripts(ROOT / "README.md")[1], "README.md", "exec"), namespace)
    network, images = namespace["network"].eval(), torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(network(images), backbone(images))


def test_the_documented_training_runs(tmp_path, monkeypatch):
    _, script = scripts()
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {}
    exec(compile(script, str(DOCUMENT), "exec"), namespace)
    rows, model = namespace["record"].rows, namespace["model"]
    assert [row["epoch"] for row in rows] == [1, 2]
    # The features are those of the weights that were trained, normalised as in training.
    pixels = (torch.tensor(namespace["images"]) / 255 - 0.5) / 0.25
    with torch.no_grad():
        expected = model.encoder.eval().features(pixels)
    torch.testing.assert_close(namespace["features"], expected, rtol=1e-4, atol=1e-5)


def test_a_run_is_what_its_files_say(chain):
    (run,) = assimilate.runs(chain)
    raw = json.loads((run.folder / "metrics.json").read_text())
    assert run.out == chain.resolve()
    assert (run.name.split("/")[0], run.dataset_name, run.budget, run.seed) == ("adhoc", "digits", "smoke", 0)
    for name, value in raw["metrics"].items():
        measured = run.metrics[name]
        assert (measured.mean, measured.std, measured.n) == (value["mean"], value["std"], value["n"])
        assert list(measured.values) == value["values"]
    assert [list(point) for point in run.knn_curve] == raw["knn_curve"]
    assert (run.command, run.untrained, run.floors) == (raw["command"], raw["untrained"], raw["floors"])
    assert list(run.artifacts) == list(raw["artifacts"])
    assert all((path / "manifest.json").is_file() for path in run.artifacts.values())
    assert run.encoder.path in run.artifacts.values()
    assert run.encoder.path.name.startswith("a2-")
    assert run.dataset.fingerprint == raw["data_fingerprint"]
    again = assimilate.load_encoder(run)
    for source in (run.folder, str(run.folder), run.encoder, run.encoder.path, run.encoder.path / "encoder.pt"):
        other = assimilate.load_encoder(source)
        assert (other.mean, other.std) == (again.mean, again.std) == (run.dataset.mean, run.dataset.std)
        assert all(torch.equal(value, other.state_dict()[name]) for name, value in again.state_dict().items())


def test_a_cache_of_views_is_what_its_files_say(chain):
    (run,) = assimilate.runs(chain)
    views, folder = run.views, run.views.path
    assert views.label in run.artifacts
    for name in ("images", "distances", "distances_original", "steps"):
        assert np.array_equal(getattr(views, name), np.load(folder / f"{name}.npy"))
    manifest = json.loads((folder / "manifest.json").read_text())
    assert (views.facts, views.content) == (manifest["facts"], manifest["content"])
    assert len(views.images) == len(views.latents) == len(views.labels) == len(views.dataset.train)
    assert np.array_equal(views.labels, run.dataset.train.labels)
    with pytest.raises(ValueError, match=r"has no spreads\.npy; it holds .*spread"):
        views.array("spreads")
    with pytest.raises(ValueError, match="has no data; it was built from generator, latents"):
        views.parent("data")


def test_a_search_by_hand_finds_the_views_of_the_cache(chain):
    (run,) = assimilate.runs(chain)
    views, content = run.views, run.views.content
    f = assimilate.FrozenEmbedding.of(assimilate.load_encoder(views.parents["reference"]))
    search = {key: value for key, value in content["search"].items() if key not in ("compile", "class", "version")}
    found = assimilate.search_views(
        assimilate.load_generator(run),
        f,
        torch.tensor(views.latents[:5]),
        torch.tensor(views.dataset.train.images[:5]),
        epsilon1=views.facts["epsilon1"],
        num_views=content["n_cached"],
        uniformity_weight=content["uniformity_weight"],
        hinge=content["hinge"],
        anchor=content["anchor"],
        seed=content["seed"],
        **search,
    )
    assert np.array_equal(found.images.numpy(), views.images[:5])
    assert np.array_equal(found.distances.numpy(), views.distances[:5])
    assert np.array_equal(found.distances_original.numpy(), views.distances_original[:5])
    assert found.steps.tolist() == views.steps[:5].tolist()


def test_runs_are_tabled_over_their_seeds(tmp_path):
    for seed, accuracy in enumerate((90.0, 91.0, 93.0)):
        write(tmp_path, result(seed=seed, metrics={"acc1": accuracy}))
    write(tmp_path, result(row=None, metrics={"knn5": 80.0}, overrides=["a=b"]), setting="a=b-12345678")
    broken = write(tmp_path, result(seed=7, metrics={"acc1": 1.0})) / "metrics.json"
    broken.write_text("{")
    found = assimilate.runs(tmp_path)
    assert [run.seed for run in found] == [0, 0, 1, 2]
    assert found.rows()[1] == {
        "name": "table3/expert_expert_simclr", "dataset": "cifar10", "budget": "paper", "seed": 0, "acc1": 90.0,
    }  # fmt: skip
    three = found.over_seeds()["table3/expert_expert_simclr", "cifar10", "paper"]["acc1"]
    assert three.mean == pytest.approx(np.mean([90, 91, 93]))
    assert three.std == pytest.approx(np.std([90, 91, 93], ddof=1))
    lines = str(found).splitlines()
    assert lines[0].split() == ["|", "run", "|", "data", "set", "|", "budget", "|", "knn5", "|", "acc1", "|"]
    assert "91.33 ± 1.53 (3)" in lines[3]
    assert lines[4].startswith(f"not read: {broken}")
    assert "80.00" not in found.table("acc1")
    floors = {"commonest class": {"acc1": 10.0}, "raw pixels": {"acc1": 92.0, "knn5": 1.0}}
    write(tmp_path / "floors", result(metrics={"acc1": 91.0, "knn5": 90.0}, floors=floors))
    lines = assimilate.runs(tmp_path / "floors").table("acc1", "knn5").splitlines()
    assert lines[2].split("|")[-3:-1] == [" 91.00 (1) ▽ ", " 90.00 (1) "]
    floors = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if "floor: " in line]
    assert floors[0] == ["floor: commonest class", "cifar10", "paper", "10.00", "–"]
    assert floors[1] == ["floor: raw pixels", "cifar10", "paper", "92.00", "1.00"]
    for setting, random, pixels in (("width=4-aa", 60.0, 90.0), ("width=64-bb", 85.0, 80.0)):
        floors = {"random network": {"acc1": random}, "raw pixels": {"acc1": pixels}}
        made = result(row=None, metrics={"acc1": 89.0}, floors=floors)
        write(tmp_path / "widths", made, setting=setting)
    lines = [line.split("|")[1:-1] for line in assimilate.runs(tmp_path / "widths").table().splitlines()[2:]]
    assert [line[-1].strip() for line in lines] == ["89.00 (1) ▽", "89.00 (1)", "60.00 to 85.00", "80.00 to 90.00"]
    with pytest.raises(ValueError, match="no such folder"):
        assimilate.runs(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="is no finished run"):
        assimilate.Run(tmp_path)
    with pytest.raises(ValueError, match="was made without views; it has encoders/"):
        _ = found[0].views
    with pytest.raises(ValueError, match=r"is gone; this makes it again: python -m assimilate\.train"):
        _ = found[0].encoder
    moved = tmp_path / "paper" / "table3" / "another" / "cifar10"
    moved.mkdir(parents=True)
    (found[1].folder).rename(moved / "seed0")
    with pytest.raises(ValueError, match="was it moved here"):
        assimilate.Run(moved / "seed0")


def test_a_folder_without_runs_says_what_was_looked_for_and_where(tmp_path):
    empty = assimilate.runs(tmp_path)
    assert (len(empty), list(empty), empty[:1]) == (0, [], ())
    said = f"no finished runs below {tmp_path} \\(`<budget>/.*/metrics.json`\\); `assimilate train` makes one"
    assert re.match(said, str(empty))
    with pytest.raises(IndexError, match=f"^no run 0: {said}"):
        empty[0]
    broken = write(tmp_path, result(metrics={"acc1": 1.0})) / "metrics.json"
    broken.write_text("{")
    with pytest.raises(IndexError, match=r"no finished runs below .*; 1 could not be read \(\.problems\)"):
        assimilate.runs(tmp_path)[0]
    write(tmp_path, result(seed=1, metrics={"acc1": 1.0}))
    with pytest.raises(IndexError, match=f"^no run -2: 1 finished run below {tmp_path}"):
        assimilate.runs(tmp_path)[-2]
    with pytest.raises(ValueError, match=f"out=.*: there is no such folder .{tmp_path}/nowhere.; `assimilate train`"):
        assimilate.runs(tmp_path / "nowhere")


# ------------------------------------------------------------------------------------------------ on tensors
