"""A connection to Ray: an own small cluster on this machine, or one that runs already.

Ray is imported here and nowhere before it is asked for. Its usage statistics and its dashboard stay
off. Whoever reaches a cluster can run programs on it: one that is started here listens on this
machine's loopback address alone, and asks for a token that nobody else has.
"""

import os
import secrets
import socket
import tempfile
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from tagstack.base_models.threads import thread_count
from tagstack.configs.cluster import ClusterSettings
from tagstack.configs.errors import TagstackError
from tagstack.configs.settings import Settings
from tagstack.configs.shown import shown
from tagstack.ensemble.cluster.faults import translated

Result = TypeVar("Result")

AUTO, LOCAL = "auto", "local"
# With 0, Ray keeps to the loopback address, as it always does elsewhere than on Linux.
_LOOPBACK_ALONE = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
# Ray's own default is a third of the memory; arrays that do not fit go to the disk.
_OBJECT_STORE_BYTES = 1 << 30
_CONNECT_S = 5.0
_STARTS = 3  # Ray gives its processes half a minute, too little where a machine is busy
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
    alone = _starts_alone(address)
    ray = _imported(alone=alone)
    if ray.is_initialized():  # by the program that calls, which goes on with it
        yield Cluster(ray, settings.cluster)
        return
    _start(ray, LOCAL if alone else address, settings.threads)
    try:
        yield Cluster(ray, settings.cluster)
    finally:
        ray.shutdown()


def _starts_alone(address: str) -> bool:
    """Return whether a cluster of this machine is to be started."""
    noted = Path(tempfile.gettempdir()) / "ray" / "ray_current_cluster"
    joins = "RAY_ADDRESS" in os.environ or noted.exists()
    return address == LOCAL or (address == AUTO and not joins)


def _imported(*, alone: bool) -> Any:
    # Ray reads these when it is imported, and gives them on to what it starts.
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    if alone:
        os.environ[_LOOPBACK_ALONE] = "0"
        os.environ.setdefault("RAY_AUTH_MODE", "token")
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of its own dependencies
            import ray
    except ImportError as error:
        msg = f"--ray needs an extra ({error}): pip install 'tagstack[ray]'"
        raise TagstackError(msg) from error
    # What it has to say of lost workers is said by the run; its own lines go to standard output,
    # where results are.
    ray._private.worker._worker_logs_enabled = False
    return ray


def _start(ray: Any, address: str, threads: int) -> None:
    refuse_unreachable(address)
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if address == LOCAL:
        options |= {
            "num_cpus": thread_count(threads),
            "include_dashboard": False,
            "object_store_memory": _OBJECT_STORE_BYTES,
        }
    for left in range(_STARTS if address == LOCAL else 1, 0, -1):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                ray.init(address=address, **options)
        except Exception as error:  # Ray raises that very class where a machine is too busy
            ray.shutdown()
            if left == 1:
                raise _not_started(address, error) from error
        else:
            return


def refuse_unreachable(address: str) -> None:
    """Refuse an address at which nothing listens: Ray would try for minutes.

    Raises
    ------
    TagstackError
        Why it cannot be reached.
    """
    host, colon, port = address.rpartition(":")
    if address in (AUTO, LOCAL) or "://" in address:
        return
    try:
        if not (colon and port.isdigit()):
            raise ValueError("it is not HOST:PORT.")
        socket.create_connection((host, int(port)), timeout=_CONNECT_S).close()
    except (OSError, OverflowError, ValueError) as error:
        raise _not_started(address, error) from error


def _not_started(address: str, error: Exception) -> TagstackError:
    reason = shown((str(error).strip() or type(error).__name__).splitlines()[0])
    return TagstackError(
        f"--ray {shown(address)}: Ray cannot be reached or started: {reason} Expected auto, "
        f"local, or HOST:PORT of a head node that runs (ray start --head)."
    )
