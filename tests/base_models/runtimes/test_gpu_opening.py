"""What a GPU backend is given for a tagger: its batches, its file, and what it refuses."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tagstack.base_models.contract import Contract
from tagstack.base_models.pictures.preprocess import input_tensor
from tagstack.base_models.runtimes import ort_gpu
from tagstack.base_models.runtimes.faults import BackendError
from tagstack.base_models.runtimes.gpu_opening import open_ort_gpu
from tagstack.base_models.runtimes.tensorrt.spec import EngineSpec
from tagstack.configs.errors import TagstackError
from tagstack.configs.level1 import EngineSettings
from tagstack.configs.settings import load_settings

Net = Callable[..., Path]


@pytest.fixture
def engines(tmp_path: Path) -> EngineSettings:
    return load_settings().score.engines.model_copy(
        update={"folder": str(tmp_path / "cache"), "pixels_on_device": False}
    )


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch, contract: Contract, engines: EngineSettings) -> Any:
    """Return an opener of ONNX Runtime's CUDA backend, run by the CPU's provider."""
    monkeypatch.setitem(ort_gpu.PROVIDERS, "ort-cuda", ("CPUExecutionProvider",))
    open_model = ort_gpu._session
    monkeypatch.setattr(ort_gpu, "_session", lambda *a, fallback: open_model(*a, fallback=True))

    def make(model: Path, precision: str = "fp32", settings: EngineSettings = engines) -> Any:
        return open_ort_gpu(model, contract, settings, precision, "ort-cuda")

    return make


def test_batches_are_each_taggers_own(opened: Any, make_net: Net, engines: EngineSettings) -> None:
    own = engines.model_copy(update={"tagger_batches": {"net": (1, 3), "other": (5,)}})
    assert opened(make_net())._sizes.sizes == engines.batches
    assert opened(make_net(), settings=own)._sizes.sizes == (1, 3)
    assert own.of_tagger("other").typical_batch == 5


@pytest.mark.parametrize("backend", ["ort-cuda", "ort-tensorrt", "tensorrt"])
def test_memory_is_bounded_in_every_backend(
    make_net: Net, contract: Contract, engines: EngineSettings, backend: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    given: dict[str, Any] = {}
    bounded = engines.model_copy(update={"memory_mib": 512})
    assert (engines.build_mib, bounded.build_mib) == (engines.workspace_mib, 512)
    if backend == "tensorrt":
        assert EngineSpec.of_settings(bounded, "fp16").workspace_mib == 512
        return
    monkeypatch.setattr(ort_gpu, "OrtGpuSession", lambda *_, **options: given.update(options))
    open_ort_gpu(make_net(), contract, bounded, "tf32", backend)
    *before, cuda = given["options"]
    assert cuda["gpu_mem_limit"] == str(512 << 20)
    assert [own["trt_max_workspace_size"] for own in before] == [str(512 << 20)] * len(before)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_batch_fixed_inside_the_network_is_taken(
    opened: Any, make_net: Net, precision: str, rng: np.random.Generator
) -> None:
    def across_images(nodes: list[Any], weights: dict[str, Any]) -> str:
        nodes.append(helper.make_node("ReduceMean", ["logits"], ["mean"], axes=[0], keepdims=1))
        return "mean"

    session = opened(make_net(batch=1, extra=across_images), precision)
    assert (session.info.model_batch, session._sizes.sizes) == (1, (1,))
    images = rng.random((3, 3, 8, 8), np.float32)
    alone = np.concatenate([session.run(image[None]) for image in images])
    np.testing.assert_array_equal(session.run(images), alone)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_pixels_go_to_the_device_as_they_are(
    opened: Any,
    make_net: Net,
    contract: Contract,
    engines: EngineSettings,
    precision: str,
    rng: np.random.Generator,
) -> None:
    with_pixels = engines.model_copy(update={"pixels_on_device": True})
    session = opened(make_net(), precision, with_pixels)
    assert session.info.takes_pixels
    pixels = rng.integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)
    expected = opened(make_net(), precision).run(input_tensor(pixels, contract.input))
    np.testing.assert_array_equal(session.run(pixels), expected)
    with pytest.raises(TagstackError, match=r"must be uint8 of shape \(n_images, 8, 8, 3\), got"):
        session.run(pixels.astype(np.float32))


def test_quantised_files_are_refused(opened: Any, make_net: Net) -> None:
    def quantised(nodes: list[Any], weights: dict[str, Any]) -> str:
        weights |= {"scale": np.float32(0.1), "zero": np.int8(0)}
        nodes.append(helper.make_node("QuantizeLinear", ["logits", "scale", "zero"], ["q"]))
        nodes.append(helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["back"]))
        return "back"

    with pytest.raises(BackendError, match=r"is in int8, for which .* no convolution"):
        opened(make_net(extra=quantised))


def test_an_operator_that_nobody_knows(opened: Any, tmp_path: Path) -> None:
    graph = helper.make_graph(
        [helper.make_node("NoSuchThing", ["input"], ["proba"], domain="elsewhere")],
        "net",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ("batch", 3, 8, 8))],
        [helper.make_tensor_value_info("proba", TensorProto.FLOAT, ("batch", 10))],
        [numpy_helper.from_array(np.ones(1, np.float32), "unused")],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("elsewhere", 1)]
    path = tmp_path / "unknown.onnx"
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), str(path))
    with pytest.raises(BackendError, match=r"Cannot load the model .*unknown\.onnx"):
        opened(path)
