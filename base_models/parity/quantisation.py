"""An int8 or fp8 tagger made from a float32 one, on the user's own pictures.

Static quantisation by ONNX Runtime, as pairs of QuantizeLinear and DequantizeLinear. What the
processor wants and what TensorRT wants are different files: the CPU multiplies unsigned by signed
bytes with a zero point (U8S8), TensorRT only signed ones without (S8S8), biases in float. In fp8
(E4M3) only GPUs compute, so that is for TensorRT alone.

References
----------
https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html
https://docs.nvidia.com/deeplearning/tensorrt/latest/inference-library/work-quantized-types.html
"""

import io
import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tagstack.base_models.atomic import file_sha256
from tagstack.base_models.contract import (
    CONTRACT_FILE,
    Contract,
    contract_toml,
    with_features,
)
from tagstack.base_models.parity.quantised_folder import QuantisedOrigin, write_origin
from tagstack.base_models.pictures.preprocess import input_tensor
from tagstack.base_models.runtimes.added_output import has_tensor, output_names
from tagstack.base_models.runtimes.faults import one_line
from tagstack.base_models.runtimes.model_io import ModelInputs
from tagstack.base_models.runtimes.stored_precision import quantised_as
from tagstack.base_models.runtimes.tensorrt.onnx_file import check_ports, fixed_batch, read_onnx
from tagstack.base_models.staging import recover, staged_folder
from tagstack.base_models.taggers.own_folder import tagger_files
from tagstack.base_models.taggers.timm_contract import contract_of_folder
from tagstack.configs.errors import TagstackError
from tagstack.configs.level1 import QuantizeSettings

_OPSET = 19  # the first that knows fp8
_SCALE = 127 / 448
_OPERATORS = ("QuantizeLinear", "DequantizeLinear")


def write_float8(source: Path, target: Path) -> None:
    """Write a network in int8 without zero points as one in E4M3.

    Parameters
    ----------
    source, target : Path
        With float weights that are quantised in the graph, as TensorRT wants them.

    Raises
    ------
    TagstackError
        If the network cannot be written in opset 19.
    """
    from onnx import TensorProto, helper, numpy_helper, save

    model = _in_opset(source, read_onnx(source, weights=True))
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    pairs = [node for node in model.graph.node if node.op_type in _OPERATORS]
    for name in {node.input[1] for node in pairs}:
        scale = numpy_helper.to_array(stored[name]) * np.float32(_SCALE)
        stored[name].CopyFrom(numpy_helper.from_array(scale.astype(np.float32), name))
    for name in {node.input[2] for node in pairs}:
        zeros = numpy_helper.to_array(stored[name])
        if zeros.any():
            raise TagstackError(f"{source} has zero points; expected int8 made for TensorRT.")
        content = bytes(zeros.size)
        kind = TensorProto.FLOAT8E4M3FN
        stored[name].CopyFrom(helper.make_tensor(name, kind, zeros.shape, content, raw=True))
    del model.graph.value_info[:]  # what int8 was written down for is not int8 any more
    save(model, str(target))


def thin_convolutions(model: Path, n_channels: int) -> list[str]:
    """Return the names of convolutions that read fewer channels; unnamed ones get a name.

    Parameters
    ----------
    model : Path
        Written anew where a node had no name.
    n_channels : int
        Of one group.
    """
    from onnx import save

    proto = read_onnx(model, weights=True)
    channels = {
        tensor.name: tensor.dims[1] for tensor in proto.graph.initializer if tensor.dims[1:]
    }
    thin, is_new = [], False
    for number, node in enumerate(proto.graph.node):
        if node.op_type == "Conv" and channels.get(node.input[1], n_channels) < n_channels:
            is_new |= not node.name
            node.name = node.name or f"thin_{number}"
            thin.append(node.name)
    if is_new:
        save(proto, str(model))
    return thin


def _in_opset(source: Path, model: Any) -> Any:
    from onnx import version_converter

    found = next(item.version for item in model.opset_import if item.domain in ("", "ai.onnx"))
    if found >= _OPSET:
        return model
    try:
        return version_converter.convert_version(model, _OPSET)
    except (version_converter.ConvertError, RuntimeError) as error:
        msg = (
            f"{source} cannot be raised from opset {found} to {_OPSET}, which fp8 needs: "
            f"{one_line(error)}. Export the tagger with opset {_OPSET}, or use int8."
        )
        raise TagstackError(msg) from error


TARGETS = ("cpu", "tensorrt")
PRECISIONS = ("int8", "fp8")
_METHODS = {"minmax": "MinMax", "entropy": "Entropy", "percentile": "Percentile"}
# Outputs between layers that are held at once; histograms of a large network fill memory else.
_HELD_OUTPUTS = 4


@dataclass(frozen=True, kw_only=True)
class QuantiseRequest:
    """What to make.

    Parameters
    ----------
    source, target_folder : Path
        Folder of the float32 tagger, and the folder to make; that must not exist.
    target : str
        One of `TARGETS`.
    precision : str
        One of `PRECISIONS`.
    """

    source: Path
    target_folder: Path
    target: str
    precision: str


