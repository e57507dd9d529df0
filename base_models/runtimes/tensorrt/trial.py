"""The first load of a new engine, in a process of its own that may crash.

Run as a program it loads a plan and ends with 0; `try_engine` starts it and says what happened.
"""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tagstack.base_models.runtimes.faults import one_line
from tagstack.base_models.runtimes.tensorrt.engine_file import read_engine
from tagstack.base_models.runtimes.tensorrt.trt_api import TrtApi
from tagstack.configs.errors import TagstackError

COMMAND = (sys.executable, "-m", "tagstack.base_models.runtimes.tensorrt.trial")
_REFUSED = 3


@dataclass(frozen=True)
class Trial:
    """Whether an engine loads, and what was seen if not."""

    passed: bool
    reason: str


def try_engine(
    path: Path, key: str, flavour: str, *, timeout_s: float, command: tuple[str, ...] = COMMAND
) -> Trial:
    """Return whether an engine loads, without risk to this process.

    Parameters
    ----------
    path : Path
    key : str
    flavour : str
    timeout_s : float
        Longer counts as a fault.
    command : tuple of str
        Program that gets path, key and flavour as arguments.
    """
    try:
        done = subprocess.run(
            [*command, str(path), key, flavour],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Trial(False, f"did not load within {timeout_s:g} s")
    if done.returncode == 0:
        return Trial(True, "loads")
    lines = done.stderr.strip().splitlines()
    seen = one_line(lines[-1] if lines else "no message")
    if done.returncode < 0:
        return Trial(False, f"crashed the process that loaded it (signal {-done.returncode})")
    return Trial(False, seen)


def main(arguments: list[str]) -> int:
    """Load the engine that the arguments name; return an exit code."""
    path, key, flavour = arguments
    try:
        _, plan = read_engine(Path(path), key)
        api = TrtApi(flavour)
        _, engine = api.engine(plan, api.logger())
        api.context(engine)
    except TagstackError as error:
        sys.stderr.write(f"{error}\n")
        return _REFUSED
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
