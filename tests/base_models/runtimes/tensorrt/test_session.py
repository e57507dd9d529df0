"""The TensorRT session's own work, on a stand-in GPU: sizes, recordings, memory, faults."""

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tagstack.base_models.contract import read_contract
from tagstack.base_models.runtimes.cuda import Cuda
from tagstack.base_models.runtimes.faults import BackendError, DeviceMemoryError
from tagstack.base_models.runtimes.ort import OrtCpuSession
from tagstack.base_models.runtimes.tensorrt.trt_api import TrtApi
from tagstack.configs.errors import TagstackError

Folder = Callable[..., Path]
IMAGE_BYTES = (192 + 10) * 4  # what one image takes on the device, in and out


@pytest.fixture
def batch(rng: np.random.Generator) -> NDArray[np.float32]:
    return (rng.random((40, 8, 8, 3)) * 255).astype(np.float32)


def expected(tiny: Any, batch: NDArray[np.float32]) -> NDArray[Any]:
    return np.asarray(batch.reshape(len(batch), 192) @ tiny.weights - 1)


@pytest.fixture
def folder(make_tagger_folder: Folder) -> Path:
    return make_tagger_folder(kind="logits", colour="RGB")


def test_a_size_is_recorded_at_its_second_use_and_replayed_after(
    fake_gpu: Any, folder: Path, tiny: Any, batch: NDArray[np.float32]
) -> None:
    session = fake_gpu.open(folder)
    for round_number in range(4):
        part = batch[round_number : round_number + 3]
        np.testing.assert_allclose(session.run(part), expected(tiny, part), rtol=1e-4, atol=1e-4)
        assert len(fake_gpu.cuda.graphs) == (round_number > 0)
    assert len(fake_gpu.cuda.launched) == 3
    # One context a size, whose shape is set once: a recording must not see it change.
    assert [(context.shape[0], context.n_shapes) for context in fake_gpu.trt.contexts] == [(4, 1)]


def test_the_host_fills_one_half_while_the_device_is_at_the_other(
    fake_gpu: Any, folder: Path, tiny: Any, batch: NDArray[np.float32]
) -> None:
    """The stand-in works when it is waited for: a half that was filled too early shows."""
    session, cuda = fake_gpu.open(folder, sizes=[8], graphs=0), fake_gpu.cuda
    np.testing.assert_allclose(session.run(batch[:30]), expected(tiny, batch[:30]), atol=1e-3)
    first, second = sorted(cuda.events)

    def queued(event: int) -> list[tuple[str, int]]:
        return [("in", 8 * 192 * 4), ("run", 8), ("out", 8 * 10 * 4), ("mark", event)]

    waits = [("wait", first), ("wait", second)]
    assert cuda.log == [
        *queued(first), *queued(second),
        waits[0], *queued(first),
        waits[1], *queued(second),
        *waits,
    ]  # fmt: skip
    session.close()
    assert (cuda.memory, cuda.events, cuda.stream_open) == ({}, {}, False)


def test_each_half_has_its_recording(
    fake_gpu: Any, folder: Path, tiny: Any, batch: NDArray[np.float32]
) -> None:
    session = fake_gpu.open(folder, sizes=[8])
    for _ in range(3):
        np.testing.assert_allclose(session.run(batch[:32]), expected(tiny, batch[:32]), atol=1e-3)
    assert len(fake_gpu.cuda.graphs) == len(set(fake_gpu.cuda.launched)) == 2
    assert [context.n_runs for context in fake_gpu.trt.contexts if context.n_runs] == [
        3
    ]  # one plain, two recorded


def test_threads_share_the_halves(
    fake_gpu: Any, folder: Path, tiny: Any, batch: NDArray[np.float32]
) -> None:
    fake_gpu.cuda.device_limit = 16 * (1000 + IMAGE_BYTES) + 100
    session = fake_gpu.open(folder)
    parts = [batch[start : start + 23] for start in (0, 5, 11, 17)] * 3
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(session.run, parts, timeout=30))
    for part, rows in zip(parts, found, strict=True):
        np.testing.assert_allclose(rows, expected(tiny, part), atol=1e-3)
    session.close()
    assert (fake_gpu.cuda.memory, fake_gpu.cuda.events) == ({}, {})


