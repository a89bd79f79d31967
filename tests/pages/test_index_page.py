"""The page and the Markdown file about everything that was run, from made-up results."""

import base64
import json
import re
import shlex
import subprocess
import sys
from html import unescape
from urllib.parse import unquote

import pytest

from assimilate import report
from assimilate.run.composing import compose, searching
from assimilate.run.config import make_job
from tests.made_up_out import HOSTILE, PNG, result, write
from tests.read_pages import Tables, commands_of, markdown_tables


def make_out(tmp_path):
    """Three budgets, two seeds, a data set that the paper lacks, runs of no row, a figure, and broken files."""
    out = tmp_path / "out"
    for seed, value in enumerate([92.5, 92.8]):
        write(out, result(seed=seed, metrics={"acc1": value, "knn5": 90.0}))
    write(out, result(row="table3/expert_expert_wsearch_a2", metrics={"acc1": 93.21}))
    write(out, result(dataset="digits", metrics={"acc1": 77.77}))
    write(out, result(dataset="cifar100", metrics={"acc1": 70.0, "acc1_last": 69.0}))
    for seed in (0, 1):
        write(out, result(dataset="digits", budget="smoke", seed=seed, metrics={"acc1": 11.11 + seed}))
    write(out, result(budget="smoke", metrics={"acc1": 13.13}))
    words = [f"view.path='{HOSTILE}'", "seed=0", "budget=paper", f"out={out}", "dataset=cifar10"]
    write(out, result(row=None, metrics={"acc1": 55.55}, overrides=words), setting="view.path=_-1234abcd")
    write(out, result(row=None, dataset="my images #1", metrics={}), setting="default-1234abcd")
    figure = out / "smoke" / "analysis" / "curves-abc"
    figure.mkdir(parents=True)
    (figure / "curves.png").write_bytes(PNG)
    (figure / "curves.dark.png").write_bytes(PNG[::-1])
    (figure / "curves.csv").write_text("epoch,knn5\n0,1\n")
    shown = {"dark": "curves.dark.png", **{kind: f"curves.{kind}" for kind in ("png", "csv", "pdf")}}
    shown["caption"] = f"A caption {HOSTILE}"
    described = {"schema": 1, "kind": "curves", "title": "Curves", "caption": "Said above.", "figure": "Figure 4"}
    (figure / "analysis.json").write_text(json.dumps({**described, "dataset": "digits", "files": [shown]}))
    return out


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    return make_out(tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="module")
def pages(out):
    assert report.main([f"out={out}"]) == 0
    return (out / "report.html").read_text(), (out / "report.md").read_text()


def section(html, start, end):
    return html[html.index(start) : html.index(end)]


def test_the_papers_table_shows_what_was_run_beside_the_paper(pages):
    html, _ = pages
    paper = Tables(section(html, 'id="paper"', 'id="smoke"'))
    table = next(table for table in paper.tables if table[0][:2] == ["view 1", "view 2"])
    simclr = next(row for row in table if row[:4] == ["expert", "expert", "–", "SimCLR"])
    # CIFAR-10 with two seeds, CIFAR-100 with one, digits without a number of the paper.
    assert simclr[4:8] == ["92.04", "92.65 ± 0.21 (2)", "+0.61", "4.21"]
    assert simclr[8:12] == ["70.41", "70.00 (1)", "−0.41", "2.11"]
    assert simclr[12:16] == ["–", "77.77 (1)", "–", "2.11"]
    assert [cell for cell in table[0] if "digits" in cell] == ["digits Acc@1a"]
    assert [row[3] for row in table[2:]] == ["SimCLR", "A2"]  # what was run, and no more
    whole = paper.tables[paper.tables.index(table) + 1]  # behind a click, with TinyImageNet, which was not run
    simclr = next(row for row in whole if row[:4] == ["expert", "expert", "–", "SimCLR"])
    assert simclr[12:20] == ["47.48", "not run", "–", "–", "–", "77.77 (1)", "–", "2.11"]
    assert len(whole) == 2 + 9


