"""What an unknown network shows of itself: its ports, and what its outputs do when it runs.

It runs in a process of its own, for a stranger's graph may never end; `examine` is what that
process does. Three pictures of noise go in, on each of the scales that taggers take: an output
that stays within 0 and 1 on all of them ends in a sigmoid, one that leaves it does not.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tagstack.base_models.runtimes.model_io import Port, fixed
from tagstack.base_models.trials import run_apart
from tagstack.configs.errors import TagstackError
from tagstack.configs.shown import shown

COMMAND = (sys.executable, "-P", "-m", "tagstack.base_models.taggers.model_facts")
MOST_PORTS = 100
_MOST_BYTES = 1 << 20  # of an answer
_SAME = 1e-4


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What an output did.

    Parameters
    ----------
    width : int
        Numbers for one picture.
    low, high : float
        The least and the largest of all runs; NaN where one was not finite.
    sigmoid_of : str or None
        Another output of which this one is the sigmoid.
    """

    width: int
    low: float
    high: float
    sigmoid_of: str | None = None

    @property
    def is_probability(self) -> bool:
        """Whether it stayed within 0 and 1."""
        return 0 <= self.low and self.high <= 1


@dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """Ports of a network, and its outputs by name where it could be run."""

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    seen: Mapping[str, Seen]

    @property
    def picture(self) -> Port | None:
        """The one input that a picture can go into: four sides, of which one is three."""
        found = [port for port in self.inputs if _is_picture(port)]
        return found[0] if len(found) == 1 else None

    @property
    def mask(self) -> Port | None:
        """A second input that holds a number for each pixel."""
        others = [port for port in self.inputs if port is not self.picture]
        one = len(others) == 1 and len(others[0].shape) == 3
        return others[0] if one and self.picture is not None else None


def model_facts(model: Path, side: int, seconds: float) -> ModelFacts:
    """Return what a network shows, found in a process of its own.

    Parameters
    ----------
    model : Path
        Its weights were looked at (`own_folder`).
    side : int
        Pixels for sides that the file leaves open.
    seconds : float

    Raises
    ------
    TagstackError
        If it cannot be loaded, crashes that process, or takes longer.
    """
    done = run_apart([*COMMAND, str(model.absolute()), str(side)], seconds, str(model))
    if done.returncode or len(done.stdout) > _MOST_BYTES:
        lines = done.stderr.strip().splitlines()
        reason = shown(lines[-1][:300]) if lines else f"it ended with {done.returncode}"
        raise TagstackError(f"{model} cannot be run: {reason}. Fetch it again, or do not use it.")
    return _read(json.loads(done.stdout))


def examine(model: Path, side: int) -> ModelFacts:
    """Return what a network shows, found in this process."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    inputs, outputs = (_ports(items) for items in (session.get_inputs(), session.get_outputs()))
    facts = ModelFacts(inputs=inputs, outputs=outputs, seen={})
    if facts.picture is None or len(inputs) > 1 + (facts.mask is not None):
        return facts
    runs = [session.run(None, feed) for feed in _feeds(facts, side)]
    values = {
        port.name: np.concatenate([_flat(run[i]) for run in runs])
        for i, port in enumerate(outputs)
        if all(np.asarray(run[i]).dtype.kind == "f" for run in runs)
    }
    seen = {name: _seen(name, values) for name in values}
    return ModelFacts(inputs=inputs, outputs=outputs, seen=seen)


def _ports(items: Sequence[Any]) -> tuple[Port, ...]:
    return tuple(
        Port(str(item.name), tuple(side if isinstance(side, int) else None for side in item.shape),
             str(item.type))
        for item in items[:MOST_PORTS]
    )  # fmt: skip


def _is_picture(port: Port) -> bool:
    return len(port.shape) == 4 and 3 in (port.shape[1], port.shape[3])


def _feeds(facts: ModelFacts, side: int) -> list[dict[str, NDArray[Any]]]:
    """Return noise on three scales, with nothing masked."""
    assert facts.picture is not None  # asked for by the caller
    batch = fixed(facts.picture.shape[0]) or 1
    shape = [batch, *(fixed(one) or side for one in facts.picture.shape[1:])]
    rng = np.random.default_rng(0)
    noise = rng.uniform(0, 1, shape).astype(np.float32)
    feeds = []
    for scaled in (noise * 255, noise, noise * 2 - 1):
        feed: dict[str, NDArray[Any]] = {facts.picture.name: _typed(scaled, facts.picture)}
        if facts.mask is not None:
            sides = [batch, *(fixed(one) or side for one in facts.mask.shape[1:])]
            feed[facts.mask.name] = _typed(np.zeros(sides), facts.mask)
        feeds.append(feed)
    return feeds


def _typed(values: NDArray[Any], port: Port) -> NDArray[Any]:
    kinds = {"tensor(float16)": np.float16, "tensor(bool)": np.bool_, "tensor(uint8)": np.uint8,
             "tensor(int64)": np.int64, "tensor(int32)": np.int32}  # fmt: skip
    return values.astype(kinds.get(port.kind, np.float32))


def _flat(values: Any) -> NDArray[np.float64]:
    array = np.asarray(values, np.float64)
    return array.reshape(len(array), -1) if array.ndim else array.reshape(1, 1)


def _seen(name: str, values: Mapping[str, NDArray[np.float64]]) -> Seen:
    own = values[name]
    finite = bool(np.isfinite(own).all())
    low, high = (float(own.min()), float(own.max())) if finite and own.size else (np.nan, np.nan)
    origin = None
    if finite and 0 <= low <= high <= 1:
        for other, logits in values.items():
            if other != name and logits.shape == own.shape and np.isfinite(logits).all():
                squashed = 1 / (1 + np.exp(-np.clip(logits, -60, 60)))
                if np.abs(squashed - own).max() < _SAME and np.abs(logits - own).max() > _SAME:
                    origin = other
    return Seen(width=own.shape[1], low=low, high=high, sigmoid_of=origin)


def _read(content: Any) -> ModelFacts:
    return ModelFacts(
        inputs=tuple(_port(port) for port in content["inputs"]),
        outputs=tuple(_port(port) for port in content["outputs"]),
        seen={name: Seen(**seen) for name, seen in content["seen"].items()},
    )


def _port(content: Any) -> Port:
    return Port(content["name"], tuple(content["shape"]), content["kind"])


def main(arguments: list[str]) -> int:
    """Print what the network that the arguments name shows, as JSON."""
    sys.stdout.write(json.dumps(asdict(examine(Path(arguments[0]), int(arguments[1])))))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
