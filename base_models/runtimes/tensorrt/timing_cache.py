"""What builds measured, kept for the next build on the same GPU with the same TensorRT."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tagstack.base_models.atomic import written_whole
from tagstack.base_models.locks import waited_for
from tagstack.base_models.runtimes.driver import Driver
from tagstack.base_models.runtimes.tensorrt.spec import key_of_machine
from tagstack.base_models.runtimes.tensorrt.trt_api import TrtApi


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
        cache = config.create_timing_cache(self._known())
        config.set_timing_cache(cache, ignore_mismatch=False)
        yield
        with waited_for(self.path.with_suffix(".lock")):
            # Another build may have finished meanwhile; its measurements stay.
            others = config.create_timing_cache(self._known())
            cache.combine(others, ignore_mismatch=False)
            with written_whole(self.path) as temporary:
                temporary.write_bytes(bytes(cache.serialize()))

    def _known(self) -> bytes:
        return self.path.read_bytes() if self.path.exists() else b""