def test_a_smoke_number_never_stands_in_the_papers_section(pages):
    html, text = pages
    warning = "budget=smoke: not comparable with the paper"
    for whole, start in ((html, 'id="smoke"'), (text, "budget: smoke")):
        before, after = whole.split(start)
        for number in ("11.61", "13.13"):
            assert number not in before
            assert number in after
    smoke = Tables(section(html, 'id="smoke"', 'id="figures"'))
    assert all("paper" not in row and "diff." not in row for table in smoke.tables for row in table)
    assert "92.04" not in section(html, 'id="smoke"', 'id="figures"')
    assert html.count(warning) >= 4  # the section, its table, its figure, the list of runs
    assert text.count(warning.replace("=", "=")) >= 3
    # Table 3, and Table 12, in which one of its runs stands too.
    table, other = smoke.tables
    assert ["SimCLR", "13.13 (1)=", "not measured", "2.11"] in other
    assert next(row for row in table if row[3] == "SimCLR")[4:] == ["13.13 (1)", "2.11", "11.61 ± 0.71 (2)", "4.21"]


def test_cells_that_are_not_run_come_with_the_command_that_fills_them(pages, out):
    html, text = pages
    found = commands_of(html)
    assert f"python -m assimilate.train +table3=expert_wsearch_a1 dataset=tinyimagenet out={out}" in found
    assert f"python -m assimilate.train +table3=expert_wsearch_a1 dataset=digits budget=smoke out={out}" in found
    whole = f"python -m assimilate.train -m '+table3=glob(*)' dataset=cifar10,cifar100,tinyimagenet,digits out={out}"
    assert whole in found
    assert f"are not run. All of the table: `{whole}`" in text


def test_the_commands_are_ones_that_the_guard_lets_through(pages, out):
    import shlex

    from assimilate.jobs.command import check_additions
    from assimilate.run.composing import compose
    from assimilate.run.config import expand_sweep

    html, _ = pages
    found = commands_of(html)
    commands = [shlex.split(line) for line in found if line.startswith("python -m assimilate.train +")]
    assert commands
    for words in commands[:3]:
        job = make_job("train", compose(words[3:]), words[3:])
        assert job.row is not None
        assert job.out == out
    sweep = next(shlex.split(line) for line in found if "'+table3=glob(*)'" in line)
    check_additions(sweep[4:])
    assert len(expand_sweep(sweep[4:])) == 9 * 4


def test_html_and_markdown_show_the_same_numbers(pages):
    html, text = pages
    unfolded = re.sub("<details.*?</details>", "", html, flags=re.DOTALL)  # Markdown has what was run, and no more
    in_html = [row for table in Tables(unfolded).tables for row in table if row[0] not in ("", "paper")]
    in_markdown = [row for table in markdown_tables(text) for row in table if row[0] != "file" and "problem" not in row]
    numbers = re.compile(r"[-+−]?\d+\.\d+(?: ± \d+\.\d+)?(?: \(\d+\))?|not run|<0\.001")
    rows_html = [numbers.findall(" | ".join(row[1:])) for row in in_html]
    rows_markdown = [numbers.findall(" | ".join(row[1:])) for row in in_markdown]
    kept = [row for row in rows_html if row]
    assert len(kept) > 8
    assert kept == [row for row in rows_markdown if row]


def test_users_words_are_escaped(pages):
    html, text = pages
    assert html.count("<script") == 2  # ours, and the data that it reads
    assert "<script>alert" not in html
    assert "&lt;script&gt;alert" in html
    assert r"\u003cscript\u003ealert" in html
    row = next(line for line in text.splitlines() if "55.55" in line)
    assert row.count("|") - row.count("\\|") == len(re.split(r"(?<!\\)\|", row)) - 1
    assert "\\<script\\>" in next(line for line in text.splitlines() if line.startswith("!["))


def test_nothing_comes_from_elsewhere(pages, out):
    html, _ = pages
    assert not re.search(r"https?:|//[a-z]|@import|url\(|<link|<script src|<iframe|fetch\(|import\(", html)
    found = Tables(html)
    for target in found.links:
        if target.startswith("#"):
            assert target[1:] in found.ids
        elif not target.startswith("data:image/png;base64,"):
            assert (out / unquote(target)).is_file(), target
    assert "data:image/png;base64," + base64.b64encode(PNG).decode() in html
    twin = base64.b64encode(PNG[::-1]).decode()
    assert f'<source media="screen and (prefers-color-scheme: dark)" srcset="data:image/png;base64,{twin}">' in html
    assert "curves.csv" in html
    assert "curves.pdf" not in html  # it is not there


