"""Pixels scaled in the network give the host's numbers to the bit, for every kind of contract."""

from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from tagstack.base_models.contract import Contract, read_contract
from tagstack.base_models.pictures.preprocess import input_tensor
from tagstack.base_models.runtimes.faults import BackendError
from tagstack.base_models.runtimes.tensorrt.building import build_plan
from tagstack.base_models.runtimes.tensorrt.onnx_run import run_onnx
from tagstack.base_models.runtimes.tensorrt.pixel_input import pixel_contract, write_pixels
from tagstack.base_models.runtimes.tensorrt.spec import EngineSpec
from tagstack.base_models.runtimes.tensorrt.trt_api import TrtApi

RANGES: list[Any] = ["0-255", "0-1", "-1-1", "mean and std"]


@pytest.mark.parametrize(
    ("layout", "colour", "scale"), list(product(["NHWC", "NCHW"], ["RGB", "BGR"], RANGES))
)
def test_the_same_bits(
    make_tagger_folder: Callable[..., Path],
    rng: np.random.Generator,
    tmp_path: Path,
    layout: str,
    colour: str,
    scale: str,
) -> None:
    plain = scale != "mean and std"
    folder = make_tagger_folder(layout=layout, colour=colour, range=scale if plain else "0-1")
    contract = read_contract(folder / "tagger.toml")
    if not plain:
        update = {"range": None, "mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
        contract = contract.model_copy(update={"input": contract.input.model_copy(update=update)})
    target = tmp_path / "pixels.onnx"
    write_pixels(folder / "model.onnx", target, contract)
    onnx.checker.check_model(str(target), full_check=True)
    pixels = rng.integers(0, 256, (4, 8, 8, 3), dtype=np.uint8)
    pixels[0, 0, :, 0] = 255
    (expected,) = run_onnx(folder / "model.onnx", input_tensor(pixels, contract.input))
    np.testing.assert_array_equal(run_onnx(target, pixels)[0], expected)
    assert pixel_contract(contract).input.layout == "NHWC"


def test_tensorrt_builds_it(
    rtx: TrtApi,
    make_net: Callable[..., Path],
    contract: Contract,
    spec: EngineSpec,
    tmp_path: Path,
) -> None:
    write_pixels(make_net(), tmp_path / "pixels.onnx", contract)
    assert len(build_plan(tmp_path / "pixels.onnx", spec, rtx, None).plan) > 1000


def test_a_network_that_takes_half_floats(
    make_net: Callable[..., Path], contract: Contract, tmp_path: Path
) -> None:
    model = onnx.load(str(make_net()))
    model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
    onnx.save(model, str(tmp_path / "half.onnx"))
    with pytest.raises(BackendError, match="its input is not float32"):
        write_pixels(tmp_path / "half.onnx", tmp_path / "pixels.onnx", contract)
