"""The page's script in headless Chromium: clicks sort, filter, pick, compare and download."""

import json
import re
import shutil
import subprocess

import pytest

from assimilate import report
from tests.made_up_out import HOSTILE, result, write

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")
# What a reader does, in turn, and what the page shows then; it is read from the title.
CLICKS = """
<script>
const find = (selector) => [...document.querySelectorAll(selector)];
const seen = {};
const rows = () => find("tr[data-run]").filter((row) => !row.hidden);
const column = (name) => find("table.runs thead th").findIndex((head) => head.textContent === name);
const values = () => rows().map((row) => row.cells[column("Acc@1")].textContent);
seen.first = values();
const head = find("table.runs thead th")[column("Acc@1")];
head.click(); seen.down = values(); seen.sorted = head.getAttribute("aria-sort");
head.click(); seen.up = values();
const input = document.querySelector("input.filter");
input.value = "alpha=2 DIGITS"; input.dispatchEvent(new Event("input"));
seen.filtered = values(); seen.count = document.querySelector(".shown").textContent;
input.value = ""; input.dispatchEvent(new Event("input"));
const box = (index) => document.querySelector(`tr[data-run] input[value="${index}"]`);
box(0).click();
seen.one = [document.querySelector("#compare .sub"), find("#compare svg.curves .line").length];
box(1).click();
const words = (row) => [...row.cells].map((cell) => cell.textContent);
seen.settings = find("#compare tbody:last-child tr").slice(1).map(words);
seen.lines = find("#compare svg.curves .line").length;
const svg = document.querySelector("#compare svg.curves"), area = svg.getBoundingClientRect();
svg.dispatchEvent(new PointerEvent("pointermove", { clientX: area.left + area.width - 15, clientY: area.top + 20 }));
seen.tip = document.querySelector(".tip").innerText;
document.getElementById("clear").click();
seen.cleared = document.getElementById("compare").hidden && !box(0).checked;
seen.images = document.images.length;
const blobs = [];
URL.createObjectURL = (blob) => { blobs.push(blob); return "#"; };
find("a[download]").forEach((link) => link.click());
Promise.all(blobs.map((blob) => blob.text())).then((texts) => {
  document.title = JSON.stringify({ ...seen, files: texts });
});
</script>
"""


def test_clicks(tmp_path):
    out = tmp_path / "out"
    for index, value in enumerate([92.5, 9.75, 88.0]):
        made = result(
            row=None, dataset="digits", metrics={"acc1": value}, overrides=[f"loss.alpha={index}", f"x={HOSTILE}"]
        )
        made["config"]["loss"]["alpha"] = index
        made["titles"]["run"] = f"Run {HOSTILE}"
        made["knn_curve"] = [[0, 30.0], [1, 50.0], [2, 60.0 + index]]
        write(out, made, setting=f"alpha{index}-1234abc{index}")
    assert report.main([f"out={out}"]) == 0
    page = tmp_path / "page.html"
    page.write_text((out / "report.html").read_text().replace("</body>", f"{CLICKS}</body>"))
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--dump-dom"]
    flags.append("--virtual-time-budget=10000")  # of the page's clock: promises are kept before the page is dumped
    command = [CHROMIUM, *flags, f"--user-data-dir={tmp_path / 'profile'}", page.as_uri()]
    dumped = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    title = re.search("<title>(.*?)</title>", dumped, re.S).group(1)
    seen = json.loads(title.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))

    def numbers(shown):
        return [float(text.split(" ")[0]) for text in shown]

    assert numbers(seen["first"]) == [92.5, 9.75, 88.0]
    assert (numbers(seen["down"]), seen["sorted"]) == ([92.5, 88.0, 9.75], "descending")  # as numbers, not as words
    assert numbers(seen["up"]) == [9.75, 88.0, 92.5]
    assert (numbers(seen["filtered"]), seen["count"]) == ([88.0], "1 of 3 runs")
    assert seen["one"] == [None, 1]
    assert seen["settings"] == [["loss.alpha", "0", "1"]]
    assert seen["lines"] == 2
    assert re.sub(r"\s+", " ", seen["tip"]).strip() == "epoch 2 A 60.00 B 61.00"
    assert seen["cleared"]
    assert seen["images"] == 0  # no word of a run became markup
    as_json, runs_csv, _ = seen["files"]
    assert json.loads(as_json) == json.loads((out / "report.json").read_text())
    assert runs_csv.splitlines()[0] == (out / "report_runs.csv").read_text().splitlines()[0]
    assert len(runs_csv.splitlines()) == 4
