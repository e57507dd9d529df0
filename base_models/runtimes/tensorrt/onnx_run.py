"""Running an ONNX file in ONNX Runtime on the CPU, to compare a changed file with its source."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tagstack.base_models.contract import Contract
from tagstack.base_models.pictures.preprocess import input_tensor
from tagstack.base_models.runtimes.faults import BackendError, one_line
from tagstack.base_models.runtimes.model_io import ModelInputs, Port, model_inputs

_KINDS: dict[str, type[np.generic]] = {
    "tensor(float16)": np.float16,
    "tensor(uint8)": np.uint8,
}


def noise_batch(contract: Contract, n_images: int) -> NDArray[np.float32]:
    """Return a tagger's input for pictures of noise, soft and hard ones in turn.

    Shape (n_images, 3, height, width), or the channels last as the contract's layout says; with a
    fourth channel if it has a mask of the padding.
    """
    height, width = contract.input.height_width
    rng = np.random.default_rng(0)
    shape = (n_images, height, width, contract.input.planes)
    pixels = rng.integers(0, 256, shape, dtype=np.uint8)
    pixels[..., 3:] = 0
    pixels[:, : height // 4, :, 3:] = 255  # as over a wide picture
    # Every other picture has the contrast of a flat one: numbers of another size in the network.
    pixels[::2, ..., :3] //= 16
    return input_tensor(pixels, contract.input)


def run_onnx(
    path: Path, batch: NDArray[Any], contract: Contract | None = None
) -> list[NDArray[Any]]:
    """Return all outputs of a model for a batch. Shapes are the model's, images first.

    With a contract, a batch is parted among the model's picture and mask.

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
        given = [Port(one.name, tuple(one.shape), one.type) for one in session.get_inputs()]
        inputs = ModelInputs(given[0])
        if contract is not None:
            inputs = model_inputs(path, given, contract)
        kind = _KINDS.get(inputs.picture.kind, np.float32)
        layout = "NCHW" if contract is None else contract.input.layout
        outputs = session.run(None, inputs.feed(batch.astype(kind, copy=False), layout))
    except faults as error:
        raise BackendError(f"ONNX Runtime cannot run {path}: {one_line(error)}") from error
    return [np.asarray(output) for output in outputs]
