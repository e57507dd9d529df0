"""fp8: the numbers that ONNX means by it, close to float32, and what TensorRT takes it."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from tagstack.base_models.contract import Contract
from tagstack.base_models.parity.quantisation import (
    QuantiseRequest,
    quantise_tagger,
    thin_convolutions,
    write_float8,
)
from tagstack.base_models.pictures.preprocess import input_tensor
from tagstack.base_models.runtimes.driver import Device, Driver
from tagstack.base_models.runtimes.tensorrt.building import build_plan
from tagstack.base_models.runtimes.tensorrt.provision import Workshop
from tagstack.base_models.runtimes.tensorrt.spec import EngineSpec
from tagstack.base_models.runtimes.tensorrt.trt_api import TrtApi
from tagstack.base_models.taggers.registry import show_tagger
from tagstack.base_models.taggers.tagger import load_tagger
from tagstack.configs.errors import TagstackError
from tagstack.configs.settings import load_settings


@pytest.fixture
def fp8_tagger(tmp_path: Path, doll_pixels: NDArray[np.uint8]) -> Path:
    """Return a shipped tagger in fp8; its ranges come from noise."""
    source = show_tagger("doll_resnet").folder
    assert source is not None
    request = QuantiseRequest(
        source=source, target_folder=tmp_path / "fp8", target="tensorrt", precision="fp8"
    )
    return quantise_tagger(request, doll_pixels, load_settings().score.quantize)


@pytest.fixture
def doll_pixels(rng: np.random.Generator) -> NDArray[np.uint8]:
    source = show_tagger("doll_resnet").folder
    assert source is not None
    framing = load_tagger(source, floor=1e-4, threads=1, smoke=False).framing
    return rng.integers(0, 256, (6, framing.height, framing.width, 3), dtype=np.uint8)


def test_everything_quantised_is_e4m3_around_zero(fp8_tagger: Path) -> None:
    model = onnx.load(str(fp8_tagger / "model.onnx"))
    onnx.checker.check_model(model)
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    kinds = Counter(
        stored[node.input[2]].data_type
        for node in model.graph.node
        if node.op_type in ("QuantizeLinear", "DequantizeLinear")
    )
    assert set(kinds) == {TensorProto.FLOAT8E4M3FN}
    assert kinds.total() > 2 * sum(node.op_type == "Conv" for node in model.graph.node)
    assert next(item.version for item in model.opset_import if not item.domain) >= 19


def test_convolutions_of_few_channels_stay_in_float(fp8_tagger: Path) -> None:
    graph = onnx.load(str(fp8_tagger / "model.onnx")).graph
    makers = {name: node for node in graph.node for name in node.output}
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    floats, quantised = [], []
    for node in graph.node:
        if node.op_type != "Conv":
            continue
        if node.input[1] in shapes:
            floats.append(shapes[node.input[1]][1])
        else:
            weight = makers[makers[node.input[1]].input[0]].input[0]
            quantised.append(shapes[weight][1])
    assert floats
    assert max(floats) < 16 <= min(quantised)


def test_nodes_without_a_name_are_found(tmp_path: Path, make_net: Callable[..., Path]) -> None:
    path = make_net()  # one convolution of three channels, unnamed like all its nodes
    before = path.read_bytes()
    assert thin_convolutions(path, 3) == []
    assert path.read_bytes() == before
    (name,) = thin_convolutions(path, 4)
    assert [node.name for node in onnx.load(str(path)).graph.node if node.name] == [name]
    assert thin_convolutions(path, 4) == [name]


def test_the_largest_weight_becomes_the_largest_number(fp8_tagger: Path) -> None:
    graph = onnx.load(str(fp8_tagger / "model.onnx")).graph
    stored = {tensor.name: tensor for tensor in graph.initializer}
    n_checked = 0
    for node in graph.node:
        if node.op_type != "QuantizeLinear" or node.input[0] not in stored:
            continue
        weight = numpy_helper.to_array(stored[node.input[0]])
        scale = numpy_helper.to_array(stored[node.input[1]])
        axis = next((item.i for item in node.attribute if item.name == "axis"), 0)
        others = tuple(i for i in range(weight.ndim) if i != axis % weight.ndim)
        largest = np.abs(weight).max(axis=others if scale.size > 1 else None)
        used = largest > 0
        np.testing.assert_allclose(np.atleast_1d(largest / scale)[np.atleast_1d(used)], 448, 1e-4)
        n_checked += 1
    assert n_checked > 3


def test_onnx_runtime_gives_what_the_onnx_reference_gives(
    fp8_tagger: Path, doll_pixels: NDArray[np.uint8]
) -> None:
    tagger = load_tagger(fp8_tagger, floor=1e-4, threads=1)
    images = input_tensor(doll_pixels[:2], tagger.contract.input)
    reference = ReferenceEvaluator(onnx.load(str(fp8_tagger / "model.onnx")))
    name = tagger.contract.output.name or reference.output_names[0]
    (expected,) = reference.run([name], {reference.input_names[0]: images})
    # Sums in another order tip a rounding now and then; three bits of fraction make that a step.
    difference = np.abs(tagger.session.run(images) - expected)
    assert np.median(difference) < 0.01 * expected.std()
    assert difference.max() < 0.25 * expected.std()
    tagger.close()


@pytest.mark.parametrize(("capability", "has_fp8"), [("SM80", False), ("SM89", True)])
def test_tensorrt_builds_it_for_gpus_that_have_it(
    fp8_tagger: Path, rtx: TrtApi, capability: str, has_fp8: bool
) -> None:
    log = rtx.logger()
    builder = rtx.trt.Builder(log)
    network = rtx.network(builder)
    parser = rtx.trt.OnnxParser(network, log)
    assert parser.parse_from_file(str(fp8_tagger / "model.onnx")), log.errors
    config = builder.create_builder_config()
    config.builder_optimization_level = 0
    config.num_compute_capabilities = 1
    config.set_compute_capability(getattr(rtx.trt.ComputeCapability, capability), 0)
    source = network.get_input(0)
    profile = builder.create_optimization_profile()
    profile.set_shape(source.name, *((batch, *tuple(source.shape)[1:]) for batch in (1, 4, 8)))
    config.add_optimization_profile(profile)
    plan = builder.build_serialized_network(network, config)
    assert (plan is not None) == has_fp8
    assert has_fp8 or "fp8_e4m3" in " ".join(log.errors)


def test_the_builder_of_engines_takes_it(fp8_tagger: Path, rtx: TrtApi, spec: EngineSpec) -> None:
    assert len(build_plan(fp8_tagger / "model.onnx", spec, rtx, None).plan) > 1000


def test_a_gpu_without_fp8_is_refused_before_anything_is_built(
    fp8_tagger: Path, workshop: Workshop, contract: Contract, spec: EngineSpec
) -> None:
    old = Device(
        index=0, name="NVIDIA Y", compute_capability="8.6", n_multiprocessors=4, memory_bytes=1
    )
    driver = Driver(cuda_version="13.0", devices=(old,), fault=None)
    shop = replace(workshop, driver=driver)
    with pytest.raises(TagstackError, match=r"8\.9 or later; NVIDIA Y has 8\.6\. Use the tagger"):
        shop.provide(fp8_tagger / "model.onnx", contract, replace(spec, precision="fp8"))
    assert list(shop.cache.folder.iterdir()) == []


def test_what_has_zero_points_is_refused(tmp_path: Path, doll_pixels: NDArray[np.uint8]) -> None:
    source = show_tagger("doll_resnet").folder
    assert source is not None
    request = QuantiseRequest(
        source=source, target_folder=tmp_path / "cpu", target="cpu", precision="int8"
    )
    folder = quantise_tagger(request, doll_pixels, load_settings().score.quantize)
    with pytest.raises(TagstackError, match=r"has zero points; expected int8 made for TensorRT"):
        write_float8(folder / "model.onnx", tmp_path / "x.onnx")
    assert not (tmp_path / "x.onnx").exists()


def test_what_cannot_be_raised_to_opset_19_is_refused(tmp_path: Path) -> None:
    node = helper.make_node("Crop", ["x"], ["y"])  # gone since opset 10, and never replaced
    ports = [[helper.make_tensor_value_info(name, TensorProto.FLOAT, (1,))] for name in "xy"]
    graph = helper.make_graph([node], "old", *ports)
    path = tmp_path / "old.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 7)]), str(path))
    with pytest.raises(TagstackError, match=r"from opset 7 to 19, which fp8 needs: .*use int8"):
        write_float8(path, tmp_path / "x.onnx")
