"""analyze analysis=features: t-SNE of the features of finished runs, coloured by class."""

import numpy as np
import pytest

from assimilate import analyze
from tests.chain_run import run
from tests.test_analyze import check_record, records

pytestmark = pytest.mark.xdist_group("chain")


def test_features_by_class(copy):
    words = ["analysis=features", "analysis.num_iterations=250", f"out={copy}"]
    assert run(analyze, *words, "analysis.classes=[3,'0',9]", "analysis.style=ggplot") == 0
    (path,) = (path for path in records(copy) if path.parent.name.startswith("features"))
    _, rows = check_record(path, "features")
    assert {row["label"] for row in rows} == {"0", "3", "9"}
    assert len({row["run"] for row in rows}) == 1
    assert np.isfinite([[float(row["x"]), float(row["y"])] for row in rows]).all()
    assert not (path.parent / "features.dark.png").exists()
    before = set(records(copy))
    assert run(analyze, *words) == 0
    (path,) = set(records(copy)) - before
    record, rows = check_record(path, "features")
    assert {row["label"] for row in rows} == set("0123456789")
    assert (path.parent / record["files"][0]["dark"]).is_file()
    (path.parent / "features.dark.png").unlink()  # a figure of which a file is gone is made again
    assert run(analyze, *words) == 0
    assert (path.parent / "features.dark.png").is_file()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["analysis=features", "analysis.classes=0"], "a whole number from 1 to 30"),
        (["analysis=features", "analysis.classes=[]"], "a whole number from 1 to 30"),
        (["analysis=features", "analysis.classes=[3,three]"], "three is no class; there are 0, 1,"),
        (["analysis=features", "analysis.num_images=9"], "and there are 9: raise analysis.num_images"),
        (["analysis=curves", "analysis.style=lihgt"], "allowed are light, dark and matplotlib's "),
    ],
)
def test_bad_input_is_one_line(copy, words, message, capsys):
    assert run(analyze, *words, f"out={copy}") == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.strip().splitlines()) == 1
    assert not records(copy)


def test_the_command_that_makes_a_run_has_no_settings_of_the_figure(tmp_path, capsys):
    assert run(analyze, "analysis=features", "analysis.style=dark", f"out={tmp_path}") == 2
    made_by = f"python -m assimilate.train budget=smoke trainer=cpu trainer.num_threads=1 out={tmp_path}"
    assert f"this makes one: {made_by}" in capsys.readouterr().err
