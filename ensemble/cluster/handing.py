"""A cluster's workers for what splits, where a command is given an address."""

from collections.abc import Iterator
from contextlib import contextmanager

from tagstack.configs.settings import Settings
from tagstack.meta.learners.workers import handed_to


@contextmanager
def workers_of(address: str | None, settings: Settings) -> Iterator[None]:
    """Let the workers of a cluster do what splits; None: this process does it.

    Raises
    ------
    TagstackError
        If Ray is not installed, or cannot be reached or started.
    """
    if address is None:
        yield
        return
    from tagstack.ensemble.cluster.session import connected

    with connected(address, settings) as cluster, handed_to(cluster):
        yield
