"""ONNX Runtime's GPU session without a GPU: what it refuses, and its batches, run by the CPU."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tagstack.base_models.contract import read_contract
from tagstack.base_models.runtimes import ort_gpu
from tagstack.base_models.runtimes.batch_sizes import BatchSizes
from tagstack.base_models.runtimes.faults import BackendError, DeviceMemoryError
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
def test_memory_that_ends_halves_the_batch(
    make_tagger_folder: Folder,
    batch: NDArray[np.float32],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    session = opened(make_tagger_folder())
    whole, call, sizes = session.run(batch), session._call, []

    def small_gpu(images: NDArray[np.float32], size: int) -> NDArray[np.float32]:
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
    other = run_fault(Path("m"), 8, RuntimeError("bad node"))
    assert type(other) is BackendError
    assert "failed on a batch of 8: bad node" in str(other)
