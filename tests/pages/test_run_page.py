"""The page of a run: what it shows, what it lets through, and what it refuses."""

import base64
import hashlib
import io
import json
import re
from html.parser import HTMLParser

import pytest
from omegaconf import OmegaConf
from rich.console import Console

import assimilate
from assimilate import report
from assimilate.files.checked_files import write_sealed
from assimilate.graph.wiring import Wiring
from assimilate.pages.found import read_out
from assimilate.pages.metrics import compare
from assimilate.pages.result_file import with_baseline
from assimilate.pages.run import parse_place, parse_run
from assimilate.pages.terminal import run_table
from assimilate.probes.step import PROBED
from assimilate.run.baseline_words import words_of_the_baseline
from assimilate.run.composing import compose
from assimilate.run.config import make_job
from assimilate.run.recipe import Recipe
from assimilate.run.titles import titles_of
from tests.made_up_out import HOSTILE, PNG, PROTOCOLS, measured, result, write


class Tags(HTMLParser):
    """What a browser would take for markup."""

    def __init__(self, text):
        super().__init__()
        self.found = set()
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.found |= {tag, *(name for name, _ in attributes)}


def poisoned(value, words):
    """Every text within `value` with `words` at its end, every key of a mapping too."""
    if isinstance(value, dict):
        return {f"{key}{words}" if key.count("/") else key: poisoned(item, words) for key, item in value.items()}
    if isinstance(value, list):
        return [poisoned(item, words) for item in value]
    return f"{value}{words}" if isinstance(value, str) else value


def test_no_word_of_a_result_is_markup(tmp_path):
    """Whatever a name, a note, an override or a version holds: the pages have the tags that they have without."""
    words = f"'>{HOSTILE}\"><img onerror=x><svg onload='x'>"
    tags = []
    for name, poison in (("clean", ""), ("poisoned", words)):
        out = tmp_path / name
        found = result(row=None, metrics={"acc1": 1.0}, data_notes=["a note"], overrides=["dataset.name=x"])
        found["baseline"] = {"metrics": {"acc1": measured(1.0)}, "artifact": "encoders/x/y"}
        free = {key: value for key, value in found.items() if key not in ("row", "dataset", "seed", "budget")}
        folder = write(out, found | poisoned(free, poison), setting=f"a{poison.replace('/', '')}")
        (folder / "pictures").mkdir()
        (folder / "pictures" / "views.png").write_bytes(PNG)
        shown = {"title": "a", "text": ["b"], "facts": [["c", "d"]], "figures": [{"file": "views.png", "caption": "e"}]}
        section = poisoned(shown, poison) | {"figures": [{"file": "views.png", "caption": f"e{poison}"}]}
        (folder / "pictures" / "pictures.json").write_text(json.dumps({"sections": [section]}))
        assert report.main([f"out={out}"]) == 0
        tags.append([Tags(path.read_text(encoding="utf-8")).found for path in sorted(out.rglob("report.html"))])
    assert len(tags[0]) == 2
    assert tags[1] == tags[0]


def run_with_pictures(out, *files, content=b""):
    """The page of a run whose pictures.json names `files`."""
    folder = write(out, result(metrics={"acc1": 1.0}))
    (folder / "pictures").mkdir()
    figures = [{"file": str(name), "caption": "a caption"} for name in files]
    described = {"sections": [{"title": "Views", "text": [], "figures": figures, "facts": []}]}
    (folder / "pictures" / "pictures.json").write_text(json.dumps(described))
    for name in ("views.png", "distances.svg"):
        (folder / "pictures" / name).write_bytes(content)
    (folder / "pictures" / "link.png").symlink_to(out.parent / "secret")
    (out.parent / "secret").write_bytes(b"a secret")
    assert report.main([f"out={out}"]) == 0
    return (folder / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["../../secret", "../metrics.json", "link.png", "{root}/secret", "gone.png", 3, "a\0"])
def test_a_picture_comes_from_the_folder_of_its_run(tmp_path, name):
    name = name.format(root=tmp_path) if isinstance(name, str) else name
    html = run_with_pictures(tmp_path / "out", name)
    assert base64.b64encode(b"a secret").decode() not in html
    assert "data:image" not in html
    assert "pictures/ cannot be read" in html


