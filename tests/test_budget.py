"""What a budget lowers, and that a step's views can still be drawn."""

import numpy as np
import pytest
from omegaconf import OmegaConf
from PIL import Image

from assimilate.artifacts.chain import build_chain
from assimilate.errors import UserError
from assimilate.graph.cost import USUAL
from assimilate.run.budget import apply_budget
from assimilate.run.composing import compose, hydra_ready, searching
from assimilate.run.config import make_job
from assimilate.run.known_keys import CONF
from assimilate.run.words import read_command_line


def job_of(*overrides, stage="train"):
    return make_job(stage, compose(overrides), overrides)


def test_what_a_budget_caps_away_makes_no_other_run():
    """It is named, and its line in a report is that of the budget alone."""
    capped, alone = job_of("budget=smoke", "encoder.width=64"), job_of("budget=smoke")
    assert capped.notices == ("budget=smoke caps encoder.width 64 → 8",)
    assert (capped.identity, capped.run_dir) == (alone.identity, alone.run_dir)
    below = job_of("budget=smoke", "encoder.width=4")
    assert (below.notices, below.config["encoder"]["width"]) == ((), 4)
    assert "encoder.width=4" in str(below.run_dir)
    assert below.identity != alone.identity


@pytest.fixture
def own_options(tmp_path):
    """Writes options of a user's own, in a folder that is searched."""

    def write(group, name, text):
        (tmp_path / group).mkdir(exist_ok=True)
        (tmp_path / group / f"{name}.yaml").write_text(text, encoding="utf-8")

    with searching((f"file://{tmp_path}",)):
        yield write


GENERATED = ["assim.view1=generated", "assim.view2=generated"]


@pytest.mark.parametrize(
    ("overrides", "n_cached", "n_used", "n_sampled"),
    [
        ([], 2, None, 1),
        (["view.n_sampled=4"], 2, None, 2),
        (["view.n_sampled=null"], 2, None, 2),
        (GENERATED, 3, None, 1),
        ([*GENERATED, "view.n_sampled=4"], 4, None, 2),
        (["view.n_used=4"], 2, 2, 1),
        (["view.n_used=1"], 2, 1, 1),
        (["view.n_cached=1"], 1, None, 1),
        (["view=reconstruction"], 1, None, 1),
    ],
)
def test_smoke_caches_as_many_views_as_a_step_draws(overrides, n_cached, n_used, n_sampled):
    view = job_of("dataset=cifar10", "assim=a2", "budget=smoke", *overrides).config["view"]
    assert (view["n_cached"], view.get("n_used"), view["n_sampled"]) == (n_cached, n_used, n_sampled)


def test_caps_reach_the_settings_of_f():
    config = job_of("dataset=cifar10", "recipe=simsiam", "loss=simsiam", "view_encoder=essl", "budget=smoke").config
    assert config["view"]["encoder"]["training"]["encoder"]["hidden_dim"] == config["encoder"]["hidden_dim"] == 64


def test_a_budget_without_caps_changes_nothing():
    config = job_of("dataset=cifar10").config
    before = repr(config)
    assert apply_budget(config) == []
    assert repr(config) == before


def test_a_word_for_the_number_of_views_is_refused_under_a_budget():
    with pytest.raises(UserError, match=r"^view\.n_sampled=abc cannot be used: allowed is a whole number ≥ 1$"):
        job_of("dataset=cifar10", "assim=a2", "budget=smoke", "view.n_sampled=abc")


@pytest.mark.parametrize("key", ["epochs", "view.n_cached", "encoder.width"])
@pytest.mark.parametrize("value", ["null", "abc", "true"])
def test_a_cap_is_a_number(key, value):
    with pytest.raises(UserError, match=rf"^budget\.caps\.{key}={value} cannot be used: allowed is a number$"):
        job_of("dataset=cifar10", "assim=a2", "budget=smoke", f"budget.caps.{key}={value}")


# ------------------------------------------------------------------------------------------------ parts of a cache


def test_a_part_of_a_cache_is_another_run_unless_it_is_all_of_it():
    whole = job_of("dataset=cifar10").identity
    assert job_of("dataset=cifar10", "view.n_used=8").identity == whole
    assert job_of("dataset=cifar10", "view.n_used=4").identity != whole
    assert "n_used" not in whole["encoder"]["view"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["view.n_used=9"], r"view\.n_used=9 exceeds view\.n_cached=8"),
        (["view.n_used=0"], r"view\.n_used=0 cannot be used"),
        (["view.n_used=2", "view.n_sampled=3"], r"view\.n_sampled=3 exceeds view\.n_used=2"),
        (["view.n_used=2", *GENERATED], r"exceeds view\.n_used=2"),
        (["view=wperturb", "view.cached=false", "view.n_used=2"], r"view\.n_used would be ignored"),
    ],
)
def test_parts_that_cannot_be(overrides, message):
    with pytest.raises(UserError, match=message):
        job_of("dataset=cifar10", *overrides)


