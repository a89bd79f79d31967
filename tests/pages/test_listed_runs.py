"""Which finished results are listed, and with which others, from made-up ones."""

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
