"""What a command means, and what is refused before anything runs. Nothing here imports torch."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from assimilate import config as configuration
from assimilate.command import stage
from assimilate.config import EXPERIMENTS, compose, expand_sweep, make_job
from assimilate.errors import UserError


def job_of(*overrides):
    return make_job("train", compose(overrides), overrides)


@pytest.fixture
def probe_stage():
    """A stage that only notes the jobs it is given."""
    jobs = []

    @stage("train")
    def main(job):
        jobs.append(job)

    return main, jobs


# ------------------------------------------------------------------------------------------------ meaning


def test_defaults_are_the_demo():
    config = job_of().config
    assert (config["dataset"]["name"], config["view"]["name"], config["assim"]["name"]) == ("digits", "wsearch", "a2")
    assert config["dataset"]["flip"] == 0
    assert config["view"]["epsilon1"] == "auto"


def test_main_job_is_a2_infonce_with_the_papers_numbers():
    config = job_of("dataset=cifar100", "view=wsearch", "assim=a2").config
    assert config["loss"] == {
        "name": "infonce",
        "temperature": 0.5,
        "base_temperature": 0.07,
        "alpha": 0.5,
        "align_anchors": [0, 1],
    }
    assert (config["view"]["epsilon1"], config["view"]["epsilon2"]) == (0.2, 0.35)
    assert (config["encoder"]["backbone"], config["epochs"], config["batch_size"]) == ("resnet50", 1200, 512)
    assert config["batchnorm"] == "concatenated"


@pytest.mark.parametrize(
    ("overrides", "loss"),
    [
        (["dataset=cifar100", "assim=simclr"], "ntxent"),
        (["dataset=cifar100", "assim=a1"], "ntxent"),
        (["dataset=cifar100", "assim=a2"], "infonce"),
        (["dataset=cifar100", "assim=a2", "loss=ntxent"], "ntxent"),
        (["dataset=cifar10", "assim=simclr"], "infonce"),
    ],
)
def test_loss_is_the_data_sets_unless_a2(overrides, loss):
    assert job_of(*overrides).config["loss"]["name"] == loss


def test_table9_is_the_default():
    config = job_of("dataset=cifar10", "assim=simclr").config
    assert config["optimizer"]["lr"] == 0.015
    assert config["optimizer"]["weight_decay"] == 5e-5
    assert (config["epochs"], config["batch_size"], config["loss"]["temperature"]) == (800, 128, 0.5)
    assert (config["encoder"]["hidden_dim"], config["encoder"]["output_dim"]) == (2048, 2048)


def test_budget_caps_after_row_and_data_set_and_says_what_it_changed():
    job = job_of("+table3=expert_expert_wsearch_a2", "dataset=cifar10", "budget=smoke", "epochs=7")
    assert job.config["epochs"] == 2
    assert job.config["view"]["n_cached"] == 2
    assert any("epochs 7 → 2" in notice for notice in job.notices)
    assert job_of("budget=smoke", "epochs=1").config["epochs"] == 1


# ------------------------------------------------------------------------------------------------ identity

ROW = "+table3=expert_expert_wsearch_a2"


def test_a_row_has_its_own_folder(tmp_path):
    job = job_of(ROW, "dataset=cifar10", "seed=3", "budget=short", f"out={tmp_path}")
    assert job.row == "table3/expert_expert_wsearch_a2"
    assert job.run_dir == tmp_path / "short/table3/expert_expert_wsearch_a2/cifar10/seed3"


@pytest.mark.parametrize(
    "neutral",
    [
        "generator.sample_every=9",
        "generator.frechet=encoder",
        "trainer=cpu",
        "logger=none",
        "prepare=never",
        "data.placement=host",
        "force=true",
    ],
)
def test_neutral_keys_leave_the_row_a_row(neutral):
    assert job_of(ROW, neutral).run_dir == job_of(ROW).run_dir


def test_saying_the_default_leaves_the_row_a_row():
    assert job_of(ROW, "loss.alpha=0.5").row is not None
    assert job_of(ROW, "loss.alpha=5e-1").run_dir == job_of(ROW).run_dir


def test_precision_is_no_hardware():
    assert job_of(ROW, "trainer.precision=bf16-mixed").row is None


@pytest.mark.parametrize("change", ["loss.alpha=1", "view.epsilon1=0.4", "epochs=10", "view.seed=1", "probe.lr=1"])
def test_a_changed_row_never_passes_for_the_row(change):
    job = job_of(ROW, change)
    assert job.row is None
    assert "/adhoc/" in str(job.run_dir)
    assert change.split("=")[0] in str(job.run_dir)


def test_adhoc_folders_differ_with_the_identity_only():
    assert job_of("loss.alpha=1").identity == job_of("loss.alpha=1.0").identity
    assert job_of("loss.alpha=1").run_dir != job_of("loss.alpha=2").run_dir


def test_simclr_is_the_same_run_whatever_the_view():
    assert job_of("assim=simclr").identity == job_of("assim=simclr", "view=wperturb").identity


def test_long_overrides_make_short_folders():
    long = [f"view.search.{key}=1" for key in ("lr", "tolerance", "initial_noise", "iterations", "width")]
    assert len(job_of(*long).run_dir.parent.parent.name) <= 80 + 9


# ------------------------------------------------------------------------------------------------ the guard

REFUSED = [
    (["+tabel3=x"], r"\+tabel3 is no table.*\+table3"),
    (["+table3=expert_expert_wsearch_a3"], r"no row 'expert_expert_wsearch_a3'.*expert_expert_wsearch_a2"),
    (["+table3=expert_wsearch_a1", "+table3=expert_wperturb_a1"], "one row at a time"),
    (["+foo.bar=1"], "no 'foo'"),
    (["++foo=1"], "no 'foo'"),
    (["vieww=wsearch"], "Did you mean view"),
    (["view=wserch"], "Available options.*wsearch"),
    (["view.epsilom1=0.2"], r"Did you mean view\.epsilon1"),
    (["view.epsilon1=-0.1"], r"view\.epsilon1=-0\.1.*0 ≤ ε1 ≤ 2"),
    (["view.epsilon1=abc"], "view.epsilon1=abc"),
    (["view.epsilon2=-1"], "view.epsilon2=-1"),
    (["view=wperturb", "view.sigma=-1"], "view.sigma=-1"),
    (["view.n_sampled=9", "view.n_cached=8"], "view.n_sampled=9 exceeds view.n_cached=8"),
    (["loss.alpha=-1"], "loss.alpha=-1"),
    (["loss.temperature=0"], "loss.temperature=0"),
    (["dataset.image_size=20"], r"dataset\.image_size=20.*StyleGAN2"),
    (["dataset=folder"], "dataset.root=/path/to/images"),
    (["trainer=ddp"], "trainer.devices=2"),
    (["trainer=ddp", "trainer.devices=3"], "batch_size=128.*trainer.devices=3"),
    (["seed=0,1"], "add -m"),
    (["prepare=maybe"], "prepare=maybe"),
    (["assim=simclr", "loss.alpha=1"], "loss.alpha would be ignored"),
    (["assim=simclr", "view.epsilon1=0.3"], "view.epsilon1 would be ignored"),
    (["assim=a1", "loss.alpha=1"], "loss.alpha would be ignored"),
    (["view=expert", "generator.seed=1"], "generator.seed would be ignored"),
    (["epochs=0"], "epochs=0"),
    (["budget=smoke", "epochs=abc"], "epochs=abc"),
    (["dataset=cifar10", "epochs=5"], r"optimizer\.warmup_epochs=10 exceeds epochs=5"),
    (["optimizer.momentum=5"], "optimizer.momentum=5"),
    (["trainer.precision=foo"], "trainer.precision=foo.*bf16-mixed"),
    (["trainer.devices=auto"], "trainer.devices=auto"),
    (["assim=a1", "view.n_sampled=2"], "view.n_sampled would be ignored"),
    (["generator.checkpoint=/x", "generator.num_steps=7"], "generator.num_steps would be ignored"),
    (["generator.augment=ada"], "generator.augment=ada.*none, leak or diffaugment"),
    (["generator.augment=leak", "generator.augment_probability=1.5"], "generator.augment_probability=1.5"),
    (["generator.augment_probability=0.3"], "generator.augment_probability would be ignored"),
    (["generator.sample_every=-1"], "generator.sample_every=-1"),
    (["generator.save_every_images=0.5"], "generator.save_every_images=0.5"),
    (["generator.frechet=fid"], "generator.frechet=fid.*none, inception or encoder"),
    (["generator.frechet=encoder", "generator.frechet_images=1"], "generator.frechet_images=1"),
    (["generator.frechet_every=10"], "generator.frechet_every would be ignored"),
    (["generator.frechet=inception", "generator.frechet_encoder=/x"], "generator.frechet_encoder would be ignored"),
    (["dataset"], "dataset"),
]


@pytest.mark.parametrize(("overrides", "message"), REFUSED, ids=[" ".join(case[0]) for case in REFUSED])
def test_refused_in_one_line_before_anything_is_made(overrides, message, tmp_path, probe_stage, capsys):
    main, jobs = probe_stage
    assert main([*overrides, f"out={tmp_path / 'out'}"]) == 2
    error = capsys.readouterr().err
    assert re.search(message, error), error
    assert error.count("\n") == 1
    assert "Traceback" not in error
    assert not jobs
    assert not (tmp_path / "out").exists()


def test_cached_expert_views_may_be_larger_than_the_images():
    job = job_of("view=expert", "view.cached=true", "data.crop_size=20", "assim.generated_transform=none")
    assert job.config["data"]["crop_size"] == 20


def test_unwritable_out_is_refused(tmp_path, probe_stage, capsys):
    main, jobs = probe_stage
    (tmp_path / "file").write_text("")
    assert main([f"out={tmp_path / 'file' / 'out'}"]) == 2
    assert "cannot be written" in capsys.readouterr().err
    assert not jobs


def test_a_view_that_simclr_ignores_is_a_notice():
    assert any("view=wperturb is not used" in notice for notice in job_of("assim=simclr", "view=wperturb").notices)


# ------------------------------------------------------------------------------------------------ multirun


def test_glob_and_seeds_launch_every_row_from_any_directory(tmp_path, probe_stage, monkeypatch):
    main, jobs = probe_stage
    monkeypatch.chdir(tmp_path)
    assert main(["-m", "+table3=glob(*)", "seed=0,1", "budget=smoke", f"out={tmp_path}"]) == 0
    assert len(jobs) == 18
    assert len({job.run_dir for job in jobs}) == 18
    assert {job.row for job in jobs} == {f"table3/{path.stem}" for path in (EXPERIMENTS / "table3").glob("*.yaml")}


def test_a_failed_job_does_not_stop_the_next(tmp_path, capsys):
    seen = []

    @stage("train")
    def main(job):
        seen.append(job.config["seed"])
        if job.config["seed"] == 1:
            raise UserError("no luck today")

    assert main(["-m", "seed=0,1,2", f"out={tmp_path}"]) == 1
    assert seen == [0, 1, 2]
    assert "1 job of the sweep failed" in capsys.readouterr().err


def test_a_wrong_value_in_a_sweep_stops_it_before_the_first_job(tmp_path, probe_stage, capsys):
    main, jobs = probe_stage
    assert main(["-m", "view.epsilon1=0.1,-0.2", f"out={tmp_path / 'out'}"]) == 2
    assert "view.epsilon1=-0.2" in capsys.readouterr().err
    assert not jobs


def test_sweep_expansion():
    assert expand_sweep(["seed=0,1", "loss.alpha=0.5", "view=choice(wsearch,wperturb)"]) == [
        ["seed=0", "loss.alpha=0.5", "view=wsearch"],
        ["seed=0", "loss.alpha=0.5", "view=wperturb"],
        ["seed=1", "loss.alpha=0.5", "view=wsearch"],
        ["seed=1", "loss.alpha=0.5", "view=wperturb"],
    ]


# ------------------------------------------------------------------------------------------------ rows

# Table 3, typed from the paper: view of each slot, assimilation, and the three columns.
TABLE3 = {
    "expert_expert_simclr": (None, "simclr", 92.04, 70.41, 47.48),
    "expert_wsearch_a1": ("wsearch", "a1", 91.86, 71.69, 51.08),
    "expert_wperturb_a1": ("wperturb", "a1", 91.09, 70.83, 50.18),
    "expert_viewmaker_a1": ("viewmaker", "a1", 82.91, 41.87, 26.40),
    "viewmaker_viewmaker_simclr": ("viewmaker", "simclr", 83.59, 44.04, 40.53),
    "expert_expert_expert_a2": ("expert", "a2", 91.46, 70.76, 47.19),
    "expert_expert_wsearch_a2": ("wsearch", "a2", 92.90, 72.76, 51.05),
    "expert_expert_wperturb_a2": ("wperturb", "a2", 92.38, 72.95, 50.73),
    "expert_expert_viewmaker_a2": ("viewmaker", "a2", 80.07, 36.51, 25.30),
}
SLOTS = {
    "expert_expert_simclr": ("expert", "expert", None),
    "expert_wsearch_a1": ("expert", "generated", None),
    "expert_wperturb_a1": ("expert", "generated", None),
    "expert_viewmaker_a1": ("expert", "generated", None),
    "viewmaker_viewmaker_simclr": ("generated", "generated", None),
    "expert_expert_expert_a2": ("expert", "expert", "generated"),
    "expert_expert_wsearch_a2": ("expert", "expert", "generated"),
    "expert_expert_wperturb_a2": ("expert", "expert", "generated"),
    "expert_expert_viewmaker_a2": ("expert", "expert", "generated"),
}


TABLE10 = {
    "cifar10": {"loss": (0.07, 0.14), "lr": 0.015, "length": (200, 128), "backbone": "resnet18"},
    "cifar100": {"loss": (0.1, 0.1), "lr": 0.06, "length": (800, 512), "backbone": "resnet50"},
    "tinyimagenet": {"loss": (0.5, 0.5), "lr": 0.06, "length": (800, 128), "backbone": "resnet18"},
}


def test_table3_has_nine_rows():
    assert {path.stem for path in (EXPERIMENTS / "table3").glob("*.yaml")} == set(TABLE3)


@pytest.mark.parametrize("row", TABLE3)
@pytest.mark.parametrize("dataset", ["cifar10", "cifar100", "tinyimagenet"])
def test_rows_of_table3(row, dataset):
    view, assim, *numbers = TABLE3[row]
    config = job_of(f"+table3={row}", f"dataset={dataset}").config
    assert config["row"] == f"table3/{row}"
    assert config["dataset"]["name"] == dataset
    assert config["assim"]["name"] == assim
    assert tuple(config["assim"][f"view{slot}"] for slot in (1, 2, 3)) == SLOTS[row]
    if view is not None:
        assert config["view"]["name"] == view
    if assim != "simclr":
        assert config["assim"]["generated_transform"] == ("weak_crop" if assim == "a1" else "flip")
    base = "infonce" if dataset == "cifar10" or assim == "a2" else "ntxent"
    temperature, alpha = 0.5, 0.5
    if view == "viewmaker":  # Table 10
        base, temperature, alpha = "viewmaker", *TABLE10[dataset]["loss"]
        optimizer = {key: config["optimizer"][key] for key in ("lr", "weight_decay", "momentum", "schedule")}
        expected = {"lr": TABLE10[dataset]["lr"], "weight_decay": 1e-4, "momentum": 0.9, "schedule": "constant"}
        assert optimizer == expected
        assert (config["epochs"], config["batch_size"]) == TABLE10[dataset]["length"]
        assert (config["encoder"]["backbone"], config["encoder"]["output_dim"]) == (TABLE10[dataset]["backbone"], 128)
        assert (config["view"]["distortion_budget"], config["view"]["lr"]) == (0.05, 0.001)
    assert config["loss"]["name"] == base
    assert (config["loss"]["temperature"], config["loss"]["alpha"]) == (temperature, alpha)
    assert [config["paper"][name]["acc1"] for name in ("cifar10", "cifar100", "tinyimagenet")] == numbers


@pytest.mark.parametrize(
    "path", sorted(EXPERIMENTS.glob("*/*.yaml")), ids=lambda path: f"{path.parent.name}/{path.stem}"
)
def test_row_files_follow_the_grammar(path):
    lines = path.read_text().splitlines()
    assert lines[0] == "# @package _global_"
    assert lines[1].startswith(f"# python -m assimilate.train +{path.parent.name}={path.stem}")
    row = yaml.safe_load(path.read_text())
    assert row["row"] == f"{path.parent.name}/{path.stem}"
    allowed = {"acc1", "acc5", "knn5", "mi", "inner_product"}
    assert all(set(cell) <= allowed for cell in row["paper"].values())


@pytest.mark.parametrize("budget", ["smoke", "short", "paper"])
@pytest.mark.parametrize("dataset", ["cifar10", "cifar100", "digits"])
def test_rooms_accept_what_every_budget_composes(dataset, budget):
    from assimilate.assimilation.objective import LossSpec
    from assimilate.assimilation.schedule import OptimizerSpec
    from assimilate.encoder.encoder import EncoderSpec

    config = job_of(f"dataset={dataset}", f"budget={budget}").config
    OptimizerSpec.from_dict({**config["optimizer"], "epochs": config["epochs"]})
    LossSpec.from_dict(config["loss"])
    EncoderSpec.from_dict(config["encoder"])


# ------------------------------------------------------------------------------------------------ imports


def test_help_guard_and_composition_import_no_torch(tmp_path):
    script = (
        f"import sys; from assimilate.train import main; code = main(['view.epsilon1=-1', 'out={tmp_path}']);"
        "assert code == 2; assert 'torch' not in sys.modules, 'torch'; assert 'lightning' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)


def test_help_names_the_stages_and_the_rows():
    shown = subprocess.run(
        [sys.executable, "-m", "assimilate.train", "--help"], capture_output=True, text=True, check=True
    ).stdout
    assert "python -m assimilate.train dataset=cifar100 view=wsearch assim=a2" in shown
    assert "expert_expert_wsearch_a2" in shown


def test_conf_and_experiments_are_found():
    assert (configuration.CONF / "config.yaml").is_file()
    assert Path(configuration.EXPERIMENTS).is_dir()


# ------------------------------------------------------------------------------------------------ recipes

# PROTOCOLS 1-3, 11, 12, 14, 15: loss, temperature, base temperature; lr, weight decay, schedule; epochs, batch,
# drop_last; BatchNorm; stem, projector, hidden, output; probe.
RECIPES = {
    "essl": ("infonce", 0.5, None, 0.015, 5e-5, "cosine_with_warmup", 800, 128, True, "per_view",
             "cifar", "essl", 2048, 2048, "essl"),
    "essl_as_coded": ("infonce", 0.5, None, 0.015, 5e-4, "cosine_with_warmup", 800, 128, True, "per_view",
                      "cifar", "essl", 2048, 2048, "essl"),
    "supcontrast": ("ntxent", 0.5, 0.07, 0.5, 1e-4, "supcontrast", 1200, 512, False, "concatenated",
                    "cifar", "supcontrast", None, 128, "supcontrast_best"),
    "htdt": ("ntxent", 0.5, None, 2e-3, 1e-6, "multistep", 1000, 512, True, "per_view_backbone",
             "cifar_maxpool", "htdt", 1024, 128, "htdt"),
    "dkobak": ("ntxent", 0.5, None, 0.06, 5e-4, "cosine_per_epoch", 1000, 512, False, "per_view",
               "cifar", "dkobak", 1024, 128, "dkobak_precomputed"),
    "dkobak_100": ("ntxent", 0.5, None, 0.12, 5e-4, "cosine_per_epoch", 100, 512, False, "per_view",
                   "cifar", "dkobak", 1024, 128, "dkobak_precomputed"),
    "clsp": ("ntxent", 0.2, None, 0.5, 1e-4, "cosine_with_warmup", 1000, 1024, True, "per_source",
             "cifar", "clsp", 4096, 256, "clsp"),
    "genrep": ("ntxent", 0.1, 0.07, 0.03, 1e-4, "supcontrast", 20, 256, False, "concatenated",
               "imagenet", "supcontrast", None, 128, "genrep"),
    "simsiam": ("simsiam", 0.5, None, 0.015, 5e-4, "cosine_with_warmup", 800, 128, True, "per_view",
                "cifar", "simsiam", 2048, 2048, "essl"),
}  # fmt: skip


def test_every_recipe_is_checked():
    shipped = {path.stem for path in (configuration.CONF / "recipe").glob("*.yaml")}
    assert shipped - {"digits", "narrow"} == set(RECIPES)


@pytest.mark.parametrize("recipe", RECIPES)
def test_recipes(recipe):
    config = job_of("dataset=cifar10", f"recipe={recipe}", "assim=simclr").config
    loss, optimizer, encoder = config["loss"], config["optimizer"], config["encoder"]
    assert (
        loss["name"], loss["temperature"], loss["base_temperature"], optimizer["lr"], optimizer["weight_decay"],
        optimizer["schedule"], config["epochs"], config["batch_size"], config["drop_last"], config["batchnorm"],
        encoder["stem"], encoder["projector"], encoder["hidden_dim"], encoder["output_dim"], config["probe"]["name"],
    ) == RECIPES[recipe]  # fmt: skip
    assert config["simclr_loss"] == loss["name"]
    assert config["accumulate_grad_batches"] == 1
    assert config["encoder"]["predictor_dim"] == (512 if recipe == "simsiam" else None)


def test_recipes_augment_as_published():
    def expert(recipe):
        data = job_of("dataset=cifar10", f"recipe={recipe}", "assim=simclr").config["data"]
        values = data["expert"]
        return (
            values["crop_scale"], values["grayscale_probability"], values["interpolation"], values["order"],
            data["normalize"], data["crop_size"],
        )  # fmt: skip

    assert expert("essl") == ([0.2, 1.0], 0.2, "bilinear", "crop_first", True, None)
    assert expert("htdt") == ([0.2, 1.0], 0.1, "bicubic", "jitter_first", True, None)
    assert expert("dkobak_100") == ([0.2, 1.0], 0.1, "bilinear", "crop_first", False, None)
    assert expert("clsp") == ([0.08, 1.0], 0.2, "bilinear", "crop_first", True, None)
    assert expert("genrep")[5] == 112


def test_clsp_is_a2_in_our_terms():
    config = job_of("dataset=cifar10", "recipe=clsp", "assim=clsp", "view=wperturb").config
    # λ = 1: λ·(2 − 2cos) is −(α/τ)·cos with α = 2λτ, up to a constant.
    assert config["loss"]["name"] == "ntxent"
    assert config["loss"]["alpha"] == pytest.approx(2 * 1 * config["loss"]["temperature"])
    assert config["loss"]["align_anchors"] == [0]
    assert config["assim"]["generated_transform"] == "expert"


def test_the_command_line_beats_a_recipe():
    config = job_of("dataset=cifar10", "recipe=dkobak_100", "optimizer.lr=0.1", "epochs=3", "encoder=resnet50").config
    assert (config["optimizer"]["lr"], config["epochs"], config["encoder"]["backbone"]) == (0.1, 3, "resnet50")


@pytest.mark.parametrize(
    "key",
    ["accumulate_grad_batches=2", "data.normalize=false", "data.crop_size=24", "trainer.precision=bf16-mixed"],
)
def test_what_changes_results_is_part_of_the_identity(key):
    assert job_of("dataset=cifar10", key).identity != job_of("dataset=cifar10").identity


@pytest.mark.parametrize("key", ["trainer.compile=true", "trainer.channels_last=false"])
def test_how_it_is_computed_is_not(key):
    assert job_of("dataset=cifar10", key).identity == job_of("dataset=cifar10").identity


def test_simsiam_and_its_a2():
    assert job_of("recipe=simsiam", "dataset=cifar10", "assim=a2").config["loss"]["name"] == "infonce"
    config = job_of("recipe=simsiam", "dataset=cifar10", "assim=a2", "loss=simsiam").config
    assert (config["loss"]["name"], config["loss"]["alpha"], config["simclr_loss"]) == ("simsiam", 0.5, "simsiam")
    with pytest.raises(UserError, match="take recipe=simsiam"):
        job_of("dataset=cifar10", "loss=simsiam")


def test_a2_full_has_no_alpha():
    assert job_of("dataset=cifar10", "loss=full").config["loss"]["name"] == "full"
    with pytest.raises(UserError, match=r"loss\.alpha would be ignored.*loss=full"):
        job_of("dataset=cifar10", "loss=full", "loss.alpha=1")


def test_smoke_caps_warm_ups():
    assert job_of("dataset=cifar10", "budget=smoke").config["optimizer"]["warmup_epochs"] == 1


@pytest.mark.parametrize("option", sorted(path.stem for path in (configuration.CONF / "probe").glob("*.yaml")))
def test_probes_compose(option):
    assert job_of("dataset=cifar10", f"probe={option}").config["probe"]["seeds"] == [0, 1, 2, 3, 4]


def test_an_unknown_probe_is_refused():
    with pytest.raises(UserError, match=r"probe\.name=moco.*dkobak_precomputed"):
        job_of("probe.name=moco")
