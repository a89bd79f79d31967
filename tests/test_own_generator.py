"""A generator of the user's own, from a module beside their images, through the whole chain."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import assimilate
from assimilate import invert, make_views, train_generator
from assimilate.generator.architecture import Architecture, stylegan2_channels
from assimilate.generator.own import make_own_generator
from assimilate.generator.stylegan2 import Generator
from assimilate.graph.source import source_digest
from assimilate.run.composing import compose
from assimilate.run.config import make_job
from assimilate.run.recipe import Recipe

pytestmark = pytest.mark.xdist_group("own_generator")

MODULE = """
import torch

class Blobs:
    '''Images whose colour planes are tanh of a linear map of two codes.'''

    num_codes, latent_dim = 2, 3

    def __init__(self, image_size=8, strength=1.0, checkpoint=None):
        self.image_size, self.strength = image_size, strength
        rng = torch.Generator().manual_seed(0)
        self.basis = torch.randn(6, 3 * image_size**2, generator=rng) / 2
        if checkpoint is not None:
            self.basis = torch.load(checkpoint, weights_only=True)
        self.latent_mean = torch.zeros(3)

    def sample_latents(self, count, rng):
        return torch.randn(count, 3, generator=rng, device=rng.device)

    def map(self, latents):
        return latents

    def synthesize(self, codes):
        return torch.tanh(self.strength * codes.flatten(1) @ self.basis).view(-1, 3, self.image_size, self.image_size)


def network(**settings):
    '''The same as a torch module that a function makes.'''

    class Network(torch.nn.Module, Blobs):
        def __init__(self):
            torch.nn.Module.__init__(self)
            self.width = torch.nn.Parameter(torch.ones(()))
            Blobs.__init__(self, **settings)

        def synthesize(self, codes):
            return self.width * Blobs.synthesize(self, codes)

    return Network()


class NoMapping:
    image_size, num_codes, latent_dim, latent_mean = 8, 2, 3, torch.zeros(3)


class Flat(Blobs):
    def synthesize(self, codes):
        return torch.zeros(len(codes), 3, 8, 8)


class Slow(Blobs):
    def synthesize(self, codes):
        raise RuntimeError("out of\\npatience")


class Wide(Blobs):
    latent_dim = 4


stylegan2 = Blobs
NUMBER = 3
"""

SMOKE = (
    "budget=smoke",
    "trainer=cpu",
    "trainer.num_threads=1",
    "dataset=digits",
    "dataset.image_size=8",
    "logger=none",
)
PERTURB = ("view=wperturb", "loss=ntxent", "inversion.perceptual=none", "inversion.adversarial_weight=0")


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a module that only this test knows."""
    name = f"my_generators_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    return name


def artifacts(out: Path, kind: str) -> list[Path]:
    return sorted(path for path in (out / "artifacts" / kind / "digits").glob("*") if path.is_dir())


