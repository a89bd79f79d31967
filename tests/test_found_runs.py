"""Which runs a figure or a page is about, and what they are called."""

import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from assimilate import report
from assimilate.errors import UserError
from assimilate.figures.figure import of_runs
from assimilate.figures.found_runs import FoundRun, find_runs
from assimilate.figures.runs import _spread
from assimilate.jobs.runs import papers_numbers
from assimilate.pages.metrics import compare
from assimilate.pages.run import parse_place, parse_run
from assimilate.run.composing import compose
from assimilate.run.config import make_job
from tests.made_up_out import PNG, result, write


def found_job(out, **changes):
    return make_job("analyze", compose([f"out={out}"]), [f"out={out}", *changes.get("words", ())])


def test_settings_of_one_name_are_all_shown(tmp_path):
    """The same row in two `out` folders: neither curve hides the other."""
    made = result(dataset="digits", metrics={"acc1": 1.0})
    made["config"]["assim"] |= {"view1": "expert", "view2": "expert"}
    places = [write(tmp_path / name, made).parent for name in ("a", "b")]
    found = find_runs(found_job(tmp_path), [str(place) for place in places], None)
    assert [run.setting for members in found.values() for run in members] == places
    labelled = find_runs(found_job(tmp_path), [str(place) for place in places], ["same", "same"])
    assert len(labelled) == 2


def test_a_run_that_was_moved_away_says_so(tmp_path):
    shallow = FoundRun(Path("/moved/seed0"), result(metrics={"acc1": 1.0}))
    with pytest.raises(UserError, match="moved away"):
        shallow.encoder()


def test_without_names_every_run_of_the_data_set_and_budget_is_found(tmp_path):
    made = result(dataset="digits", budget="demo", metrics={"acc1": 1.0})
    made["config"]["assim"] |= {"view1": "expert", "view2": "expert"}
    with pytest.raises(UserError, match=re.escape(f"this makes one: python -m assimilate.train out={tmp_path}")):
        find_runs(found_job(tmp_path), [], None)
    here = write(tmp_path / "out", made)
    write(tmp_path / "out", {**made, "dataset": "cifar10"})
    write(tmp_path / "out", {**made, "budget": "paper"})
    found = find_runs(found_job(tmp_path / "out"), [], None)
    assert [run.folder for members in found.values() for run in members] == [here]


def test_a_missing_run_is_made_where_it_is_looked_for(tmp_path):
    with pytest.raises(UserError, match=re.escape(f"dataset=digits out={tmp_path})")):
        find_runs(found_job(tmp_path), ["table3/expert_expert_simclr"], None)


def test_the_papers_knn_stands_beside_the_one_that_is_like_it():
    """Table 8's is Euclidean."""
    made = result(
        row="table8/simclr", dataset="tinyimagenet", metrics={"acc1": 48.0, "knn5": 30.0, "knn5_euclidean": 32.0}
    )
    words = ["+table8=simclr", "dataset=tinyimagenet"]
    made["paper"] = papers_numbers(make_job("train", compose(words), words))
    assert made["paper"] == {"acc1": 48.5, "acc5": 74.51, "knn5_euclidean": 32.83}
    run = parse_run(made, parse_place(["paper", "table8", "simclr", "tinyimagenet", "seed0"]))
    columns = compare(run)
    printed = dict(zip(columns[""], columns["paper"], strict=True))
    assert printed == {"Acc@1": "48.50", "5-NN": "–", "5-NN, Euclidean": "32.83"}


def test_a_folder_called_cifar10_has_no_numbers_of_the_paper(tmp_path):
    words = ["+table3=expert_expert_simclr", f"out={tmp_path}"]
    own = [*words, "dataset=folder", f"dataset.root={tmp_path}", "dataset.name=cifar10"]
    papers = {"acc1": 92.04}
    for given, numbers in ((own, {}), ([*words, "dataset=cifar10"], papers)):
        job = make_job("train", compose(given), given)
        assert job.row == "table3/expert_expert_simclr"
        assert papers_numbers(job) == numbers


def test_curves_are_labelled_with_the_data_set_of_their_runs(tmp_path):
    """Runs given by their folders need not be of dataset=; a figure says what it shows."""
    made = result(dataset="cifar100", metrics={"acc1": 1.0})
    made["config"]["assim"] |= {"view1": "expert", "view2": "expert"}
    folder = write(tmp_path, made)
    words = ["analysis=figure4", "dataset=cifar10", f"out={tmp_path}", f"analysis.runs=[{folder}]"]
    job = make_job("analyze", compose(words), words)
    runs = find_runs(job, job.config["analysis"]["runs"], None)
    analysis = of_runs(SimpleNamespace(job=job), "Curves", runs, [])
    assert analysis.folder.name.startswith("curves-cifar100-")
    written = json.loads((analysis.finish("") / "analysis.json").read_text())
    assert (written["dataset"], written["figure"], written["budget"]) == ("cifar100", "Figure 4", "paper")


def test_a_foreign_metrics_json_is_no_run(tmp_path):
    for number, text in enumerate(("[]", "{}", '{"budget": "paper"}')):
        (tmp_path / f"run{number}").mkdir()
        (tmp_path / f"run{number}" / "metrics.json").write_text(text)
        with pytest.raises(UserError, match="no finished run"):
            find_runs(found_job(tmp_path), [f"run{number}"], None)


@pytest.mark.parametrize(
    ("word", "said"),
    [("table3/nonesuch", "no such row; rows of table3: expert_expert_expert_a2"), ("x/**y/z", "no pattern of folders")],
)
def test_words_for_runs_that_cannot_be_are_named(tmp_path, word, said):
    with pytest.raises(UserError, match=re.escape(said)):
        find_runs(found_job(tmp_path), [word], None)


@pytest.mark.parametrize(("wanted", "there"), [(1, 5), (None, 1)])
def test_uniformity_of_one_image_is_refused(wanted, there):
    config = {"analysis": {"part": "test", "num_images": wanted}, "seed": 0}
    dataset = SimpleNamespace(test=range(there), name="digits")
    with pytest.raises(UserError, match="2 or more"):
        _spread(SimpleNamespace(config=config, dataset=dataset), None)


def test_a_picture_that_is_gone_is_missed(tmp_path):
    folder = write(tmp_path, result(metrics={"acc1": 92.0})) / "pictures"
    folder.mkdir()
    section = {"title": "Views", "text": [], "facts": [], "figures": [{"file": "views.png", "caption": "Views."}]}
    (folder / "pictures.json").write_text(json.dumps({"schema": 1, "sections": [section]}))
    assert report.main([f"out={tmp_path}"]) == 0
    assert "pictures/ cannot be read" in (folder.parent / "report.html").read_text()
    (folder / "views.png").write_bytes(PNG)
    assert report.main([f"out={tmp_path}"]) == 0
    assert "cannot be read" not in (folder.parent / "report.html").read_text()
