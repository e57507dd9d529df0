"""What builds measured, kept for the next build on the same GPU with the same TensorRT.

A file is a SHA-256 and the cache itself. One that is damaged, or that TensorRT does not take, costs
the measurements and no build.
"""

import hashlib
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tagstack.base_models.atomic import written_whole
from tagstack.base_models.locks import waited_for
from tagstack.base_models.runtimes.driver import Driver
from tagstack.base_models.runtimes.tensorrt.spec import key_of_machine
from tagstack.base_models.runtimes.tensorrt.trt_api import TrtApi

logger = logging.getLogger(__name__)

_SUM_BYTES = hashlib.sha256().digest_size


class TimingCache:
    """One file for each machine and TensorRT; several builds may write it.

    Parameters
    ----------
    folder : Path
        The private folder of engines.
    api : TrtApi
    driver : Driver
    """

    def __init__(self, folder: Path, api: TrtApi, driver: Driver) -> None:
        facts = json.dumps(key_of_machine(api, driver), sort_keys=True)
        self.path = folder / f"timing-{hashlib.sha256(facts.encode()).hexdigest()[:16]}.cache"

    @contextmanager
    def used_by(self, config: Any) -> Iterator[None]:
        """Let a build read what is known, and keep what it adds."""
        cache = self._loaded(config)
        config.set_timing_cache(cache, ignore_mismatch=False)
        yield
        with waited_for(self.path.with_suffix(".lock")):
            # Another build may have finished meanwhile; its measurements stay.
            cache.combine(self._loaded(config), ignore_mismatch=False)
            content = bytes(cache.serialize())
            with written_whole(self.path) as temporary:
                temporary.write_bytes(hashlib.sha256(content).digest() + content)

    def _loaded(self, config: Any) -> Any:
        """Return what is known as TensorRT's own object; an empty one where that fails."""
        known = whole_content(self.path)
        if known is None and self.path.exists():
            logger.warning("%s is damaged; what builds measured is measured anew.", self.path)
        try:
            cache = config.create_timing_cache(known or b"")
        except (RuntimeError, TypeError):
            cache = None
        return config.create_timing_cache(b"") if cache is None else cache


def whole_content(path: Path) -> bytes | None:
    """Return what a file of timings holds, or None if it is not there or damaged."""
    try:
        stored = path.read_bytes()
    except OSError:
        return None
    content = stored[_SUM_BYTES:]
    return content if hashlib.sha256(content).digest() == stored[:_SUM_BYTES] else None
