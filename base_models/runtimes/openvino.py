"""OpenVINO on the CPU, in fp32 or bf16.

Every image runs on one thread and several run side by side, each in a request of its own and
always one at a time, so the bits depend neither on the batch nor on the number of threads.

With bf16, products are taken of numbers rounded to 8 significant bits: about twice as fast where
the processor has bf16 units, at scores that differ in the third digit. Precision is part of a
member's fingerprint, so its scores never mix with those in fp32.

References
----------
https://docs.openvino.ai/2026/openvino-workflow/running-inference/inference-devices-and-modes/cpu-device.html
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tagstack.base_models.contract import Contract
from tagstack.base_models.runtimes.base import SessionInfo
from tagstack.base_models.runtimes.faults import one_line
from tagstack.base_models.runtimes.model_io import (
    Port,
    check_batch,
    checked_shape,
    chosen_features,
    chosen_output,
    feature_width,
    fixed,
    image_shape,
    model_inputs,
)
from tagstack.base_models.runtimes.openvino_library import openvino_library
from tagstack.base_models.runtimes.stored_precision import shown_precision
from tagstack.configs.errors import TagstackError

openvino: Any = openvino_library()
# Its binding sets numpy up at first use. Two threads that are the first together can wait for each
# other for ever, so one is the first here, while the module is imported.
_ = openvino.Tensor(np.zeros(1, np.float32)).data

_HINTS = {"fp32": "f32", "bf16": "bf16"}
_FLOATS: dict[str, type[np.floating[Any]]] = {"f32": np.float32, "f16": np.float16}


class OpenvinoSession:
    """An ONNX model in OpenVINO's CPU plugin.

    Parameters
    ----------
    path : Path
        The model file.
    contract : Contract
        Its declared input and output, which the file must agree with.
    threads : int
        Images that run side by side, at least 1.
    precision : str
        ``"fp32"`` or ``"bf16"``.

    Raises
    ------
    TagstackError
        If the file cannot be loaded or contradicts the contract, or the processor has no bf16.
    """

    def __init__(self, path: Path, contract: Contract, *, threads: int, precision: str) -> None:
        self._path = path
        core = openvino.Core()
        _check_precision(core, precision)
        model = _read(core, path)
        inputs, outputs = _ports(model.inputs, contract), _ports(model.outputs, contract)
        self._inputs = model_inputs(path, inputs, contract)
        self._names = [port.name for port in inputs]
        self._layout = contract.input.layout
        source = self._inputs.picture
        scores = chosen_output(path, outputs, contract)
        self._width = fixed(outputs[scores].shape[-1]) if outputs else None
        outputs = _with_features(path, model, outputs, contract)
        features = chosen_features(path, outputs, contract)
        self._outputs = [scores] if features is None else [scores, features]
        self._shape = checked_shape(path, self._inputs, contract)
        self._dtype = _dtype(path, source)
        model_batch = fixed(source.shape[0])
        self._call_images = model_batch or 1
        self._compiled: Any = _compiled(
            core, path, model, self._shapes(contract), threads, precision
        )
        self._requests = _requests(self._compiled, threads)
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="openvino")
        self.info = SessionInfo(
            backend="openvino",
            provider=_verified_device(path, self._compiled),
            precision=shown_precision(path, precision),
            device="cpu",
            threads=threads,
            versions=(("openvino", openvino.__version__.split("-")[0]),),
            score_class="openvino-cpu",
            model_batch=model_batch,
        )
        if features is not None:
            self.info = replace(self.info, n_features=self._n_features(outputs[features].name))

    @property
    def n_outputs(self) -> int | None:
        """Width of the output where the file states it."""
        return self._width

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the raw outputs of a batch; see `Session.run`. Shape (n_images, n_outputs)."""
        check_batch(self._path, batch, self._shape, is_open=self._compiled is not None)
        if len(batch) == 0:
            return np.empty((0, (self._width or 0) + self.info.n_features), np.float32)
        if len(batch) == 1:  # one call has nothing to share out among threads
            return self._call(batch)
        # One by one even where the model's batch is fixed, as a batch's rows may differ in bits.
        rows = self._pool.map(self._call, (batch[i : i + 1] for i in range(len(batch))))
        return np.concatenate(list(rows))

    def close(self) -> None:
        """Free the model and its threads."""
        self._pool.shutdown()
        self._compiled = None
        self._requests = SimpleQueue()

    def _call(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        feed = np.zeros((self._call_images, *self._shape), self._dtype)
        feed[:1] = image
        return np.concatenate([values[:1].reshape(1, -1) for values in self._raw(feed)], axis=1)

    def _raw(self, feed: NDArray[Any]) -> list[NDArray[np.float32]]:
        """Return the outputs that are wanted: the scores and, if asked for, the features."""
        request = self._requests.get()
        try:
            fed = self._inputs.feed(feed, self._layout)
            request.infer([fed[name] for name in self._names])
            outputs = (request.get_output_tensor(number) for number in self._outputs)
            return [np.array(output.data, np.float32) for output in outputs]
        except RuntimeError as error:
            raise TagstackError(f"{self._path}: the model failed: {one_line(error)}") from error
        finally:
            self._requests.put(request)

    def _shapes(self, contract: Contract) -> dict[int, list[int]]:
        """Return the shape of each input of a call, by its position."""
        mask = self._inputs.mask
        planes = contract.input.planes if mask is None else 3
        shapes: dict[str, tuple[int, ...]] = {
            self._inputs.picture.name: image_shape(contract, planes)
        }
        if mask is not None:
            shapes[mask.name] = contract.input.height_width
        return {i: [self._call_images, *shapes[name]] for i, name in enumerate(self._names)}

    def _n_features(self, name: str) -> int:
        """Return the width of the features, which files mostly do not state."""
        zeros = np.zeros((self._call_images, *self._shape), self._dtype)
        return feature_width(self._path, name, self._raw(zeros)[1].shape, self._call_images)


def _check_precision(core: Any, precision: str) -> None:
    if precision not in _HINTS:
        raise TagstackError(f"OpenVINO runs {sorted(_HINTS)}, not {precision!r}.")
    able = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if precision == "bf16" and "BF16" not in able:
        msg = (
            f"This processor computes in {able}, which has no BF16, so bf16 would be no faster. "
            f'Set score.precision = "fp32".'
        )
        raise TagstackError(msg)


def _read(core: Any, path: Path) -> Any:
    try:
        return core.read_model(str(path))
    except RuntimeError as error:
        raise _unloadable(path, error) from error


def _with_features(path: Path, model: Any, outputs: list[Port], contract: Contract) -> list[Port]:
    """Return the model's outputs, after adding the features where they are none of them."""
    name = contract.output.features
    if name is None or name in [port.name for port in outputs]:
        return outputs
    try:
        model.add_outputs(name)
    except RuntimeError:  # no such tensor: said by whoever chooses among the outputs
        return outputs
    return _ports(model.outputs, contract)


def _compiled(
    core: Any, path: Path, model: Any, shapes: dict[int, list[int]], threads: int, precision: str
) -> Any:
    # One stream a thread: threads never meet inside an operator.
    options = {
        "INFERENCE_PRECISION_HINT": _HINTS[precision],
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": threads,
        "ENABLE_CPU_PINNING": False,
    }
    try:
        model.reshape(shapes)
        compiled = core.compile_model(model, "CPU", options)
    except RuntimeError as error:
        raise _unloadable(path, error) from error
    used = compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
    if used != _HINTS[precision]:
        msg = f"{path}: asked OpenVINO for {precision}, but it uses {used}. Set score.precision."
        raise TagstackError(msg)
    return compiled


def _requests(compiled: Any, threads: int) -> "SimpleQueue[Any]":
    requests: SimpleQueue[Any] = SimpleQueue()
    for _ in range(threads):
        requests.put(compiled.create_infer_request())
    return requests


def _verified_device(path: Path, compiled: Any) -> str:
    used = list(compiled.get_property("EXECUTION_DEVICES"))
    if used != ["CPU"]:
        raise TagstackError(f"{path}: asked for CPU, but OpenVINO uses {used}. Reinstall openvino.")
    return "CPU"


def _ports(items: Any, contract: Contract) -> list[Port]:
    ports = []
    for item in items:
        shape = tuple(
            side.get_length() if side.is_static else str(side) for side in item.partial_shape
        )
        ports.append(Port(_name(item, contract), shape, item.element_type.to_string()))
    return ports


def _name(item: Any, contract: Contract) -> str:
    """Return a port's name; nodes that do nothing leave it several, of which any may be meant."""
    names = sorted(item.names)
    source = contract.input
    wanted = (
        source.name, source.padding_mask, contract.output.name, contract.output.features,
    )  # fmt: skip
    return next((name for name in names if name in wanted), names[0] if names else "")


def _dtype(path: Path, port: Port) -> type[np.floating[Any]]:
    if port.kind not in _FLOATS:
        msg = f"{path}: input {port.name!r} is {port.kind}; expected {sorted(_FLOATS)}."
        raise TagstackError(msg)
    return _FLOATS[port.kind]


def _unloadable(path: Path, error: BaseException) -> TagstackError:
    return TagstackError(
        f"Cannot load the model {path}: {one_line(error)}. Expected a whole ONNX file; compare "
        f"its size and SHA-256 with the publisher's and fetch it again."
    )