def test_a_vector_picture_is_an_image_that_runs_nothing(tmp_path):
    svg = b'<svg xmlns="http://www.w3.org/2000/svg" onload="x()"><script>alert(1)</script></svg>'
    html = run_with_pictures(tmp_path / "out", "views.png", "distances.svg", content=svg)
    assert "onload" not in Tags(html).found
    assert html.count("<script") == 1  # ours
    assert "data:image/svg+xml;base64," + base64.b64encode(svg).decode() in html


SIMCLR = {"name": "simclr", "view1": "expert", "view2": "expert", "view3": None}
A2 = {"name": "a2", "view1": "expert", "view2": "expert", "view3": "generated"}
BASIC = {"view1": "basic", "view2": "basic"}


@pytest.mark.parametrize(
    ("assim", "words", "title"),
    [
        (SIMCLR, "view=wsearch", "SimCLR"),
        (SIMCLR | BASIC, "view=wsearch", "SimCLR with basic, basic"),
        (SIMCLR | BASIC | {"view2": "generated"}, "view=wsearch", "SimCLR with basic, W-search"),
        ({"name": "a1", "view1": "expert", "view2": "generated", "view3": None}, "view=wperturb", "A1 with W-perturb"),
        (A2, "view=wsearch", "A2 with W-search"),
        (A2, "view=wsearch view.solver=ray", "A2 with W-search (rays)"),
        (A2, "view=wsearch view.solver=assimilate.views.solver.Ray", "A2 with W-search (rays)"),
        (A2, "view=online", "A2 with online W-search"),
        (A2, "view=online view.solver=ray", "A2 with online W-search (rays)"),
        (A2 | BASIC | {"view3": "basic"}, "view=wsearch", "A2 with basic, basic, basic"),
    ],
)
def test_a_run_is_called_by_the_views_that_it_has(assim, words, title):
    def titles(*more):
        overrides = ["dataset=cifar10", f"assim={assim['name']}", *words.split(), *more]
        composed = OmegaConf.to_container(compose(overrides), resolve=True)
        return titles_of(composed | {"assim": composed["assim"] | assim})

    assert titles()["run"] == title
    siamese = titles("recipe=simsiam", "loss=simsiam")
    assert "SimSiam" in siamese["run"]
    assert siamese["baseline"] == "SimSiam"


def test_a_page_says_what_its_run_recorded(tmp_path):
    """Titles are the run's: a component from outside is called by its own."""
    titles = {"run": "My method with my views", "views": "expert, my views", "baseline": "MoCo", "dataset": "my images"}
    made = result(row=None, metrics={"acc1": 50.0, "my_metric": 1.5}, titles=titles)
    made["baseline"] = {"metrics": {"acc1": measured(40.0)}, "artifact": "probes/x/y"}
    made["paired_with"] = "probes/x/y"
    made["protocols"]["my_metric"] = "as nobody measures"
    folder = write(tmp_path, made, setting="x-1234abcd")
    assert report.main([f"out={tmp_path}"]) == 0
    html, index = (folder / "report.html").read_text(), (tmp_path / "report.html").read_text()
    assert "<h1>My method with my views on my images, seed 0</h1>" in html
    for shown in ("views: expert, my views", "MoCo (f, seed 0)", "+10.00", "as nobody measures", "my_metric", "1.50"):
        assert shown in html
    assert "My method with my views on my images" in index
    assert "my_metric" in index


def test_overrides_that_name_a_run_need_its_result(tmp_path, capsys):
    assert report.main(["budget=smoke", f"out={tmp_path}"]) == 2
    assert "not there yet: run python -m assimilate.train budget=smoke" in capsys.readouterr().err
    # A line of Table 1 is measured, not trained.
    assert report.main(["+table1=original_wsearch", f"out={tmp_path}"]) == 2
    assert "run python -m assimilate.analyze +table1=original_wsearch" in capsys.readouterr().err


def test_a_line_of_table1_has_a_page_without_any_training(tmp_path, capsys):
    made = result(row="table1/original_wsearch", dataset="digits", budget="demo", metrics={"mi": 1.5})
    folder = write(tmp_path, made)
    assert report.main(["+table1=original_wsearch", f"out={tmp_path}"]) == 0
    assert str(folder / "report.html") in capsys.readouterr().out


def baseline(*words):
    return words_of_the_baseline(make_job("train", compose(words), words))


