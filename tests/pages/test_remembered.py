"""Pages of runs that have not changed are not made again; whatever they show makes them anew."""

import json

import pytest

from assimilate import report
from assimilate.files.checked_files import write_sealed
from assimilate.pages import remembered
from tests.made_up_out import PNG, result, write

OWN = "encoders/cifar10/expert_expert_simclr-seed0"


@pytest.fixture
def out(tmp_path, monkeypatch):
    """Two runs, reported; and the folders of the runs whose pages are made from now on."""
    for seed in (0, 1):
        probe = f"probes/simclr-{seed}"
        folder = write(tmp_path, result(seed=seed, metrics={"acc1": 90.0 + seed}, probe=probe, paired_with=probe))
        (folder / "pictures").mkdir()
        (folder / "pictures" / "views.png").write_bytes(PNG)
        figures = [{"file": "views.png", "caption": "a caption"}]
        shown = {"sections": [{"title": "Views", "text": [], "facts": [], "figures": figures}]}
        (folder / "pictures" / "pictures.json").write_text(json.dumps(shown))
    artifact = tmp_path / "artifacts" / OWN
    artifact.mkdir(parents=True)
    write_sealed(artifact / "manifest.json", {"schema": 2, "seed": 0, "files": {}})
    (artifact / "history.csv").write_text("epoch,step,loss,lr\n1,6,4.125,0.1\n2,12,3.5,0.1\n")
    assert report.main([f"out={tmp_path}"]) == 0
    made = []
    write_page = remembered.write_run_page
    monkeypatch.setattr(
        remembered, "write_run_page", lambda out, run, *more: (made.append(run.place.seed), write_page(out, run, *more))
    )
    return tmp_path, made


def pages(out):
    return {path: path.read_text() for path in sorted(out.rglob("report.*"))}


def test_nothing_is_made_twice(out):
    folder, made = out
    before = pages(folder)
    assert report.main([f"out={folder}"]) == 0
    assert made == []
    assert pages(folder) == before
    index = (folder / "report.html").read_text()
    assert '"loss": [[1.0, 2.0], [4.125, 3.5]]' in index
    (folder / remembered.REMEMBERED).unlink()
    assert report.main([f"out={folder}"]) == 0
    assert made == [0, 1]
    assert pages(folder) == before  # with and without a memory


def change_result(folder):
    path = folder / "metrics.json"
    path.write_text(path.read_text().replace("SimCLR", "SimCLR of mine"))


def change_artifact(folder):
    write_sealed(
        folder.parents[4] / "artifacts" / OWN / "manifest.json", {"schema": 2, "seed": 4, "files": {}, "facts": {}}
    )


CHANGES = {
    "its result": change_result,
    "an artifact": change_artifact,
    "a picture": lambda folder: (folder / "pictures" / "views.png").write_bytes(PNG + b"more"),
    "a new picture": lambda folder: (folder / "pictures" / "new.png").write_bytes(PNG),
    "its page": lambda folder: (folder / "report.html").write_text("scribbled over"),
    "no page": lambda folder: (folder / "report.html").unlink(),
}


@pytest.mark.parametrize("change", CHANGES)
def test_whatever_a_page_shows_makes_it_anew(out, change):
    folder, made = out
    run = folder / "paper/table3/expert_expert_simclr/cifar10/seed0"
    CHANGES[change](run)
    assert report.main([f"out={folder}"]) == 0
    assert made == [0]
    assert "a caption" in (run / "report.html").read_text()
    assert report.main([f"out={folder}"]) == 0
    assert made == [0]


def test_a_new_seed_changes_the_differences_on_every_page_of_its_setting(out):
    folder, made = out
    for seed in (0, 1):
        found = result(row="table3/expert_wsearch_a1", seed=seed, metrics={"acc1": 91.0 + seed / 2})
        write(folder, found | {"probe": f"probes/a1-{seed}", "paired_with": f"probes/simclr-{seed}"})
        assert report.main([f"out={folder}"]) == 0
    assert made == [0, 0, 1]  # the first seed's page has the interval of both now, and the baseline's have nothing new
    page = (folder / "paper/table3/expert_wsearch_a1/cifar10/seed0/report.html").read_text()
    assert "+0.75" in page


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"paper/table3/expert_expert_simclr/cifar10/seed0": "x"}',
        '{"paper/table3/expert_expert_simclr/cifar10/seed0": []}',
        "\0",
    ],
)
def test_a_memory_that_is_none_is_made_anew(out, text):
    folder, made = out
    before = pages(folder)
    (folder / remembered.REMEMBERED).write_text(text)
    assert report.main([f"out={folder}"]) == 0
    assert made == [0, 1]
    assert pages(folder) == before


def test_another_version_makes_all_pages(out, monkeypatch):
    folder, made = out
    monkeypatch.setattr(remembered, "_code", lambda: "another")
    assert report.main([f"out={folder}"]) == 0
    assert made == [0, 1]
