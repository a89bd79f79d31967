"""What a user types: keys that nothing reads, flags anywhere, paths of any spelling, options of their own."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from assimilate.errors import UserError
from assimilate.jobs.command import stage
from assimilate.jobs.runs import write_metrics
from assimilate.pages.result_file import read_metrics
from assimilate.run.composing import compose, hydra_ready
from assimilate.run.config import make_job
from assimilate.run.job import shell_word
from assimilate.run.keys import known_keys
from assimilate.run.known_keys import CONF, settings_in
from assimilate.run.words import read_command_line


def job_of(*overrides):
    return make_job("train", compose(overrides), overrides)


def jobs_of(*arguments, name="train"):
    """The jobs that a command line starts, and its exit code."""
    jobs = []
    code = stage(name)(lambda job: jobs.append(job))(list(arguments))
    return jobs, code


# ------------------------------------------------------------------------------------------------ keys nobody reads

# Over every group, in every stage: the words, and what the refusal names.
TYPOS = [
    ("train", ["+view.epsilon=0.3"], "view.epsilon1"),
    ("train", ["+trainer.max_stepz=5"], "trainer"),
    ("train", ["+assim._target_=my.MoCo"], "assim"),
    ("train", ["+optimizer.x=1"], "optimizer"),
    ("train", ["+callbacks.x.y=1"], "callbacks.x"),
    ("train", ["+loggers.x.y=1"], "loggers.x"),
    ("train", ["+metrics.x.y=1"], "metrics.x"),
    ("train", ["+optimizer.learning_rate=0.1"], "optimizer"),
    ("train", ["recipe=htdt", "+optimizer.momentum=0.5"], "optimizer=sgd"),
    ("train", ["+loss.tau=0.07"], "loss"),
    ("train", ["+encoder.depth=50"], "encoder"),
    ("train", ["+data.expert.blur=0.5"], "data.expert"),
    ("train", ["+data.num_workers=4"], "data"),
    ("train", ["+knn.k=200"], "knn"),
    ("train", ["+view.encoder.training.optimizer.betas=[0.9,0.99]"], "view.encoder"),
    ("train", ["+view.encoder.training.optimizer.milestones=[0.5]"], "optimizer.milestones would be ignored"),
    ("train", ["+view.encoder.training.loss.alpha=1"], "loss.alpha would be ignored"),
    ("train", ["+view.encoder.training={optimizer: {gamma: 0.1}}"], "view.encoder.training.optimizer.gamma"),
    ("train", ["+logger.project=mine"], "logger=wandb"),
    ("train", ["+budget.epochs=3"], "budget"),
    ("train", ["++hydra.jobs.chdir=true"], "Did you mean job?"),
    ("train", ["+hydra.job.cwd=/x"], "Hydra has no setting cwd there"),
    ("train", ["+recipe.epochs=3"], "recipe"),
    ("train", ["+dataset_view.epsilon1=0.1"], "dataset_view"),
    ("train", ["+view_encoder.seed=1"], "view_encoder"),
    ("make_views", ["+view.sigma=0.3"], "view=wperturb"),
    ("make_views", ["+view.search.num_steps=9"], "view.search"),
    ("make_views", ["++view.search={steps: 9}"], "view.search.steps"),
    ("train_generator", ["+generator.width=8"], "generator"),
    ("train_generator", ["+generator.num_step=8"], "generator.num_steps"),
    ("invert", ["+inversion.steps=8"], "inversion"),
    ("invert", ["++inversion.optimization.steps=8"], "inversion.optimization.num_steps"),
    ("prepare_data", ["+dataset.size=64"], "dataset"),
    ("prepare_data", ["+dataset.root=/my/images"], "dataset=folder"),
    ("evaluate", ["+probe.epochs=5"], "probe.num_epochs"),
    ("evaluate", ["+input.size=64"], "input.image_size"),
    ("analyze", ["+analysis.num_image=4"], "analysis.num_images"),
    ("analyze", ["analysis=distances", "+analysis.mine.epochs=4"], "analysis"),
    ("report", ["+hinge=view"], "Did you mean view.hinge?"),
    ("train", ["+view/search=x"], "no table"),
    ("train", ["+table3=expert_expert_wsearch_a2", "+view.epsilon=0.3"], "view.epsilon1"),
    ("train", ["-m", "seed=0,1", "+view.epsilon=0.1,0.2"], "view.epsilon1"),
    ("train", ["-m", "view=wsearch,wperturb", "+view.sigma=0.1"], "view=wperturb"),
    ("train", ["-m", "sweep=table15", "++loss.weight=1"], "loss"),
]


@pytest.mark.parametrize(("name", "words", "says"), TYPOS, ids=[" ".join(words) for _, words, _ in TYPOS])
def test_a_key_that_nothing_reads_is_refused(name, words, says, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("ASSIMILATE_DATA", str(tmp_path / "data"))
    for module in ("torch", "lightning"):  # an import of it fails
        monkeypatch.setitem(sys.modules, module, None)
    with hydra_ready():
        jobs, code = jobs_of(*words, f"out={tmp_path / 'out'}", name=name)
    assert code == 2
    assert not jobs
    error = capsys.readouterr().err
    assert error.count("\n") == 1, error
    assert says in error
    assert not list(tmp_path.iterdir())


def test_every_group_has_its_typo():
    groups = {path.name for path in CONF.iterdir() if path.is_dir()}
    tried = {re.split(r"[.=/]", words[-1].lstrip("+"))[0] for _, words, _ in TYPOS}
    # Of these only options are chosen; their files set keys of other groups.
    assert groups - tried <= {"recipe_dataset", "recipe_view", "sweep"}


@pytest.mark.parametrize(
    ("words", "key", "value"),
    [
        (["++view.epsilon1=0.3"], "view.epsilon1", 0.3),
        (["+hydra.job.env_set.X=1", "++hydra.job.chdir=false", "view.epsilon1=0.3"], "view.epsilon1", 0.3),
        (["+optimizer.final=0.01", "recipe=supcontrast"], "optimizer.final", 0.01),
        (["+view.encoder.training.epochs=3"], "view.encoder.training.epochs", 3),
        (["+view.encoder.training={optimizer: {lr: 0.5}}"], "view.encoder.training.optimizer.lr", 0.5),
        (["generator._target_=a.B", "+generator.width=8"], "generator.arguments.width", 8),
        (["+generator.net={x: 1}", "generator._target_=a.B"], "generator.arguments.net.x", 1),
    ],
)
def test_a_key_that_is_read_may_be_added(words, key, value):
    node = job_of(*words).config
    for part in key.split("."):
        node = node[part]
    assert node == value


def test_every_setting_of_a_file_belongs_to_a_group():
    """The check of additions derives what is known from the files: each has its place right."""
    rules = set(known_keys())
    found = {key for path in CONF.rglob("*.yaml") for key in settings_in(path)}
    assert len(rules & found) > 150
    roots = {path.name for path in CONF.iterdir()} | {key.split(".")[0] for key in settings_in(CONF / "config.yaml")}
    assert {key.split(".")[0] for key in found} <= roots


# ------------------------------------------------------------------------------------------------ named options


@pytest.mark.parametrize(
    ("words", "key", "value"),
    [
        (["dataset=cifar10", "loss=viewmaker"], "loss.temperature", 0.07),
        (["dataset=cifar10", "recipe=clsp", "loss=viewmaker"], "loss.alpha", 0.14),
        (["dataset=cifar10", "loss=viewmaker", "loss.temperature=0.2"], "loss.temperature", 0.2),
        # Table 10's settings of a pair, which the rows have, stand above both.
        (["dataset=cifar100", "view=viewmaker", "loss=viewmaker"], "loss.temperature", 0.1),
        (["dataset=cifar10", "optimizer=adam"], "optimizer.schedule", "constant"),
        # What it leaves open is the recipe's.
        (["dataset=cifar10", "optimizer=adam"], "optimizer.lr", 0.015),
        (["dataset=cifar100", "loss=full"], "loss.base_temperature", 0.07),
        (["dataset=digits", "probe=clsp"], "probe.num_draws", 8),
        # To name what would be chosen anyway, or what the recipe was written for, changes nothing.
        (["dataset=imagenet", "assim=a2", "loss=infonce"], "loss.temperature", 0.1),
        (["dataset=imagenet", "assim=a2", "loss=ntxent"], "loss.temperature", 0.1),
        (["dataset=imagenet", "assim=a2", "loss=full"], "loss.temperature", 0.5),
        # A recipe's head goes with any backbone.
        (["dataset=cifar10", "encoder=resnet50"], "encoder.projector", "essl"),
        (["dataset=cifar10", "recipe=clsp", "encoder=resnet18"], "encoder.projector", "clsp"),
    ],
)
def test_a_named_options_values_beat_a_recipes(words, key, value):
    group, name = key.split(".")
    with hydra_ready():
        assert compose(words)[group][name] == value


def test_a_job_and_its_cfg_have_the_named_options_values(tmp_path, capsys):
    words = ["dataset=cifar10", "loss=viewmaker", f"out={tmp_path}"]
    (job,), code = jobs_of(*words)
    assert (code, job.config["loss"]["temperature"]) == (0, 0.07)
    assert jobs_of(*words, "--cfg", "job", "--package", "loss") == ([], 0)
    assert "temperature: 0.07" in capsys.readouterr().out


# ------------------------------------------------------------------------------------------------ flags and paths


@pytest.mark.parametrize(
    ("arguments", "words", "multirun", "shows"),
    [
        (["-m", "seed=0,1", "a=b"], ("seed=0,1", "a=b"), True, ()),
        (["a=b", "-m", "seed=0,1"], ("a=b", "seed=0,1"), True, ()),
        (["seed=1,2", "--multirun", "prepare=plan"], ("seed=1,2", "prepare=plan"), True, ()),
        (["a=b", "seed=1,2", "-m"], ("a=b", "seed=1,2"), True, ()),
        (["a=b", "--cfg", "job", "c=d", "--resolve"], ("a=b", "c=d"), False, ("--cfg=job", "--resolve")),
        (["a=b", "-c", "job", "-p", "view", "c=d"], ("a=b", "c=d"), False, ("--cfg=job", "--package=view")),
        (["a=b", "--info", "c=d"], ("a=b", "c=d"), False, ("--info=all",)),
        (["--info", "defaults", "c=d"], ("c=d",), False, ("--info=defaults",)),
        (["a=b", "--help"], ("a=b",), False, ("--help",)),
    ],
)
def test_flags_stand_anywhere(arguments, words, multirun, shows):
    line = read_command_line(arguments)
    assert (line.words, line.multirun, line.shows) == (words, multirun, shows)


def test_a_multirun_whose_flag_comes_last_runs(tmp_path):
    jobs, code = jobs_of("dataset=digits", "seed=0,1", "budget=smoke", "-m", f"out={tmp_path}")
    assert (code, [job.config["seed"] for job in jobs]) == (0, [0, 1])


PATHS = [
    *("/plain/a-b_c.d", "/tmp/öut x", "/tmp/a(b)", "/tmp/a=b", "/tmp/a,b", "/tmp/#1~&", "/a/it's", "/a/[x] (2)=y"),
    *(
        '/a/"b"',
        "/a/b ",
        "/a\\b",
        "/a/$HOME!",
        "/a/`b`",
        "[x] (2)",
        "a,b",
        "rel/[1,2]",
        "./x y",
        "/a/{b: c}",
        "/a/é'\"=",
        "true",
        "1e3",
        "1_000",
    ),
]


def typed_into_bash(words):
    """The arguments that bash makes of a printed command's words."""
    script = "printf '%s\\0' " + " ".join(words)
    return subprocess.run(["bash", "-c", script], check=True, capture_output=True).stdout.decode().split("\0")[:-1]


