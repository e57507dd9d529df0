"""A connection to Ray: an own small cluster on this machine, or one that runs already.

Ray is imported here and nowhere before it is asked for. Its usage statistics and its dashboard stay
off, and a cluster of this machine alone listens on its own loopback address alone.
"""

import os
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from tagstack.base_models.threads import thread_count
from tagstack.configs.cluster import ClusterSettings
from tagstack.configs.errors import TagstackError
from tagstack.configs.settings import Settings
from tagstack.configs.shown import shown
from tagstack.ensemble.cluster.faults import translated

Result = TypeVar("Result")

AUTO, LOCAL = "auto", "local"
_LOOPBACK = "127.0.0.1"
# Ray's own default is a third of the memory; arrays that do not fit go to the disk.
_OBJECT_STORE_BYTES = 1 << 30
_HANDED = 16  # values that are kept in the object store for the next tasks


@dataclass(frozen=True)
class Cluster:
    """Workers that are there; what splits may be handed to them (`meta.learners.workers`).

    Parameters
    ----------
    ray : module
        Connected.
    settings : ClusterSettings
    """

    ray: Any
    settings: ClusterSettings
    _handed: "deque[tuple[Any, Any]]" = field(default_factory=lambda: deque(maxlen=_HANDED))

    @property
    def threads(self) -> int:
        """How many threads a worker has."""
        return self.settings.cpus

    def slots(self, *, gpus: int = 0) -> int:
        """Return how many workers, each with so many GPUs, the cluster has room for now."""
        there = self.ray.cluster_resources()
        by_cpu = int(there.get("CPU", 0) // self.settings.cpus)
        return min(by_cpu, int(there.get("GPU", 0) // gpus)) if gpus else by_cpu

    def map(
        self, work: Callable[..., Result], shared: Sequence[Any], tasks: Iterable[Any]
    ) -> Iterator[Result]:
        """Yield ``work(*shared, task)`` of each task, in their order.

        What tasks share is in the object store once. The task of a worker that was lost is done
        again, at most ``cluster.retries`` times.

        Raises
        ------
        TagstackError
            If a task is lost too often; and what work raises.
        """
        options = {"num_cpus": self.settings.cpus, "max_retries": self.settings.retries}
        remote = self.ray.remote(work).options(**options)
        handed = [self._stored(each) for each in shared]
        ahead, waiting = 2 * max(1, self.slots()), deque[Any]()
        with translated(self.ray):
            for task in tasks:
                waiting.append(remote.remote(*handed, task))
                if len(waiting) >= ahead:
                    yield self.ray.get(waiting.popleft())
            while waiting:
                yield self.ray.get(waiting.popleft())

    def _stored(self, value: Any) -> Any:
        """Return a reference to a value in the object store, where it may be already."""
        for kept, ref in self._handed:
            if kept is value:
                return ref
        ref = self.ray.put(value)
        self._handed.append((value, ref))
        return ref


@contextmanager
def connected(address: str, settings: Settings) -> Iterator[Cluster]:
    """Connect to Ray, and let go of it at the end; a cluster that was started here ends.

    Parameters
    ----------
    address : str
        ``"local"`` starts a cluster on this machine; ``"auto"`` takes the one that this machine is
        part of (``RAY_ADDRESS``, or what ``ray start`` has started), or else starts one;
        ``HOST:PORT`` is that of a head node.
    settings : Settings
        ``threads`` are the processors of a cluster that is started here.

    Raises
    ------
    TagstackError
        If Ray is not installed, or cannot be reached or started.
    """
    ray = _imported()
    if ray.is_initialized():  # by the program that calls, which goes on with it
        yield Cluster(ray, settings.cluster)
        return
    _start(ray, address, settings.threads)
    try:
        yield Cluster(ray, settings.cluster)
    finally:
        ray.shutdown()


def _imported() -> Any:
    # Before the import: Ray reads them then, and gives them on to what it starts.
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of its own dependencies
            import ray
    except ImportError as error:
        msg = f"--ray needs an extra ({error}): pip install 'tagstack[ray]'"
        raise TagstackError(msg) from error
    return ray


def _start(ray: Any, address: str, threads: int) -> None:
    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    own = {
        "address": LOCAL,
        "num_cpus": thread_count(threads),
        "include_dashboard": False,
        "object_store_memory": _OBJECT_STORE_BYTES,
        "_node_ip_address": _LOOPBACK,
    }
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if address != LOCAL:
                try:
                    ray.init(address=address, **quiet)
                except ConnectionError:
                    if address != AUTO:
                        raise
                else:
                    return
            ray.init(**own, **quiet)
    except (OSError, RuntimeError, TypeError, ValueError) as error:
        reason = shown((str(error).strip() or type(error).__name__).splitlines()[0])
        msg = (
            f"--ray {shown(address)}: Ray cannot be reached or started: {reason} Expected auto, "
            f"local, or HOST:PORT of a head node that runs (ray start --head)."
        )
        raise TagstackError(msg) from error
