"""Work that splits by tag, handed to joblib's workers within a budget of threads.

In this process the work runs in so many threads, each of which does its algebra alone, so that
``workers x threads`` never exceeds the budget. Under ``joblib.parallel_config(backend="ray")``
(or "dask", or any other), or with a backend named in the settings, the backend's own workers do
it, one thread each. What comes back is the same bits: every task carries all that it needs.
"""

import importlib
import os
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

from tagstack.configs.errors import TagstackError

Task = TypeVar("Task")
Result = TypeVar("Result")

_OF_THIS_MACHINE = frozenset({"", "threading", "sequential", "loky", "multiprocessing"})


def done_by_workers(
    function: Callable[[Task], Result], tasks: Iterable[Task], *, threads: int, backend: str
) -> list[Result]:
    """Return ``function`` of every task, in their order.

    Parameters
    ----------
    function : callable
        Named at the top of a module, so that other processes find it.
    tasks : iterable
        Made as they are needed.
    threads : int, positive
        On this machine; a cluster's backend uses the workers it has.
    backend : str
        Name of a joblib backend; "" for the one that is active, by default threads.

    Raises
    ------
    TagstackError
        If the backend is not installed or not started.
    """
    from joblib import Parallel, delayed
    from threadpoolctl import threadpool_limits

    with _chosen(backend, threads), threadpool_limits(limits=1, user_api="blas"):
        parallel = Parallel(n_jobs=_workers(threads), prefer="threads")
        one = delayed(_on_one_thread)
        return list(parallel(one(function, task, os.getpid()) for task in tasks))


def _on_one_thread(function: Callable[[Task], Result], task: Task, caller: int) -> Result:
    """Return ``function(task)``; in another process its algebra is held to one thread too."""
    if os.getpid() == caller:
        return function(task)
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1, user_api="blas"):
        return function(task)


def _workers(threads: int) -> int | None:
    """Return the number of workers here; None lets a cluster's backend say how many it has."""
    from joblib.parallel import get_active_backend

    active, _ = get_active_backend(prefer="threads")
    kind = type(active).__module__
    return threads if kind.startswith("joblib._parallel_backends") else None


def _chosen(backend: str, threads: int) -> AbstractContextManager[Any]:
    """Return the context in which the named backend is active."""
    if not backend:
        return nullcontext()
    from joblib import parallel_config

    n_jobs = threads if backend in _OF_THIS_MACHINE else -1
    try:
        if backend == "ray":
            importlib.import_module("ray.util.joblib").register_ray()
        chosen: AbstractContextManager[Any] = parallel_config(backend=backend, n_jobs=n_jobs)
    except (ImportError, ValueError) as error:
        msg = (
            f"Cannot use stack.joblib_backend = {backend!r}: {str(error).splitlines()[0]} Install "
            "and start it, name one of joblib's own ('threading', 'loky'), or leave it empty."
        )
        raise TagstackError(msg) from error
    return chosen