def test_a_path_of_any_spelling_is_taken_and_its_printed_command_too():
    read = {path: read_command_line([f"out={path}", f"+x={'/' + path}"]).words for path in PATHS}
    typed = typed_into_bash([shell_word(word) for words in read.values() for word in words])
    assert typed == [word for words in read.values() for word in words]
    with hydra_ready():
        for path, (word, _) in read.items():
            assert compose([word])["out"] == path
            assert read_command_line([word]).words == (word,)  # typed again, it is what it was


def test_a_comma_separates_paths_under_multirun_unless_the_whole_is_there(tmp_path):
    (tmp_path / "a,b").mkdir()
    whole = f"{tmp_path}/a,b"
    assert read_command_line(["-m", f"out={whole}"]).words == (f'out="{whole}"',)
    assert read_command_line(["-m", "out=/x/a,/x/b c(1)"]).words == ('out=/x/a,"/x/b c(1)"',)
    assert read_command_line(["-m", "out=/x/a,/x/b"]).words == ("out=/x/a,/x/b",)


@pytest.mark.parametrize(
    ("word", "instead"),
    [
        ("dataset.name=Köln", {"dataset": {"name": "Köln"}}),
        ("dataset.name=it's", {"dataset": {"name": "it's"}}),
        ("analysis.runs=[/tmp/öut,b]", {"analysis": {"runs": ["/tmp/öut", "b"]}}),
        ("dataset.name=a,b", {"dataset": {"name": "a,b"}}),
    ],
)
def test_a_refused_word_comes_with_the_words_to_type(word, instead, capsys, tmp_path):
    figure = ["analysis=curves"] if "analysis" in word else []
    assert jobs_of(*figure, word, f"out={tmp_path / 'out'}") == ([], 2)
    said = capsys.readouterr().err
    assert not re.search("mismatched|extraneous|token|EOF|Exception", said)
    (typed,) = typed_into_bash([said.strip().split(": ")[-1].split("quote its value, ")[-1]])
    config = compose([*figure, typed])
    ((group, setting),) = instead.items()
    ((key, value),) = setting.items()
    assert config[group][key] == value


