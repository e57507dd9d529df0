"""What lies in memory while something runs, looked at by a thread twenty times a second.

The largest resident size that the system keeps (`ru_maxrss`) has pages of files in it, which it may
take back at any time. What a process holds alone, it cannot: that is what must fit.
"""

import sys
import threading
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self

_STATUS = Path("/proc/self/status")
_PERIOD_S = 0.05


class Watch:
    """Watches this process until the ``with`` block ends.

    Attributes
    ----------
    held_mib, resident_mib : int
        Most that lay in memory alone, and with pages of files.
    held_at, resident_at : str
        The functions of the package that were running then, the innermost last.
    """

    def __init__(self) -> None:
        self.held_mib = self.resident_mib = 0
        self.held_at = self.resident_at = ""
        self._ended = threading.Event()
        self._watched = threading.get_ident()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: object, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(_PERIOD_S):
            held, resident = held_mib(), held_mib("VmRSS")
            where = _running(sys._current_frames().get(self._watched))
            if held > self.held_mib:
                self.held_mib, self.held_at = held, where
            if resident > self.resident_mib:
                self.resident_mib, self.resident_at = resident, where


def held_mib(what: str = "RssAnon") -> int:
    """Return what this process has in memory alone; 0 where the system does not say."""
    if not _STATUS.exists():
        return 0
    lines = _STATUS.read_text(encoding="ascii").splitlines()
    said = dict(line.split(":", 1) for line in lines if ":" in line)
    return int(said.get(what, "0 kB").split()[0]) >> 10


def _running(frame: FrameType | None) -> str:
    names = []
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        if module.startswith("tagstack."):
            names.append(f"{module.rsplit('.', 1)[1]}.{frame.f_code.co_name}:{frame.f_lineno}")
        frame = frame.f_back
    return " > ".join(reversed(names[:5]))
