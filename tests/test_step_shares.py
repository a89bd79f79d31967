"""The profiles' arithmetic: own time, kernels of the backward pass, idle time."""

import runpy
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
sys.path += [str(BENCHMARKS)]

from sections import REST, Section, Shares, Window, labelled, shares_of  # noqa: E402


class Work:
    @staticmethod
    def inner() -> None:
        time.sleep(0.05)

    @staticmethod
    def outer() -> None:
        time.sleep(0.02)
        Work.inner()


def test_a_section_has_the_time_of_its_calls_without_those_within():
    before = Work.inner
    window = Window()
    with labelled([Section("inner", Work, "inner"), Section("outer", Work, "outer")]):
        window.start()
        for _ in range(2):
            Work.outer()
        time.sleep(0.03)
        window.stop(2)
    assert Work.inner is before
    shares = window.shares
    # A busy machine sleeps longer; with the inner calls' time, the outer ones would have at least .14.
    assert shares.own["inner"] >= 0.1
    assert 0.04 <= shares.own["outer"] < 0.1
    rest = next(row for row in shares.rows() if row["section"] == REST)
    assert rest["ms_a_step"] >= 14
    assert sum(row["share"] for row in shares.rows()) == pytest.approx(1, abs=0.02)


def event(name, *, device="DeviceType.CPU", span=(0, 0), cpu=0, kernels=(), children=(), annotation=False):
    return SimpleNamespace(
        name=name, device_type=device, cpu_time_total=cpu, cpu_children=list(children), is_user_annotation=annotation,
        kernels=[SimpleNamespace(name=kernel, duration=duration) for kernel, duration in kernels],
        time_range=SimpleNamespace(start=span[0], end=span[1], elapsed_us=lambda: span[1] - span[0]),
    )  # fmt: skip


def test_kernels_belong_to_their_section_and_the_rest_to_the_backward_pass():
    crop = event("aten::bmm", kernels=[("crop", 30)])
    augmentation = event("section: augmentation", cpu=100, children=[crop], annotation=True)
    copy = event("aten::cat", kernels=[("copy", 10)], children=[augmentation])
    gather = event("section: gather", cpu=150, kernels=[("section: gather", 40)], children=[copy], annotation=True)
    backward = event("section: backward", cpu=50)
    kernel = {"device": "DeviceType.CUDA"}
    events = [
        gather, augmentation, backward,
        event("section: gather", span=(0, 40), annotation=True, **kernel),  # the label's own span on the device
        event("Optimizer.step#SGD.step", span=(50, 130), annotation=True, **kernel),  # torch's own label
        event("copy", span=(0, 10), **kernel),
        event("crop", span=(10, 40), **kernel),
        event("conv", span=(60, 100), **kernel),
        event("conv", span=(90, 120), **kernel),  # beside the one before, on another stream
        *(event("cudaStreamSynchronize") for _ in range(5)),
    ]  # fmt: skip
    shares = shares_of(events, 1, 200e-6)
    assert shares.own == pytest.approx({"gather": 50e-6, "augmentation": 100e-6, "backward": 50e-6})
    assert shares.kernels == pytest.approx({"gather": 10e-6, "augmentation": 30e-6, "backward": 70e-6})
    assert shares.busy == pytest.approx(100e-6)
    assert shares.summary() == {
        "step_ms": 0.2,
        "steps": 1,
        "gpu_idle_share": 0.5,
        "launches_a_step": 4,
        "waits_a_step": 3,
    }


def test_a_table_has_a_line_a_section():
    text = Shares(1, 1.0, {"gather": 0.75}).table().splitlines()
    assert text[0] == "| section | ms_a_step | share |"
    assert text[2] == "| gather | 750.0 | 0.75 |"
    assert text[3] == f"| {REST} | 250.0 | 0.25 |"


def test_the_four_paths_are_profiled(monkeypatch, capsys):
    """The script as it is typed, in this process, with the narrowest networks."""
    sizes = {"width": 2, "size": 16, "batch": 8, "channels": 4, "generator-batch": 4, "anchors": 2, "views": 2}
    counts = {"steps": 2, "warmup": 1, "generator-steps": 4, "threads": 1}
    words = [f"--{name}={value}" for name, value in {**sizes, **counts}.items()]
    script = str(BENCHMARKS / "profile_steps.py")
    monkeypatch.setattr(sys, "argv", [script, *words])
    runpy.run_path(script, run_name="__main__")
    text = capsys.readouterr().out
    paths = [line.split(":")[0] for line in text.splitlines() if line.startswith("## ")]
    assert paths == ["## simclr", "## a2", "## generator", "## wsearch"]
    for section in ("gather", "augmentation", "forward", "backward", "optimizer", "logging", "path length", "f"):
        assert f"| {section} |" in text, section
