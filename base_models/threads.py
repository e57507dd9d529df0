"""How many threads a setting stands for."""

import os


def thread_count(threads: int) -> int:
    """Return ``threads``, or for 0 the number of cores that this process may use."""
    return threads or len(os.sched_getaffinity(0))
