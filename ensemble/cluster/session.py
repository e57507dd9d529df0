"""A connection to Ray: an own small cluster on this machine, or one that runs already.

Ray is imported here and nowhere before it is asked for. Its usage statistics and its dashboard stay
off, and a cluster of this machine alone listens on its own loopback address alone.
"""

import os
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from tagstack.base_models.threads import thread_count
from tagstack.configs.errors import TagstackError
from tagstack.configs.shown import shown

Result = TypeVar("Result")

AUTO, LOCAL = "auto", "local"
_LOOPBACK = "127.0.0.1"
# Ray's own default is a third of the memory; arrays that do not fit go to the disk.
_OBJECT_STORE_BYTES = 1 << 30


@dataclass(frozen=True)
class Cluster:
    """Workers that are there.

    Parameters
    ----------
    ray : module
        Connected.
    own : bool
        Whether it was started for this run and ends with it.
    """

    ray: Any
    own: bool

    def slots(self, *, cpus: int, gpus: int) -> int:
        """Return how many workers that want so much each the cluster has room for now."""
        there = self.ray.cluster_resources()
        by_cpu = int(there.get("CPU", 0) // cpus)
        return min(by_cpu, int(there.get("GPU", 0) // gpus)) if gpus else by_cpu

    def map(
        self,
        work: Callable[..., Result],
        shared: Sequence[Any],
        tasks: Sequence[Any],
        *,
        retries: int,
    ) -> Iterator[Result]:
        """Yield ``work(*shared, task)`` of each task, in their order.

        What tasks share is handed to the object store once. A task of a worker that was lost is
        done again, at most ``retries`` times.
        """
        remote = self.ray.remote(work).options(num_cpus=1, max_retries=retries)
        handed = [self.ray.put(each) for each in shared]
        waiting: deque[Any] = deque()
        ahead = 2 * max(1, self.slots(cpus=1, gpus=0))
        for task in tasks:
            waiting.append(remote.remote(*handed, task))
            if len(waiting) >= ahead:
                yield self.ray.get(waiting.popleft())
        while waiting:
            yield self.ray.get(waiting.popleft())


@contextmanager
def connected(address: str, *, threads: int) -> Iterator[Cluster]:
    """Connect to Ray, and let go of it at the end; a cluster that was started here ends.

    Parameters
    ----------
    address : str
        ``"local"`` starts a cluster on this machine; ``"auto"`` takes the one that this machine is
        part of (``RAY_ADDRESS``, or what ``ray start`` has started), or else starts one;
        ``HOST:PORT`` is that of a head node.
    threads : int
        Processors of a cluster that is started here, 0 for those that this process may use.

    Raises
    ------
    TagstackError
        If Ray is not installed, or cannot be reached or started.
    """
    ray = _imported()
    if ray.is_initialized():  # by the program that calls, which goes on with it
        yield Cluster(ray, own=False)
        return
    own = _start(ray, address, threads)
    try:
        yield Cluster(ray, own)
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


def _start(ray: Any, address: str, threads: int) -> bool:
    """Connect, and return whether the cluster is one of its own."""
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
                    return False
            ray.init(**own, **quiet)
            return True
    except (OSError, RuntimeError, TypeError, ValueError) as error:
        reason = shown((str(error).strip() or type(error).__name__).splitlines()[0])
        msg = (
            f"--ray {shown(address)}: Ray cannot be reached or started: {reason} Expected auto, "
            f"local, or HOST:PORT of a head node that runs (ray start --head)."
        )
        raise TagstackError(msg) from error