def test_every_run_has_a_page_of_its_own(pages, out):
    html, _ = pages
    results = sorted(out.rglob("metrics.json"))
    assert html.count("<tr data-run=") == len(results) == 10
    for path in results:
        page = (path.parent / "report.html").read_text()
        assert '<svg class="curves"' in page
        assert not re.search(r"https?:|<script src", page)
        for target in Tables(page).links:
            assert target.startswith("#") or (path.parent / unquote(target)).is_file()
        smoke = json.loads(path.read_text())["budget"] == "smoke"
        comparable = bool(json.loads(path.read_text())["paper"]) and not smoke
        assert ("not comparable with the paper" in page) == (not comparable)


def test_the_same_results_give_the_same_bytes(pages, out):
    stamps = {path: path.stat().st_mtime_ns for path in out.rglob("seed*/report.html")}
    assert report.main([f"out={out}"]) == 0
    assert ((out / "report.html").read_text(), (out / "report.md").read_text()) == pages
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps


def test_what_cannot_be_read_is_listed(tmp_path, capsys):
    out = make_out(tmp_path)

    def put(name, text):
        path = out / name
        path.parent.mkdir(parents=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())

    put("paper/table3/expert_wsearch_a1/cifar10/seed0/metrics.json", '{"schema": 1, "row"')
    put("paper/table3/expert_wsearch_a1/cifar10/seed1/metrics.json", b"\xff\xfe\x00")
    put("paper/table3/expert_wsearch_a1/cifar10/seed2/metrics.json", json.dumps({"accuracy": 0.9}))
    put("paper/table3/expert_wsearch_a1/cifar100/seed0/metrics.json", json.dumps(result(metrics={"acc1": 42.42})))
    put("paper/table3/no_such_row/cifar10/seed0/metrics.json",
        json.dumps(result(row="table3/no_such_row", metrics={"acc1": 43.43})))  # fmt: skip
    put("paper/table3/expert_wsearch_a1/cifar10/seed3/identity.json", "{}")
    put("somebody/elses/metrics.json", "{}")
    put("paper/analysis/broken/analysis.json", json.dumps({"schema": 1, "files": [{"png": "../../../metrics.json"}]}))
    assert report.main([f"out={out}"]) == 0
    said = capsys.readouterr().out
    html, text = (out / "report.html").read_text(), (out / "report.md").read_text()
    reasons = {
        "cifar10/seed0/metrics.json": "is no JSON",
        "cifar10/seed1/metrics.json": "is no UTF-8",
        "cifar10/seed2/metrics.json": "schema: Field required",
        "cifar100/seed0/metrics.json": "was it moved here?",
        "no_such_row/cifar10/seed0/metrics.json": "in no file of experiments",
        "cifar10/seed3/identity.json": "no metrics.json beside it",
        "somebody/elses/metrics.json": "where no run writes",
        "paper/analysis/broken/analysis.json": "is not there",
    }
    for name, reason in reasons.items():
        for whole in (html[html.index('id="problems"') :], text[text.index("## Problems") :], said):
            line = next(line for line in re.split(r"\n|</tr>", whole) if name in line)
            assert reason in re.sub(r"\\(.)", r"\1", line)
    assert "42.42" not in html
    assert "Problems (8)" in html


def test_a_row_lends_its_run_only_where_the_paper_has_both(tmp_path):
    """Table 13's ε1 = 0.3 is Table 3's search on CIFAR-10; on CIFAR-100 that has ε1 = 0.2."""
    for dataset, value in (("cifar10", 91.11), ("cifar100", 71.11)):
        write(tmp_path, result(row="table13/epsilon1_03", dataset=dataset, metrics={"acc1": value}))
    assert report.main([f"out={tmp_path}"]) == 0
    html = (tmp_path / "report.html").read_text()
    table = next(table for table in Tables(html).tables if table[0][:2] == ["view 1", "view 2"])
    search = next(row for row in table if row[:4] == ["expert", "expert", "W-search", "A2"])
    assert search[5] == "91.11 (1)="
    assert not any("CIFAR-100" in cell for cell in table[0])