def quantise_tagger(
    request: QuantiseRequest, pixels: NDArray[np.uint8], settings: QuantizeSettings
) -> Path:
    """Write a quantised tagger and return its folder.

    Parameters
    ----------
    request : QuantiseRequest
    pixels : array of shape (n_images, height, width, 3), uint8, RGB
        Pictures framed for the tagger, from which the ranges are read.
    settings : QuantizeSettings

    Raises
    ------
    TagstackError
        If the tagger is quantised already, the folder exists, fp8 is asked for on processors, or
        ONNX Runtime cannot quantise it.
    """
    contract = contract_of_folder(request.source)
    model = tagger_files(request.source, contract).model
    _check(request, model)
    with staged_folder(request.target_folder) as staged:
        scratch = staged.parent / "scratch"
        scratch.mkdir()
        target = staged / contract.files.model
        target.parent.mkdir(parents=True, exist_ok=True)
        pictures = _Pictures(contract, pixels)
        pictures.read_from(check_ports(model, contract), fixed_batch(model) or 1)
        _quantise(model, target, scratch, pictures, request, settings)
        if request.precision == "fp8":
            write_float8(target, target)
        _describe(request, contract, staged, len(pixels), settings)
    return request.target_folder


def _check(request: QuantiseRequest, model: Path) -> None:
    recover(request.target_folder)
    if request.target_folder.exists():
        raise TagstackError(f"{request.target_folder} exists; choose a folder that does not.")
    stored = quantised_as(model)
    if stored is not None:
        raise TagstackError(f"{model} is in {stored} already; give the float32 tagger.")
    if request.precision == "fp8" and request.target == "cpu":
        msg = (
            "No processor computes in fp8: it would be int8 with coarser steps and no faster than "
            "float32. Use --target tensorrt, or --type int8."
        )
        raise TagstackError(msg)


class _Pictures:
    """Feeds pictures to ONNX Runtime's calibration, in batches that the model takes."""

    def __init__(self, contract: Contract, pixels: NDArray[np.uint8]) -> None:
        self._contract = contract
        self._pixels = pixels
        self._feeds: Iterator[dict[str, Any]] = iter(())

    def read_from(self, inputs: ModelInputs, batch: int) -> None:
        """Start anew, with the inputs and the size of a batch."""
        whole = len(self._pixels) // batch * batch
        # A batch that the file fixes is filled with pictures that were there already.
        pixels = self._pixels[:whole] if whole else np.resize(self._pixels, (batch, *self._shape))
        self._feeds = (
            inputs.feed(
                input_tensor(pixels[i : i + batch], self._contract.input),
                self._contract.input.layout,
            )
            for i in range(0, len(pixels), batch)
        )

    @property
    def _shape(self) -> tuple[int, ...]:
        return self._pixels.shape[1:]

    def get_next(self) -> dict[str, Any] | None:
        """Return the next feed, or None after the last, as ONNX Runtime asks for it."""
        return next(self._feeds, None)


def _quantise(
    model: Path,
    target: Path,
    scratch: Path,
    pictures: _Pictures,
    request: QuantiseRequest,
    settings: QuantizeSettings,
) -> None:
    from onnxruntime.quantization import (
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quant_pre_process,
        quantize_static,
    )

    prepared = scratch / "prepared.onnx"
    with _quiet():
        quant_pre_process(str(model), str(prepared), skip_symbolic_shape=True)
        on_cpu = request.target == "cpu"
        # Products of two activations (attention) stay in float: they gain little and lose most.
        options: dict[str, Any] = {"MatMulConstBOnly": True}
        if settings.method != "minmax":
            options["CalibMaxIntermediateOutputs"] = _HELD_OUTPUTS
        if not on_cpu:
            options |= {
                "ActivationSymmetric": True,
                "WeightSymmetric": True,
                "AddQDQPairToWeight": True,
                "QuantizeBias": False,
                # Only what goes into a layer: one picture on which logits reach -600 would else
                # make steps of 5 of all of them.
                "OpTypesToExcludeOutputQuantization": list(settings.operators),
            }
        is_fp8 = request.precision == "fp8"
        left_out = thin_convolutions(prepared, settings.fp8_channels) if is_fp8 else []
        quantize_static(
            str(prepared),
            str(target),
            pictures,
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(settings.operators),
            nodes_to_exclude=left_out,
            per_channel=settings.per_channel,
            activation_type=QuantType.QUInt8 if on_cpu else QuantType.QInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=getattr(CalibrationMethod, _METHODS[settings.method]),
            extra_options=options,
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep ONNX Runtime's advice off the terminal; it prints, and logs to the root."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        with redirect_stdout(io.StringIO()):
            yield
    finally:
        root.setLevel(level)


def _describe(
    request: QuantiseRequest,
    contract: Contract,
    staged: Path,
    n_images: int,
    settings: QuantizeSettings,
) -> None:
    import onnxruntime

    ending = f"{request.precision}-{request.target}"
    named = contract.model_copy(update={"name": f"{contract.name[:67]}-{ending}"})
    kept = with_features(named, _kept_features(staged / contract.files.model, contract))
    (staged / CONTRACT_FILE).write_text(contract_toml(kept), encoding="utf-8")
    for name in contract.files.needed[1:]:  # all but the model, which is another one now
        place = staged / name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(request.source / name, place)
    origin = QuantisedOrigin(
        source=str(request.source.resolve()),
        model_sha256=file_sha256(request.source / contract.files.model),
        target=request.target,
        precision=request.precision,
        method=settings.method,
        n_images=n_images,
        onnxruntime=onnxruntime.__version__,
    )
    write_origin(staged, origin)


def _kept_features(model: Path, contract: Contract) -> str | None:
    """Return the tensor with the features if the quantised network still has it by that name."""
    name = contract.output.features
    known = name is not None and (name in output_names(model) or has_tensor(model, name))
    return name if known else None