# ------------------------------------------------------------------------------------------------ options of one's own


@pytest.fixture
def folder(tmp_path):
    """A folder of options, whose name Hydra's grammar cannot read."""
    path = tmp_path / "my (1) opt=ions"
    (path / "loss").mkdir(parents=True)
    (path / "mytable").mkdir()
    (path / "loss/mine.yaml").write_text("defaults: [ntxent]\ntemperature: 0.3\nalpha: 0.25\n")
    for name, width in (("one", 8), ("two", 16)):
        (path / f"mytable/{name}.yaml").write_text(
            f"# @package _global_\nrow: mytable/{name}\nencoder: {{width: {width}}}\n"
        )
    return path


@pytest.mark.parametrize("spelling", ["--config-dir={0}", "--config-dir {0}", "hydra.searchpath=[file://{0}]"])
def test_a_folder_of_options_is_seen_kept_and_handed_on(spelling, folder, tmp_path):
    flag = spelling.format(folder).split(" ", 1) if " {" in spelling else [spelling.format(folder)]
    (job,), code = jobs_of("dataset=cifar10", *flag, "loss=mine", "budget=smoke", f"out={tmp_path / 'out'}")
    assert (code, job.config["loss"]["name"]) == (0, "ntxent")
    assert (job.config["loss"]["temperature"], job.config["loss"]["alpha"]) == (0.3, 0.25)  # not the recipe's
    write_metrics(job, {"artifacts": {}, "metrics": {}}, print)
    assert read_metrics(job.run_dir)["overrides"] == list(job.overrides)
    assert f'hydra.searchpath=["file://{folder}"]' in job.overrides
    assert f"--config-dir={folder}" in typed_into_bash([job.command])
    # Ranks, shards and children are given these overrides; a printed command is typed.
    for words in (job.overrides, typed_into_bash([job.command])[3:]):
        (again,), code = jobs_of(*words)
        assert (code, again.identity, again.run_dir) == (0, job.identity, job.run_dir)


