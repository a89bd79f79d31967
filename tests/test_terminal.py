"""Progress on narrow and wide terminals and in logs; durations; the speed of a machine and the question about a day."""

import io
import itertools
import json
import re
import sys
import time

import pytest
from rich.console import Console
from torch import nn

from assimilate.graph.cost import USUAL, Effort, Speed, duration
from assimilate.jobs import machine, plan, terminal
from assimilate.jobs.machine import measure_speed
from assimilate.jobs.plan import known_speed, remember_speed
from assimilate.jobs.session import Session
from assimilate.jobs.terminal import Pace, Terminal
from tests.chain_run import SMOKE, run


class Clock:
    """Stands in for `time`; `now` moves when told."""

    def __init__(self):
        self.now = 1000.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(terminal, "time", clock)
    return clock


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.2, "1 s"),
        (59, "59 s"),
        (59.6, "1.0 min"),
        (150, "2.5 min"),
        (599, "10 min"),
        (3599, "1.0 h"),
        (3600 * 23.96, "1 day"),
        (3600 * 53, "2 days 5 h"),
        (3600 * 239.9, "10 days"),
        (3600 * 2844.4, "119 days"),
    ],
)
def test_durations_are_days_and_hours(seconds, text):
    assert duration(seconds) == text


def test_no_duration_is_written_anywhere_else():
    """One function words them: nobody else turns seconds into hours for a line."""
    from pathlib import Path

    import assimilate

    for path in Path(assimilate.__file__).parent.rglob("*.py"):
        if path.name not in ("cost.py", "numbers.py"):  # numbers.py: columns of tables, whose header is the unit
            assert not re.search(r"\{[^{}]*(hours|seconds)[^{}]*:[^{}]*f\} ?(h|s|min)\b", path.read_text()), path


# ------------------------------------------------------------------------------------------------ bars


def screen(width, *, turn="", pace=None):
    """A terminal that is pretended to have so many columns, and what was written to it."""
    shown = Terminal(turn=turn)
    shown.console = Console(
        file=io.StringIO(), force_terminal=True, width=width, height=40, soft_wrap=True, color_system=None
    )
    shown.pace = pace or Pace({})
    return shown


def lines_of(shown):
    """Every line that was drawn, without the codes that move the cursor."""
    return re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", shown.console.file.getvalue()).replace("\r", "\n").splitlines()


@pytest.mark.parametrize("width", [40, 80, 120, 200])
@pytest.mark.parametrize("title", ["Training StyleGAN2", "Ray search of a view with a very long name indeed, of 50000"])
def test_a_bar_fits_any_width(clock, width, title):
    pace = Pace({"generator": 100.0, "latents": 50.0})
    shown = screen(width, turn="3/27", pace=pace)
    pace.begin("generator")
    values = {"epoch": 3, "loss": 2.31e-5, "lr": 0.03125, "alignment": 123.456, "base": 0.1}
    with shown.bar(title) as report:
        report(0, 1_200_000, values)
        clock.now += 10
        report(123_400, 1_200_000, values)
        shown.console.print(report.__self__)  # as it is now, whatever the next time that it is drawn
    drawn = lines_of(shown)
    assert max(len(line) for line in drawn) <= width
    bar = next(line for line in drawn if "123,400/" in line)
    if width >= 80:
        assert "123,400/1,200,000  12,340/s  1.5 min left" in bar
        assert title[:10] in bar
        assert bar.count("━") + bar.count("─") == (24 if width >= 100 else 10)
        assert any("  job 3/27 · step 1/2 · about 2.3 min left in all" in line for line in drawn)
    if width == 120:
        assert "left  epoch 3  " in bar, "values come last"
        assert bar.endswith("…")
    assert "step 1/2" not in drawn[-1], "nothing about the whole job stays below a bar that has ended"


def test_a_finished_bar_says_how_long_it_took(clock):
    shown = screen(80)
    with shown.bar("Probing a2-wsearch") as report:
        report(1, 2, {"loss": 1.0})
        clock.now += 90
        report(2, 2, {})
    assert "2/2  1.5 min left" not in lines_of(shown)[-1]
    assert re.search(r"━{10}  2/2  \S+ s each  in 1\.5 min  loss 1$", lines_of(shown)[-1])


