"""ONNX Runtime's GPU session without a GPU: what it refuses, and its batches, run by the CPU."""

import logging
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import helper

from tagstack.base_models.contract import Contract, read_contract
from tagstack.base_models.runtimes import ort_gpu
from tagstack.base_models.runtimes.batch_sizes import BatchSizes
from tagstack.base_models.runtimes.faults import BackendError, DeviceMemoryError
from tagstack.base_models.runtimes.model_io import image_shape
from tagstack.base_models.runtimes.ort import OrtCpuSession
from tagstack.base_models.runtimes.ort_gpu import OrtGpuSession, run_fault
from tagstack.base_models.runtimes.probing import probe

Folder = Callable[..., Path]


def opened(folder: Path, backend: str = "ort-cuda") -> OrtGpuSession:
    return OrtGpuSession(
        folder / "model.onnx",
        read_contract(folder / "tagger.toml"),
        backend=backend,
        options=[{} for _ in ort_gpu.PROVIDERS[backend]],
        sizes=BatchSizes([1, 4, 16]),
        precision="fp32",
        device="cuda:0 test",
    )


@pytest.mark.filterwarnings("ignore:Specified provider")
@pytest.mark.parametrize("backend", ["ort-cuda", "ort-tensorrt"])
def test_the_cpu_in_place_of_the_gpu_is_refused(make_tagger_folder: Folder, backend: str) -> None:
    if probe(backend).available:
        pytest.skip("this machine has the GPU")
    with pytest.raises(BackendError, match=r"asked for .*ExecutionProvider, but .* uses \['CPU"):
        opened(make_tagger_folder(), backend)


@pytest.fixture
def on_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the provider be the CPU's, so that everything else of the session is the real thing."""
    monkeypatch.setitem(ort_gpu.PROVIDERS, "ort-cuda", ("CPUExecutionProvider",))
    open_model = ort_gpu._session
    monkeypatch.setattr(ort_gpu, "_session", lambda *a, fallback: open_model(*a, fallback=True))


@pytest.fixture
def batch(rng: np.random.Generator) -> NDArray[np.float32]:
    return (rng.random((23, 8, 8, 3)) * 255).astype(np.float32)


@pytest.mark.usefixtures("on_cpu")
@pytest.mark.parametrize("model_batch", ["dynamic", 1, 5])
@pytest.mark.parametrize("n_images", [0, 1, 3, 23])
def test_padded_calls_give_the_rows(
    make_tagger_folder: Folder,
    tiny: Any,
    batch: NDArray[np.float32],
    model_batch: int | str,
    n_images: int,
) -> None:
    session = opened(make_tagger_folder(kind="logits", colour="RGB", batch=model_batch))
    found = session.run(batch[:n_images])
    assert found.shape == (n_images, 10)
    values = batch[:n_images].reshape(n_images, 192) @ tiny.weights - 1
    np.testing.assert_allclose(found, values, rtol=1e-4, atol=1e-4)


@pytest.mark.usefixtures("on_cpu")
@pytest.mark.parametrize("model_batch", ["dynamic", 5])
@pytest.mark.parametrize("features", ["flat", "product"])
def test_features_stand_behind_the_scores(
    make_tagger_folder: Folder, batch: NDArray[np.float32], model_batch: int | str, features: str
) -> None:
    folder = make_tagger_folder(batch=model_batch)
    toml = folder / "tagger.toml"
    toml.write_text(toml.read_text().replace("[output]\n", f'[output]\nfeatures = "{features}"\n'))
    contract = read_contract(toml)
    with closing(opened(folder)) as ours:
        with closing(OrtCpuSession(folder / "model.onnx", contract, threads=1)) as reference:
            assert ours.info.n_features == reference.info.n_features > 0
            expected = reference.run(batch)
        np.testing.assert_allclose(ours.run(batch), expected, rtol=1e-5, atol=1e-5)
        assert ours.run(batch[:0]).shape == (0, expected.shape[1])


