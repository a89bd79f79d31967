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

import jaxtyping
import numpy as np
import pytest
import torch

import assimilate
from assimilate.data.images import ImageArrays
from assimilate.encoder.encoder import Encoder, EncoderSpec
from assimilate.generator.bigbigan_checkpoint import load_bigbigan
from tests.made_up_out import result, write
from tests.views.worlds import CODES, DIM, LinearGenerator, linear_embedding

ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT / "docs" / "api.md"
NAMES = assimilate.__all__
pytestmark = pytest.mark.xdist_group("chain")


def random_images(count: int, size: int = 8, seed: int = 0) -> torch.Tensor:
    return torch.randint(
        0, 256, (count, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed)
    )


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


def test_the_readme_takes_an_encoder_to_torchvision(chain, monkeypatch, tmp_path):
    from torchvision.models import resnet18

    (tmp_path / "outputs").symlink_to(chain)
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {}
    exec(compile(scripts(ROOT / "README.md")[0], "README.md", "exec"), namespace)
    assert namespace["features"].shape == (8, namespace["encoder"].feature_dim)
    names = {name for name in resnet18().state_dict() if not name.startswith("fc.")}
    assert set(torch.load(tmp_path / "resnet18.pth", weights_only=True)) == names


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


# ------------------------------------------------------------------------------------------------ on tensors


def test_losses_against_a_loop():
    rng = torch.Generator().manual_seed(0)
    z1, z2, z3 = (torch.randn(5, 4, generator=rng, dtype=torch.float64) for _ in range(3))
    u1, u2, u3 = ((z / z.norm(dim=1, keepdim=True)).tolist() for z in (z1, z2, z3))

    def dot(a, b):
        return sum(x * y for x, y in zip(a, b, strict=True))

    total = aligned = 0.0
    for i in range(5):
        for own, other in ((u1, u2), (u2, u1)):
            keys = [np.exp(dot(own[i], other[j]) / 0.5) for j in range(5)]
            total -= np.log(keys[i] / sum(keys)) / 10
            aligned += 0.5 / 0.5 * dot(own[i], u3[i]) / 10
    assert float(assimilate.info_nce(z1, z2)) == pytest.approx(total, abs=1e-12)
    assert float(assimilate.alignment([z1, z2], [z3])) == pytest.approx(aligned, abs=1e-12)
    terms = assimilate.InfoNCE().terms([z1, z2, z3], assimilate.Alignment())
    assert float(terms.total) == pytest.approx(total - aligned, abs=1e-12)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda z: assimilate.info_nce(z, z[:3]), r"the views are \(5, 4\), \(3, 4\); needed is \[batch, dim\]"),
        (lambda z: assimilate.nt_xent(z[0], z[0]), r"needed is \[batch, dim\]"),
        (lambda z: assimilate.multi_view_nt_xent([z]), "at least two views, got 1"),
        (lambda z: assimilate.alignment([z], []), "at least one anchor and one appended view"),
        (lambda z: assimilate.alignment([z], [z[:, :2]]), r"needed is \[batch, dim\]"),
        (lambda z: assimilate.InfoNCE().terms([z]), "at least two views, got 1"),
    ],
)
def test_embeddings_of_other_shapes_are_refused(call, said):
    with pytest.raises(ValueError, match=said):
        call(torch.ones(5, 4))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: assimilate.ImageArrays(np.zeros((2, 8, 8, 3), np.uint8)), r"images are uint8 \[2, 8, 8, 3\]; needed"),
        (lambda: assimilate.ImageArrays(np.zeros((2, 3, 8, 8))), r"images are float64 .*; needed is uint8"),
        (lambda: assimilate.ImageArrays(np.zeros((2, 3, 8, 8), np.uint8), np.zeros(3, np.int64)), r"int64 \[2\]"),
        (lambda: assimilate.CachedViews(np.zeros((2, 3, 8, 8), np.uint8)), r"needed is uint8 \[N, n, 3, height, width"),
        (lambda: assimilate.CachedViews(np.zeros((2, 1, 3, 8, 8), np.uint8), num_used=2), "holds 1 views of each"),
    ],
)
def test_arrays_of_another_kind_are_refused(make, said):
    with pytest.raises(ValueError, match=said):
        make()


@pytest.mark.parametrize("transform", [assimilate.ExpertAugmentation(8), assimilate.make_transform("crop50", 8)])
def test_augmentations_draw_from_the_global_generator_unless_given_one(transform):
    images = random_images(6)
    torch.manual_seed(3)
    first, second = transform(images), transform(images)
    assert first.shape == (6, 3, 8, 8)
    assert not torch.equal(first, second)
    torch.manual_seed(3)
    assert torch.equal(transform(images), first)
    assert torch.equal(transform(images, torch.Generator().manual_seed(3)), first)


