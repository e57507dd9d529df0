"""ONNX Runtime on an NVIDIA GPU: its CUDA or its TensorRT provider.

ONNX Runtime falls back to the CPU in silence, so what it really uses is read back after opening.
Batches are filled up to few sizes, for which kernels are chosen once, and each of which has its
input and output on the device, bound for good: a call is one copy in, a run and one copy out.
cuBLAS may take another kernel for another size: the last bits of a score can depend on how many
images came with it (`score.engines.batches` with a single size prevents that); the parity report
says by how much.

References
----------
https://onnxruntime.ai/docs/execution-providers/CUDA-ExecutionProvider.html
https://onnxruntime.ai/docs/execution-providers/TensorRT-ExecutionProvider.html
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from tagstack.base_models.contract import Contract
from tagstack.base_models.runtimes.base import SessionInfo
from tagstack.base_models.runtimes.batch_sizes import BatchSizes
from tagstack.base_models.runtimes.faults import BackendError, DeviceMemoryError, one_line
from tagstack.base_models.runtimes.model_io import (
    Port,
    check_batch,
    checked_shape,
    chosen_features,
    chosen_output,
    feature_width,
    fixed,
    model_inputs,
)
from tagstack.base_models.runtimes.ort import (
    FAULTS,
    FLOATS,
    PROVIDER,
    added_features,
    input_type,
    leave_fp8_alone,
    model_with,
    ports,
)
from tagstack.base_models.runtimes.provider_libraries import load_libraries
from tagstack.base_models.runtimes.stored_precision import shown_precision

logger = logging.getLogger(__name__)

PROVIDERS = {
    "ort-cuda": ("CUDAExecutionProvider",),
    "ort-tensorrt": ("TensorrtExecutionProvider", "CUDAExecutionProvider"),
}


@dataclass(frozen=True)
class _Bound:
    """Memory on the device for calls of one size, bound to the network's input and outputs.

    A target is None where the file leaves the output's shape open: then the run takes memory.
    """

    binding: Any
    source: Any
    targets: tuple[Any, ...]

    def values(self) -> list[NDArray[Any]]:
        """Return what the run left in the outputs, copied to the host."""
        self.binding.synchronize_outputs()
        made = self.binding.get_outputs()
        pairs = zip(self.targets, made, strict=True)
        return [np.asarray((target or value).numpy()) for target, value in pairs]


class OrtGpuSession:
    """An ONNX model in one of ONNX Runtime's GPU providers; threads take turns.

    Parameters
    ----------
    path : Path
        The model file, in float16 already where that is wanted.
    contract : Contract
    backend : str
        ``"ort-cuda"`` or ``"ort-tensorrt"``.
    options : sequence of mapping
        Options of each provider in `PROVIDERS`.
    sizes : BatchSizes
    precision : str
        What it is called, ``"fp32"``, ``"tf32"`` or ``"fp16"``.
    device : str
        The GPU's name.
    takes_pixels : bool
        Whether the file and the contract are those of `pixel_input`.

    Raises
    ------
    BackendError
        If the provider is not what runs, or does not take the file.
    TagstackError
        If the file contradicts the contract.
    """

    def __init__(
        self,
        path: Path,
        contract: Contract,
        *,
        backend: str,
        options: Sequence[Mapping[str, str]],
        sizes: BatchSizes,
        precision: str,
        device: str,
        takes_pixels: bool = False,
    ) -> None:
        self._path = path
        load_libraries(PROVIDERS[backend][0])
        providers = list(zip(PROVIDERS[backend], map(dict, options), strict=True))
        own = added_features(path, contract)
        self._session: Any = _loaded(path, providers, own)
        used = self._session.get_providers()
        if used[:1] != [PROVIDERS[backend][0]]:
            self._session = None
            msg = (
                f"{path}: asked for {PROVIDERS[backend][0]}, but ONNX Runtime uses {used}. Its "
                f"CUDA libraries do not load: see the lines that it printed, and `tagstack doctor`."
            )
            raise BackendError(msg)
        inputs = model_inputs(path, ports(self._session.get_inputs()), contract)
        self._input = inputs.picture  # `packed_input` has made one of two
        outputs = ports(self._session.get_outputs())
        scores = outputs[: len(outputs) - 1] if own else outputs
        self._output = scores[chosen_output(path, scores, contract)]
        features = chosen_features(path, outputs, contract)
        self._wanted = [self._output, *([] if features is None else [outputs[features]])]
        self._shape = checked_shape(path, inputs, contract)
        self._dtype: type[np.generic] = np.uint8
        if not takes_pixels:
            self._dtype = input_type(path, self._input)
        model_batch = fixed(self._input.shape[0])
        self._sizes = BatchSizes([model_batch]) if model_batch else sizes
        self._bound: dict[int, _Bound] = {}
        self._device = "cpu" if used[0] == PROVIDER else "cuda"
        self._lock = Lock()
        self.info = SessionInfo(
            backend=backend,
            provider=str(used[0]),
            precision=shown_precision(path, precision),
            device=device,
            threads=1,
            versions=(("onnxruntime", onnxruntime.__version__),),
            # Scaling on the device may round otherwise than on the host.
            score_class=f"{backend}-pixels" if takes_pixels else backend,
            model_batch=model_batch,
            takes_pixels=takes_pixels,
            callers=2,  # while one has the device, the other makes ready what it was given
        )
        if features is not None:
            self.info = replace(self.info, n_features=self._n_features())

    @property
    def n_outputs(self) -> int | None:
        """Width of the output where the file states it."""
        return fixed(self._output.shape[-1]) if self._output.shape else None

    def run(self, batch: NDArray[Any]) -> NDArray[np.float32]:
        """Return the raw outputs of a batch; see `Session.run`. Shape (n_images, n_outputs)."""
        width = (self.n_outputs or 0) + self.info.n_features
        check_batch(
            self._path,
            batch,
            self._shape,
            is_open=self._session is not None,
            dtype=np.uint8 if self.info.takes_pixels else np.float32,
        )
        rows: list[NDArray[np.float32]] = [np.empty((0, width), np.float32)]
        start = 0
        with self._lock:
            while start < len(batch):
                call = self._sizes.call(len(batch) - start)
                try:
                    values = self._call(batch[start : start + call.count], call.size)
                    rows.append(_joined(values, call.count))
                    start += call.count
                except DeviceMemoryError as error:
                    self._halve(error)
        return np.concatenate(rows if len(rows) == 1 else rows[1:])

    def close(self) -> None:
        """Free the model."""
        with self._lock:
            self._bound.clear()
            self._session = None

    def _halve(self, error: DeviceMemoryError) -> None:
        if self.info.model_batch is not None or not self._sizes.shrink():
            raise error
        self._bound.clear()
        logger.warning("%s Going on with %d images at a time.", error, self._sizes.largest)

    def _n_features(self) -> int:
        """Return the width of the features, which files mostly do not state."""
        size = self._sizes.sizes[0]
        zeros = np.zeros((size, *self._shape), self._dtype)
        features = self._call(zeros, size)[1]
        return feature_width(self._path, self._wanted[1].name, features.shape, size)

    def _call(self, images: NDArray[Any], size: int) -> list[NDArray[Any]]:
        """Return the outputs that are wanted, for as many images as the call has."""
        feed = np.asarray(images, self._dtype)
        if len(images) < size:
            feed = np.zeros((size, *self._shape), self._dtype)
            feed[: len(images)] = images
        try:
            bound = self._bound.get(size) or self._bind(size)
            bound.source.update_inplace(np.ascontiguousarray(feed))
            self._session.run_with_iobinding(bound.binding)
            return bound.values()
        except (*FAULTS, RuntimeError) as error:
            raise run_fault(self._path, len(images), error) from error

    def _bind(self, size: int) -> _Bound:
        """Take memory for calls of a size and bind it."""
        values = onnxruntime.OrtValue
        binding = self._session.io_binding()
        source = values.ortvalue_from_shape_and_type(
            (size, *self._shape), self._dtype, self._device, 0
        )
        binding.bind_ortvalue_input(self._input.name, source)
        targets = tuple(self._bind_output(binding, port, size) for port in self._wanted)
        self._bound[size] = _Bound(binding, source, targets)
        return self._bound[size]

    def _bind_output(self, binding: Any, port: Port, size: int) -> Any:
        """Bind an output to memory of its own; return that, or None where the run takes it."""
        sides = [fixed(side) for side in port.shape[1:]]
        if port.kind not in FLOATS or not sides or None in sides:
            binding.bind_output(port.name, self._device, 0)
            return None
        target = onnxruntime.OrtValue.ortvalue_from_shape_and_type(
            (size, *sides), FLOATS[port.kind], self._device, 0
        )
        binding.bind_ortvalue_output(port.name, target)
        return target


def _joined(values: Sequence[NDArray[Any]], count: int) -> NDArray[np.float32]:
    """Return the rows of some images: the scores and, if asked for, the features behind them.

    A copy: the next call writes over what is bound.
    """
    parts = [value[:count].reshape(count, -1) for value in values]
    return np.concatenate(parts, axis=1, dtype=np.float32, casting="unsafe")


def run_fault(path: Path, n_images: int, error: BaseException) -> BackendError:
    """Return a failed call as an error of ours: of memory where memory ended."""
    text = f"{path}: the model failed on a batch of {n_images}: {one_line(error)}."
    return DeviceMemoryError(text) if _ends_memory(error) else BackendError(text)


def _loaded(
    path: Path, providers: Sequence[tuple[str, Mapping[str, str]]], added: str | None
) -> Any:
    """Open a model; nodes on the CPU are allowed only where the GPU has no kernel for them."""
    try:
        return _session(path, providers, added, fallback=False)
    except FAULTS as error:
        if "fallback to CPU EP has been explicitly disabled" not in str(error):
            raise _unloadable(path, error) from error
    logger.info("%s: some nodes have no GPU kernel and run on the CPU", path)
    try:
        return _session(path, providers, added, fallback=True)
    except FAULTS as error:
        raise _unloadable(path, error) from error


def _session(
    path: Path,
    providers: Sequence[tuple[str, Mapping[str, str]]],
    added: str | None,
    *,
    fallback: bool,
) -> Any:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    leave_fp8_alone(path, options)
    if not fallback:
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    model = model_with(path, added, options)
    return onnxruntime.InferenceSession(model, options, providers=list(providers))


def _unloadable(path: Path, error: BaseException) -> BackendError:
    """Return why a file was not loaded: perhaps it is damaged, perhaps only the GPU refuses it."""
    text = (
        f"Cannot load the model {path}: {one_line(error)}. Expected a whole ONNX file; compare "
        f"its size and SHA-256 with the publisher's and fetch it again."
    )
    return DeviceMemoryError(text) if _ends_memory(error) else BackendError(text)


def _ends_memory(error: BaseException) -> bool:
    words = (
        "out of memory",
        "failed to allocate memory",
        "is smaller than requested bytes",  # of an arena that `gpu_mem_limit` bounds
        "cudnn_status_alloc_failed",
    )
    return any(word in str(error).lower() for word in words)