def test_generator_inversion_views(module: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = [f"generator._target_={module}.Blobs", "+generator.strength=0.5", f"out={tmp_path}/out"]
    assert make_views.main([*SMOKE, *PERTURB, *own]) == 0
    (generator,), (latents,), (views,) = (
        artifacts(tmp_path / "out", kind) for kind in ("generators", "latents", "views")
    )
    assert generator.name.startswith("Blobs-")
    facts = json.loads((generator / "generator.json").read_text())
    assert facts["target"] == f"{module}.Blobs"
    assert facts["arguments"] == {"strength": 0.5}
    assert (facts["num_codes"], facts["latent_dim"]) == (2, 3)
    codes = np.load(latents / "latents.npy")
    assert codes.shape == (128, 2, 3)
    # The recorded errors are those of the user's generator at the stored codes.
    images = np.load(next((tmp_path / "out").rglob("train_images.npy"))) / 127.5 - 1
    basis = (torch.randn(6, 192, generator=torch.Generator().manual_seed(0)) / 2).double().numpy()
    made = np.tanh(0.5 * codes.reshape(128, 6).astype(np.float64) @ basis).reshape(128, 3, 8, 8)
    errors = ((made - images) ** 2).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(np.load(latents / "errors.npy"), errors, rtol=1e-4)
    assert np.load(views / "images.npy").shape == (128, 2, 3, 8, 8)
    loaded = assimilate.load_generator(generator).synthesize(torch.from_numpy(codes))
    np.testing.assert_allclose(loaded.numpy(), made, atol=1e-5)
    with pytest.raises(ValueError, match=r"truncation=0\.5: .* is a generator of your own code"):
        assimilate.load_generator(generator, truncation=0.5)
    assert make_views.main([*SMOKE, *PERTURB, *own]) == 0
    assert "built:  nothing" in capsys.readouterr().out


def test_target_arguments_and_contents_are_the_identity(module: str, tmp_path: Path) -> None:
    out = tmp_path / "out"

    def build(*overrides: str) -> int:
        words = [*SMOKE, *PERTURB, f"out={out}", *overrides]
        assert train_generator.main(words) == 0
        return len(artifacts(out, "generators"))

    weights = tmp_path / "weights.pt"
    torch.save(torch.randn(6, 192), weights)
    blobs = f"generator._target_={module}.Blobs"
    assert build(blobs) == 1
    assert build(blobs, "+generator.strength=2") == 2
    assert build(blobs, "+generator.strength=2.0") == 2
    assert build(f"generator._target_={module}.network") == 3
    assert build(blobs, f"generator.checkpoint={weights}") == 4
    (tmp_path / "moved.pt").write_bytes(weights.read_bytes())
    assert build(blobs, f"generator.checkpoint={tmp_path}/moved.pt") == 4
    torch.save(torch.randn(6, 192), weights)
    assert build(blobs, f"generator.checkpoint={weights}") == 5


def plan_key(target: str) -> str:
    words = ["dataset=digits", f"generator._target_={target}", "assim=a2", "view=wperturb"]
    config = make_job("train", compose(words), words).config
    return Recipe(config).generator.key


def test_a_changed_source_file_is_another_generator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file that takes part, every byte of it, and nothing else; nothing is imported to know it."""
    package, name = tmp_path / "one", f"pkg_{tmp_path.name}"
    files = {
        f"{name}/__init__.py": "",
        f"{name}/models/__init__.py": "from . import blocks\n",
        f"{name}/models/gan.py": f"import numpy\nfrom ..parts import layers\nfrom {name}.models import blocks as b\n"
        "raise RuntimeError('imported')\n\n\nclass Gan:\n    pass\n",
        f"{name}/models/blocks.py": "def f():\n    from . import late\n",
        f"{name}/models/late.py": "X = 1\n",
        f"{name}/parts/__init__.py": "",
        f"{name}/parts/layers.py": "Y = 2\n",
        f"{name}/unrelated.py": "Z = 3\n",
        "neighbour.py": "W = 4\n",
    }
    for file, text in files.items():
        (package / file).parent.mkdir(parents=True, exist_ok=True)
        (package / file).write_text(text)
    monkeypatch.syspath_prepend(package)
    target = f"{name}.models.gan.Gan"
    digest = source_digest(target)
    assert digest is not None
    (package / name / "models/__pycache__").mkdir()
    (package / name / "models/__pycache__/gan.cpython-311.pyc").write_bytes(b"x")
    for file, text in files.items():
        (package / file).write_text(text + " ")
        changed = source_digest(target) != digest
        assert changed == (Path(file).name not in ("unrelated.py", "neighbour.py")), file
        (package / file).write_text(text)
    assert source_digest(target) == digest
    monkeypatch.undo()
    shutil.move(package, tmp_path / "two")  # wherever it lies
    monkeypatch.syspath_prepend(tmp_path / "two")
    assert source_digest(target) == digest


def test_modules_beside_a_module_count_and_libraries_do_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name, beside = f"gan_{tmp_path.name}", f"beside_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(f"import json, assimilate.run.config\nimport {beside}\nclass Gan: ...\n")
    (tmp_path / f"{beside}.py").write_text("X = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    key = plan_key(f"{name}.Gan")
    assert plan_key(f"{name}.Gan") == key
    (tmp_path / f"{beside}.py").write_text("X = 2\n")
    assert plan_key(f"{name}.Gan") != key
    assert source_digest("assimilate.generator.stylegan2.Generator") is None
    assert source_digest("no.such.module") is None
    assert source_digest("json.decoder.JSONDecoder") is not None


def test_a_recipes_settings_of_stylegan2_are_no_arguments() -> None:
    words = [
        "dataset=digits",
        "generator._target_=a.B",
        "+generator.depth=2",
        "generator.latent_dim=7",
        "+generator.net={x: 1}",
    ]
    config = make_job("train", compose(words), words).config["generator"]
    assert config == {"name": "own", "_target_": "a.B", "arguments": {"latent_dim": 7, "depth": 2, "net": {"x": 1}}}


def touch_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two GPUs are there, and whoever looks at their random state fails."""

    def touched(*arguments: object) -> None:
        raise AssertionError("a run on the CPU touches a GPU")

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_rng_state", touched)


def test_a_module_is_frozen_and_the_random_state_untouched(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    touch_no_gpu(monkeypatch)
    before = torch.get_rng_state()
    generator = make_own_generator(f"{module}.network", {"strength": 0.5}, image_size=8, device="cpu")
    assert torch.equal(torch.get_rng_state(), before)
    assert isinstance(generator, torch.nn.Module)
    assert not generator.training
    assert not any(parameter.requires_grad for parameter in generator.parameters())


@pytest.mark.parametrize(
    ("target", "overrides", "message"),
    [
        ("Blobs", ["+generator.colour=3"], "calling it with colour failed: TypeError"),
        ("Blobs", ["dataset.image_size=16"], "Blobs makes images of 8², but dataset.image_size=16"),
        ("Blobs", ["generator.checkpoint=/no/such"], "generator.checkpoint=/no/such: there is no such file"),
        ("Missing", [], "has no attribute 'Missing'"),
        ("NUMBER", [], "NUMBER cannot be used: it is no class or function"),
        ("NoMapping", [], "NoMapping is no generator: it has no sample_latents, map, synthesize"),
        ("Flat", [], "synthesize(codes) has no gradient with respect to the codes"),
        ("Slow", [], "two images could not be made with it: RuntimeError: out of patience"),
        ("Wide", [], "latent_mean is torch.float32 [3]; needed is float32 [4]"),
    ],
)
def test_what_is_no_generator_is_one_line(
    target: str, overrides: list[str], message: str, module: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = f"generator._target_={module}.{target}"
    assert train_generator.main([*SMOKE, *PERTURB, own, *overrides, f"out={tmp_path}/out"]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not list((tmp_path / "out").rglob("generators/**/manifest.json"))


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("nosuchmodule.Generator", "there is no module 'nosuchmodule'; run from the folder that holds it"),
        ("Generator", "there is no module 'Generator'"),
    ],
)
def test_a_target_that_cannot_be_imported(target: str, message: str, tmp_path: Path, capsys) -> None:
    assert train_generator.main([*SMOKE, *PERTURB, f"generator._target_={target}", f"out={tmp_path}/out"]) == 2
    error = capsys.readouterr().err
    assert f"generator._target_={target} cannot be imported: {message}" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("abc", " cannot be used: it is no class or function"),
        ("os.system", ": calling it with no arguments failed: TypeError"),
    ],
)
def test_a_bad_target_is_said_before_what_it_would_lack(target: str, message: str, tmp_path: Path, capsys) -> None:
    own = [f"generator._target_={target}", f"out={tmp_path}/out"]
    assert make_views.main([*SMOKE, "view=wperturb", "loss=ntxent", *own]) == 2
    error = capsys.readouterr().err
    assert f"generator._target_={target}{message}" in error
    assert "discriminator" not in error


