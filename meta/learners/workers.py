"""Work that splits by tag, handed to joblib's workers within a budget of threads.

In this process the work runs in so many threads, each of which does its algebra alone, so that
``workers x threads`` never exceeds the budget. Under ``joblib.parallel_config(backend="ray")``
(or "dask", or any other), or with a backend named in the settings, the backend's own workers do
it, one thread each. What comes back is the same bits: every task carries all that it needs.

Under `handed_to`, as ``fit --ray`` says it, a cluster's workers do that and the larger pieces of a
fit as well: a learner without one fold, a split of a trial (`done_apart`).
"""

import importlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any, Protocol, TypeVar

from tagstack.configs.errors import TagstackError

Task = TypeVar("Task")
Result = TypeVar("Result")


class Elsewhere(Protocol):
    """Workers in other processes, here or on other machines."""

    @property
    def threads(self) -> int:
        """How many threads a task may use there."""

    def map(
        self, work: Callable[..., Result], shared: Sequence[Any], tasks: Iterable[Any]
    ) -> Iterator[Result]:
        """Yield ``work(*shared, task)`` of each task, in their order."""


_ELSEWHERE: ContextVar[Elsewhere | None] = ContextVar("elsewhere", default=None)


@contextmanager
def handed_to(workers: Elsewhere) -> Iterator[None]:
    """Let other processes do what splits, for as long as the block runs."""
    token = _ELSEWHERE.set(workers)
    try:
        yield
    finally:
        _ELSEWHERE.reset(token)


def threads_apart(threads: int) -> int:
    """Return how many threads a task of `done_apart` may use: all of them, if it is done here."""
    workers = _ELSEWHERE.get()
    return threads if workers is None else workers.threads


def is_handed() -> bool:
    """Return whether other processes do what splits."""
    return _ELSEWHERE.get() is not None


def done_apart(
    work: Callable[..., Result], shared: Sequence[Any], tasks: Iterable[Any]
) -> list[Result]:
    """Return ``work(*shared, task)`` of each task, in their order: here one after the other.

    Parameters
    ----------
    work : callable
        Named at the top of a module; it uses `threads_apart` threads.
    shared : sequence
        What all tasks read; other processes get it once.
    tasks : iterable
    """
    workers = _ELSEWHERE.get()
    if workers is None:
        return [work(*shared, task) for task in tasks]
    return list(workers.map(work, shared, tasks))


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

    if is_handed():
        return done_apart(_on_one_thread, (function, os.getpid()), tasks)
    with _chosen(backend, threads), threadpool_limits(limits=1, user_api="blas"):
        parallel = Parallel(n_jobs=_workers(threads), prefer="threads")
        one = delayed(_on_one_thread)
        return list(parallel(one(function, os.getpid(), task) for task in tasks))


def _on_one_thread(function: Callable[[Task], Result], caller: int, task: Task) -> Result:
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