def test_memory_that_ends_for_two_threads_is_given_up_once(
    fake_gpu: Any, folder: Path, tiny: Any, batch: NDArray[np.float32]
) -> None:
    session, error = fake_gpu.open(folder), DeviceMemoryError("no memory.")
    session._smaller(error, n_reserved=1)
    session._smaller(error, n_reserved=1)  # the other thread's: it ran before there was less
    assert session._sizes.largest == 16
    np.testing.assert_allclose(session.run(batch), expected(tiny, batch), atol=1e-3)


@pytest.mark.parametrize("step", ["cudaMallocHost", "cudaEventCreateWithFlags", "cudaMalloc"])
@pytest.mark.parametrize("call", [1, 2, 3])
def test_whatever_is_refused_while_memory_is_taken_leaves_nothing(
    fake_gpu: Any, folder: Path, monkeypatch: pytest.MonkeyPatch, step: str, call: int
) -> None:
    cuda, asked = fake_gpu.cuda, [0]
    real = getattr(cuda, step)

    def refused(*arguments: Any) -> Any:
        asked[0] += 1
        return (cuda.cudaError_t(1), None) if asked[0] == call else real(*arguments)

    monkeypatch.setattr(cuda, step, refused)
    if (step, call) == ("cudaEventCreateWithFlags", 3):
        fake_gpu.open(folder).close()  # there are only two
    else:
        with pytest.raises(BackendError, match=rf"{step} failed: cudaErrorInvalidValue"):
            fake_gpu.open(folder)
    assert (cuda.memory, cuda.events) == ({}, {})


def test_rest_of_a_batch_is_filled_up_to_the_next_size(
    fake_gpu: Any, folder: Path, tiny: Any, batch: NDArray[np.float32]
) -> None:
    session = fake_gpu.open(folder)
    np.testing.assert_allclose(session.run(batch[:37]), expected(tiny, batch[:37]), atol=1e-3)
    assert [context.shape[0] for context in fake_gpu.trt.contexts] == [32, 8]


@pytest.mark.parametrize("graphs", [0, 6])
@pytest.mark.parametrize("model_batch", ["dynamic", 1])
def test_features_come_behind_the_scores(
    fake_gpu: Any, make_tagger_folder: Folder, graphs: int, model_batch: int | str
) -> None:
    folder = make_tagger_folder(batch=model_batch)
    toml = folder / "tagger.toml"
    toml.write_text(toml.read_text().replace("[output]\n", '[output]\nfeatures = "flat"\n'))
    batch = (np.random.default_rng(0).random((37, 8, 8, 3)) * 255).astype(np.float32)
    reference = OrtCpuSession(folder / "model.onnx", read_contract(toml), threads=1)
    expected = reference.run(batch)
    with closing(fake_gpu.open(folder, graphs=graphs)) as session:
        assert session.info.n_features == reference.info.n_features == 192
        for _ in range(3):  # run, recorded, replayed
            np.testing.assert_allclose(session.run(batch), expected, rtol=1e-5, atol=1e-5)
        assert session.run(batch[:0]).shape == (0, 202)
    assert (fake_gpu.cuda.memory, fake_gpu.cuda.graphs) == ({}, {})
    reference.close()


def test_recordings_are_bounded_and_freed(
    fake_gpu: Any, folder: Path, tiny: Any, batch: NDArray[np.float32]
) -> None:
    session = fake_gpu.open(folder, graphs=2)
    for size in (1, 1, 2, 2, 4, 4, 1, 1):
        np.testing.assert_allclose(
            session.run(batch[:size]), expected(tiny, batch[:size]), rtol=1e-4, atol=1e-4
        )
        assert len(fake_gpu.cuda.graphs) <= 2
    session.close()
    assert fake_gpu.cuda.graphs == {}


def test_without_recordings(
    fake_gpu: Any, folder: Path, tiny: Any, batch: NDArray[np.float32]
) -> None:
    session = fake_gpu.open(folder, graphs=0)
    for _ in range(3):
        np.testing.assert_allclose(session.run(batch[:5]), expected(tiny, batch[:5]), atol=1e-3)
    assert (fake_gpu.cuda.graphs, fake_gpu.cuda.launched) == ({}, [])


def test_sizes_end_where_the_engine_ends(
    fake_gpu: Any, folder: Path, tiny: Any, batch: NDArray[np.float32]
) -> None:
    fake_gpu.trt.max_batch = 6
    session = fake_gpu.open(folder)
    np.testing.assert_allclose(session.run(batch[:13]), expected(tiny, batch[:13]), atol=1e-3)
    assert [context.shape[0] for context in fake_gpu.trt.contexts] == [6, 1]


