"""Recipes and probes: their values, and what they mean for a run."""

import pytest

from assimilate.artifacts.chain import build_chain
from assimilate.data.dataset import Images
from assimilate.errors import UserError
from assimilate.run import known_keys
from assimilate.run.composing import compose
from assimilate.run.config import make_job
from assimilate.run.recipe import Recipe


def job_of(*overrides):
    return make_job("train", compose(overrides), overrides)


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
    shipped = {path.stem for path in (known_keys.CONF / "recipe").glob("*.yaml")}
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


@pytest.mark.parametrize(
    "key", ["trainer.compile=true", "trainer.compile=reduce-overhead", "trainer.channels_last=false"]
)
def test_how_it_is_computed_is_not(key):
    assert job_of("dataset=cifar10", key).identity == job_of("dataset=cifar10").identity


@pytest.mark.parametrize(("key", "usual"), [("encoder.initialization", "fan_out"), ("data.std", None)])
def test_settings_that_came_later_are_named_where_they_differ_alone(tmp_path, key, usual):
    """So that no run or artifact of old is renamed."""
    group = key.split(".")[0]
    for words, there in (([], False), ([f"{key}={usual or 'null'}"], False), (
        [f"{key}={'default' if usual else '[0.2,0.2,0.3]'}"], True
    )):  # fmt: skip
        job = job_of("dataset=cifar10", "assim=a2", *words)
        chain = build_chain(
            job.config, tmp_path, Images(fingerprint="facts", num_train=50_000, mean=(0.5,) * 3, std=(0.25,) * 3)
        )
        assert (job.identity != job_of("dataset=cifar10", "assim=a2").identity) is there
        for trained in (chain.encoder, chain.reference):  # f inherits both
            of_encoder = trained.step.network.backbone.initialization != "fan_out"
            of_data = trained.step.std != (0.25,) * 3
            assert (of_encoder, of_data) == (there and group == "encoder", there and group == "data")


def test_a_std_without_normalisation_is_refused():
    with pytest.raises(UserError, match=r"data\.std would be ignored: data\.normalize=false"):
        job_of("dataset=cifar10", "data.normalize=false", "data.std=[0.2,0.2,0.3]")
    with pytest.raises(UserError, match=r"data\.std=\[0\.2,0\.0,0\.3\] cannot be used"):
        job_of("dataset=cifar10", "data.std=[0.2,0.0,0.3]")


def test_viewmakers_settings_can_be_overridden():
    words = ["+table3=viewmaker_viewmaker_simclr", "dataset=cifar100"]
    config = job_of(
        *words, "view.transform=none", "drop_last=true", "batchnorm=per_view", "encoder.projector=linear"
    ).config
    assert (config["view"]["transform"], config["drop_last"], config["batchnorm"]) == ("none", True, "per_view")
    assert config["encoder"]["projector"] == "linear"
    words[1] = "dataset=cifar10"
    config = job_of(*words, "data.std=null", "encoder.initialization=fan_out").config
    assert (config["data"]["std"], config["encoder"]["initialization"]) == (None, "fan_out")


def test_simsiam_and_its_a2():
    assert job_of("recipe=simsiam", "dataset=cifar10", "assim=a2").config["loss"]["name"] == "infonce"
    config = job_of("recipe=simsiam", "dataset=cifar10", "assim=a2", "loss=simsiam").config
    assert (config["loss"]["name"], config["loss"]["alpha"], config["simclr_loss"]) == ("simsiam", 0.5, "simsiam")
    with pytest.raises(UserError, match=r"loss=byol needs encoder\.predictor_dim \(4096 in its paper"):
        job_of("loss=byol", "dataset=cifar10")
    with pytest.raises(UserError, match=r"simsiam needs encoder\.predictor_dim.*take recipe=simsiam"):
        job_of("dataset=cifar10", "loss=simsiam")


@pytest.mark.parametrize(
    ("loss", "values"),
    [
        ("moco", {"temperature": 0.2, "momentum": 0.999, "queue_size": 65536}),
        ("byol", {"momentum": 0.996}),
        ("vicreg", {"invariance": 25, "variance": 25, "covariance": 1}),
        ("barlowtwins", {"redundancy": 0.005}),
    ],
)
def test_methods_have_the_values_of_their_papers(loss, values):
    words = [f"loss={loss}", "dataset=cifar10", "assim=a2", *(["encoder.predictor_dim=4096"] if loss == "byol" else [])]
    step = Recipe(job_of(*words).config).encoder
    assert step.loss == type(step.loss)(**values) == type(step.loss)()
    assert step.alignment.alpha == 0.5
    trained = Recipe(job_of(*words, f"loss.{next(iter(values))}=0.5" if loss != "moco" else "loss.momentum=0.5").config)
    assert trained.encoder.key != step.key


def test_any_optimizer_of_torch():
    words = ["optimizer=any", "dataset=cifar10", "optimizer.factory=torch.optim.AdamW"]
    step = Recipe(job_of(*words, "+optimizer.arguments.betas=[0.9,0.95]").config).encoder
    assert step.optimizer.arguments == {"betas": [0.9, 0.95]}
    assert step.key != Recipe(job_of(*words).config).encoder.key
    with pytest.raises(UserError, match=r"optimizer\.factory=torch\.optim\.AdamV cannot be imported"):
        job_of(*words[:2], "optimizer.factory=torch.optim.AdamV")
    with pytest.raises(UserError, match=r"optimizer\.factory=torch\.optim\.AdamW does not take \(.*beta\)"):
        job_of(*words, "+optimizer.arguments.beta=1")


def test_a2_full_has_no_alpha():
    assert job_of("dataset=cifar10", "loss=full").config["loss"]["name"] == "full"
    with pytest.raises(UserError, match=r"loss\.alpha would be ignored.*loss=full"):
        job_of("dataset=cifar10", "loss=full", "loss.alpha=1")


def test_smoke_caps_warm_ups():
    assert job_of("dataset=cifar10", "budget=smoke").config["optimizer"]["warmup_epochs"] == 1


@pytest.mark.parametrize("option", sorted(path.stem for path in (known_keys.CONF / "probe").glob("*.yaml")))
def test_probes_compose(option):
    assert job_of("dataset=cifar10", f"probe={option}").config["probe"]["seeds"] == [0, 1, 2, 3, 4]


def test_an_unknown_probe_is_refused():
    with pytest.raises(UserError, match=r"probe\.name=moco.*dkobak_precomputed"):
        job_of("probe.name=moco")
