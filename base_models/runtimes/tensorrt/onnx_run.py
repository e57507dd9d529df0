"""Running an ONNX file in ONNX Runtime on the CPU, to compare a changed file with its source."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tagstack.base_models.contract import Contract
from tagstack.base_models.pictures.preprocess import input_tensor
from tagstack.base_models.runtimes.faults import BackendError, one_line

_KINDS: dict[str, type[np.generic]] = {
    "tensor(float16)": np.float16,
    "tensor(uint8)": np.uint8,
}


def noise_batch(contract: Contract, n_images: int) -> NDArray[np.float32]:
    """Return a tagger's input for pictures of noise, soft and hard ones in turn.

    Shape (n_images, 3, height, width), or the channels last as the contract's layout says.
    """
    height, width = contract.input.height_width
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (n_images, height, width, 3), dtype=np.uint8)
    # Every other picture has the contrast of a flat one: numbers of another size in the network.
    pixels[::2] //= 16
    return input_tensor(pixels, contract.input)


def run_onnx(path: Path, batch: NDArray[Any]) -> list[NDArray[Any]]:
    """Return all outputs of a model for a batch. Shapes are the model's, images first.

    Raises
    ------
    BackendError
        If ONNX Runtime cannot load or run it.
    """
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    faults = (
        ort_errors.Fail,
        ort_errors.InvalidArgument,
        ort_errors.InvalidGraph,
        ort_errors.InvalidProtobuf,
        ort_errors.NotImplemented,
        ort_errors.RuntimeException,
    )
    try:
        session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
        source = session.get_inputs()[0]
        kind = _KINDS.get(source.type, np.float32)
        outputs = session.run(None, {source.name: batch.astype(kind, copy=False)})
    except faults as error:
        raise BackendError(f"ONNX Runtime cannot run {path}: {one_line(error)}") from error
    return [np.asarray(output) for output in outputs]
