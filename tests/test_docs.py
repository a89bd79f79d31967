"""The documentation: what its pages are made from is complete, and every page can be reached."""

import importlib.util
import re
from pathlib import Path

import pytest
import yaml

from assimilate import train
from assimilate.run.known_keys import CONF, EXPERIMENTS, settings_in
from tests.test_help import given_by_hand

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def pages():
    spec = importlib.util.spec_from_file_location("site_pages", ROOT / "docs/_site/pages.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_reference_has_every_key_and_option(pages):
    text = pages.keys_page()
    assert [key for key in given_by_hand() if f"\n`{key}`{{: #{key} }}\n:   " not in text] == []
    for group in ("view", "loss", "probe", "recipe", "trainer", "dataset"):
        for option in (CONF / group).glob("*.yaml"):
            assert f"| `{group}={option.stem}` | " in text, option


def test_the_reference_has_values_meanings_and_tables(pages):
    entries = {entry.split("`")[1]: entry for entry in pages.keys_page().split("\n\n") if entry.startswith("`")}
    epsilon = entries["view.epsilon1"]
    assert "the wanted distance from the anchor" in epsilon
    assert "0 ≤ ε1 ≤ 2" in epsilon
    assert "`0.3` (online)" in epsilon
    assert "[Table 13](rows.md#table13)" in epsilon
    assert "`1200` in recipe=supcontrast" in entries["epochs"]


def test_words_of_the_code_stay_as_they_are(pages):
    assert pages._text("<name>._target_ or `x_y<z>`.") == r"&lt;name>.\_target\_ or `x_y<z>`"
    entries = {entry.split("`")[1]: entry for entry in pages.keys_page().split("\n\n") if entry.startswith("`")}
    assert ":   *vicreg*: " in entries["loss.variance"]


def test_a_key_names_the_tables_whose_rows_set_it(pages):
    for path in EXPERIMENTS.glob("table1[34]/*.yaml"):
        for key in settings_in(path):
            if not key.startswith("paper") and key != "row":
                assert path.parent.name in pages.chosen_by(key), key
    assert "table3" in pages.chosen_by("view=wsearch")
    assert pages.chosen_by("view.search.optimizer") == ["table18"]


def test_every_row_and_every_name_of_the_package_has_a_line(pages):
    rows, api = pages.rows_page(), pages.api_page()
    assert all(f"`+{path.parent.name}={path.stem}`" in rows for path in EXPERIMENTS.glob("*/*.yaml"))
    stub = (ROOT / "src/assimilate/__init__.pyi").read_text(encoding="utf-8")
    offered = re.findall(r"^from (\S+) import \w+ as (\w+)$", stub, flags=re.MULTILINE)
    assert len(offered) > 50
    assert all(f"::: {module}.{name}\n" in api for module, name in offered)


def test_every_page_is_in_the_navigation():
    shown = set(re.findall(r": ([\w-]+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), flags=re.MULTILINE))
    made = {"commands.md", "keys.md", "rows.md", "api-reference.md", "results.md"}
    assert shown == made | {path.name for path in (ROOT / "docs").glob("*.md")}


def test_links_between_pages_lead_somewhere():
    """In the repository; `make docs` checks the site's, anchors too. This needs no network and no mkdocs."""
    for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for link in re.findall(r"\]\(([^)#:]+)(?:#[\w-]+)?\)", path.read_text(encoding="utf-8")):
            assert (path.parent / link).exists(), (path.name, link)


def test_on_the_site_links_to_what_a_page_is_made_from_lead_to_the_page(pages):
    text = (ROOT / "docs/index.md").read_text(encoding="utf-8")
    assert all(f"](../{source})" in text for source in pages.SOURCES)
    shown = pages.on_page_markdown(text, None, None, None)
    assert all(f"]({made})" in shown for made in ("keys.md", "api-reference.md", "results.md"))
    assert "](../" not in shown


def test_the_workflow_and_the_make_file_run_the_same_commands():
    flows = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in (ROOT / ".github/workflows").glob("*.yml")]
    steps = [step.get("run", "") for flow in flows for job in flow["jobs"].values() for step in job["steps"]]
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))
    called = {word for step in steps for word in re.findall(r"make ([a-z-]+)", step)}
    matrices = [job.get("strategy", {}).get("matrix", {}) for flow in flows for job in flow["jobs"].values()]
    called |= {case["target"] for matrix in matrices for case in matrix.get("include", [])}
    assert {"check", "docs"} <= called <= targets


def test_the_hours_of_the_main_job_are_those_of_its_plan(tmp_path, capsys):
    words = ["dataset=cifar100", "view=wsearch", "assim=a2", "prepare=plan", "trainer=gpu", f"out={tmp_path / 'out'}"]
    assert train.main(words) == 0
    units = {"days": 24.0, "h": 1.0, "min": 1 / 60, "s": 1 / 3600}
    planned, total = {}, 0.0
    for line in capsys.readouterr().out.splitlines():
        if found := re.search(r"(?:build   (\w+)/(\S+) +|in all about )((?:[\d.]+ (?:days|h|min|s) ?)+),", line):
            hours = sum(float(n) * units[unit] for n, unit in re.findall(r"([\d.]+) (\w+)", found[3]))
            planned[f"{found[1]}/{found[2]}"], total = hours, max(total, hours)
    text = " ".join((ROOT / "docs/gpu.md").read_text().split())
    (told,) = re.findall(
        r"takes about (\d+) days .*?: generator (\d+) h, inversion (\d+) h, f (\d+) h, views (\d+) h, A2 (\d+) h", text
    )
    names = ("generators/stylegan2", "latents/indomain", "encoders/simclr", "views/wsearch", "encoders/a2-wsearch")
    assert [float(hours) for hours in told[1:]] == pytest.approx([planned[name] for name in names], abs=0.6)
    assert f"about {told[0]} days ({total:.0f} hours)" in " ".join((ROOT / "README.md").read_text().split())