def test_simclr_names_the_transform_of_generated_views_where_there_are_any():
    """Table 5; a run of two expert views is what it was."""
    words = ["dataset=cifar100", "view=wsearch", "assim=simclr", *GENERATED]
    assert job_of(*words).identity != job_of(*words, "assim.generated_transform=crop50").identity
    assert "generated_transform" not in job_of("dataset=cifar100", "assim=simclr").identity["encoder"]
    with pytest.raises(UserError, match=r"assim\.generated_transform would be ignored"):
        job_of("dataset=cifar100", "assim=simclr", "assim.generated_transform=crop50")


# ------------------------------------------------------------------------------------------------ every combination

BUDGETS, RECIPES, DATASETS = (
    sorted(path.stem for path in (CONF / group).glob("*.yaml")) for group in ("budget", "recipe", "dataset")
)


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """What a data set needs before anything can be planned with it."""
    folder = tmp_path_factory.mktemp("given")
    for part, name in (("train", "n01440764"), ("val", "n01440764")):
        (folder / "images" / part / name).mkdir(parents=True)
        for index in range(3):
            pixels = np.full((32, 32, 3), 40 * index, np.uint8)
            Image.fromarray(pixels).save(folder / "images" / part / name / f"{name}_{index}.JPEG")
    (folder / "generator.pth").write_bytes(b"not read by a plan")
    root = f"dataset.root={folder / 'images'}"
    fake = [f"generator.checkpoint={folder / 'generator.pth'}", "dataset.evaluation=null"]
    return {"folder": [root], "imagenet": [root], "imagenet_fake": fake}


@pytest.mark.parametrize("dataset", DATASETS)
def test_every_budget_recipe_and_data_set_can_be_planned(dataset, given, tmp_path):
    """Composed once a recipe; a budget is a group of caps that no other group looks at."""
    with hydra_ready():
        caps = {budget: compose([f"budget={budget}"])["budget"] for budget in BUDGETS}
        for recipe in RECIPES:
            words = [f"dataset={dataset}", f"recipe={recipe}", "assim=a2", *given.get(dataset, [])]
            words += ["view=wperturb"] if dataset == "imagenet_fake" else []
            composed = compose(words)
            if (composed.data.crop_size or 0) > composed.dataset.image_size:  # GenRep's crops, of larger images
                words.append("data.crop_size=null")
                composed = compose(words)
            for budget in BUDGETS:
                config = OmegaConf.merge(composed)
                config.budget = caps[budget]
                job = make_job("train", config, [*words, f"out={tmp_path}"])
                optimizer, epochs = job.config["optimizer"], job.config["epochs"]
                assert optimizer["warmup_epochs"] <= epochs, (budget, recipe)
                assert optimizer["warmup_epochs"] == composed.optimizer.warmup_epochs or epochs < composed.epochs
                chain = build_chain(job.config, job.out, None)
                for artifact in chain.all():
                    assert artifact.step.effort(1000).cost(USUAL["cpu"]).seconds >= 0


@pytest.mark.parametrize(
    ("words", "warmup"),
    [
        (["dataset=cifar10", "budget=cpu"], 1),  # 10 of 800 epochs, of which 8 are left
        (["dataset=cifar10", "recipe=narrow", "budget=cpu"], 2),  # fits: as it was
        (["dataset=cifar10", "budget=short"], 10),
        (["dataset=cifar10", "budget=cpu", "epochs=5", "optimizer.warmup_epochs=6"], 1),
        (["dataset=cifar10", "view_encoder=essl", "recipe=simsiam", "budget=cpu"], 1),
    ],
)
def test_a_warm_up_ends_before_the_capped_epochs(words, warmup):
    job = job_of(*words)
    assert job.config["optimizer"]["warmup_epochs"] == warmup
    asked = "optimizer.warmup_epochs=6" in words
    assert any("optimizer.warmup_epochs 6 → 1" in notice for notice in job.notices) == asked


def test_f_warms_up_within_its_own_epochs():
    words = ["dataset=cifar10", "budget=cpu", "+view.encoder.training={optimizer: {warmup_epochs: 20}}"]
    assert job_of(*words).config["view"]["encoder"]["training"]["optimizer"]["warmup_epochs"] == 1


def words_of(job):
    """The words and the folder that a run is known by."""
    return job.typed, job.overrides, job.run_dir, job.command


def assert_composed_again(job):
    """What is recorded of a job composes to it in every value, neutral ones too."""
    again = job_of(*job.overrides, stage=job.stage)
    assert (again.config, again.identity, again.run_dir) == (job.config, job.identity, job.run_dir)
    assert (again.typed, again.row) == (job.typed, job.row)


def test_a_word_that_the_budget_caps_is_nowhere_recorded():
    capped, alone = job_of("budget=smoke", "encoder.width=64", "assim=a2"), job_of("budget=smoke", "assim=a2")
    assert words_of(capped) == words_of(alone)
    assert "width" not in capped.command


