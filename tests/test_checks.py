"""Values that no run can use and settings that nothing reads: refused before anything starts. Nothing imports hydra's
command line here: `make_job` is what every stage asks."""

import re

import pytest
from omegaconf import DictConfig, OmegaConf

from assimilate.errors import UserError
from assimilate.run.composing import compose, hydra_ready
from assimilate.run.config import make_job
from assimilate.run.keys import known_keys
from assimilate.run.known_keys import CONF
from assimilate.run.recipe import Recipe


@pytest.fixture(scope="module", autouse=True)
def one_loader():
    with hydra_ready():
        yield


def job_of(*overrides):
    return make_job("train", compose(overrides), overrides)


IMPOSSIBLE = [
    ("optimizer.schedule=step", "cosine_with_warmup"),
    ("optimizer.lr=inf", "> 0"),
    ("simclr_loss=infoNCE", "infonce, ntxent, full"),
    ("encoder.backbone=resnet19", "resnet18, resnet34, resnet50, timm or module.Class"),
    ("encoder.stem=cifar10", "cifar, cifar_maxpool or imagenet"),
    ("encoder.projector=mlp", "essl, simsiam, supcontrast, dkobak, clsp, htdt, linear, none or module.Class"),
    ("encoder.hidden_dim=0", "whole number"),
    ("encoder.output_dim=1.5", "whole number"),
    ("assim.view1=null", "generated"),
    ("assim.view2=crop60", "crop50"),
    ("assim.view3=wsearch", "generated"),
    ("data.expert.crop_scale=[0,1]", "0 < low"),
    ("data.expert.crop_scale=[0.5,1.2]", "≤ 1"),
    ("data.expert.crop_scale=0.2", "low"),
    ("data.expert.crop_ratio=[2,1]", "low ≤ high"),
    ("data.expert.jitter=[0.4,0.4,0.4]", "hue"),
    ("data.expert.jitter=[0.4,0.4,0.4,0.6]", "0.5"),
    ("data.expert.jitter_probability=1.2", "probability"),
    ("data.expert.grayscale_probability=-0.1", "probability"),
    ("drop_last=maybe", "true or false"),
    ("probe.batch_size=-5", "whole number"),
    ("probe.lr=0", "> 0"),
    ("probe.seeds=[]", "at least one"),
    ("probe.seeds=3", "list"),
    ("probe.seeds=[0,a]", "whole numbers"),
    ("probe.seeds=[0,0]", "different"),
    ("probe.num_draws=0", "whole number"),
    ("probe.augmentation_seed=x", "whole number"),
    ("generator.seed=-1", "whole number"),
    ("generator.checkpoint=3", "path"),
    ("generator.max_channels=0", "whole number"),
    ("generator.channel_multiplier=0.5", "whole number"),
    ("generator.channel_base=0", "null"),
    ("generator.latent_dim=-4", "whole number"),
    ("generator.num_mapping_layers=0", "whole number"),
    ("generator.batch_size=6", "multiple of 4"),
    ("generator.lr=inf", "> 0"),
    ("generator.r1_weight=-1", "≥ 0"),
    ("generator.r1_every=0", "≥ 1"),
    ("generator.path_length_weight=nan", "≥ 0"),
    ("generator.path_length_every=0", "≥ 1"),
    ("generator.path_length_batch_shrink=0", "≥ 1"),
    ("generator.mixing_probability=1.5", "probability"),
    ("generator.ema_half_life_steps=-1", "> 0"),
    ("generator.ema_half_life_steps=0", "> 0"),
    ("generator.ema_half_life_steps=1e17", "1e15"),
    ("generator.checkpoint_every=0", "≥ 1"),
    ("inversion.seed=a", "whole number"),
    ("inversion.latents=true", "path"),
    ("inversion.batch_size=0", "≥ 1"),
    ("inversion.lr=nan", "> 0"),
    ("inversion.mse_weight=-1", "≥ 0"),
    ("inversion.perceptual_weight=-1", "≥ 0"),
    ("inversion.adversarial_weight=inf", "≥ 0"),
    ("inversion.r1_weight=-10", "≥ 0"),
    ("inversion.r1_every=2.5", "≥ 1"),
    ("inversion.checkpoint_every=0", "≥ 1"),
    ("inversion.optimization.lr=0", "> 0"),
    ("inversion.optimization.lr_schedule=step", "cosine"),
    ("inversion.optimization.mse_weight=-1", "≥ 0"),
    ("inversion.optimization.perceptual_weight=-1", "≥ 0"),
    ("inversion.optimization.in_domain_weight=-2", "≥ 0"),
    ("inversion.optimization.tile=0", "≥ 1"),
    ("inversion.optimization.keep=first", "best or last"),
    ("inversion.perceptual_norm=linf", "l1 or l2"),
]


