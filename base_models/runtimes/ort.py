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

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from tagstack.base_models.contract import Contract
from tagstack.base_models.runtimes.base import SessionInfo
from tagstack.configs.errors import TagstackError

PROVIDER = "CPUExecutionProvider"
# Images of one call where the model allows it: small networks gain up to 1.8 times from 8, large
# ones nothing, and more than 8 brought no network anything.
CALL_IMAGES = 8

_FLOATS = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
_FAULTS = (
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
        self._session: Any = _loaded(path)
        self._input = _only_input(path, self._session, contract)
        self._output = _chosen_output(path, self._session, contract)
        self._shape = _checked_shape(path, self._input.shape, contract)
        self._dtype = _FLOATS[self._input.type]
        # None until a full batch has shown whether rows are bit-equal to single images.
        self._batches_agree: bool | None = None
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="ort")
        self.info = SessionInfo(
            backend="ort",
            provider=_verified_provider(path, self._session),
            precision="fp16" if self._dtype is np.float16 else "fp32",
            device="cpu",
            threads=threads,
            versions=(("onnxruntime", onnxruntime.__version__),),
            score_class="ort-cpu",
            model_batch=self._input.shape[0] if isinstance(self._input.shape[0], int) else None,
        )

    @property
    def n_outputs(self) -> int | None:
        """Width of the output where the file states it."""
        width = self._output.shape[-1] if self._output.shape else None
        return width if isinstance(width, int) else None

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the raw outputs of a batch; see `Session.run`."""
        self._check(batch)
        if len(batch) == 0:
            return np.empty((0, self.n_outputs or 0), np.float32)
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
        calls = [batch[i : i + size] for i in range(0, len(batch), size)]
        return np.concatenate(list(self._pool.map(self._call, calls)))

    def _call(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        feed = np.ascontiguousarray(batch, dtype=self._dtype)
        if self.info.model_batch is not None and len(feed) < self.info.model_batch:
            rest = np.zeros((self.info.model_batch - len(feed), *feed.shape[1:]), feed.dtype)
            feed = np.concatenate([feed, rest])
        try:
            raw = self._session.run([self._output.name], {self._input.name: feed})[0]
        except _FAULTS as error:
            msg = f"{self._path}: the model failed on a batch of {len(batch)}: {_line(error)}"
            raise TagstackError(msg) from error
        return np.asarray(raw[: len(batch)].reshape(len(batch), -1), np.float32)

    def _check(self, batch: NDArray[np.float32]) -> None:
        if self._session is None:
            raise TagstackError(f"{self._path}: the session is closed; open the tagger again.")
        if batch.dtype != np.float32 or batch.shape[1:] != self._shape:
            msg = (
                f"{self._path}: the batch must be float32 of shape (n_images, "
                f"{', '.join(map(str, self._shape))}), got {batch.dtype} {batch.shape}."
            )
            raise TagstackError(msg)


def _loaded(path: Path) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=[PROVIDER])
    except _FAULTS as error:
        msg = (
            f"Cannot load the model {path}: {_line(error)}. Expected a whole ONNX file; compare "
            f"its size and SHA-256 with the publisher's and fetch it again."
        )
        raise TagstackError(msg) from error


def _verified_provider(path: Path, session: Any) -> str:
    used = session.get_providers()
    if used[:1] != [PROVIDER]:
        msg = f"{path}: asked for {PROVIDER}, but ONNX Runtime uses {used}. Reinstall onnxruntime."
        raise TagstackError(msg)
    return str(used[0])


def _only_input(path: Path, session: Any, contract: Contract) -> Any:
    inputs = {item.name: item for item in session.get_inputs()}
    name = contract.input.name
    if (name is None and len(inputs) != 1) or (name is not None and set(inputs) != {name}):
        msg = (
            f"{path}: the model has the inputs {sorted(inputs)}, the contract expects "
            f"{[name] if name else 'one'}. Models with several inputs cannot be run."
        )
        raise TagstackError(msg)
    found = next(iter(inputs.values()))
    if found.type not in _FLOATS:
        msg = f"{path}: input {found.name!r} is {found.type}; expected {sorted(_FLOATS)}."
        raise TagstackError(msg)
    return found


def _chosen_output(path: Path, session: Any, contract: Contract) -> Any:
    outputs = session.get_outputs()
    names = [item.name for item in outputs]
    wanted = contract.output
    if wanted.name is not None and wanted.name in names:
        return outputs[names.index(wanted.name)]
    if wanted.index is not None and -len(names) <= wanted.index < len(names):
        return outputs[wanted.index]
    if wanted.name is None and wanted.index is None and len(outputs) == 1:
        return outputs[0]
    asked = wanted.name if wanted.name is not None else wanted.index
    msg = (
        f"{path}: the model has the outputs {names}, the contract asks for "
        f"{'none of them by name' if asked is None else repr(asked)}. Set [output] name."
    )
    raise TagstackError(msg)


def _checked_shape(path: Path, found: list[Any], contract: Contract) -> tuple[int, int, int]:
    height, width = contract.input.height_width
    nhwc = contract.input.layout == "NHWC"
    shape = (height, width, 3) if nhwc else (3, height, width)
    batch = contract.input.batch
    expected = [batch if isinstance(batch, int) else "batch", *shape]
    pairs = zip(found[1:], shape, strict=False)
    fits = len(found) == 4 and all(not isinstance(a, int) or a == b for a, b in pairs)
    # A batch that the contract fixes may be dynamic in the file; the reverse is a contradiction.
    fits = fits and (not isinstance(found[0], int) or found[0] == batch)
    if not fits:
        msg = (
            f"{path}: the model's input is {found}, the contract says {expected} "
            f"({contract.input.layout}). Correct [input] layout, size or batch."
        )
        raise TagstackError(msg)
    return shape


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]