def test_a_plan_takes_a_generator_of_any_name(module: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = [*SMOKE, *PERTURB, f"out={tmp_path}/out", "prepare=plan"]
    assert make_views.main([*plan, f"generator._target_={module}.stylegan2"]) == 0
    assert "generators/stylegan2" in capsys.readouterr().out
    assert make_views.main([*plan, f"generator._target_={module}.Missing"]) == 2
    assert "has no attribute 'Missing'" in capsys.readouterr().err


def test_perceptual_discriminator_needs_one(module: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = [f"generator._target_={module}.Blobs", "inversion.perceptual=discriminator", f"out={tmp_path}/out"]
    assert make_views.main([*SMOKE, "view=wperturb", "loss=ntxent", *own]) == 2
    error = capsys.readouterr().err
    assert "inversion.adversarial_weight=0.05, inversion.perceptual=discriminator: the generator comes without" in error
    assert error.endswith("give inversion.adversarial_weight=0 inversion.perceptual=none|vgg19|encoder\n")
    # It is said before anything is built of it.
    assert not artifacts(tmp_path / "out", "generators")


def test_a_stylegan2_without_its_discriminator(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    channels = stylegan2_channels(8, channel_multiplier=1, max_channels=8)
    network = Generator(Architecture(image_size=8, latent_dim=8, num_mapping_layers=1, channels=channels))
    torch.save({"g_ema": network.state_dict()}, tmp_path / "g.pt")
    given = [f"generator.checkpoint={tmp_path}/g.pt", f"out={tmp_path}/out"]
    assert invert.main([*SMOKE, "view=wperturb", "loss=ntxent", "inversion.perceptual=none", *given]) == 2
    error = capsys.readouterr().err
    assert "inversion.adversarial_weight=0.05: the generator comes without a discriminator (d)" in error
    assert invert.main([*SMOKE, *PERTURB, *given]) == 0