@pytest.mark.parametrize(("override", "allowed"), IMPOSSIBLE, ids=[case[0] for case in IMPOSSIBLE])
def test_a_value_that_can_never_work_is_refused(override, allowed):
    key = override.split("=")[0]
    with pytest.raises(UserError, match=rf"^{re.escape(key)}=.*cannot be used.*{re.escape(allowed)}") as caught:
        job_of("dataset=cifar10", override)
    assert "\n" not in str(caught.value)


def keys_of(node, prefix):
    for key, value in node.items():
        if isinstance(value, DictConfig):
            yield from keys_of(value, f"{prefix}.{key}")
        else:
            yield f"{prefix}.{key}"


@pytest.mark.parametrize("group", ["generator/stylegan2", "generator/bigbigan", "inversion/indomain"])
def test_a_class_says_what_every_setting_of_a_generator_and_of_the_inversion_may_be(group):
    keys = set(keys_of(OmegaConf.load(CONF / f"{group}.yaml"), group.split("/")[0]))
    assert len(keys) > 5
    chosen = {f"{name}.{key}" for name in ("generator", "inversion") for key in ("name", "_target_")}
    assert keys - set(known_keys()) <= chosen


def test_the_longest_half_life_still_decays():
    assert 0.5 ** (1 / 1e15) < 1
    assert 0.5 ** (1 / 1e17) == 1


@pytest.mark.parametrize("stage", ["prepare_data", "train_generator", "train", "evaluate", "report"])
def test_a_shard_of_what_is_not_shared_is_refused(stage):
    overrides = ["dataset=cifar10", "shard=1/2"]
    with pytest.raises(UserError, match=rf"^shard=1/2 would be ignored: assimilate\.{stage} .*invert and make_views"):
        make_job(stage, compose(overrides), overrides)
    for sharing in ("invert", "make_views"):
        make_job(sharing, compose(overrides), overrides)


@pytest.mark.parametrize("shard", ["9/8", "0/8", "3", "3/0", "a/b", "-1/2"])
def test_a_shard_that_there_is_not_is_refused_by_a_plan_too(shard):
    overrides = ["dataset=cifar10", f"shard={shard}", "prepare=plan"]
    with pytest.raises(UserError, match=rf"^shard={shard} cannot be used: allowed is null or k/n with 1 ≤ k ≤ n"):
        make_job("make_views", compose(overrides), overrides)


@pytest.mark.parametrize("objective", ["accuracy", "knn10", "acc1_last"])
def test_a_metric_that_no_run_has_is_refused_before_it_is_trained(objective):
    allowed = "null, knn5_train, acc1, acc5, knn5, knn5_euclidean or knn200"
    with pytest.raises(UserError, match=rf"^objective={objective} cannot be used: allowed is {allowed}$"):
        job_of("recipe=digits", "probe=essl", f"objective={objective}")


def test_metrics_of_a_probe_of_its_own_may_be_searched_by():
    assert job_of("probe=dkobak_precomputed", "objective=knn10").config["objective"] == "knn10"
    assert job_of("probe=supcontrast", "objective=acc1_last").config["objective"] == "acc1_last"


