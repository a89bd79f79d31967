"""What is refused before anything is made, in one line that helps."""

import errno
import os
import re
from collections.abc import Callable

import pytest
from pydantic import ValidationError

from assimilate.errors import UserError
from assimilate.graph.settings import Settings
from assimilate.jobs.command import stage
from assimilate.run.composing import compose

REFUSED = [
    (["+tabel3=x"], r"\+tabel3 is no table.*\+table3"),
    (["+table3=expert_expert_wsearch_a3"], r"no row 'expert_expert_wsearch_a3'.*expert_expert_wsearch_a2"),
    (["+table3=expert_wsearch_a1", "+table3=expert_wperturb_a1"], "one row at a time"),
    (["+epoch=3"], r"\+epoch is no table of rows, and no key\. Did you mean epochs=…\?$"),
    (["+batchsize=3"], r"Did you mean batch_size=…\?$"),
    (["+epochs=3"], r"\+epochs=3 cannot be used: a key is given without \+, epochs=…$"),
    (["+view.epsilon1=0.3"], r"\+view\.epsilon1 cannot be used: .* without \+, view\.epsilon1=…$"),
    (["+loss.temp=1"], r"Did you mean loss\.temperature or loss\.alpha\?$"),
    (["encoder.projector=torch.nn.Linear", "encoder.hiden_dim=3"], r"^assimilate\.train: encoder\.hiden_dim=3 cannot"),
    (["encoder.projector=torch.nn.Linear", "encoder.hiden_dim=3"], r"Did you mean encoder\.hidden_dim\?$"),
    (["+foo.bar=1"], "nothing reads foo.bar"),
    (["++foo=1"], "nothing reads foo"),
    (["vieww=wsearch"], "Did you mean view"),
    (["view=wserch"], "Did you mean view=wsearch"),
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
    (["trainer.compile=fast"], "trainer.compile=fast.*reduce-overhead"),
    (["trainer.compile=reduce-overhead", "accumulate_grad_batches=2"], "with accumulate_grad_batches=2.*compile=true"),
    (["trainer.compile=max-autotune", "assim=a2", "view=online"], "with view=online.*compile=true"),
    (["assim=a1", "view.n_sampled=2"], "view.n_sampled would be ignored"),
    ([f"generator.checkpoint={__file__}", "generator.num_steps=7"], "generator.num_steps would be ignored"),
    (["generator.augment=ada"], "generator.augment=ada.*none, leak or diffaugment$"),
    (["generator.augment=mymod.Aug"], r"generator.augment=mymod\.Aug.*none, leak or diffaugment$"),
    (["generator.augment=leak", "generator.augment_probability=1.5"], "generator.augment_probability=1.5"),
    (["generator.augment_probability=0.3"], "generator.augment_probability would be ignored"),
    (["generator.sample_every=-1"], "generator.sample_every=-1"),
    (["generator.save_every_images=0.5"], "generator.save_every_images=0.5"),
    (["generator.frechet=fid"], "generator.frechet=fid.*none, inception or encoder$"),
    (["generator.frechet=mymod.Fr"], r"generator.frechet=mymod\.Fr.*none, inception or encoder$"),
    (["generator.frechet=encoder", "generator.frechet_images=1"], "generator.frechet_images=1"),
    (["generator.frechet_every=10"], "generator.frechet_every would be ignored"),
    (
        ["generator.frechet=inception", f"generator.frechet_encoder={__file__}"],
        "generator.frechet_encoder would be ignored",
    ),
    (["dataset"], "dataset"),
    (["row=table3/expert_expert_simclr"], r"row=table3/expert_expert_simclr cannot be set by itself: give \+table3="),
    (["row=3"], r"row=3 cannot be set by itself"),
    (["+table3=expert_expert_simclr", "paper.cifar10.acc1=1"], r"paper\.cifar10\.acc1=1 cannot be set by itself"),
    (["budget=smoke", "budget.name=paper"], r"budget\.name=paper cannot be set by itself: give budget="),
    (["budget=smoke", "budget.caps.epochs=9"], r"budget\.caps\.epochs=9 cannot be set by itself"),
    (["view.name=wperturb"], r"view\.name=wperturb cannot be set by itself: give view="),
    (["~view.epsilon1"], r"~view\.epsilon1: no key can be taken away"),
    (["~logger"], r"~logger: no key can be taken away"),
    (["budget=null"], "budget=null cannot be used: allowed is one of cpu, demo, paper, short, smoke"),
    (["metrics=null"], "metrics=null cannot be used: allowed is one of collapse"),
    (["dataset_view=null"], "dataset_view=null cannot be used: allowed is one of cifar100_viewmaker"),
    (["dataset_view=cifar10_wserch"], "there is no such option. Did you mean dataset_view=cifar10_wsearch"),
    (["recipe_view=1"], "recipe_view=1: there is no such option. Options: digits_wmix"),
    (["dataset=/a/b"], "A path is given as dataset=folder dataset.root=/a/b. Options: cifar10,"),
    (["dataset=./shapes"], r"A path is given as dataset=folder dataset.root=\./shapes\. Options: cifar10,"),
    (["epochs", "3"], "epochs cannot be read: expected key=value, e.g. epochs=…"),
    (["=3"], "=3 cannot be read: expected key=value"),
    (["hydra/launcher=3"], "hydra/launcher=3: there is no such option. Options: basic"),
    (["hydra/launcher=null"], "hydra/launcher=null cannot be used: allowed is one of basic"),
    (["view=wfine"], r"view=wfine: there is no such option\. Options: .*\. Options of your own: --config-dir=FOLDER$"),
    (["recipe=true"], "recipe=true: there is no such option"),
    (["batch_size=true"], "batch_size=true cannot be used: allowed is a whole number"),
    (["generator.truncation=false"], "generator.truncation=false cannot be used: allowed is a number"),
    (["data.std=[true,true,true]"], r"data\.std=\[true,true,true\] cannot be used: allowed is null or three numbers"),
    (["data.expert.jitter=[true,0,0,0]"], r"data\.expert\.jitter=\[true,0,0,0\] cannot be used"),
    (["-m", "view=wsearch,null"], "view=null cannot be used: allowed is one of basic"),
    (["view=[wsearch,wperturb]"], r"view=\[wsearch,wperturb\] cannot be used: .*-m view="),
    (["loss={a: 1}"], r"loss\.a cannot be set: this run has no such key\. "),
    (["loss={temperature: 0.2, b: {c: 1}}", "assim=a1"], r"loss\.b cannot be set: this run has no such key\. "),
    (["view={sigma: 1}"], r"view\.sigma cannot be set: this run has no such key\. "),
    (["-m", "view={sigma: 1}", "seed=0,1"], r"view\.sigma cannot be set: this run has no such key\. "),
    (["dataset={root: /x}"], "dataset.root cannot be set.*It is a key of dataset=folder$"),
    (["recipe_view={a: 1}"], "recipe_view cannot be set: .* It chooses one of digits_wmix"),
    (["recipe_view={}"], "recipe_view cannot be set: .* It chooses one of digits_wmix"),
    (["+table3=null"], "table3 has no row None"),
    (["+table3=[expert_expert_simclr]"], "table3 has no row"),
    (["+dataset=digits"], "without \\+, dataset="),
    (["++dataset=digits"], "without \\+, dataset="),
    (["+dataset_view=cifar10_wsearch"], "without \\+, dataset_view="),
    (["+table3@x=expert_expert_simclr"], "without @"),
    (["dataset.root=/x"], "It is a key of dataset=folder$"),
    (["view.path=/x"], "It is a key of view=external$"),
    (["digits"], "digits cannot be read: expected key=value, e.g. dataset=digits; put a value with spaces"),
    (["wsearch"], "expected key=value, e.g. view=wsearch;"),
    (["gpu=1"], r"gpu cannot be set: .* Did you mean trainer=gpu\?$"),
    (["batch=64"], r"Did you mean batchnorm, batch_size or view\.batch\?$"),
    (["assim=A2"], r"Did you mean assim=a2\?"),
    (["table3=expert_expert_simclr"], r"table3 cannot be set: this run has no such key\. A row is added: \+table3=…$"),
    (["dataset.name=Köln"], "quote its value, 'dataset.name=\"Köln\"'"),
    (["--config-name=other"], "--config-name cannot be used.*--config-dir"),
    (["--nonsense"], "unrecognized arguments: --nonsense. A setting is given without dashes, key=value"),
    (["--dataset", "folder"], "--dataset cannot be used: a setting is given without dashes, dataset=folder$"),
    (["--batch-size=32"], "--batch-size=32 cannot be used: a setting is given without dashes, batch_size=32$"),
    (["--dataset.root", "seed=1"], r"a setting is given without dashes, dataset\.root=…$"),
    (["root=/x"], r"root cannot be set: .* Did you mean dataset\.root or dataset\.evaluation\.root\?$"),
    (["root=/x", "dataset=cifar10"], r"Did you mean dataset\.root\?$"),
    (["+root=/x"], r"\+root is no table of rows, and no key\. Did you mean dataset\.root"),
    (["dataset=folder", "dataset.root=${a}"], r"dataset\.root=\$\{a\} cannot be used: .* there is no key a$"),
    (
        ["dataset=folder", "dataset.root=/x/${oc.env:NOWHERE_AT_ALL}"],
        r"dataset\.root=/x/\S+ cannot be used: .*'NOWHERE",
    ),
    (["view={name: 1}"], r"view=\{name: 1\} cannot be set by itself: give view=<its name>$"),
    (["budget={name: paper, caps: {epochs: 9}}"], r"budget=\S.* cannot be set by itself: give budget=<its name>"),
    (["-m", "--cfg", "job"], "--multirun and --cfg exclude each other"),
    (["--config-dir=/nowhere/at/all"], "/nowhere/at/all: there is no such folder. Give the folder that holds yours"),
    (["--config-dir=/usr/shar"], "--config-dir=/usr/shar: there is no such folder. Did you mean /usr/share[?]"),
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


class Nested(Settings):
    pairs: tuple[tuple[int, float], ...] = ()
    named: dict[str, float] | None = None
    either: dict[str, list[float | bool]] | None = None
    open: int | dict | list | None = None
    called: Callable[[int], float] | None = None


@pytest.mark.parametrize(
    "given", [{"pairs": ((True, 1.0),)}, {"pairs": [[1, False]]}, {"named": {"a": True}}, {"open": True}]
)
def test_no_boolean_stands_for_a_number_however_deep(given):
    with pytest.raises(ValidationError, match="a number is needed"):
        Nested(**given)


@pytest.mark.parametrize(("given"), [{"either": {"a": [True]}}, {"open": {"a": True}}, {"open": [[True]]}])
def test_a_boolean_stays_one_where_the_type_lets_it_in(given):
    ((name, value),) = given.items()
    assert repr(getattr(Nested(**given), name)) == repr(value)


def test_what_is_called_is_no_boolean_and_no_number():
    with pytest.raises(ValidationError, match="callable"):
        Nested(called=True)
    assert Nested(called=round).called is round


def test_unwritable_out_is_refused(tmp_path, probe_stage, capsys):
    main, jobs = probe_stage
    (tmp_path / "file").write_text("")
    assert main([f"out={tmp_path / 'file' / 'out'}"]) == 2
    assert "cannot be written" in capsys.readouterr().err
    assert not jobs


@pytest.mark.parametrize(("number", "says"), [(errno.EACCES, "Permission denied"), (errno.EROFS, "Read-only")])
def test_a_folder_that_refuses_is_no_traceback(number, says, tmp_path, capsys):
    @stage("train")
    def main(job):
        raise OSError(number, os.strerror(number), f"{job.out}/artifacts/views")

    assert main([f"out={tmp_path}"]) == 2
    error = capsys.readouterr().err
    assert f"{tmp_path}/artifacts/views: {says}" in error
    assert "Traceback" not in error
    assert error.count("\n") == 1


def test_an_error_of_ours_is_not_taken_for_the_disks(tmp_path, capsys):
    @stage("train")
    def main(job):
        raise FileNotFoundError(errno.ENOENT, "no such file", "x")

    assert main([f"out={tmp_path}"]) == 1
    assert capsys.readouterr().err.endswith("FileNotFoundError: [Errno 2] no such file: 'x'\n")


def test_a_row_without_its_plus_says_so(probe_stage, capsys):
    main, jobs = probe_stage
    assert main(["table3=expert_expert_simclr", "dataset=digits"]) == 2
    assert "+table3=" in capsys.readouterr().err
    assert not jobs


@pytest.mark.parametrize(
    ("overrides", "options"),
    [
        (["view=wperturb", "view.epsilon2=0.2"], ["view=online", "view=wsearch"]),
        (["view=online", "view.sigma=0.2"], ["view=wperturb"]),
        (["loss=simsiam", "optimizer.betas=1"], []),
    ],
)
def test_a_key_of_another_option_is_not_suggested_to_itself(overrides, options):
    with pytest.raises(UserError) as refusal:
        compose(overrides)
    key = overrides[-1].split("=")[0]
    assert f"Did you mean {key}" not in str(refusal.value)
    for option in options:
        assert option in str(refusal.value)


def test_a_figures_key_is_said_to_be_of_its_figure():
    with pytest.raises(UserError, match=r"analysis\.views.*It is a key of .*analysis=distances"):
        compose(["analysis=grid", "analysis.views=[wsearch]"])