def in_order(words):
    """By key; what makes it the baseline is last."""
    return sorted(words, key=lambda word: (word == "assim=simclr", word.lstrip("+").split("=")[0]))


def test_the_baseline_of_a_run_is_trained_as_the_run_was(tmp_path):
    root = f"dataset.root={tmp_path}"
    words = ["dataset=folder", root, "dataset.image_size=16", "batch_size=8", "epochs=30", "view=wperturb"]
    words += ["++trainer.gradient_clip_val=1.0", "++trainer.profiler=simple"]
    others = ["view.sigma=0.2", "assim=a2", "loss.alpha=1", "loss.temperature=0.2", "encoder.width=8", "logger=none"]
    kept = ["dataset=folder", root, "dataset.image_size=16", "batch_size=8", "epochs=30"]
    kept += ["++trainer.gradient_clip_val=1.0", "loss.temperature=0.2", "encoder.width=8", "assim=simclr"]
    assert baseline(*words, *others, "seed=3") == in_order(kept)
    assert baseline(*reversed([*words, *others, "seed=3", "out=elsewhere"])) == in_order(kept)


@pytest.mark.parametrize(
    ("words", "kept"),
    [
        # The recipe's own loss is SimSiam's, f's is not.
        (["dataset=cifar10", "recipe=simsiam", "loss=infonce", "view=wsearch", "assim=a2", "view_encoder=essl"], 3),
        (["dataset=cifar10", "recipe=simsiam", "loss=simsiam", "assim=a2", "view=wmix"], 2),  # simclr_loss says it
        (
            [
                "+table3=expert_expert_wsearch_a2",
                "dataset=cifar100",
                "budget=short",
                "trainer.precision=64-true",
                "trainer=cpu",
            ],
            3,
        ),
        (["optimizer=adam", "optimizer.lr=0.1", "probe=htdt", "generator.num_steps=9", "assim=a1", "view=wmix"], 3),
    ],
)
def test_the_baseline_takes_the_options_that_its_own_run_reads(words, kept):
    without_row = [word for word in words if not word.startswith("+")]
    assert baseline(*words) == in_order([*without_row[:kept], "assim=simclr"])


@pytest.mark.parametrize(
    "words",
    [
        ["+table12=wperturb_a2_simsiam"],
        ["+table12=wsearch_simclr_a2_simsiam"],  # f is trained with InfoNCE, the run is not
        ["+table3=expert_expert_viewmaker_a2"],
        ["+table5a=wperturb_crop50_wperturb_crop50"],
        ["+table19=basic_basic_basic_a2"],
        ["simclr_loss=vicreg", "view=wsearch", "assim=a2"],
        ["loss=simsiam", "encoder={width: 16,predictor_dim: 512}", "view=wsearch", "assim=a2"],
    ],
    ids=str,
)
def test_the_baseline_is_the_simclr_run_of_the_settings_of_a_row_or_run(words):
    words = [*words, "dataset=cifar100", "budget=short"]
    recipe = Recipe(make_job("train", compose(words), words).config)
    alone = Recipe(make_job("train", compose(baseline(*words)), baseline(*words)).config)
    wanted = recipe.simclr(Wiring(recipe.config, recipe.roles), str(recipe.config["simclr_loss"]), seed=0)
    assert alone.encoder.key == wanted.key
    assert alone.probe.key == recipe.probe_of(wanted).key


@pytest.mark.parametrize(
    "words",
    [
        ["assim=simclr", "seed=4"],
        ["+table12=wsearch_simsiam_a2_infonce"],  # its own SimCLR run would need a predictor that it has not
        ["view=wsearch", "assim=a2", "view_encoder=simsiam"],
    ],
    ids=str,
)
def test_the_baseline_and_a_run_without_one_name_none(words):
    assert baseline("dataset=cifar10", *words) == []