SIZES = [
    (["assim=simclr", "dataset.image_size=24"], None),
    (["assim=simclr", "dataset.image_size=96"], None),
    (["view=expert", "dataset.image_size=24"], None),
    (["generator._target_=a.B", f"inversion.latents={__file__}", "dataset.image_size=24"], None),
    (["dataset.image_size=128"], None),
    (["dataset.image_size=24"], r"allowed is 8, 16, 32, 64, 128 or 256: StyleGAN2 doubles from 4"),
    ([f"generator.checkpoint={__file__}", "dataset.image_size=96"], "StyleGAN2 doubles from 4"),
    (["generator._target_=a.B", "dataset.image_size=24"], r"encoder of the inversion halves.*inversion\.latents="),
    (["assim=simclr", "dataset.image_size=4"], "a whole number ≥ 8"),
    (["assim=simclr", "dataset.image_size=24.5"], "a whole number ≥ 8"),
]


@pytest.mark.parametrize(("overrides", "message"), SIZES, ids=[" ".join(case[0]) for case in SIZES])
def test_sizes_are_those_of_the_networks_that_the_run_has(overrides, message):
    if message is None:
        job_of(*overrides)
        return
    with pytest.raises(UserError, match=rf"^dataset\.image_size=[\d.]+ cannot be used: .*{message}"):
        job_of(*overrides)


def test_milestones_are_shares_of_the_epochs():
    with pytest.raises(UserError, match=r"optimizer\.milestones=\[950\].*shares"):
        job_of("dataset=tinyimagenet", "recipe=htdt", "optimizer.milestones=[950]")


ARRANGEMENTS = [
    (["assim=a2", "assim.view3=null"], r"assim\.view3=null.*take assim=simclr"),
    (["assim=simclr", "assim.view3=generated"], r"assim\.view3=generated.*take assim=a2"),
    (["assim=a1", "assim.view3=basic"], r"assim\.view3=basic.*take assim=a2"),
    (["assim=a1", "assim.view2=basic"], r"assim\.view2=basic leave assim=a1 without a generated view"),
    (["assim=a2", "data.crop_size=40"], r"assim\.generated_transform=flip.*32² beside.*40.*data\.crop_size=32"),
    (["assim=simclr", "assim.view1=none", "data.crop_size=40"], r"assim\.view1=none.*data\.crop_size=32"),
]


@pytest.mark.parametrize(("overrides", "message"), ARRANGEMENTS, ids=[" ".join(case[0]) for case in ARRANGEMENTS])
def test_views_that_do_not_fit_together_are_refused(overrides, message):
    with pytest.raises(UserError, match=message):
        job_of("dataset=cifar10", *overrides)


GENERATED = ["assim.view1=generated", "assim.view2=generated"]
IGNORED = [
    (["assim=simclr", "simclr_loss=ntxent"], "trains no f"),
    (["view=expert", "simclr_loss=ntxent"], "trains no f"),
    (["view=wperturb", "simclr_loss=ntxent"], "trains no f"),
    ([f"view.encoder.checkpoint={__file__}", "simclr_loss=ntxent"], "trains no f"),
    ([f"view.encoder.checkpoint={__file__}", "view.encoder.seed=1"], "trains no f"),
    (["recipe=dkobak", "optimizer.warmup_epochs=10"], "cosine_per_epoch does not read it"),
    (["recipe=htdt", "optimizer.warmup_epochs=10"], "multistep does not read it"),
    (["optimizer.schedule=constant", "optimizer.warmup_epochs=10"], "constant does not read it"),
    (["+optimizer.gamma=0.1"], "cosine_with_warmup does not read it"),
    (["+optimizer.milestones=[0.5]"], "cosine_with_warmup does not read it"),
    (["recipe=simsiam", "assim=simclr", "loss.temperature=0.1"], "loss=simsiam has no temperature"),
    (["recipe=simsiam", "loss=simsiam", "loss.base_temperature=0.1"], "loss=simsiam has no base_temperature"),
    (["encoder.predictor_dim=512"], "only loss=simsiam"),
    (["encoder.projector=linear", "encoder.hidden_dim=64"], "no hidden layer"),
    (["encoder.projector=none", "encoder.output_dim=64"], "leaves the features"),
    (["view=viewmaker", "assim=simclr", *GENERATED, "data.expert.jitter_probability=0"], "draws an expert view"),
    (["view=expert", "assim.generated_transform=crop50"], r"drawn anew.*view\.cached=true"),
    (["assim.view3=basic", "assim.generated_transform=crop50"], "no view of this run is a generated one"),
    (["assim=simclr", "assim.view1=basic", "assim.view2=basic", "data.expert.jitter_probability=0"], "expert view"),
    (["probe=htdt", "probe.num_draws=4"], "draws nothing"),
    (["inversion.perceptual=none", "inversion.perceptual_norm=l2"], "no feature maps"),
    (["probe=dkobak_precomputed", "probe.augmentation_seed=4"], "draws nothing"),
    (["probe.name=essl_as_coded", "probe.draws=independent"], "draws nothing"),
]