def test_memory_that_is_short_halves_the_batch_loudly(
    fake_gpu: Any,
    folder: Path,
    tiny: Any,
    batch: NDArray[np.float32],
    caplog: pytest.LogCaptureFixture,
) -> None:
    fake_gpu.cuda.device_limit = 8 * (1000 + IMAGE_BYTES) + 100
    caplog.set_level(logging.WARNING, logger="tagstack")
    session = fake_gpu.open(folder)
    np.testing.assert_allclose(session.run(batch), expected(tiny, batch), atol=1e-3)
    assert "Going on with 16 images" in caplog.text
    assert "Going on with 8 images" in caplog.text
    assert "cudaErrorMemoryAllocation" in caplog.text
    session.close()
    assert fake_gpu.cuda.memory == {}


def test_a_limit_halves_the_batch_as_memory_that_ends_does(
    fake_gpu: Any,
    folder: Path,
    tiny: Any,
    batch: NDArray[np.float32],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING, logger="tagstack")
    session = fake_gpu.open(folder, limit_bytes=8 * (1000 + IMAGE_BYTES))
    np.testing.assert_allclose(session.run(batch), expected(tiny, batch), atol=1e-3)
    assert session._sizes.largest == 8
    assert "wants 1 MiB of GPU memory, more than score.engines.memory_mib = 0" in caplog.text
    session.close()
    with pytest.raises(
        DeviceMemoryError, match=r"more than score\.engines\.memory_mib = 0\. Raise"
    ):
        fake_gpu.open(folder, limit_bytes=500)
    assert fake_gpu.cuda.memory == {}


def test_weights_count_and_what_is_freed_does_not(fake_gpu: Any) -> None:
    cuda = Cuda(0, fake_gpu.cuda, limit_bytes=1000)
    cuda.hold(600)
    for _ in range(3):
        cuda.free_device(cuda.device_memory(400))
    with pytest.raises(DeviceMemoryError, match="memory_mib"):
        cuda.device_memory(401)


def test_no_memory_even_for_one_image(fake_gpu: Any, folder: Path) -> None:
    fake_gpu.cuda.device_limit = 500
    with pytest.raises(DeviceMemoryError, match=r"cudaMalloc failed.*lower score\.engines\.bat"):
        fake_gpu.open(folder)
    assert fake_gpu.cuda.memory == {}


def test_memory_that_ends_at_an_output_leaves_nothing(fake_gpu: Any, folder: Path) -> None:
    fake_gpu.cuda.device_limit = 1000 + 192 * 4 + 8  # scratch and input of one image fit
    with pytest.raises(DeviceMemoryError, match=r"cudaMalloc failed"):
        fake_gpu.open(folder, sizes=[1])
    assert fake_gpu.cuda.memory == {}


