"""ONNX Runtime on the CPU.

Every image runs on one thread and several run side by side: threads never meet inside an
operator, so throughput grows with them and the bits do not depend on their number. A model's
result can differ in the last bits between batch sizes (a matrix product of one row takes another
kernel), so the result of a single image is the reference, and larger batches are used only for
models that gave bit-equal rows when first tried.

References
----------
https://onnxruntime.ai/docs/performance/tune-performance/threading.html
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from tagstack.base_models.contract import Contract
from tagstack.base_models.runtimes.added_output import has_tensor, output_names, with_output
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
    model_inputs,
    no_such_features,
)
from tagstack.base_models.runtimes.stored_precision import quantised_as, shown_precision
from tagstack.configs.errors import TagstackError

PROVIDER = "CPUExecutionProvider"
# Images of one call where the model allows it: small networks gain up to 1.8 times from 8, large
# ones nothing, and more than 8 brought no network anything.
CALL_IMAGES = 8

_WEIGHTS_FOLDER = "session.model_external_initializers_file_folder_path"

# Types of inputs and outputs that are numbers of tagstack's kind.
FLOATS: dict[str, type[np.floating[Any]]] = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
}
FAULTS = (
    ort_errors.EPFail,
    ort_errors.EngineError,
    ort_errors.Fail,
    ort_errors.InvalidArgument,
    ort_errors.InvalidGraph,
    ort_errors.InvalidProtobuf,
    ort_errors.ModelLoaded,
    ort_errors.NoModel,
    ort_errors.NoSuchFile,
    ort_errors.NotImplemented,
    ort_errors.RuntimeException,
)


class OrtCpuSession:
    """An ONNX model in ONNX Runtime's CPU provider.

    Parameters
    ----------
    path : Path
        The model file.
    contract : Contract
        Its declared input and output, which the file must agree with.
    threads : int
        Images that run side by side, at least 1.

    Raises
    ------
    TagstackError
        If the file cannot be loaded or contradicts the contract.
    """

    def __init__(self, path: Path, contract: Contract, *, threads: int) -> None:
        self._path = path
        own = added_features(path, contract)
        self._session: Any = _loaded(path, own)
        self._inputs = model_inputs(path, ports(self._session.get_inputs()), contract)
        self._layout = contract.input.layout
        outputs = ports(self._session.get_outputs())
        scores = outputs[: len(outputs) - 1] if own else outputs
        self._output = scores[chosen_output(path, scores, contract)]
        features = chosen_features(path, outputs, contract)
        self._outputs = [self._output.name]
        if features is not None:
            self._outputs.append(outputs[features].name)
        self._shape = checked_shape(path, self._inputs, contract)
        self._dtype = input_type(path, self._inputs.picture)
        # None until a full batch has shown whether rows are bit-equal to single images. Where the
        # file is quantised a few pictures show nothing: a last bit can tip a rounding, by 0.3.
        self._batches_agree: bool | None = False if quantised_as(path) else None
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="ort")
        self.info = SessionInfo(
            backend="ort",
            provider=_verified_provider(path, self._session),
            precision=shown_precision(path, "fp16" if self._dtype is np.float16 else "fp32"),
            device="cpu",
            threads=threads,
            versions=(("onnxruntime", onnxruntime.__version__),),
            score_class="ort-cpu",
            model_batch=fixed(self._inputs.picture.shape[0]),
        )
        if features is not None:
            self.info = replace(self.info, n_features=self._n_features())

    @property
    def n_outputs(self) -> int | None:
        """Width of the output where the file states it."""
        return fixed(self._output.shape[-1]) if self._output.shape else None

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the raw outputs of a batch; see `Session.run`. Shape (n_images, n_outputs)."""
        check_batch(self._path, batch, self._shape, is_open=self._session is not None)
        if len(batch) == 0:
            return np.empty((0, (self.n_outputs or 0) + self.info.n_features), np.float32)
        if self.info.model_batch is None and len(batch) >= CALL_IMAGES:
            return self._run_wide(batch)
        return self._run_in_calls(batch, 1)

    def close(self) -> None:
        """Free the model and its threads."""
        self._session = None
        self._pool.shutdown()

    def _run_wide(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        if self._batches_agree is None:
            single = self._run_in_calls(batch[:CALL_IMAGES], 1)
            wide = self._run_in_calls(batch[:CALL_IMAGES], CALL_IMAGES)
            self._batches_agree = np.array_equal(single, wide, equal_nan=True)
        # A remainder runs one by one: only two batch sizes are ever used, and both were compared.
        whole = len(batch) // CALL_IMAGES * CALL_IMAGES if self._batches_agree else 0
        parts = [self._run_in_calls(batch[:whole], CALL_IMAGES)] if whole else []
        if whole < len(batch):
            parts.append(self._run_in_calls(batch[whole:], 1))
        return np.concatenate(parts)

    def _run_in_calls(self, batch: NDArray[np.float32], size: int) -> NDArray[np.float32]:
        if len(batch) <= size:  # one call has nothing to share out among threads
            return self._call(batch)
        calls = [batch[i : i + size] for i in range(0, len(batch), size)]
        return np.concatenate(list(self._pool.map(self._call, calls)))

    def _call(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        feed = np.ascontiguousarray(batch, dtype=self._dtype)
        if self.info.model_batch is not None and len(feed) < self.info.model_batch:
            rest = np.zeros((self.info.model_batch - len(feed), *feed.shape[1:]), feed.dtype)
            feed = np.concatenate([feed, rest])
        return np.concatenate(
            [values[: len(batch)].reshape(len(batch), -1) for values in self._raw(feed)],
            axis=1,
            dtype=np.float32,
            casting="unsafe",
        )

    def _raw(self, feed: NDArray[Any]) -> list[NDArray[Any]]:
        """Return the outputs that are wanted: the scores and, if asked for, the features."""
        try:
            fed = self._inputs.feed(feed, self._layout)
            return list(self._session.run(self._outputs, fed))
        except FAULTS as error:
            msg = f"{self._path}: the model failed on a batch of {len(feed)}: {one_line(error)}"
            raise TagstackError(msg) from error

    def _n_features(self) -> int:
        """Return the width of the features, which files mostly do not state."""
        n_images = self.info.model_batch or 1
        features = self._raw(np.zeros((n_images, *self._shape), self._dtype))[1]
        return feature_width(self._path, self._outputs[1], features.shape, n_images)


def added_features(path: Path, contract: Contract) -> str | None:
    """Return the tensor that is to be added to a model's outputs, None where nothing is."""
    name = contract.output.features
    if name is None or name in output_names(path):
        return None
    if not has_tensor(path, name):
        raise TagstackError(no_such_features(path, name))
    return name


def _loaded(path: Path, added: str | None = None) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    leave_fp8_alone(path, options)
    model = model_with(path, added, options)
    try:
        return onnxruntime.InferenceSession(model, options, providers=[PROVIDER])
    except FAULTS as error:
        msg = (
            f"Cannot load the model {path}: {one_line(error)}. Expected a whole ONNX file; compare "
            f"its size and SHA-256 with the publisher's and fetch it again."
        )
        raise TagstackError(msg) from error


def model_with(path: Path, added: str | None, options: Any) -> str | bytes:
    """Return what to open for a file whose graph is to give one more tensor, or as it is."""
    if added is None:
        return str(path)
    # What is loaded from memory does not know where its weights lie.
    options.add_session_config_entry(_WEIGHTS_FOLDER, str(path.parent.absolute()))
    return with_output(path, added)


def leave_fp8_alone(path: Path, options: Any) -> None:
    """Switch off the rewriting of graphs for fp8 files, which it makes wrong.

    ONNX Runtime 1.32 moves fp8 numbers through transpositions, for which it has no kernel, and
    its fused convolutions gave other outputs altogether; unchanged, they match the ONNX reference.
    """
    if quantised_as(path) == "fp8":
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL


def _verified_provider(path: Path, session: Any) -> str:
    used = session.get_providers()
    if used[:1] != [PROVIDER]:
        msg = f"{path}: asked for {PROVIDER}, but ONNX Runtime uses {used}. Reinstall onnxruntime."
        raise TagstackError(msg)
    return str(used[0])


def input_type(path: Path, port: Port) -> type[np.floating[Any]]:
    """Return the numpy type of an input; a type that is no float is a TagstackError."""
    if port.kind not in FLOATS:
        msg = f"{path}: input {port.name!r} is {port.kind}; expected {sorted(FLOATS)}."
        raise TagstackError(msg)
    return FLOATS[port.kind]


def ports(items: Sequence[Any]) -> list[Port]:
    """Return ONNX Runtime's inputs or outputs as ports."""
    return [Port(item.name, tuple(item.shape), item.type) for item in items]