@pytest.mark.parametrize(("overrides", "reason"), IGNORED, ids=[" ".join(case[0]) for case in IGNORED])
def test_a_setting_that_nothing_reads_is_refused(overrides, reason):
    key = overrides[-1].split("=")[0].lstrip("+")
    with pytest.raises(UserError, match=rf"^{re.escape(key)} would be ignored: .*{reason}") as caught:
        job_of("dataset=cifar10", *overrides)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "overrides",
    [
        ["simclr_loss=ntxent"],
        ["recipe=supcontrast", "+optimizer.final=0.01"],
        ["recipe=htdt", "optimizer.gamma=0.1", "optimizer.warmup_steps=100"],
        ["recipe=simsiam", "assim=a2", "loss.temperature=0.1"],
        ["recipe=simsiam", "assim=a2", "encoder.predictor_dim=256"],
        ["recipe=simsiam", "assim=a2", "loss=simsiam", "simclr_loss=infonce", "loss.temperature=0.1"],
        ["view=expert", "view.cached=true", "assim.generated_transform=crop50"],
        ["assim=simclr", "assim.view1=basic", "assim.view2=expert", "data.expert.jitter_probability=0"],
        ["view=wperturb", "inversion.perceptual=encoder", "simclr_loss=ntxent"],
        ["probe.num_draws=4", "probe.draws=independent"],
        [f"inversion.checkpoint={__file__}", "inversion.perceptual_norm=l2", "inversion.optimization.keep=last"],
    ],
    ids=" ".join,
)
def test_a_setting_that_something_reads_is_taken(overrides):
    job_of("dataset=cifar10", *overrides)


def test_accumulation_says_that_it_is_no_larger_batch():
    notices = job_of("dataset=cifar10", "accumulate_grad_batches=4").notices
    assert any("contrasted" in notice and "not batch_size=512" in notice for notice in notices)
    assert not any("accumulate" in notice for notice in job_of("dataset=cifar10").notices)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("dataset.name=../elsewhere", "the name of one folder"),
        ("dataset.name=a/b", "the name of one folder"),
        ("data.expert=none", r"a setting in it, data\.expert\.<name>=…"),
        ("knn=0", r"a setting in it, knn\.<name>=…"),
        ("view.search=fast", "a setting in it"),
        ("force=yes", "true or false"),
        ("out=null", "a folder"),
        ("out=", "a folder"),
        ("view.seed=abc", "a whole number from 0"),
        ("view.encoder.seed=-1", "a whole number from 0"),
        ("view.encoder.checkpoint=[]", "null or a path"),
        ("view.search.noise_first_view=maybe", "true or false"),
        ("trainer.accelerator=cuda", "auto, cpu or gpu"),
        ("trainer.channels_last=2", "true or false"),
        ("objective=[]", "null, knn5_train or a metric"),
        ("dataset.name=" + "x" * 300, "the name of one folder"),
        (f"seed={2**64}", "2⁶⁴ − 1"),
        (f"view.seed={10**40}", "2⁶⁴ − 1"),
        (f"probe.seeds=[0,{2**64}]", "2⁶⁴ − 1"),
    ],
)
def test_what_a_key_cannot_hold_is_refused_before_anything_starts(override, message):
    with pytest.raises(UserError, match=rf"cannot be used: allowed is .*{message}"):
        job_of(override)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("dataset.mean=0.5", "three numbers from 0 to 1, one a channel"),
        ("dataset.mean=[0.5]", "three numbers from 0 to 1, one a channel"),
        ("dataset.mean=[0.5,0.5,nan]", "three numbers from 0 to 1"),
        ("dataset.mean=[0.5,0.5,-0.1]", r"on the scale where a pixel is in \[0, 1\]$"),
        ("dataset.mean=[125.3,123.0,113.9]", r"0 … 255: give \[0\.4914,0\.4824,0\.4467\]$"),
        ("dataset.std=[63.0,62.1,66.7]", r"0 … 255: give \[0\.2471,0\.2435,0\.2616\]$"),
        ("dataset.std=[0,0,0]", "three numbers from 0.01 to 1"),
        ("dataset.std=[-0.2,0.2,0.2]", "three numbers from 0.01 to 1"),
    ],
)
def test_mean_and_std_are_on_the_scale_of_pixels(override, message):
    with pytest.raises(UserError, match=rf"cannot be used: allowed is .*{message}"):
        job_of("dataset=cifar10", override)


