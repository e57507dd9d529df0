"""What every inference backend must do; a new backend is one more entry of ``BACKENDS``."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tagstack.base_models.contract import read_contract
from tagstack.base_models.runtimes import selection
from tagstack.base_models.runtimes.base import Session
from tagstack.base_models.runtimes.ort import CALL_IMAGES, OrtCpuSession
from tagstack.base_models.runtimes.probing import probe
from tagstack.base_models.runtimes.selection import RuntimeChoice
from tagstack.configs.errors import TagstackError
from tagstack.configs.settings import load_settings

Folder = Callable[..., Path]


# "fake-tensorrt" is the TensorRT session on a GPU that is none; the others are the real thing.
BACKENDS = (
    "ort",
    "openvino",
    "fake-tensorrt",
    pytest.param("ort-cuda", marks=pytest.mark.gpu),
    pytest.param("ort-tensorrt", marks=pytest.mark.gpu),
    pytest.param("tensorrt", marks=pytest.mark.gpu),
)


@pytest.fixture(params=BACKENDS)
def open_session(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Any:
    opened: list[Session] = []
    if request.param == "fake-tensorrt":
        gpu = request.getfixturevalue("fake_gpu")

        def on_fake_gpu(folder: Path, threads: int = 2) -> Session:
            opened.append(gpu.open(folder))
            return opened[-1]

        yield on_fake_gpu
        for session in opened:
            session.close()
        assert (gpu.cuda.memory, gpu.cuda.graphs, gpu.cuda.stream_open) == ({}, {}, False)
        return
    found = probe(request.param)
    if not found.available:
        pytest.skip(found.reason)
    monkeypatch.setenv("TAGSTACK_HOME", str(tmp_path / "home"))
    precision = "tf32" if request.param == "ort-tensorrt" else "fp32"
    engines = load_settings().score.engines.model_copy(
        update={"on_failure": "error", "pixels_on_device": False}
    )
    choice = RuntimeChoice(backend=request.param, precision=precision, engines=engines)

    def opener(folder: Path, threads: int = 2) -> Session:
        contract = read_contract(folder / "tagger.toml")
        opened.append(
            selection.open_session(folder / "model.onnx", contract, choice, threads=threads)
        )
        assert opened[-1].info.backend == request.param  # no other answers for it
        return opened[-1]

    yield opener
    for session in opened:
        session.close()


@pytest.fixture
def batch(rng: np.random.Generator) -> NDArray[np.float32]:
    return (rng.random((37, 8, 8, 3)) * 255).astype(np.float32)


class TestSessionContract:
    """Shapes, batches, purity and faults of a session."""

    def test_info_says_what_runs(self, open_session: Any, make_tagger_folder: Folder) -> None:
        info = open_session(make_tagger_folder(), threads=3).info
        assert info.provider
        assert info.precision in ("fp32", "tf32")
        assert (info.threads, info.model_batch) == (3 if info.device == "cpu" else 1, None)
        assert info.versions
        assert all(name and version for name, version in info.versions)

    @pytest.mark.parametrize("n_images", [0, 1, 7, 8, 9, 37])
    @pytest.mark.parametrize("model_batch", ["dynamic", 1, 5])
    def test_values_and_shapes(
        self,
        open_session: Any,
        make_tagger_folder: Folder,
        tiny: Any,
        batch: NDArray[np.float32],
        n_images: int,
        model_batch: int | str,
    ) -> None:
        session = open_session(make_tagger_folder(kind="logits", batch=model_batch, colour="RGB"))
        found = session.run(batch[:n_images])
        assert (found.shape, found.dtype) == ((n_images, 10), np.float32)
        expected = batch[:n_images].reshape(n_images, 192) @ tiny.weights - 1
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)

    @pytest.mark.parametrize("threads", [1, 2, 5])
    def test_rows_depend_on_their_image_alone(
        self,
        open_session: Any,
        make_tagger_folder: Folder,
        batch: NDArray[np.float32],
        rng: np.random.Generator,
        threads: int,
    ) -> None:
        session = open_session(make_tagger_folder(), threads=threads)
        whole = session.run(batch)
        order = rng.permutation(len(batch))
        np.testing.assert_array_equal(session.run(batch[order]), whole[order])
        alone = np.concatenate([session.run(image[None]) for image in batch])
        np.testing.assert_array_equal(alone, whole)

    def test_strided_input(
        self, open_session: Any, make_tagger_folder: Folder, batch: NDArray[np.float32]
    ) -> None:
        session = open_session(make_tagger_folder())
        strided = np.repeat(batch, 2, axis=0)[::2]
        assert not strided.flags.c_contiguous
        np.testing.assert_array_equal(session.run(strided), session.run(batch))

    def test_input_is_left_alone(
        self, open_session: Any, make_tagger_folder: Folder, batch: NDArray[np.float32]
    ) -> None:
        before = batch.copy()
        open_session(make_tagger_folder()).run(batch)
        np.testing.assert_array_equal(batch, before)

    @pytest.mark.parametrize(
        "wrong",
        [
            np.zeros((1, 8, 8, 3)),
            np.zeros((1, 8, 8, 3), np.uint8),
            np.zeros((1, 3, 8, 8), np.float32),
            np.zeros((8, 8, 3), np.float32),
        ],
    )
    def test_wrong_shape_or_dtype(
        self, open_session: Any, make_tagger_folder: Folder, wrong: NDArray[Any]
    ) -> None:
        with pytest.raises(TagstackError, match=r"float32 of shape \(n_images, 8, 8, 3\), got"):
            open_session(make_tagger_folder()).run(wrong)

    def test_closed_session(
        self, open_session: Any, make_tagger_folder: Folder, batch: NDArray[np.float32]
    ) -> None:
        session = open_session(make_tagger_folder())
        session.close()
        session.close()
        with pytest.raises(TagstackError, match="closed"):
            session.run(batch)

    def test_threads_may_share_it(
        self, open_session: Any, make_tagger_folder: Folder, batch: NDArray[np.float32]
    ) -> None:
        session = open_session(make_tagger_folder())
        found: dict[int, NDArray[np.float32]] = {}
        runs = [
            threading.Thread(target=lambda i=i: found.update({i: session.run(batch[i:])}))
            for i in range(6)
        ]
        for run in runs:
            run.start()
        for run in runs:
            run.join()
        whole = session.run(batch)
        assert sorted(found) == list(range(6))
        for i, rows in found.items():
            np.testing.assert_array_equal(rows, whole[i:])


@pytest.mark.parametrize("content", [b"", b"not a model", None])
def test_corrupt_model(
    open_session: Any, make_tagger_folder: Folder, content: bytes | None
) -> None:
    model = make_tagger_folder() / "model.onnx"
    model.write_bytes(model.read_bytes()[:-900] if content is None else content)
    with pytest.raises(
        TagstackError, match=r"Cannot load the model .*model\.onnx: .*fetch it again"
    ):
        open_session(model.parent)


@pytest.mark.parametrize(
    ("declared", "actual"),
    [({"layout": "NCHW"}, "NHWC"), ({"layout": "NHWC"}, "NCHW")],
)
def test_layout_against_the_contract(
    open_session: Any, make_tagger_folder: Folder, declared: dict[str, str], actual: str
) -> None:
    with pytest.raises(TagstackError, match=r"the model's input is \[.*, the contract says \["):
        open_session(make_tagger_folder(layout=actual, declared=declared))


def test_fixed_batch_against_the_contract(open_session: Any, make_tagger_folder: Folder) -> None:
    folder = make_tagger_folder(batch=1)
    toml = folder / "tagger.toml"
    toml.write_text(toml.read_text().replace("batch = 1", 'batch = "dynamic"'))
    with pytest.raises(TagstackError, match=r"input is \[1, 8, 8, 3\].*'batch'.*batch\."):
        open_session(folder)


def test_output_must_be_named_where_there_are_several(
    open_session: Any, make_tagger_folder: Folder
) -> None:
    folder = make_tagger_folder(three_outputs=True)
    toml = folder / "tagger.toml"
    assert open_session(folder).n_outputs == 10
    for old, new, message in (
        ('name = "chosen"\n', "", "none of them by name"),
        ('name = "chosen"', 'name = "prediction"', "asks for 'prediction'"),
        ('name = "chosen"', "index = 3", "asks for 3"),
    ):
        text = toml.read_text()
        toml.write_text(text.replace(old, new))
        with pytest.raises(TagstackError, match=rf"\['flat', 'product', 'chosen'\].*{message}"):
            open_session(folder)
        toml.write_text(text)
    toml.write_text(toml.read_text().replace('name = "chosen"', "index = -1"))
    assert open_session(folder).n_outputs == 10


def test_input_name_must_agree(open_session: Any, make_tagger_folder: Folder) -> None:
    folder = make_tagger_folder()
    toml = folder / "tagger.toml"
    toml.write_text(toml.read_text().replace("[input]\n", '[input]\nname = "pixels"\n'))
    with pytest.raises(TagstackError, match=r"inputs \['input'\].*expects \['pixels'\]"):
        open_session(folder)


def test_a_model_whose_batches_differ_runs_one_by_one(
    make_tagger_folder: Folder, batch: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_tagger_folder()
    contract = read_contract(folder / "tagger.toml")
    session = OrtCpuSession(folder / "model.onnx", contract, threads=1)
    alone = np.concatenate([session.run(image[None]) for image in batch])
    exact = session._call

    def off_in_batches(images: NDArray[np.float32]) -> NDArray[np.float32]:
        return exact(images) + np.float32(1e-6 * (len(images) > 1))

    monkeypatch.setattr(session, "_call", off_in_batches)
    assert len(batch) > CALL_IMAGES
    np.testing.assert_array_equal(session.run(batch), alone)
    np.testing.assert_array_equal(session.run(batch), alone)
