"""CPUs that a process may use: those it is bound to, and a container's share of them; and how fast they are."""

import itertools
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from assimilate.files import cpus
from assimilate.files.cpus import usable_cpus, whole_cpus
from assimilate.jobs import machine, plan

NONE = float("inf")


@pytest.mark.parametrize(
    ("files", "own", "share"),
    [
        ({}, "0::/\n", NONE),
        ({"cpu.max": "max 100000\n"}, "0::/\n", NONE),
        ({"cpu.max": "150000 100000\n"}, "0::/docker/abc\n", 1.5),  # the path is the host's
        ({"job/step/cpu.max": "max 100000\n", "job/cpu.max": "50000 100000\n"}, "0::/job/step\n", 0.5),
        ({"job/cpu.max": "50000 100000\n"}, "0::/another\n", NONE),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, "1:cpu:/\n", NONE),
        ({"cpu/box/cpu.cfs_quota_us": "300000\n", "cpu/box/cpu.cfs_period_us": "100000\n"}, "3:cpu,cpuacct:/box\n", 3),
        ({"cpu/box/cpu.cfs_quota_us": "200000\n", "cpu/box/cpu.cfs_period_us": "100000\n"}, "4:cpuacct,cpu:/box\n", 2),
        ({"cpu,cpuacct/cpu.cfs_quota_us": "5\n", "cpu,cpuacct/cpu.cfs_period_us": "10\n"}, "4:cpu,cpuacct:/a\n", 0.5),
        ({"cpu.max": "1 0\n"}, "0::/\n", NONE),
        ({"\udcff/cpu.max": "50000 100000\n"}, "0::/\udcff\n", 0.5),  # a name in no encoding
        ({"cpu.max": "garbage"}, "neither this\n0::/\n", NONE),
    ],
)  # fmt: skip
def test_the_share_of_a_container(tmp_path, files, own, share):
    for name, text in files.items():
        path = tmp_path / "cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "own").write_bytes(os.fsencode(own))
    assert cpus._share_of_container(tmp_path / "cgroup", tmp_path / "own") == share


def test_a_process_bound_to_one_cpu_has_one():
    bound = f"import os; os.sched_setaffinity(0, {{{min(os.sched_getaffinity(0))}}})"
    told = f"{bound}; from assimilate.files import cpus; print(cpus.usable_cpus() <= 1, cpus.whole_cpus())"
    found = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True).stdout
    assert found.split() == ["True", "1"]


@pytest.mark.parametrize("threads", {1, len(os.sched_getaffinity(0))})
def test_binding_each_thread_to_a_cpu_takes_none_away(threads):
    """OpenMP binds the main thread to one of them with the first parallel region, and any others to further ones."""
    told = (
        "import os, assimilate, torch; torch.ones(2**20).exp(); from assimilate.jobs.plan import _machine; "
        "print(len(os.sched_getaffinity(0)), _machine('cpu', None))"
    )
    bound = {"OMP_PROC_BIND": "true", "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    command = [sys.executable, "-c", told]
    found = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | bound).stdout
    assert found == f"1 {plan._machine('cpu', None)}\n"


def test_a_forked_process_has_the_cpus_that_it_was_bound_to():
    told = (
        "import os; from assimilate.files.cpus import _bound_to; before = _bound_to(os.getpid())\n"
        "if os.fork() == 0: os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); print(_bound_to(os.getpid()))\n"
        "else: os.wait(); print(before == _bound_to(os.getpid()))"
    )
    found = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True).stdout
    assert found.split() == ["1", "True"]


def test_a_part_of_a_cpu_is_one_thread(monkeypatch):
    monkeypatch.setattr(cpus, "_share_of_container", lambda: 0.25)
    assert (usable_cpus(), whole_cpus()) == (0.25, 1)


@pytest.mark.parametrize(("threads", "cpus", "seconds"), [(8, 2.0, 5.0), (1, 2.0, 10.0), (4, 0.5, 20.0)])
def test_more_threads_than_cpus_do_not_make_it_faster(monkeypatch, threads, cpus, seconds):
    """Eight threads on two cores were taken for eight cores, and a container's half of one for all of them."""
    spent = SimpleNamespace(process_time=itertools.count(0.0, 10.0).__next__, perf_counter=itertools.count().__next__)
    monkeypatch.setattr(machine, "time", spent)  # each step takes 10 s of CPU time
    monkeypatch.setattr(machine, "usable_cpus", lambda: cpus)
    monkeypatch.setattr(machine.torch, "get_num_threads", lambda: threads)
    work = 3 * 4 * 64 * 2 * 9 * machine.NARROW**2 * 32**2 / 1e9
    assert machine._gflops("cpu", machine.NARROW, 0.0) == pytest.approx(work / seconds)
