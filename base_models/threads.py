"""How many threads a setting stands for, and what becomes of them where processes fork."""

import math
import os
from pathlib import Path

from tagstack.configs.errors import TagstackError

_at_work: int | None = None  # the process that was first to have threads of ours


def thread_count(threads: int) -> int:
    """Return ``threads``, or for 0 the number of cores that this process may use."""
    return threads or usable_cores()


def let_idle_threads_sleep() -> None:
    """Make OpenMP's idle threads sleep instead of spinning; call before importing what uses it.

    Two pools that spin on the same two cores were measured many times slower than one thread
    each. A value that the user has set stays.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def begin_work() -> None:
    """Note that this process has native threads from now on; refuse what was forked from one.

    A fork copies the locks of OpenMP and of the runtimes without the threads that would open
    them: the first call that needs these waits for ever. What forks before there are any is fine.

    Raises
    ------
    TagstackError
        If this process was forked from one that was at work.
    """
    global _at_work
    if was_forked():
        msg = (
            "This process was forked from one in which tagstack was at work; its threads did not "
            "come along, so it would hang. Start processes with "
            "multiprocessing.get_context('spawn'), or fork before tagstack's first call."
        )
        raise TagstackError(msg)
    _at_work = os.getpid()


def was_forked() -> bool:
    """Return whether this process was forked from one that was at work."""
    return _at_work not in (None, os.getpid())


def usable_cores(groups: Path = Path("/sys/fs/cgroup")) -> int:
    """Return the number of cores that this process may use.

    A container with two cores' time on a machine of sixty-four may run on each of them: with a
    thread for each it would be stopped for most of every tenth of a second.

    Parameters
    ----------
    groups : Path
        Where the kernel says what control groups may use.
    """
    affinity = getattr(os, "sched_getaffinity", None)  # not on every system
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    quota = _quota(groups)
    return cores if quota is None else max(1, min(cores, math.ceil(quota)))


def _quota(groups: Path) -> float | None:
    """Return how many cores' time a container may use, None without a limit.

    References
    ----------
    Linux, "Control Group v2", cpu.max, and "CFS Bandwidth Control", cpu.cfs_quota_us.
    """
    both = _numbers(groups / "cpu.max") or [
        *_numbers(groups / "cpu" / "cpu.cfs_quota_us"),
        *_numbers(groups / "cpu" / "cpu.cfs_period_us"),
    ]
    if len(both) != 2 or min(both) <= 0:  # "max", and -1, are no limit
        return None
    return both[0] / both[1]


def _numbers(path: Path) -> list[int]:
    try:
        return [int(word) for word in path.read_text("ascii").split()]
    except (OSError, ValueError):
        return []