def test_a_table_of_ones_own_is_launched_whole(folder, tmp_path):
    words = ["+mytable=glob(*)", "seed=0,1", "budget=smoke", f"out={tmp_path / 'out'}"]
    jobs, code = jobs_of(*words, "-m", "--config-dir", str(folder))
    assert code == 0
    assert [(job.row, job.config["seed"]) for job in jobs] == [
        *(("mytable/one", 0), ("mytable/one", 1), ("mytable/two", 0), ("mytable/two", 1))
    ]
    assert all(job.overrides[0].startswith("hydra.searchpath=") for job in jobs)
    assert all(job.config["encoder"]["width"] == 8 for job in jobs)  # capped


def test_what_a_folder_may_not_hold(folder, tmp_path, capsys):
    out = f"out={tmp_path / 'out'}"
    (folder / "mytable/three.yaml").write_text("# @package _global_\nrow: mytable/three\nview: {epsilon: 0.3}\n")
    assert jobs_of("+mytable=three", f"--config-dir={folder}", out) == ([], 2)
    said = "view.epsilon: assimilate.views.wsearch.WSearch has no field epsilon."
    assert said in capsys.readouterr().err
    (folder / "loss/ntxent.yaml").write_text("temperature: 0.9\n")
    assert jobs_of("loss=ntxent", f"--config-dir={folder}", out) == ([], 2)
    assert "loss=ntxent is shipped" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("content", ["a: [1,\n", "- a\n- b\n"])