@pytest.mark.usefixtures("on_cpu")
@pytest.mark.parametrize("three_outputs", [False, True])
def test_bound_memory_gives_the_bits_of_the_cpu_session(
    make_tagger_folder: Folder, batch: NDArray[np.float32], three_outputs: bool
) -> None:
    folder = make_tagger_folder(three_outputs=three_outputs)
    session = opened(folder)
    contract = read_contract(folder / "tagger.toml")
    with closing(OrtCpuSession(folder / "model.onnx", contract, threads=1)) as plain:
        for part in (batch[:16], batch[7:23], batch[:1], batch[3:6], batch[::2], batch[:16]):
            # Singly and in batches rows of a product may differ by a bit: like for like.
            call = onnxruntime.InferenceSession(str(folder / "model.onnx"))
            size = session._sizes.call(len(part)).size
            feed = np.zeros((size, 8, 8, 3), np.float32)
            feed[: len(part)] = part
            rows = call.run(["chosen"], {"input": feed})[0][: len(part)]
            np.testing.assert_array_equal(session.run(part), rows)
            np.testing.assert_allclose(rows, plain.run(part), rtol=1e-5, atol=1e-6)
    assert {size: bound.targets != (None,) for size, bound in session._bound.items()} == {
        16: True, 1: True, 4: True,
    }  # fmt: skip
    session.close()
    assert session._bound == {}


@pytest.mark.usefixtures("on_cpu")
def test_an_output_of_open_width_is_bound_without_memory(
    make_net: Callable[..., Path], contract: Contract, rng: np.random.Generator
) -> None:
    def open_width(nodes: list[Any], weights: dict[str, Any]) -> str:
        """Keep every column of which some logit is above -1e9: all, which only the run finds."""
        weights["low"] = np.array(-1e9, np.float32)
        nodes += [
            helper.make_node("ReduceMax", ["logits"], ["highest"], axes=[0], keepdims=0),
            helper.make_node("Greater", ["highest", "low"], ["wanted"]),
            helper.make_node("Compress", ["logits", "wanted"], ["some"], axis=1),
        ]
        return "some"

    model = make_net(extra=open_width)
    network = onnx.load(model)
    network.graph.output[0].type.tensor_type.shape.dim[1].dim_param = "open"
    onnx.save(network, model)
    session = OrtGpuSession(
        model,
        contract,
        backend="ort-cuda",
        options=[{}],
        sizes=BatchSizes([4]),
        precision="fp32",
        device="cuda:0 test",
    )
    images = rng.random((6, *image_shape(contract))).astype(np.float32)
    found = session.run(images)
    rows = [session.run(images[i : i + 1])[0] for i in range(6)]
    np.testing.assert_allclose(found, rows, rtol=1e-5, atol=1e-6)
    assert session._bound[4].targets == (None,)


@pytest.mark.usefixtures("on_cpu")
def test_memory_that_ends_halves_the_batch(
    make_tagger_folder: Folder,
    batch: NDArray[np.float32],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    session = opened(make_tagger_folder())
    whole, call, sizes = session.run(batch), session._call, []

    def small_gpu(images: NDArray[np.float32], size: int) -> list[NDArray[Any]]:
        sizes.append(size)
        if size > 4:
            raise DeviceMemoryError("Failed to allocate memory.")
        return call(images, size)

    monkeypatch.setattr(session, "_call", small_gpu)
    caplog.set_level(logging.WARNING, logger="tagstack")
    np.testing.assert_array_equal(session.run(batch), whole)
    assert sizes == [16, 4, 4, 4, 4, 4, 4]
    assert "Going on with 4 images at a time" in caplog.text


def test_faults_of_a_run() -> None:
    memory = RuntimeError("CUDA failure 2: out of memory ; GPU=0")
    assert type(run_fault(Path("m"), 8, memory)) is DeviceMemoryError
    limit = RuntimeError("Available memory of 0 is smaller than requested bytes of 19267584")
    assert type(run_fault(Path("m"), 8, limit)) is DeviceMemoryError
    other = run_fault(Path("m"), 8, RuntimeError("bad node"))
    assert type(other) is BackendError
    assert "failed on a batch of 8: bad node" in str(other)
