"""Networks of a few nodes, and a workshop that builds them with TensorRT-RTX, without a GPU."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tagstack.base_models.contract import Contract, contract_from_toml
from tagstack.base_models.runtimes.driver import Driver
from tagstack.base_models.runtimes.tensorrt.engine_cache import EngineCache
from tagstack.base_models.runtimes.tensorrt.provision import Workshop
from tagstack.base_models.runtimes.tensorrt.spec import EngineSpec
from tagstack.base_models.runtimes.tensorrt.trt_api import TrtApi

NO_GPU = Driver(cuda_version=None, devices=(), fault="no GPU in tests")
N_TAGS = 10


@pytest.fixture
def contract() -> Contract:
    return contract_from_toml(
        {
            "name": "net",
            "source": "a test",
            "licence": "none",
            "input": {
                "layout": "NCHW",
                "colour": "RGB",
                "size": 8,
                "geometry": "pad_square",
                "resample": "bicubic",
                "range": "0-1",
                "batch": 1,
            },
            "output": {"kind": "probabilities"},
            "tags": {"format": "tags_txt"},
        },
        origin="test",
    )


@pytest.fixture
def make_net(tmp_path: Path) -> Callable[..., Path]:
    """Return a writer of small networks: convolution, norm, attention-like softmax, sigmoid."""

    def make(
        name: str = "net.onnx",
        *,
        batch: int | str = "batch",
        seed: int = 0,
        reshape: tuple[int, ...] = (0, 4, 16),
        scale: float = 1.0,
        extra: Callable[[list[Any], dict[str, Any]], str] | None = None,
    ) -> Path:
        rng = np.random.default_rng(seed)
        weights = {
            "kernel": rng.normal(0, 0.3 * scale, (4, 3, 2, 2)).astype(np.float32),
            "shape": np.array(reshape, np.int64),
            "gain": np.ones(16, np.float32),
            "shift": np.zeros(16, np.float32),
            "mix": rng.normal(0, 0.5, (16, 16)).astype(np.float32),
            "head": rng.normal(0, 0.5, (64, N_TAGS)).astype(np.float32),
        }
        nodes = [
            helper.make_node("Conv", ["input", "kernel"], ["conv"], strides=[2, 2]),
            helper.make_node("Reshape", ["conv", "shape"], ["tokens"]),
            helper.make_node("LayerNormalization", ["tokens", "gain", "shift"], ["normed"]),
            helper.make_node("MatMul", ["normed", "mix"], ["mixed"]),
            helper.make_node("Softmax", ["mixed"], ["shares"], axis=-1),
            helper.make_node("Mul", ["shares", "normed"], ["weighed"]),
            helper.make_node("Flatten", ["weighed"], ["flat"], axis=1),
            helper.make_node("MatMul", ["flat", "head"], ["logits"]),
        ]
        last = extra(nodes, weights) if extra is not None else "logits"
        nodes.append(helper.make_node("Sigmoid", [last], ["proba"]))
        graph = helper.make_graph(
            nodes,
            "net",
            [helper.make_tensor_value_info("input", TensorProto.FLOAT, (batch, 3, 8, 8))],
            [helper.make_tensor_value_info("proba", TensorProto.FLOAT, (batch, N_TAGS))],
            [numpy_helper.from_array(values, key) for key, values in weights.items()],
        )
        path = tmp_path / name
        opset = [helper.make_opsetid("", 17)]
        onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), str(path))
        return path

    return make


@pytest.fixture
def spec() -> EngineSpec:
    return EngineSpec(
        precision="fp32",
        min_batch=1,
        typical_batch=4,
        max_batch=8,
        optimization_level=0,
        workspace_mib=512,
        batch_invariant=True,
    )


@pytest.fixture
def rtx() -> TrtApi:
    pytest.importorskip("tensorrt_rtx_bindings", reason="the TensorRT-RTX wheels are not installed")
    return TrtApi("rtx")


@pytest.fixture
def workshop(rtx: TrtApi, tmp_path: Path) -> Workshop:
    cache = EngineCache(tmp_path / "engines")
    return Workshop(cache=cache, api=rtx, driver=NO_GPU, trial_seconds=60.0)