def test_a_terminal_of_80_columns_cuts_no_number():
    values = {"acc1": 92.5, "acc5": 99.75, "knn5": 90.25, "knn5_euclidean": 89.75}
    floors = {"commonest class": 15.62, "raw pixels": 96.11, "random network": 100.0}
    made = result(
        row=None, metrics=values, floors={name: dict.fromkeys(values, value) for name, value in floors.items()}
    )
    made["baseline"] = {"metrics": {name: measured(11.88, 1.88) for name in values}, "artifact": "probes/x/y"}
    made["paired_with"] = "probes/x/y"
    run = parse_run(made, parse_place(("paper", "adhoc", "x", "cifar10", "seed0")))
    console = Console(width=80, file=io.StringIO())
    console.print(run_table(run))
    shown = console.file.getvalue()
    line = next(line for line in shown.splitlines() if line.strip().startswith("Acc@5"))
    assert line.split()[1:] == ["15.62", "96.11", "100.00", "11.88", "±", "1.88", "▽", "99.75", "±", "0.05", "+87.87"]
    assert [name for name in values if run.is_below_pixels(name)] == ["acc1", "knn5", "knn5_euclidean"]
    assert shown.count("▽") == 3 + 4  # f is judged as the run is
    assert "…" not in shown
    alone = parse_run(made | {"floors": {}}, run.place)
    assert compare(alone)["random network"] == ["–", "–", "30.00", "–"]  # the run's own, where no other was measured
    assert not any(map(alone.is_below_pixels, values))


def test_nothing_is_subtracted_from_an_f_of_another_seed(tmp_path):
    """Until the SimCLR run of the same seed is there, which then stands in its place."""
    f = {"metrics": {"acc1": measured(80.0)}, "protocols": {"acc1": PROTOCOLS["acc1"]}, "artifact": "probes/cifar10/f"}
    places = {"probe": "probes/cifar10/a2-x", "paired_with": "probes/cifar10/simclr-x"}
    for seed_of_f, found in ((3, {"diff.": ["+10.00"]}), (0, {})):
        f["artifact"] = f"probes/cifar10/{'simclr-x' if found else 'f'}"
        made = result(row=None, seed=3, metrics={"acc1": 90.0}, **places)
        made |= {"baseline": f, "config": {"view": {"encoder": {"seed": seed_of_f}}}}
        run = with_baseline(parse_run(made, parse_place(("paper", "adhoc", "x", "cifar10", "seed3"))), tmp_path)
        columns = compare(run)
        assert columns[f"SimCLR (f, seed {seed_of_f})"] == ["80.00 ± 0.05"]
        assert {name: cells for name, cells in columns.items() if name == "diff."} == found
    probed(tmp_path, "probes/cifar10/simclr-x", acc1=88.0)
    columns = compare(with_baseline(run, tmp_path))
    assert (columns["SimCLR (seed 3)"], columns["diff."]) == (["88.00 ± 0.05"], ["+2.00"])


@pytest.mark.parametrize("paired_with", ["probes/cifar10/simclr-x", None])
def test_nothing_is_subtracted_from_an_f_of_the_same_seed_with_settings_of_its_own(tmp_path, paired_with):
    """Nor where the settings make no SimCLR run, which is recorded as null."""
    command = "python -m assimilate.train assim=simclr" if paired_with else ""
    made = result(row=None, metrics={"acc1": 90.0}, paired_with=paired_with, baseline_command=command)
    f = {"metrics": {"acc1": measured(80.0)}, "protocols": made["protocols"], "artifact": "probes/cifar10/f"}
    made |= {"baseline": f, "config": {"view": {"encoder": {"seed": made["seed"]}}}}
    folder = write(tmp_path, made, setting="x-1234abcd")
    assert report.main([f"out={tmp_path}"]) == 0
    (run,) = read_out(tmp_path).runs
    columns = compare(run)
    assert columns[f"SimCLR (f, seed {made['seed']}, own settings)"] == ["80.00 ± 0.05"]
    assert "diff." not in columns
    page = (folder / "report.html").read_text()
    assert ("The SimCLR run that it is paired with does not stand beside it yet" in page) == bool(paired_with)


def test_what_is_below_raw_pixels_is_marked_in_every_column_of_an_encoder(tmp_path):
    """On the run's page, in its report and in the tables of settings; and what the mark means stands below."""
    made = result(row=None, metrics={"acc1": 90.0}, floors={"raw pixels": {"acc1": 80.0}})
    made["baseline"] = {
        "metrics": {"acc1": measured(70.0)}, "protocols": made["protocols"], "artifact": "probes/x/y",
    }  # fmt: skip
    folder = write(tmp_path, made, setting="x-1234abcd")
    assert report.main([f"out={tmp_path}"]) == 0
    for page in (folder / "report.html", tmp_path / "report.html", tmp_path / "report.md"):
        text = page.read_text()
        assert re.search(r"70\.00 (± 0\.05|\(1\)) ▽", text), page
        assert not re.search(r"90\.00 (± 0\.05|\(1\)) ▽", text), page
        assert "▽ is below what classifiers of raw pixels reach" in text, page


