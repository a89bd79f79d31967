"""How many CPUs this process may use, as the kernel's files say."""

import contextlib
import functools
import os
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")


def usable_cpus() -> float:
    """CPUs that this process may use, > 0: those it is bound to (taskset, SLURM), or a container's smaller share."""
    return min(float(_bound_to(os.getpid())), _share_of_container())


def whole_cpus() -> int:
    """The same rounded to a whole number, ≥ 1: for threads and processes."""
    return max(1, round(usable_cpus()))


@functools.cache
def _bound_to(process: int) -> int:
    """How many CPUs the threads of a process may run on, ≥ 1, when this is first asked; remembered from then on.

    With OMP_PROC_BIND, OpenMP binds each of its threads, the main one included, to one CPU when it starts them. So the
    package asks when it is imported, and where another library has started them before, those of all threads count. A
    forked process has another number and is asked anew.
    """
    found = os.sched_getaffinity(process)
    for thread in Path(f"/proc/{process}/task").glob("*"):
        with contextlib.suppress(OSError):  # it has ended
            found |= os.sched_getaffinity(int(thread.name))
    return len(found)


def _share_of_container(root: Path = _CGROUPS, own: Path = Path("/proc/self/cgroup")) -> float:
    """The smallest quota of this process's control group and of those above it, in CPUs; ∞ where there is none.

    Both versions of control groups: `cpu.max` holds "<quota> <period>" in microseconds, `cpu.cfs_*_us` one each. Inside
    a container the group may be known by a path of the host that is not mounted; its files are then at the root.

    Args:
        root: where control groups are mounted.
        own: says which groups this process is in, a line each: "<number>:<controllers>:<path>".
    """
    groups = [root, root / "cpu"]
    with contextlib.suppress(OSError):
        for line in os.fsdecode(own.read_bytes()).splitlines():
            _, controllers, path = [*line.split(":", 2), "", ""][:3]
            mounts = {"cpu", controllers} if "cpu" in controllers.split(",") else {""} if not controllers else ()
            for group in (root / mount / path.lstrip("/") for mount in mounts if path):
                groups += [group, *group.parents]
    return min(_quota(group) for group in groups if group.is_relative_to(root))


def _quota(group: Path) -> float:
    try:
        if (group / "cpu.max").is_file():
            quota, period = (group / "cpu.max").read_text(encoding="utf-8").split()
        else:
            quota, period = ((group / f"cpu.cfs_{name}_us").read_text(encoding="utf-8") for name in ("quota", "period"))
        return float(quota) / float(period) if float(quota) > 0 else float("inf")
    except (OSError, ValueError, ZeroDivisionError):  # "max": none
        return float("inf")