def test_a_data_set_may_be_called_by_a_number():
    assert job_of("dataset.name=2024").run_dir.parts[-2:] == ("2024", "seed0")


@pytest.mark.parametrize("setting", ["every_n_steps=0", "checkpoints=often", "suffix=[]", "project=null"])
def test_what_wandb_cannot_be_told(setting):
    with pytest.raises(UserError, match=r"logger\..*cannot be used"):
        job_of("logger=wandb", f"logger.{setting}")


def test_one_image_is_no_data_set_to_contrast():
    with pytest.raises(UserError, match="1 training image, but contrastive losses need negatives"):
        Recipe(job_of("drop_last=false").config).encoder.require_images(1)


@pytest.mark.parametrize("root", ["", "null", "' '"])
def test_no_root_is_not_the_working_directory(root):
    with pytest.raises(UserError, match=r"dataset\.root=/path/to/images"):
        job_of("dataset=folder", f"dataset.root={root}")


def test_statistics_of_given_weights_and_of_the_probed_images_are_checked_like_the_run_s():
    for key in ("input.std", "dataset.evaluation.std"):
        with pytest.raises(UserError, match=rf"^{key}=.*0\.01 to 1"):
            job_of("dataset=imagenet_fake", f"generator.checkpoint={__file__}", f"{key}=[0.2,0.2,0]")
    kept = ("dataset.mean=[0,0,0]", "dataset.std=[1,1,1]")
    assert job_of("dataset=cifar10", *kept).config["dataset"]["std"] == [1, 1, 1]


def test_a_number_in_quotes_is_that_number_and_an_impossible_one_is_shown_in_them(monkeypatch):
    monkeypatch.setenv("S", "4")
    quoted = job_of("optimizer.lr='1e-3'", "seed=${oc.env:S}", "view.epsilon1='0.3'")
    plain = job_of("optimizer.lr=1e-3", "seed=4", "view.epsilon1=0.3")
    assert quoted.identity == plain.identity
    assert quoted.run_dir.name == "seed4"
    with pytest.raises(UserError, match=r"^seed='-4' cannot be used"):
        job_of("seed='-4'")
    assert job_of("dataset.name='2024'").config["dataset"]["name"] == "2024"  # where a text may stand, it stays one


@pytest.mark.parametrize(
    "words",
    [
        ("dataset=folder", 'dataset.root="~/images"'),
        ('out="~/out"',),
        ("view=external", 'view.path="~someone/views"'),
        ('checkpoint="~/encoder.pth"',),
        ('generator.checkpoint="~/g.pt"',),
    ],
)
def test_a_home_that_the_system_does_not_know_is_told(homeless, words):
    said = words[-1].replace('"', "")
    with pytest.raises(UserError, match=rf"^{said} cannot be used: ~.*no home folder"):
        make_job("evaluate", compose(words), words)
