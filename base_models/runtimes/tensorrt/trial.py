"""The first load of a new engine, in a process of its own that may crash.

Run as a program it loads a plan, runs it once and ends with 0; `try_engine` starts it and says
what happened.
"""

import math
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tagstack.base_models.runtimes.cuda import Cuda
from tagstack.base_models.runtimes.faults import BackendError, one_line
from tagstack.base_models.runtimes.tensorrt.engine_file import read_engine
from tagstack.base_models.runtimes.tensorrt.trt_api import TrtApi
from tagstack.configs.errors import TagstackError

COMMAND = (sys.executable, "-P", "-m", "tagstack.base_models.runtimes.tensorrt.trial")
_REFUSED = 3
_LARGEST_ITEM = 8  # bytes of an int64


@dataclass(frozen=True)
class Trial:
    """Whether an engine runs, and what was seen if not."""

    passed: bool
    reason: str


def try_engine(
    path: Path, key: str, flavour: str, *, timeout_s: float, command: tuple[str, ...] = COMMAND
) -> Trial:
    """Return whether an engine loads and runs, without risk to this process.

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
        return Trial(False, f"did not run within {timeout_s:g} s")
    if done.returncode == 0:
        return Trial(True, "runs")
    lines = done.stderr.strip().splitlines()
    seen = one_line(lines[-1] if lines else "no message")
    if done.returncode < 0:
        return Trial(False, f"crashed the process that tried it (signal {-done.returncode})")
    return Trial(False, seen)


def main(arguments: list[str]) -> int:
    """Load the engine that the arguments name and run it once; return an exit code."""
    path, key, flavour = arguments
    try:
        _, plan = read_engine(Path(path), key)
        api = TrtApi(flavour)
        runtime, engine = api.engine(plan, api.logger())
        run_once(engine, api, Cuda())
        del runtime  # which the engine needs to the end
    except TagstackError as error:
        sys.stderr.write(f"{error}\n")
        return _REFUSED
    return 0


def run_once(engine: Any, api: TrtApi, cuda: Cuda) -> None:
    """Run an engine on its smallest batch, of whatever lies in memory.

    Raises
    ------
    BackendError
        If it cannot be run.
    """
    context = api.context(engine)
    names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
    sources = [name for name in names if engine.get_tensor_mode(name) == api.trt.TensorIOMode.INPUT]
    for name in sources:
        smallest = tuple(engine.get_tensor_profile_shape(name, 0)[0])
        if not context.set_input_shape(name, smallest):
            raise BackendError(f"the engine does not take {smallest}.")
    for name in names:
        size = math.prod(context.get_tensor_shape(name)) * _LARGEST_ITEM
        context.set_tensor_address(name, cuda.device_memory(size))
    scratch = int(engine.device_memory_size_v2)
    context.set_device_memory(cuda.device_memory(scratch), scratch)
    if not context.execute_async_v3(int(cuda.stream)):
        raise BackendError("the engine does not run.")
    cuda.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
