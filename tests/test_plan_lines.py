"""The lines of a plan: what is cheaper at each budget, which jobs share what, and how wide they are."""

import copy
import io
import re
from dataclasses import replace

import pytest
from rich.console import Console

from assimilate import analyze, train
from assimilate.graph.cost import Cost, duration
from assimilate.jobs.plan import (
    DRAWING_SECONDS,
    STARTING_SECONDS,
    Planned,
    bring_your_own,
    parts_of,
    plan_of_all,
    ranges,
    smaller_than,
)
from assimilate.jobs.terminal import Terminal
from assimilate.run.composing import compose
from assimilate.run.config import make_job
from assimilate.run.recipe import Recipe


@pytest.mark.parametrize(
    ("words", "smaller"),
    [
        (["dataset=cifar10"], "budget=short or budget=smoke"),
        (["dataset=cifar10", "budget=short"], "budget=smoke"),
        (["budget=cpu"], "budget=smoke"),
        (["budget=smoke"], ""),
        ([], "budget=smoke"),  # the demo trains for fewer steps than budget=short allows
        (["epochs=1000"], "budget=short or budget=smoke"),
    ],
)
def test_only_budgets_that_lower_something_are_offered(words, smaller):
    config = make_job("train", compose(words), words).config
    before = copy.deepcopy(config)
    assert smaller_than(config) == smaller
    assert config == before
    (_, _, _, _, *told) = plan_of_all({1: [Planned("views/a", "a", "make it", "this CPU", 1.0, 1.0)]}, smaller, "train")
    assert (f"  smaller: {smaller} (labelled so everywhere)" in told) == bool(smaller)


def test_jobs_in_sequence_are_one_range():
    assert ranges([1]) == "1"
    assert ranges([1, 2, 3, 5, 7, 8]) == "1-3, 5, 7-8"
    shared, own = Planned("f", "f", "train f", "a GPU", 1.0), Planned("v", "v", "make v", "a GPU", 1.0)
    lines = plan_of_all({1: [shared], 2: [shared, own], 3: [own], 4: []}, "", "train")
    assert lines[:4] == [
        "  build   f  1 s, 1 MB  for jobs 1-2",
        "          train f",
        "  build   v  1 s, 1 MB  for jobs 2-3",
        "          make v",
    ]


def test_a_plan_counts_what_goes_into_no_artifact():
    """A command starts once, and each job of some stages draws pictures and a page."""
    plans = {job: [Planned(f"v{job}", f"v{job}", "make v", "a GPU", 100.0)] for job in (1, 2, 3)}
    for stage, seconds in (("train", STARTING_SECONDS + 3 * DRAWING_SECONDS), ("make_views", STARTING_SECONDS)):
        _, _, _, _, beside, total, *_ = plan_of_all(plans, "", stage)  # one command makes all three
        assert beside == f"  also    starting Python, pictures and pages: {duration(seconds)}"
        assert f"in all about {duration(300 + seconds)}, " in total
    assert any(" for 1 job on a GPU" in line for line in plan_of_all({1: plans[1]}, "", "train"))


def test_a_command_stands_once_below_what_it_builds():
    probe, floor = (Planned(name, name, "evaluate", "a GPU", 1.0) for name in ("probe", "floor"))
    lines = list(parts_of([Planned("there", "there"), probe, floor, Planned("f", "f", "train", "a GPU", 1.0), probe]))
    assert [line.split()[0] for line in lines] == [
        "exists",
        "build",
        "build",
        "evaluate",
        "build",
        "train",
        "build",
        "evaluate",
    ]


def test_lines_that_are_no_path_or_command_fit_into_80_columns():
    typical = Planned("generators/tinyimagenet/stylegan2-0fd837789308", "g", "x", "a GPU", 47 * 3600 + 10, 99_000.0)
    assert max(map(len, parts_of([typical]))) <= 80
    keys = "generator.checkpoint= generator._target_= inversion.checkpoint= inversion.latents= view.encoder.checkpoint="
    lines = bring_your_own([replace(typical, brought_by=keys)])
    assert len(lines) == 2
    assert max(map(len, lines)) <= 80


def test_a_plan_names_only_what_can_be_brought_into_it(tmp_path, capsys):
    """Nothing into a SimCLR run; a generator, latents and f where views are made of them."""

    def named(*words):
        assert train.main([*words, f"out={tmp_path}", "prepare=plan"]) == 0
        return re.findall(r"[\w.]+\.(?:checkpoint|latents|_target_)=", capsys.readouterr().out)

    assert named("assim=simclr") == []
    of_latents = ["generator.checkpoint=", "generator._target_=", "inversion.checkpoint=", "inversion.latents="]
    assert named("assim=a2", "view=wsearch") == [*of_latents, "view.encoder.checkpoint="]


@pytest.mark.parametrize(
    ("megabytes", "text"), [(0.2, "1 MB"), (999.4, "999 MB"), (999.6, "1.0 GB"), (9_949, "9.9 GB"), (12_345, "12 GB")]
)
def test_disk_is_told_in_few_digits(megabytes, text):
    assert Cost(1.0, megabytes).text == f"1 s, {text}"


def test_prose_on_a_terminal_ends_between_words_and_what_is_copied_is_whole():
    path, command = f"result:  /tmp/{'x' * 90}", f"note: {'a ' * 30}python -m assimilate.train {' '.join(['b=c'] * 9)}"
    prose = "  " + "digits are enlarged " * 9
    for is_terminal, parts in ((True, 3), (False, 1)):
        terminal, shown = Terminal(), io.StringIO()
        terminal.console = Console(file=shown, force_terminal=is_terminal, width=80, soft_wrap=True, color_system=None)
        for line in (path, command, prose.rstrip()):
            terminal.say(line)
        lines = shown.getvalue().splitlines()
        assert lines[:2] == [path, command]
        assert len(lines[2:]) == parts
        assert [line[:3] for line in lines[2:]] == [f"  {line[2]}" for line in lines[2:]]
        assert " ".join(line.strip() for line in lines[2:]) == prose.strip()
        assert max(map(len, lines[2:])) <= 80 or not is_terminal


def test_a_search_that_is_cut_short_uses_all_its_steps():
    """A smoke run's six steps were taken for one; the paper's thousand are a seventh of that."""
    for iterations, steps in ((6, 6), (150, 28), (1000, 1000 / 7)):
        words = ["view=wsearch", "assim=a2", f"view.search.iterations={iterations}"]
        search = Recipe(make_job("train", compose(words), words).config).view.search
        assert search.effort_of_a_view == pytest.approx(2 * steps)


def test_a_line_of_progress_says_what_is_done():
    words = ["assim=a2", "view=wsearch"]
    recipe = Recipe(make_job("train", compose(words), words).config)
    assert recipe.view.doing == "Making views by W-search"
    assert recipe.latents.doing == "Inverting images"


def test_a_figure_of_the_images_alone_needs_nothing_built(tmp_path, capsys):
    words = ["budget=smoke", "analysis=grid", "analysis.columns=[original]", f"out={tmp_path}", "prepare=plan"]
    assert analyze.main(words) == 0
    assert capsys.readouterr().out.endswith("  nothing to build\n")