def probed(out, label, **metrics):
    """The artifact of a probe."""
    folder = out / "artifacts" / label
    folder.mkdir(parents=True)
    protocols = {name: PROTOCOLS[name] for name in metrics}
    text = json.dumps({"metrics": {name: measured(value) for name, value in metrics.items()}, "protocols": protocols})
    (folder / PROBED).write_text(text)
    sealed = {PROBED: {"sha256": hashlib.sha256(text.encode()).hexdigest()}}
    write_sealed(folder / "manifest.json", {"schema": 2, "seed": 0, "files": sealed})


def test_the_baseline_stands_beside_views_that_no_f_saw_as_soon_as_it_is_there(tmp_path):
    command = "python -m assimilate.train dataset=cifar10 assim=simclr"
    places = {"probe": "probes/cifar10/a2-x", "paired_with": "probes/cifar10/simclr-x", "baseline_command": command}
    places["overrides"] = ["dataset=cifar10", "assim=a2", "out=my runs", "seed=3"]
    made = result(row=None, seed=3, metrics={"acc1": 90.0}, floors={"raw pixels": {"acc1": 95.0}}, **places)
    folder = write(tmp_path, made, setting="view=mine-1234abcd")
    assert report.main([f"out={tmp_path}"]) == 0
    page = (folder / "report.html").read_text()
    assert f">{command} seed=3 &#39;out=my runs&#39;<" in page
    assert "SimCLR (seed 3)" not in page
    probed(tmp_path, "probes/cifar10/simclr-x", acc1=88.0)
    assert report.main([f"out={tmp_path}"]) == 0
    page = (folder / "report.html").read_text()
    assert command not in page
    # A phone shows the first columns.
    heads = "".join(f"<th>{head}</th>" for head in ("", "this run", "SimCLR (seed 3)", "diff.", "raw pixels"))
    for shown in (heads, "88.00 ± 0.05 ▽", "+2.00", "95.00"):
        assert shown in page
    console = Console(width=100, file=io.StringIO())
    run = parse_run(made, parse_place(("paper", "adhoc", "view=mine-1234abcd", "cifar10", "seed3")))
    console.print(run_table(with_baseline(run, tmp_path)))
    assert "88.00 ± 0.05 ▽" in console.file.getvalue()


@pytest.mark.parametrize(
    ("changes", "label", "warning"),
    [
        ({}, "budget=paper", ""),
        ({"budget": "smoke"}, "budget=smoke", "budget=smoke: not comparable with the paper"),
        ({"row": None}, "own settings", "own settings: not comparable with the paper (recipe=narrow epochs=1)"),
        ({"dataset": "digits"}, "own settings", "own settings: not comparable with the paper"),
    ],
)
def test_no_settings_but_the_papers_go_by_its_name(tmp_path, changes, label, warning):
    words = ["recipe=narrow", "dataset=cifar10", "epochs=1", "trainer=cpu", "seed=0"]
    folder = write(tmp_path, result(metrics={"acc1": 50.0}, overrides=words, **changes), setting="x-1234abcd")
    assert report.main([f"out={tmp_path}"]) == 0
    index, text, page = (
        path.read_text() for path in (tmp_path / "report.html", tmp_path / "report.md", folder / "report.html")
    )
    assert f"<tr><td>{label}</td><td>1</td>" in index
    assert f'<td class="apart">{label.removeprefix("budget=")}</td>' in index
    # On a phone, where those columns are not shown.
    assert f'<small class="narrow">{changes.get("dataset", "cifar10")}, {label}</small>' in index
    badge = f'<span class="badge warn">{warning}</span>' if warning else f'<span class="badge">{label}</span>'
    assert badge in page
    assert ("budget=paper" in page) == (not warning)
    if changes.get("row", "") is None:
        assert "<strong>cifar10, own settings.</strong>" in index
        assert "### cifar10, own settings" in text
    assert "of no row" not in index + text
    assert label.removeprefix("budget=") in assimilate.runs(tmp_path).table().splitlines()[2].split("|")[3]