@pytest.mark.parametrize(
    ("word", "recorded"),
    [("view.n_cached=6", "view.n_cached=2"), ("view={batch: 64, n_cached: 6}", "view.n_cached=2")],
)
def test_a_word_is_recorded_as_it_is_run_where_the_run_without_it_is_another(word, recorded, own_options):
    """The option's own number of views is below the cap, the word's above it."""
    own_options("view", "mine", "defaults: [wperturb]\nn_cached: 1\n")
    capped = job_of("view=mine", "assim=a2", "budget=smoke", word)
    assert capped.notices == ("budget=smoke caps view.n_cached 6 → 2",)
    assert capped.typed[-1] == recorded
    assert_composed_again(capped)


def test_what_an_own_option_sets_is_noted_and_shipped_defaults_are_not(own_options):
    own_options("view", "mine", "defaults: [wperturb]\nn_cached: 4\n")
    assert job_of("view=mine", "assim=a2", "budget=smoke").notices == ("budget=smoke caps view.n_cached 4 → 2",)
    assert job_of("view=wperturb", "assim=a2", "budget=smoke").notices == ()


@pytest.mark.parametrize(
    ("words", "recorded"),
    [
        (["view.encoder.training={epochs: 300}"], None),
        (["view.encoder.seed=1", "view.encoder.training={epochs: 300,encoder: {width: 32}}"], None),
        (["view.encoder.training={epochs: 300,batch_size: 8}"], "view.encoder.training={epochs:2,batch_size:8}"),
        (["encoder={width: 64,output_dim: 16}"], "encoder.output_dim=16"),
        (["epochs=100", "dataset.max_train_images=${epochs}"], "epochs=100"),
    ],
    ids=str,
)
def test_what_is_recorded_of_capped_words_is_the_very_run(words, recorded):
    run = job_of(*read_command_line(["budget=smoke", "assim=a2", "view=wsearch", *words]).words)
    assert_composed_again(run)
    assert recorded is None or recorded in run.typed, run.typed


GENERATOR = ["generator={num_steps: 500,checkpoint_every: 7}"]


@pytest.mark.parametrize(
    ("stage", "words", "recorded"),
    [
        ("analyze", ["analysis=grid", "analysis.num_images=100"], ["analysis=grid", "analysis.num_images=48"]),
        ("analyze", ["analysis=grid", "epochs=100"], ["analysis=grid"]),
        ("train", GENERATOR, ["generator.checkpoint_every=7"]),
        ("train", ["epochs=500", "generator={num_steps: ${epochs},checkpoint_every: 7}"], None),
        ("train", ["view.encoder.training={epochs: 300}"], ["view.encoder.training={epochs:2}"]),
    ],
    ids=str,
)
def test_what_decides_no_number_of_the_run_is_recorded_with_what_was_capped(stage, words, recorded):
    """How many images a figure shows, how often is saved: the run's identity is the same without them."""
    words = read_command_line(["budget=smoke", *words]).words
    run = job_of(*words, stage=stage)
    assert_composed_again(run)
    assert recorded is None or run.typed == ("budget=smoke", *recorded)


def test_what_was_capped_and_what_decides_no_number_name_no_folder():
    """A run is one line of a report, however it was asked for."""
    alone = job_of("budget=smoke").run_dir
    assert [job_of("budget=smoke", word).run_dir for word in (*GENERATOR, "encoder.width=8")] == [alone, alone]
    assert "encoder.width=4" in job_of("budget=smoke", "encoder.width=4").run_dir.parts[-3]
    in_one = job_of("budget=smoke", "encoder={width: 64,hidden_dim: 16}").run_dir  # 64 is capped, 16 counts
    assert in_one == job_of("budget=smoke", "encoder.hidden_dim=16").run_dir


def test_quotes_within_a_mapping_are_recorded(tmp_path):
    root = tmp_path / "a b"
    settings = [f'root:"{root}"', "max_train_images:5000", 'name:"true"']
    run = job_of("budget=smoke", "dataset=folder", f"dataset={{{','.join(settings)}}}")
    assert run.typed[2:] == (f'dataset.root="{root}"', 'dataset.name="true"')
    assert run.config["dataset"]["name"] == "true"
    assert_composed_again(run)


@pytest.mark.parametrize("others", [["view=wperturb"], ["+table4=expert_wperturb_a1"]], ids=str)
def test_a_stage_that_does_not_probe_takes_data_that_is_probed_on_others(others):
    """Their root is part of its words, but not of what the words are compared by."""
    probed_on = "dataset.evaluation.root=/not/there"
    words = ["budget=smoke", "dataset=imagenet_fake", f"generator.checkpoint={__file__}", probed_on, *others]
    run = job_of(*words, "epochs=100", stage="make_views")
    assert run.typed == tuple(words)
    assert run.row == (others[0].removeprefix("+").replace("=", "/") if others[0].startswith("+") else None)
    assert "not_there" not in str(run.run_dir)
    assert_composed_again(run)
