"""The thread that writes what a sink gave up, while the next batches are on their way."""

import time
from concurrent.futures import Future, ThreadPoolExecutor

from tagstack.base_models.scores.sink import Taken
from tagstack.base_models.scoring.tally import Tally


class Writer:
    """Writes one part at a time; close it at the end.

    Parameters
    ----------
    tally : Tally
        Told how long the writing took.
    threaded : bool
        Otherwise the calling thread writes.
    """

    def __init__(self, tally: Tally, *, threaded: bool) -> None:
        self._tally = tally
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="store") if threaded else None
        self._part: Future[tuple[float, int]] | None = None

    def write(self, taken: Taken) -> None:
        """Begin to write; what was begun before must have been waited for."""
        if self._pool is None:
            self._tally.took("store", *_written(taken))
        else:
            self._part = self._pool.submit(_written, taken)

    def wait(self) -> None:
        """Wait until what was begun is written.

        Raises
        ------
        TagstackError
            If the system refuses to write.
        """
        if self._part is not None:
            seconds, n_images = self._part.result()
            self._part = None
            self._tally.took("store", seconds, n_images)

    def close(self) -> None:
        """End the thread; what was begun is written to its end."""
        if self._pool is not None:
            self._pool.shutdown()


def _written(taken: Taken) -> tuple[float, int]:
    began = time.monotonic()
    taken.write()
    return time.monotonic() - began, taken.n_images
