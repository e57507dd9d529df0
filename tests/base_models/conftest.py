"""Tiny taggers of every contract variant, networks of a few nodes, and a workshop without a GPU."""

import importlib.util
import json
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from tagstack.base_models import atomic
from tagstack.base_models.contract import Contract, contract_from_toml
from tagstack.base_models.runtimes.driver import Driver
from tagstack.base_models.runtimes.tensorrt.engine_cache import EngineCache
from tagstack.base_models.runtimes.tensorrt.provision import Workshop
from tagstack.base_models.runtimes.tensorrt.spec import EngineSpec
from tagstack.base_models.runtimes.tensorrt.trt_api import TrtApi
from tagstack.configs.level1 import ScoreSettings
from tagstack.configs.settings import load_settings

SIDE = 8
NO_GPU = Driver(cuda_version=None, devices=(), fault="no GPU in tests")
N_TAGS = 10


@dataclass(frozen=True, kw_only=True)
class TinyTagger:
    """A flattening, a matrix product, a sigmoid: enough to notice every wrong pixel."""

    name: str = "tiny"
    tags: tuple[str, ...] = tuple(f"tag_{i}" for i in range(10))
    n_outputs: int | None = None
    layout: str = "NHWC"
    colour: str = "BGR"
    range: str = "0-255"
    kind: str = "probabilities"
    batch: int | str = "dynamic"
    three_outputs: bool = False
    sigmoids: int | None = None
    nan_above: float | None = None
    seed: int = 0
    declared: dict[str, str] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, int, int]:
        return (SIDE, SIDE, 3) if self.layout == "NHWC" else (3, SIDE, SIDE)

    @property
    def weights(self) -> NDArray[np.float32]:
        width = self.n_outputs or len(self.tags)
        scale = {"0-255": 0.01, "0-1": 2.0, "-1-1": 1.0}[self.range] / SIDE
        drawn = np.random.default_rng(self.seed).normal(0, scale, (SIDE * SIDE * 3, width))
        return np.asarray(drawn, np.float32)

    def logits(self, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Return what the model computes for RGB pixels of shape (n, SIDE, SIDE, 3)."""
        values = pixels.astype(np.float64)
        values = {"0-255": values, "0-1": values / 255, "-1-1": values / 127.5 - 1}[self.range]
        values = values[..., ::-1] if self.colour == "BGR" else values
        values = values if self.layout == "NHWC" else values.transpose(0, 3, 1, 2)
        return np.asarray(values.reshape(len(values), -1) @ self.weights.astype(np.float64) - 1)

    def write(self, folder: Path) -> Path:
        folder.mkdir(parents=True)
        onnx.save(self._model(), str(folder / "model.onnx"))
        rows = [f"{i},{tag},{4 if i % 4 == 3 else 0},{100 - i}" for i, tag in enumerate(self.tags)]
        lines = ["tag_id,name,category,count", *rows]
        (folder / "selected_tags.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
        (folder / "tagger.toml").write_text(self._toml(), encoding="utf-8")
        return folder

    def _toml(self) -> str:
        facts = {
            "layout": self.layout,
            "colour": self.colour,
            "range": self.range,
            "kind": self.kind,
            "geometry": "pad_square",
        } | self.declared
        batch = json.dumps(self.batch)
        name = 'name = "chosen"\n' if self.three_outputs else ""
        return (
            f'name = "{self.name}"\nsource = "made by a test"\nlicence = "none"\n'
            f'[input]\nlayout = "{facts["layout"]}"\ncolour = "{facts["colour"]}"\nsize = {SIDE}\n'
            f'geometry = "{facts["geometry"]}"\nresample = "bicubic"\nrange = "{facts["range"]}"\n'
            f'batch = {batch}\n[output]\n{name}kind = "{facts["kind"]}"\n'
            f'[tags]\nformat = "selected_tags_csv"\n'
            f'categories = {{ "0" = "general", "4" = "character" }}\n[threshold]\ndefault = 0.4\n'
        )

    def _model(self) -> onnx.ModelProto:
        constants = {"w": self.weights, "b": np.full(self.weights.shape[1], -1, np.float32)}
        nodes = [
            helper.make_node("Flatten", ["input"], ["flat"], axis=1),
            helper.make_node("MatMul", ["flat", "w"], ["product"]),
            helper.make_node("Add", ["product", "b"], ["x0"]),
        ]
        if self.nan_above is not None:
            # The root of (limit - mean) has no real value for images brighter than the limit.
            constants["limit"] = np.array(self.nan_above, np.float32)
            nodes += [
                helper.make_node("ReduceMean", ["flat"], ["mean"], axes=[1]),
                helper.make_node("Sub", ["limit", "mean"], ["room"]),
                helper.make_node("Sqrt", ["room"], ["root"]),
                helper.make_node("Sub", ["root", "root"], ["nought"]),
                helper.make_node("Add", ["x0", "nought"], ["x1"]),
            ]
        last = nodes[-1].output[0]
        sigmoids = int(self.kind == "probabilities") if self.sigmoids is None else self.sigmoids
        for i in range(sigmoids):
            nodes.append(helper.make_node("Sigmoid", [last], [f"s{i}"]))
            last = f"s{i}"
        nodes.append(helper.make_node("Identity", [last], ["chosen"]))
        extra = ["flat", "product"] if self.three_outputs else []
        batch = self.batch if isinstance(self.batch, int) else "batch"
        shape = (batch, *self.shape)
        graph = helper.make_graph(
            nodes,
            "tiny",
            [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in extra]
            + [
                helper.make_tensor_value_info(
                    "chosen", TensorProto.FLOAT, (batch, self.weights.shape[1])
                )
            ],
            [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()],
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.fixture
def tiny() -> TinyTagger:
    return TinyTagger()


@pytest.fixture
def make_tagger_folder(tmp_path: Path) -> Callable[..., Path]:
    """Return a writer of tagger folders; keywords as in `TinyTagger`."""

    def make(spec: TinyTagger | None = None, **changes: object) -> Path:
        made = replace(spec or TinyTagger(), **changes)  # type: ignore[arg-type]
        return made.write(tmp_path / "taggers" / made.name)

    return make


class Death(BaseException):
    """A process is gone: nothing that it would still do reaches the disk."""


class DyingDisk:
    """Counts what this thread changes on the disk, and refuses all of it from some change on."""

    changes = frozenset(
        ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link", "os.symlink",
         "os.chmod", "shutil.rmtree")
    )  # fmt: skip

    def __init__(self) -> None:
        self._thread: int | None = None
        self._left = 0
        sys.addaudithook(self._heard)  # for good: hooks cannot be taken back

    def run(self, work: Callable[[], object], n_changes: int) -> bool:
        """Run some work until so many changes were made; return whether it died of the next."""
        atomic._SWEPT.clear()  # as in a new process
        self._thread, self._left = threading.get_ident(), n_changes
        try:
            work()
        except Death:
            return True
        finally:
            self._thread = None
        return False

    def _heard(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self._thread is None or self._thread != threading.get_ident():
            return
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & 3
        if writes or event in self.changes:
            self._left -= 1
            if self._left < 0:
                raise Death


@pytest.fixture(scope="session")
def dying_disk() -> DyingDisk:
    return DyingDisk()


@pytest.fixture
def settings() -> ScoreSettings:
    """Return small batches and parts, so that few images make several."""
    return load_settings().score.model_copy(
        update={"batch_images": 4, "part_images": 6, "part_seconds": 1e9}
    )


@pytest.fixture
def picture(rng: np.random.Generator) -> Callable[..., Image.Image]:
    """Return a maker of pictures full of noise."""

    def make(width: int = 12, height: int = 9, mode: str = "RGB") -> Image.Image:
        channels = {"RGB": 3, "RGBA": 4, "CMYK": 4, "LA": 2}.get(mode, 1)
        noise = rng.integers(0, 256, (height, width, channels), dtype=np.uint8)
        if mode == "CMYK":
            return Image.frombytes("CMYK", (width, height), noise.tobytes())
        return Image.fromarray(noise[..., 0] if channels == 1 else noise).convert(mode)

    return make


@pytest.fixture
def fake_gpu(tmp_path: Path) -> Any:
    """Return a GPU that is none, with a stand-in for CUDA and one for TensorRT."""
    source = Path(__file__).with_name("fake_gpu.py")
    spec = importlib.util.spec_from_file_location("tagstack_fake_gpu", source)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up there
    spec.loader.exec_module(module)
    return module.FakeGpu.made(tmp_path / "prepared")


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
