"""docs/demo.ipynb, cell by cell in this process, on a finished run of the smoke budget."""

import json
from pathlib import Path

import pytest

from tests.chain_run import SMOKE

NOTEBOOK = Path(__file__).resolve().parents[1] / "docs" / "demo.ipynb"

pytestmark = pytest.mark.xdist_group("chain")


def test_every_cell_runs(copy, monkeypatch, capsys):
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("agg")
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    assert all(not cell.get("outputs") for cell in cells), "outputs are not kept"
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    shorter = {'OUT = "outputs"': f"OUT = {str(copy)!r}", 'WORDS = ["view.solver=ray"]': f"WORDS = {SMOKE}"}
    for long, short in {**shorter, "STEPS = 300": "STEPS = 30"}.items():
        assert code[0].count(long) == 1
        code[0] = code[0].replace(long, short)
    names: dict = {}
    for number, source in enumerate(code):
        exec(compile(source, f"cell {number}", "exec"), names)
    shown = capsys.readouterr().out
    assert "built:  nothing" in shown
    assert names["views"].images.shape[1:] == (2, 3, 16, 16)
    assert len(names["cells"]) == 3, "an image and its two views"
    assert names["loss"].isfinite()
    assert "after 30 steps" in shown
