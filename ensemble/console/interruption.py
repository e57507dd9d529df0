"""Ctrl-C and SIGTERM: a run ends after the piece at hand, whatever it is deep in.

Python runs a signal's handler only between two of its own steps. A library that fits for minutes
in one call would keep it waiting, so a thread watches from the side and ends the process where
the run has not ended by itself. Files are written whole or not at all: nothing is lost by that
but the piece at hand.
"""

import contextlib
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, NoReturn

MESSAGE = "Interrupted; run the same command again to go on."
_GRACE_S = 2.0  # for the piece at hand; whoever has pressed Ctrl-C waits no longer
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interruption:
    """Turns the first signal into `KeyboardInterrupt`, and the end into an exit code."""

    def __init__(self, grace_s: float = _GRACE_S) -> None:
        self._grace_s = grace_s
        self._seen: list[int] = []
        # What `watch` took over, for `stop` to give back.
        self._before: dict[int, Callable[[int, FrameType | None], Any] | int | None] = {}
        self._heard_before = -1
        self._pythons: socket.socket | None = None

    def watch(self) -> None:
        """Take over the signals; only the main thread can."""
        self._before = {number: signal.signal(number, self._handle) for number in _SIGNALS}
        ours, pythons = socket.socketpair()
        pythons.setblocking(False)
        self._heard_before = signal.set_wakeup_fd(pythons.fileno(), warn_on_full_buffer=False)
        self._pythons = pythons
        threading.Thread(target=self._wait, args=(ours,), daemon=True).start()

    def stop(self) -> None:
        """Give the signals back as they were: the process may go on with something else."""
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        signal.set_wakeup_fd(self._heard_before)
        if self._pythons is not None:
            self._pythons.close()  # which ends the thread

    @property
    def exit_code(self) -> int | None:
        """128 and the signal's number, as shells count; None if there was none."""
        return 128 + self._seen[0] if self._seen else None

    def end(self) -> NoReturn:
        """Say how to go on and end the process, which was interrupted.

        At once: to free a fit's models and arrays one by one took seconds that nobody waits for.
        """
        _leave(self._seen[0])

    def _handle(self, number: int, _: FrameType | None) -> None:
        self._seen.append(number)
        raise KeyboardInterrupt

    def _wait(self, ours: socket.socket) -> None:
        with ours:
            heard = ours.recv(1)
            while heard and heard[0] not in _SIGNALS:
                heard = ours.recv(1)
        if heard:
            threading.Event().wait(self._grace_s)
            _leave(heard[0])


def _leave(number: int) -> NoReturn:
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(MESSAGE + "\n")
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
    os._exit(128 + number)