def test_a_bar_is_there_before_its_first_report(clock):
    shown = screen(80)
    with shown.bar("Training StyleGAN2"):
        pass
    assert "Training StyleGAN2" in lines_of(shown)[0]


def test_a_log_has_a_line_a_minute_at_most(clock, capsys, tmp_path):
    """Whatever number of bars there are, and however often they report."""
    written = Terminal(log=tmp_path / "log", turn="2/3")
    assert not written.console.is_terminal
    for part in range(4):
        with written.bar(f"part {part}") as report:
            for done in range(1, 101):
                clock.now += 1
                report(done, 100, {"loss": 0.5})
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 400 // 60
    assert lines[0] == "  part 0: 60/100, 1.0/s, 40 s left, job 2/3, loss 0.5"
    assert (tmp_path / "log").read_text().splitlines() == lines


def test_slow_work_is_told_by_seconds_a_piece(clock, capsys):
    written = Terminal()
    with written.bar("Search") as report:
        report(0, 10, {})
        clock.now += 100
        report(1, 10, {})
    assert capsys.readouterr().out == "  Search: 1/10, 100.0 s each, 15 min left\n"


def test_the_first_of_many_gives_no_rate(clock, capsys):
    with Terminal().bar("Search") as report:
        report(0, 768, {})
        clock.now += 70
        report(1, 768, {})
        clock.now += 70
        report(141, 768, {})
    first, second = capsys.readouterr().out.splitlines()
    assert first == "  Search: 1/768"
    assert second == "  Search: 141/768, 1.0/s, 10 min left"


def test_the_whole_job_is_scaled_by_what_its_steps_took(clock):
    pace = Pace({"data": 1.0, "generator": 100.0, "latents": 50.0, "views": 60.0})
    assert pace.position == "1/4"
    assert pace.left(10) is None  # nothing is being built
    pace.end("data")  # another process built it
    pace.begin("generator")
    clock.now += 100
    assert pace.left(100) == pytest.approx(100 + 110 * (21.1 + 100) / (21.1 + 50))  # 200 s where 100 were expected
    clock.now += 100
    pace.end("generator")
    pace.begin("latents")
    assert pace.position == "3/4"
    assert pace.left(50) == pytest.approx(50 + 60 * (21.1 + 200) / (21.1 + 100))


def test_what_is_left_does_not_jump_with_small_steps(clock):
    """A second that took ten is no sign that hours will be ten times as many; what follows the steps is counted."""
    pace = Pace({"data": 1.0, "generator": 1000.0, "latents": 500.0}, afterwards=6.0)
    pace.begin("data")
    clock.now += 10
    pace.end("data")
    pace.begin("generator")
    assert pace.left(1000) == pytest.approx(1000 + 506, rel=0.1)
    told = []
    for spent in range(0, 2000, 100):  # at half the speed that was expected
        told.append(pace.left(2000 - spent) + spent)
        clock.now += 100
    assert max(abs(after - before) for before, after in itertools.pairwise(told)) < 0.1 * told[0]
    assert told[-1] == pytest.approx(2000 + 2 * 506, rel=0.1)


# ------------------------------------------------------------------------------------------------ the machine