def test_memory_that_ends_during_a_run(
    fake_gpu: Any,
    folder: Path,
    tiny: Any,
    batch: NDArray[np.float32],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    session = fake_gpu.open(folder)
    session.run(batch[:32])
    asked: list[Any] = []
    instantiate = fake_gpu.cuda.cudaGraphInstantiate

    def full_once(graph: Any, flags: int) -> tuple[Any, Any]:
        asked.append(graph)
        return (fake_gpu.cuda.cudaError_t(2), None) if len(asked) == 1 else instantiate(graph, 0)

    monkeypatch.setattr(fake_gpu.cuda, "cudaGraphInstantiate", full_once)
    np.testing.assert_allclose(session.run(batch[:32]), expected(tiny, batch[:32]), atol=1e-3)
    assert [context.shape[0] for context in fake_gpu.trt.contexts][-1] == 16


def test_an_engine_that_fails(
    fake_gpu: Any,
    folder: Path,
    tiny: Any,
    batch: NDArray[np.float32],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    session = fake_gpu.open(folder)
    session.run(batch[:2])
    context = fake_gpu.trt.contexts[0]
    monkeypatch.setattr(context, "execute_async_v3", lambda stream: False)
    with pytest.raises(BackendError, match=r"the engine failed on 2 images"):
        session.run(batch[:2])
    assert fake_gpu.cuda.capture is None
    monkeypatch.undo()
    np.testing.assert_allclose(session.run(batch[:9]), expected(tiny, batch[:9]), atol=1e-3)
    session.close()
    assert (fake_gpu.cuda.graphs, fake_gpu.cuda.memory) == ({}, {})


@pytest.mark.parametrize("step", ["cudaStreamBeginCapture", "cudaStreamEndCapture", "enqueue"])
def test_a_size_that_cannot_be_recorded_runs_without(
    fake_gpu: Any,
    folder: Path,
    tiny: Any,
    batch: NDArray[np.float32],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    step: str,
) -> None:
    session, cuda = fake_gpu.open(folder), fake_gpu.cuda
    session.run(batch[:2])
    if step == "enqueue":
        context = fake_gpu.trt.contexts[0]
        run = context.execute_async_v3
        monkeypatch.setattr(
            context, "execute_async_v3", lambda stream: cuda.capture is None and run(stream)
        )
    else:

        def invalidated(*_: Any) -> tuple[Any, None]:
            cuda.capture = None
            return cuda.cudaError_t(1), None

        monkeypatch.setattr(cuda, step, invalidated)
    for _ in range(3):
        np.testing.assert_allclose(session.run(batch[:2]), expected(tiny, batch[:2]), atol=1e-3)
    assert caplog.text.count("Going on without CUDA graphs") == 1
    assert (cuda.capture, cuda.launched) == (None, [])
    session.close()
    assert cuda.memory == {}


def test_an_engine_for_one_batch_alone(
    fake_gpu: Any, folder: Path, tiny: Any, batch: NDArray[np.float32]
) -> None:
    fake_gpu.trt.min_batch = fake_gpu.trt.max_batch = 5
    session = fake_gpu.open(folder)
    np.testing.assert_allclose(session.run(batch[:7]), expected(tiny, batch[:7]), atol=1e-3)
    assert {context.shape[0] for context in fake_gpu.trt.contexts} == {5}


@pytest.mark.parametrize("made", [None, TypeError("factory function returned nullptr")])
def test_a_driver_that_is_too_old_for_tensorrt(fake_gpu: Any, made: Any) -> None:
    def factory(logger: Any) -> None:
        logger.log(1, "CUDA initialization failure with error: 35")
        if made is not None:
            raise made

    fake_gpu.trt.Builder = fake_gpu.trt.Runtime = factory
    api = TrtApi("trt", fake_gpu.trt)
    for use in (api.builder, lambda logger: api.engine(b"plan", logger)):
        with pytest.raises(BackendError, match=r"gave no .*: 35.* Update the NVIDIA driver"):
            use(api.logger())


def test_other_cuda_faults_are_named(fake_gpu: Any, folder: Path) -> None:
    session = fake_gpu.open(folder)
    with pytest.raises(BackendError, match=r"cudaFree failed: cudaErrorInvalidValue"):
        session._cuda.free_device(12345)


def test_a_plan_that_tensorrt_refuses(fake_gpu: Any) -> None:
    api = TrtApi("trt", fake_gpu.trt)
    with pytest.raises(BackendError, match=r"cannot load the engine: magicTag assertion failed"):
        api.engine(b"junk", api.logger())


@pytest.mark.parametrize(
    ("version", "flags"), [("10.13.3", 2), ("10.16.1.11", 2), ("11.0.0.114", 0)]
)
def test_version_ten_asks_for_strong_types(version: str, flags: int) -> None:
    from types import SimpleNamespace

    module = SimpleNamespace(
        __version__=version, NetworkDefinitionCreationFlag=SimpleNamespace(STRONGLY_TYPED=1)
    )
    builder = SimpleNamespace(create_network=lambda value: value)
    assert TrtApi("trt", module).network(builder) == flags


def test_a_version_that_is_too_old() -> None:
    from types import SimpleNamespace

    with pytest.raises(TagstackError, match=r"TensorRT 10\.3\.0 is too old; expected 10\.13"):
        TrtApi("trt", SimpleNamespace(__version__="10.3.0"))


def test_memory_words_make_a_memory_error() -> None:
    from tagstack.base_models.runtimes.tensorrt.trt_api import fault

    assert type(fault("x", ["Error Code 2: OutOfMemory (no further information)"])) is (
        DeviceMemoryError
    )
    assert type(fault("x", ["magicTag"])) is BackendError
    assert "gave no reason" in str(fault("x", []))