def test_a_data_set_may_be_called_as_a_folder_of_ours(tmp_path):
    for dataset in ("artifacts", "analysis", "wandb"):
        write(tmp_path, result(row=None, dataset=dataset, metrics={"acc1": 44.44}), setting="default-1234abcd")
    # What lies in the real ones is no run, and no problem either.
    probe = tmp_path / "artifacts" / "probes" / "digits" / "simclr-abc" / "metrics.json"
    probe.parent.mkdir(parents=True)
    probe.write_text("{}")
    assert report.main([f"out={tmp_path}"]) == 0
    text = (tmp_path / "report.md").read_text()
    assert text.count("44.44 (1)") == 3
    assert "## Problems" not in text


def test_what_a_row_file_adds_is_for_the_papers_data_sets(tmp_path):
    """Table 4's BigBiGAN is no generator of digits."""
    write(tmp_path, result(row="table4/expert_expert_simclr", dataset="digits", metrics={"acc1": 44.44}))
    assert report.main([f"out={tmp_path}"]) == 0
    commands = [
        line
        for line in commands_of((tmp_path / "report.html").read_text())
        if line.startswith("python -m assimilate.train -m '+table4=")
    ]
    assert len(commands) == 2
    for line in commands:
        assert ("generator.checkpoint=" in line) == ("dataset=imagenet_fake" in line)
        assert "," not in line


def test_commands_of_a_report_can_be_typed_whatever_out_is_called(tmp_path):
    out = tmp_path / "öut (1)"
    write(out, result(metrics={"acc1": 92.0}))
    assert report.main([f'out="{out}"']) == 0
    commands = [line for line in commands_of((out / "report.html").read_text()) if line.startswith("python -m")]
    assert commands
    for line in commands[:3]:
        *_, word = shlex.split(line)
        assert compose([word])["out"] == str(out)


def test_nothing_run_yet(tmp_path):
    """Every table of the paper in one line that opens, and nothing else."""
    (tmp_path / "new").mkdir()
    assert report.main([f"out={tmp_path / 'new'}"]) == 0
    html = (tmp_path / "new" / "report.html").read_text()
    assert re.search(r"<strong>0 of \d+</strong> cells", html)
    assert 'id="smoke"' not in html
    assert 'class="map"' not in html
    assert 'id="own"' not in html
    assert html.count('<details class="empty"') == 1
    assert "<strong>Nothing run yet</strong> of Table 1, Table 3, Table 4, Table 5a" in html
    text = (tmp_path / "new" / "report.md").read_text()
    assert len(re.findall("^Nothing run yet of Table 1, Table 3, .*has the paper's numbers", text, re.MULTILINE)) == 1
    assert len(text.splitlines()) < 20


def test_runs_of_ones_own_come_first(pages):
    html, text = pages
    for whole, marks in (
        (html, ['id="overview"', 'id="own"', "55.55 (1)", 'id="paper"', 'id="smoke"', 'id="figures"', 'id="runs"']),
        (text, ["# What was run", "## Your runs", "55.55 (1)", "budget: paper", "budget: smoke", "## Figures"]),
    ):
        places = [whole.index(mark) for mark in marks]
        assert places == sorted(places)
    listed = re.findall(r'class="run-title"[^>]*>(.*?)</a>', html)
    assert "table3" not in listed[0]


def row_file(folder, table, name, numbers=""):
    (folder / table).mkdir(parents=True, exist_ok=True)
    (folder / table / f"{name}.yaml").write_text(
        f"# @package _global_\n# python -m assimilate.train +{table}={name} dataset=digits\n"
        f"defaults:\n  - override /assim: a2\nrow: {table}/{name}\npaper: {{{numbers}}}\n"
    )


