"""Which finished results are listed, and with which others, from made-up ones."""

import hashlib
import json
import os

from assimilate import report, runs
from tests.made_up_out import result, write


def test_of_one_run_in_two_folders_the_later_result_is_listed_once(tmp_path):
    """Folders were once named by the overrides as they were typed."""
    for age, name in ((9, "recipe=narrow,assim=simclr-11e803b4"), (5, "assim=simclr,recipe=narrow-11e803b4")):
        value = {"acc1": 50.0 + age}
        folder = write(tmp_path, result(row=None, metrics=value, overrides=["recipe=narrow"]), setting=name)
        os.utime(folder / "metrics.json", (1e9 - age, 1e9 - age))
    write(tmp_path, result(row=None, metrics={"acc1": 40.0}), setting="default-00e803b4")
    assert report.main([f"out={tmp_path}"]) == 0
    listed = json.loads((tmp_path / "report.json").read_text())["runs"]
    assert sorted(run["acc1"] for run in listed) == [40.0, 55.0]
    assert sorted(run.metrics["acc1"].mean for run in runs(tmp_path)) == [40.0, 55.0]


def test_a_later_result_that_is_damaged_hides_no_earlier_one(tmp_path):
    folders = [
        write(tmp_path, result(row=None, metrics={"acc1": 50.0}), setting=f"{words}-11e803b4")
        for words in ("recipe=narrow,assim=simclr", "assim=simclr,recipe=narrow")
    ]
    (folders[1] / "metrics.json").write_text('{"schema": 1}')
    os.utime(folders[0] / "metrics.json", (1e9, 1e9))
    found = runs(tmp_path)
    assert [run.folder for run in found] == [folders[0]]
    assert list(found.problems) == [folders[1] / "metrics.json"]
    assert report.main([f"out={tmp_path}"]) == 0
    written = json.loads((tmp_path / "report.json").read_text())
    assert [run["acc1"] for run in written["runs"]] == [50.0]


def test_a_later_result_that_was_edited_hides_no_earlier_one(tmp_path):
    """It says something else than its probe measured."""
    probe = tmp_path / "artifacts/probes/cifar10/p"
    probe.mkdir(parents=True)
    measured = result(metrics={"acc1": 50.0})["metrics"]
    (probe / "probe.json").write_text(json.dumps({"metrics": measured}))
    digest = hashlib.sha256((probe / "probe.json").read_bytes()).hexdigest()
    (probe / "manifest.json").write_text(json.dumps({"schema": 1, "files": {"probe.json": {"sha256": digest}}}))
    folders = []
    for accuracy, words in ((50.0, "recipe=narrow,assim=simclr"), (51.0, "assim=simclr,recipe=narrow")):
        made = result(row=None, metrics={"acc1": accuracy}) | {"artifacts": {"probes/cifar10/p": "d" * 64}}
        folders.append(write(tmp_path, made, setting=f"{words}-11e803b4"))
    os.utime(folders[0] / "metrics.json", (1e9, 1e9))
    found = runs(tmp_path)
    assert [run.folder for run in found] == [folders[0]]
    assert "says other metrics than probes/cifar10/p measured" in found.problems[folders[1] / "metrics.json"]
    assert report.main([f"out={tmp_path}"]) == 0
    written = json.loads((tmp_path / "report.json").read_text())
    assert [run["acc1"] for run in written["runs"]] == [50.0]


def test_seeds_of_one_hash_are_one_line_and_those_of_other_images_another(tmp_path):
    for seed, (words, root) in enumerate([("a=1,b=2", "/one"), ("b=2,a=1", "/one"), ("a=1,b=2", "/two")]):
        config = {"dataset": {"name": "mine", "root": root, "image_size": 16}}
        made = result(row=None, dataset="mine", seed=seed, metrics={"acc1": 50.0 + seed}, config=config)
        made["titles"]["dataset"] = "mine (folder)"
        write(tmp_path, made, setting=f"{words}-11e803b4")
    found = runs(tmp_path)
    assert {row["dataset"] for row in found.rows()} == {"mine (folder) in /one", "mine (folder) in /two"}
    assert {key[1:]: value["acc1"].n for key, value in found.over_seeds().items()} == {
        ("mine (folder) in /one", "paper"): 2,
        ("mine (folder) in /two", "paper"): 1,
    }
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in found.table("acc1").splitlines()[2:]]
    assert [line[1::2] for line in lines] == [
        ["mine (folder) in /one", "50.50 ± 0.71 (2)"],
        ["mine (folder) in /two", "52.00 (1)"],
    ]


def test_rows_of_one_setting_have_one_name(tmp_path):
    for seed, words in enumerate(["a=1,b=2", "b=2,a=1"]):
        write(tmp_path, result(row=None, seed=seed, metrics={"acc1": 50.0 + seed}), setting=f"{words}-11e803b4")
    found = runs(tmp_path)
    assert [(row["seed"], row["acc1"]) for row in found.rows()] == [(0, 50.0), (1, 51.0)]
    assert {(row["name"], row["dataset"], row["budget"]) for row in found.rows()} == set(found.over_seeds())


def test_the_table_of_runs_parts_images_by_their_size(tmp_path):
    for size in (16, 32):
        made = result(row=None, metrics={"acc1": 50.0}, config={"dataset": {"image_size": size}})
        write(
            tmp_path,
            made | {"floors": {"raw pixels": {"acc1": float(size)}}},
            setting=f"size={size}-00e8030{size % 10}",
        )
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in runs(tmp_path).table().splitlines()]
    assert [(line[0], line[1], line[-1]) for line in lines if line[0].startswith("floor")] == [
        ("floor: raw pixels", "cifar10 at 16²", "16.00"),
        ("floor: raw pixels", "cifar10 at 32²", "32.00"),
    ]
