"""Files from strangers that code of others loads: tried once in a process of its own.

What such a library does with a file can be checked beforehand only so far: a graph may run for
ever, and a parser may have faults of its own. A process that dies or takes too long costs one line
here. What went well is remembered by its hash, so the next run does not ask again.
"""

import contextlib
import hashlib
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from tagstack.base_models.atomic import write_text
from tagstack.base_models.user_cache import cache_root
from tagstack.configs.errors import TagstackError

REFUSED = 3
_FOLDER = "tried"


@dataclass(frozen=True, kw_only=True)
class Trial:
    """Something that is tried once.

    Parameters
    ----------
    facts : tuple of str
        What makes it what it is: hashes of its files.
    packages : tuple of str
        Whose versions count as well: others may fail where these did not.
    module : str
        Run with ``python -m``; ends with 0, or with `REFUSED` and one line of reason.
    arguments : tuple of str
    what : str
        What messages call it.
    """

    facts: tuple[str, ...]
    packages: tuple[str, ...]
    module: str
    arguments: tuple[str, ...]
    what: str

    def once(self, seconds: float) -> bool:
        """Run the trial, unless it was passed before on this machine; return whether it was run.

        Raises
        ------
        TagstackError
            If it is refused, crashes, or takes longer than ``seconds``.
        """
        if self._mark.exists():
            return False
        self._run(seconds)
        self.remember()
        return True

    def remember(self) -> None:
        """Note that this needs no trial: it passed, or was made here."""
        # A cache that cannot be written only means that it is tried again.
        with contextlib.suppress(TagstackError, RuntimeError):
            write_text(self._mark, self.what + "\n")

    @property
    def _mark(self) -> Path:
        facts = [self.module, *self.facts, *map(_version, ("tagstack", *self.packages))]
        key = hashlib.sha256(json.dumps(facts).encode()).hexdigest()
        return cache_root() / _FOLDER / key

    def _run(self, seconds: float) -> None:
        # -P: a folder that one works in may hold a stranger's modules.
        command = [sys.executable, "-P", "-m", self.module, *self.arguments]
        done = run_apart(command, seconds, self.what)
        if done.returncode:
            lines = done.stderr.strip().splitlines()
            raise TagstackError(self._reason(done.returncode, lines[-1] if lines else ""))

    def _reason(self, code: int, line: str) -> str:
        if code == REFUSED:
            return line
        how = f"by signal {-code}" if code < 0 else f"with {line[:200]!r}"
        return f"{self.what} ended the process that tried it {how}. Do not use it."


def run_apart(
    command: Sequence[str], seconds: float, what: str
) -> subprocess.CompletedProcess[str]:
    """Run a process that may crash; return how it ended, and what it said.

    Parameters
    ----------
    command : sequence of str
    seconds : float
    what : str
        What a message calls it.

    Raises
    ------
    TagstackError
        If it takes longer.
    """
    try:
        return subprocess.run(
            list(command),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        msg = f"{what} was not through within {seconds:g} s; it was ended. Do not use it."
        raise TagstackError(msg) from error


@cache  # looking through what is installed takes as long as reading a small tagger
def _version(package: str) -> str:
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return package