@pytest.mark.parametrize("numbers", ["", "cifar10: {acc1: 50.00}"])
@pytest.mark.parametrize("given", ["now", "when it ran", "gone"])
def test_a_table_of_ones_own_stands_under_its_name_and_is_none_of_the_papers(tmp_path, capsys, given, numbers):
    out, folder = tmp_path / "out", tmp_path / "my options"
    if given != "gone":
        row_file(folder, "mytable", "idea", numbers)
        row_file(folder, "mytable", "other", numbers)
    words = ["+mytable=idea", f"hydra.searchpath=['file://{folder}']", "dataset=cifar10"]
    made = result(
        row="mytable/idea", metrics={"acc1": 55.5, "my_metric": 0.5}, overrides=words if given != "now" else ()
    )
    write(out, made)
    assert report.main([f"out={out}", *([f"--config-dir={folder}"] if given == "now" else [])]) == 0
    said = capsys.readouterr().out
    assert "1 finished run\n" in said  # and nothing of the paper's cells, of which none was asked for
    assert "left out" not in said
    html, text = ((out / f"report.{kind}").read_text() for kind in ("html", "md"))
    own = section(html, 'id="own"', 'id="paper"')
    table, *whole = Tables(own).tables  # what was run, and behind a click beside numbers of a paper all of it
    assert "<strong>mytable</strong>" in own
    assert "### mytable" in section(text, "## Your runs", "budget: paper")
    printed = ["50.00", "55.50 (1)", "+5.50"] if numbers and given != "gone" else ["55.50 (1)"]
    shown = ["0.50 (1)"] if not numbers or given == "gone" else []
    ideas = next(row for row in table if row[0] == "idea")
    assert ideas == ["idea", *printed, *shown, "2.11"]
    assert [row[0] for row in table[1:] if row[0] != "paper"] == ["idea"]
    assert [row[0] for row in (*whole, [])[0][2:]] == (["idea", "other"] if numbers and given != "gone" else [])
    if given != "gone":
        (command,) = {
            line for line in commands_of(html) if line.startswith("python -m assimilate.train +mytable=other")
        }
        assert f"--config-dir={folder}" in shlex.split(command)
        job_words = [word for word in shlex.split(command)[3:] if not word.startswith("--")]
        with searching((f"file://{folder}",)):
            assert make_job("train", compose(job_words), job_words).row == "mytable/other"


def test_commands_lead_to_the_users_code_and_options_where_the_run_had_them(tmp_path):
    """A row of one's own, and a data set of one's own in a table of the paper's."""
    out, folder, code = tmp_path / "out", tmp_path / "my options", str(tmp_path / "my code")
    row_file(folder, "mytable", "idea")
    row_file(folder, "mytable", "other")
    source = f"hydra.searchpath=['file://{folder}']"
    own = {"row": "mytable/idea", "overrides": [source, "+mytable=idea", "dataset=cifar10"], "python_path": code}
    write(out, result(metrics={"acc1": 55.5}, **own))
    own = {"row": "table3/expert_expert_simclr", "dataset": "stripes", "python_path": code}
    words = [source, "+table3=expert_expert_simclr", "dataset=stripes"]
    write(out, result(metrics={"acc1": 55.5}, overrides=words, **own))
    assert report.main([f"out={out}"]) == 0
    commands = [unescape(command) for command in commands_of((out / "report.html").read_text())]
    lines = [line for command in commands for line in command.splitlines()]
    ours = [line for line in lines if "+mytable=" in line or "dataset=stripes" in line]
    assert len(ours) > 3
    for line in ours:
        first, *words = shlex.split(line)
        assert first == f"PYTHONPATH={code}", line
        assert source in words or f"--config-dir={folder}" in words, line
    others = [line for line in lines if "+table3=" in line and "dataset=stripes" not in line]
    assert others
    assert not any("PYTHONPATH" in line or str(folder) in line for line in others)


def test_it_is_quick_because_it_needs_no_torch(out):
    """In a process of its own: here torch is imported by others."""
    code = (
        "import sys; from assimilate import report; code = report.main(sys.argv[1:]); "
        "assert not {'torch', 'lightning', 'matplotlib', 'sklearn'} & set(sys.modules), sys.modules.keys(); "
        "sys.exit(code)"
    )
    subprocess.run([sys.executable, "-c", code, f"out={out}"], check=True, timeout=60)