def test_searched_views_are_where_they_were_asked_for():
    """In a world where f and g are linear, against distances computed from scratch in float64."""
    generator, f = LinearGenerator(), linear_embedding()
    codes = torch.randn(3, CODES, DIM, generator=torch.Generator().manual_seed(1))
    found = assimilate.search_views(
        generator, f, codes, epsilon1=0.3, num_views=2, tolerance=None, tolerance_relative=0.02, initial_noise=0.05
    )
    assert found.images.shape == (3, 2, 3, 8, 8)
    assert found.latents.shape == (3, 2, CODES, DIM)
    assert bool(found.converged.all())

    def seen(image):
        z = image.double().flatten() @ f.encoder.projection.double()
        return z / z.norm()

    for anchor in range(3):
        reconstruction = generator.synthesize(codes[anchor : anchor + 1]).clamp(-1, 1)[0]
        for view in range(2):
            distance = (seen(found.images[anchor, view] / 127.5 - 1) - seen(reconstruction)).norm()
            assert float(found.distances[anchor, view]) == pytest.approx(float(distance), abs=1e-5)
            assert float(distance) == pytest.approx(0.3, rel=0.08)
    with pytest.raises(ValueError, match=rf"codes are \[3, 1, {DIM}\]; the generator's are \[N, {CODES}, {DIM}\]"):
        assimilate.search_views(generator, f, codes[:, :1], epsilon1=0.3)
    with pytest.raises(TypeError, match="iteration"):
        assimilate.search_views(generator, f, codes, epsilon1=0.3, iteration=3)


def test_moved_codes_are_noise_or_a_mixture():
    generator, codes = LinearGenerator(), torch.zeros(4000, CODES, DIM)
    moved = assimilate.move_codes(generator, codes, assimilate.Perturbation(sigma=(0.2, 0.0)))
    assert float(moved[:, 0].std()) == pytest.approx(0.2, rel=0.05)
    assert not moved[:, 1].any()
    rng = torch.Generator().manual_seed(2)
    mixed = assimilate.move_codes(generator, codes[:3] + 7, assimilate.Mixing(split=1), rng)
    assert bool((mixed[:, 0] == 7).all())
    assert torch.equal(mixed[:, 1], torch.randn(3, DIM, generator=torch.Generator().manual_seed(2)))


def test_generators_by_their_files(tmp_path, chain, bigbigan_file):
    (run,) = assimilate.runs(chain)
    by_run, by_file = (assimilate.load_generator(source) for source in (run, run.generator.path / "generator.pt"))
    codes = assimilate.draw_codes(by_run, range(3))
    assert codes.shape == (3, by_run.num_codes, by_run.latent_dim)
    assert by_run.truncation == run.config["generator"]["truncation"]
    assert torch.equal(by_run.synthesize(codes), by_file.synthesize(codes))
    assert assimilate.load_generator(run, truncation=0.4).truncation == 0.4
    loaded = assimilate.load_generator(bigbigan_file)
    latents = torch.randn(2, loaded.latent_dim, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = load_bigbigan(bigbigan_file)(latents)
    torch.testing.assert_close(loaded.synthesize(latents[:, None]), expected, rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError, match="no such file"):
        assimilate.load_generator(tmp_path / "absent.pt")
    with pytest.raises(ValueError, match=f"holds no generator.pt; it has {bigbigan_file.name}"):
        assimilate.load_generator(bigbigan_file.parent)


def test_an_encoder_of_another_program(tmp_path):
    backbone = assimilate.make_backbone("resnet18", width=4)
    torch.save({"state_dict": backbone.state_dict()}, tmp_path / "theirs.pth")
    loaded = assimilate.load_encoder(tmp_path / "theirs.pth")
    images = random_images(4)
    with torch.no_grad():
        expected = backbone.eval()(images / 255)
    torch.testing.assert_close(assimilate.extract_features(loaded, images), expected)
    with pytest.raises(FileNotFoundError):
        assimilate.load_encoder(tmp_path / "absent.pt")
    torch.save({"a": torch.ones(2)}, tmp_path / "other.pt")
    with pytest.raises(ValueError, match=r"other.pt holds no ResNet in torchvision's layout"):
        assimilate.load_encoder(tmp_path / "other.pt")


def test_probes_take_images_or_features_and_the_normalisation_of_the_encoder():
    encoder = assimilate.freeze(Encoder.from_spec(EncoderSpec(width=4, projector="linear", output_dim=4)))
    encoder.mean, encoder.std = (0.4, 0.5, 0.6), (0.2, 0.3, 0.25)
    labels = np.arange(24, dtype=np.int64) % 3
    train, test = (ImageArrays(random_images(24, seed=seed).numpy(), labels) for seed in (0, 1))
    bank, queries = (assimilate.extract_features(encoder, part) for part in (train, test))
    mean, std = (torch.tensor(value).view(3, 1, 1) for value in (encoder.mean, encoder.std))
    expected = encoder.features((torch.tensor(train.images) / 255 - mean) / std)
    torch.testing.assert_close(bank, expected, rtol=1e-4, atol=1e-5)
    assert torch.equal(assimilate.extract_features(encoder, train.images), bank)
    assert torch.equal(assimilate.extract_features(encoder, torch.tensor(train.images)), bank)
    y = torch.tensor(labels)
    settings = {"preset": "htdt", "num_epochs": 3, "batch_size": 8, "seeds": (0, 1)}
    on_images = assimilate.linear_probe(encoder, train, test, **settings)
    on_features = assimilate.linear_probe_on_features(bank, y, queries, y, **settings)
    assert torch.equal(on_images.weight, on_features.weight)
    assert on_images.values == on_features.values
    assert on_features.label == on_images.label + "; on features as they were given"
    right = 0
    for query, label in zip(queries.double(), labels, strict=True):
        cosines = torch.nn.functional.cosine_similarity(query[None], bank.double())
        nearest = labels[cosines.argsort(descending=True, stable=True)[:5].numpy()]
        right += int(np.bincount(nearest, minlength=3).argmax() == label)
    assert assimilate.knn_accuracy(bank, y, queries, y) == pytest.approx(100 * right / 24)
    with pytest.raises(ValueError, match=r"labels \[n\] and \[m\]"):
        assimilate.linear_probe_on_features(bank, y[:3], queries, y)