def test_a_file_of_options_that_cannot_be_read_is_one_line(content, folder, tmp_path, capsys):
    (folder / "loss/broken.yaml").write_text(content)
    assert jobs_of("loss=broken", f"--config-dir={folder}", f"out={tmp_path / 'out'}") == ([], 2)
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "Traceback" not in error


@pytest.mark.parametrize("name", ["2", "1e3", "true", "null"])
@pytest.mark.parametrize("group", ["loss", "+mytable"])
def test_an_option_whose_name_is_no_word_is_chosen_as_the_message_says(name, group, folder, tmp_path, capsys):
    (folder / "loss/mine.yaml").rename(folder / f"loss/{name}.yaml")
    row = (folder / "mytable/one.yaml").read_text().replace("/one", f"/{name}")
    (folder / f"mytable/{name}.yaml").write_text(row)
    words = ["dataset=cifar10", f"--config-dir={folder}", "budget=paper", f"out={tmp_path / 'out'}"]
    assert jobs_of(f"{group}={name}", *words) == ([], 2)
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    (typed,) = typed_into_bash([said.strip().split("or null: ")[-1]])
    (job,), code = jobs_of(typed, *words)
    chosen = {"loss": (None, 0.25, 64), "+mytable": (f"mytable/{name}", 0.5, 8)}
    found = (job.row, job.config["loss"]["alpha"], job.config["encoder"]["width"])
    assert (code, found) == (0, chosen[group])


def test_a_value_that_is_a_path_chooses_no_option(folder, tmp_path, capsys):
    """A file beside the folder of images, of its name and .yaml, is none of ours to read."""
    (tmp_path / "images.yaml").write_text("- a\n- b\n")
    words = [f"--config-dir={folder}", "dataset=folder", f"out={tmp_path / 'out'}"]
    (job,), code = jobs_of(*words, f"dataset.root={tmp_path / 'images'}")
    assert (code, job.config["dataset"]["root"]) == (0, str(tmp_path / "images"))
    assert jobs_of(*words, f"dataset.root=/{'x' * 300}") == ([], 2)
    assert "Traceback" not in capsys.readouterr().err


def test_without_its_folder_an_option_is_unknown(capsys, tmp_path):
    assert jobs_of("loss=mine", f"out={tmp_path / 'out'}") == ([], 2)
    assert "mine" in capsys.readouterr().err
    assert jobs_of("+mytable=one", f"out={tmp_path / 'out'}") == ([], 2)
    assert "+mytable is no table" in capsys.readouterr().err


# ------------------------------------------------------------------------------------------------ identity


@pytest.mark.parametrize("key", ["generator.checkpoint_every", "inversion.checkpoint_every"])
def test_how_often_a_checkpoint_is_saved_is_neutral(key, tmp_path):
    row = ["+table3=expert_expert_wsearch_a2", "dataset=cifar10", f"out={tmp_path}"]
    other = job_of(*row, f"{key}=7")
    assert (other.identity, other.run_dir, other.row) == (job_of(*row).identity, job_of(*row).run_dir, job_of(*row).row)
    assert "checkpoint_every" not in json.dumps(other.identity)


def test_a_folder_of_a_run_that_counted_it_is_still_its_own(tmp_path):
    from assimilate.jobs.runs import check_run_folder
    from assimilate.pages.result_file import IDENTITY

    job = job_of("dataset=digits", f"out={tmp_path}")
    job.run_dir.mkdir(parents=True)
    before = json.loads(json.dumps(job.identity))
    (Path(job.run_dir) / IDENTITY).write_text(json.dumps(before))
    check_run_folder(job_of("dataset=digits", f"out={tmp_path}", "generator.checkpoint_every=7"))
    before["encoder"]["view"]["generator"]["lr"] = 9
    (Path(job.run_dir) / IDENTITY).write_text(json.dumps(before))
    with pytest.raises(UserError, match=r"generator\.lr"):
        check_run_folder(job)


def test_a_folder_of_one_group_is_told_the_folder_above(tmp_path, capsys):
    (tmp_path / "mine" / "view").mkdir(parents=True)
    (tmp_path / "mine" / "view" / "blur.yaml").write_text("name: blur\n", encoding="utf-8")
    out = f"out={tmp_path / 'out'}"
    assert jobs_of("view=blur", f"--config-dir={tmp_path / 'mine' / 'view'}", out) == ([], 2)
    assert f"give the folder above, {tmp_path / 'mine'}\n" in capsys.readouterr().err