@pytest.fixture
def memory(tmp_path, monkeypatch):
    """No speed is remembered from another test, or of this machine."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "assimilate" / "speed.json"


def test_a_speed_is_remembered_for_the_machine_and_its_threads(memory):
    assert known_speed("cpu", 2) == USUAL["cpu"]
    speed = Speed(77.0, 2.0, is_measured=True)
    remember_speed("cpu", 2, speed)
    remember_speed("cuda", 2, Speed(5e4, 1.5, is_measured=True))
    assert known_speed("cpu", 2) == speed
    assert known_speed("cpu", 1) == USUAL["cpu"]
    assert known_speed("cuda", 2).gflops == 5e4
    for broken in ("", "[]", "{", json.dumps({key: {"gflop": 1} for key in json.loads(memory.read_text())})):
        memory.write_text(broken)
        assert known_speed("cpu", 2) == USUAL["cpu"]


def test_without_a_home_nothing_is_remembered(homeless, monkeypatch, tmp_path):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.chdir(tmp_path)
    remember_speed("cpu", 1, Speed(77.0, 2.0, is_measured=True))
    assert known_speed("cpu", 1) == USUAL["cpu"]
    assert not list(tmp_path.iterdir())


def test_the_speed_of_this_machine_is_measured():
    speed = measure_speed("cpu", seconds=0.2)
    assert speed.is_measured
    assert 0.5 < speed.gflops < 50_000
    assert speed.narrow_penalty >= 1
    # Half as wide: between the two that were measured.
    half = Effort(gflop=speed.gflops, width=0.5).cost(speed).seconds - Effort().cost(speed).seconds
    assert 1 <= half <= speed.narrow_penalty


def test_a_machine_that_is_busy_with_others_is_judged_by_the_time_it_spent_here(monkeypatch):
    class Interrupted(nn.ReLU):
        def forward(self, images):
            time.sleep(0.25)
            return super().forward(images)

    monkeypatch.setattr(machine.nn, "ReLU", Interrupted)
    by_the_clock = 4 * 3 * 64 * 2 * 9 * machine.NARROW**2 * 32**2 / 1e9  # gflops, in the second that the four sleep
    assert machine._gflops("cpu", machine.NARROW, 0.0) > 1.5 * by_the_clock


def test_what_costs_little_arithmetic_still_takes_its_time():
    """The plan of a smoke run once said 4 s of a run that took 45."""
    speed = USUAL["cpu"]
    assert Effort().cost(speed).seconds > 1
    assert Effort(steps=1000).cost(speed).seconds > 1000 * 0.005
    assert Effort(seconds=60).cost(USUAL["cuda"]).seconds > 60


# ------------------------------------------------------------------------------------------------ before it starts


LONG = ["dataset=digits", "recipe=essl", "assim=simclr", "epochs=100000", "trainer=cpu"]


@pytest.fixture
def slow_machine(memory, monkeypatch):
    """A machine that needs days for little, and knows it."""
    measured = []

    def measure(device):
        measured.append(device)
        return Speed(1.0, 1.0, is_measured=True)

    monkeypatch.setattr(machine, "measure_speed", measure)
    return measured


def interrupted(*_):
    """In the place of what would take days."""
    raise KeyboardInterrupt


def start(*words):
    from assimilate import train

    return train.main([*LONG, *words])


def test_a_day_on_a_cpu_needs_a_yes(slow_machine, memory, tmp_path, capsys, monkeypatch):
    for _ in range(2):
        assert start(f"out={tmp_path / 'out'}") == 2
        told = capsys.readouterr()
        assert told.err.count("\n") == 1
        for word in ("days", "prepare=plan", "budget=short", "yes=true"):
            assert word in told.err
        assert "estimates from this machine's speed" in told.out
    assert slow_machine == ["cpu"], "measured once, then remembered"
    assert memory.is_file()
    assert not list((tmp_path / "out").rglob("encoders/*/*"))
    monkeypatch.setattr(Session, "ensure_all", interrupted)
    assert start("yes=true", f"out={tmp_path / 'out'}") == 130


@pytest.mark.parametrize(("answer", "goes_on"), [("y", True), ("", False), ("no", False)])
def test_on_a_terminal_it_is_a_question(slow_machine, tmp_path, capsys, monkeypatch, answer, goes_on):
    asked = []

    class Keyboard(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stdin", Keyboard())
    monkeypatch.setattr("builtins.input", lambda question: (asked.append(question), answer)[1])
    monkeypatch.setattr(Console, "is_terminal", True)
    monkeypatch.setattr(Session, "ensure_all", interrupted)
    assert start(f"out={tmp_path / 'out'}") == (130 if goes_on else 2)
    (question,) = asked
    assert re.search(r"about [\d,]+ days on CPU .*Go on\? \[y/N\]", question)


def test_a_plan_says_rough_until_the_machine_is_known(memory, tmp_path, capsys):
    assert start("prepare=plan", f"out={tmp_path}") == 0
    assert "this CPU (rough estimates)" in capsys.readouterr().out
    remember_speed("cpu", None, Speed(120.0, 4.0, is_measured=True))
    assert start("prepare=plan", f"out={tmp_path}") == 0
    assert "this CPU (estimates from this machine's speed)" in capsys.readouterr().out


def test_short_work_measures_nothing(slow_machine, memory, copy):
    from assimilate import train

    assert run(train, "seed=5", "assim=simclr", f"out={copy}") == 0
    assert not slow_machine
    assert not memory.exists()


# ------------------------------------------------------------------------------------------------ multiruns


def planned(text):
    """(artifact, seconds, who it is for) of the lines of a plan."""
    units = {"s": 1, "min": 60, "h": 3600}
    found = re.findall(r"^  build   (\S+) +([\d.]+) (s|min|h), \d+ MB  (for [\w ,-]+)$", text, re.M)
    return [(label, float(amount) * units[unit], jobs) for label, amount, unit, jobs in found]


def test_a_plan_of_many_jobs_shows_what_they_share_once(memory, tmp_path, capsys):
    from assimilate import train

    words = ["seed=0,1,2", "trainer=cpu", "prepare=plan", f"out={tmp_path}"]
    assert train.main(["-m", *words]) == 0
    text = capsys.readouterr().out
    parts = planned(text)
    shared = [label.split("/")[0] for label, _, jobs in parts if jobs == "for every job"]
    assert {"datasets", "generators", "latents", "encoders", "calibrations", "views", "probes"} <= set(shared)
    assert len([label for label, _, jobs in parts if label.startswith(("generators", "latents", "views"))]) == 3
    for own in ("encoders/a2-wsearch", "probes/a2-wsearch"):
        assert [jobs for label, _, jobs in parts if label == own] == ["for job 1", "for job 2", "for job 3"]
    assert len(parts) == len(shared) + 2 * 3
    total = re.search(r"in all about ([\d.]+) min, \d+ MB for 3 jobs on this CPU", text)
    beside = plan.seconds_beside("train", 3)
    assert f"starting Python, pictures and pages: {duration(beside)}" in text
    # Each line is rounded.
    assert float(total[1]) * 60 == pytest.approx(beside + sum(seconds for _, seconds, _ in parts), abs=15)
    assert "job 2/3: seed=1" in text
    assert all(f"{key}=" in text for key in ("generator.checkpoint", "inversion.latents", "view.encoder.checkpoint"))


def test_jobs_that_differ_are_no_shared_work(memory, tmp_path, capsys):
    """Before the images are prepared, artifacts are shown without keys: their names alone do not make them one."""
    from assimilate import train

    assert train.main(["-m", *SMOKE, "loss.alpha=0.1,0.2", "prepare=plan", f"out={tmp_path}"]) == 0
    jobs = [jobs for label, _, jobs in planned(capsys.readouterr().out) if label.startswith("encoders/a2")]
    assert jobs == ["for job 1", "for job 2"]


def test_jobs_of_a_multirun_are_counted(copy, capsys):
    from assimilate import train

    assert train.main(["-m", *SMOKE, "seed=0,1", f"out={copy}", "prepare=only"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line[:8] for line in lines if line.startswith("job ")] == ["job 1/2:", "job 2/2:"]


def test_what_is_made_again_is_asked_about_before_it_is_discarded(slow_machine, copy, capsys, monkeypatch):
    from assimilate import train_generator

    monkeypatch.setattr(plan, "ASKED_SECONDS", 0.0)
    before = {path: path.stat().st_mtime_ns for path in (copy / "artifacts").rglob("*.json")}
    for stage, kind in ((train_generator, "generators"), (sys.modules["assimilate.train"], "encoders")):
        assert stage.main([*SMOKE, "force=true", f"out={copy}"]) == 2
        told = capsys.readouterr()
        assert "yes=true goes on" in told.err
        assert f"  {kind}/digits/" in told.out
    assert before == {path: path.stat().st_mtime_ns for path in (copy / "artifacts").rglob("*.json")}
