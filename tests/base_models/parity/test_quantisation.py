"""int8 and fp8 taggers: usable, close, and different for the processor and for TensorRT."""

import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

from tagstack.base_models.parity.quantisation import QuantiseRequest, quantise_tagger
from tagstack.base_models.parity.quantised_folder import read_origin
from tagstack.base_models.runtimes.tensorrt.building import build_plan
from tagstack.base_models.runtimes.tensorrt.spec import EngineSpec
from tagstack.base_models.runtimes.tensorrt.trt_api import TrtApi
from tagstack.base_models.taggers.registry import show_tagger
from tagstack.base_models.taggers.tagger import load_tagger
from tagstack.configs.errors import TagstackError
from tagstack.configs.level1 import QuantizeSettings
from tagstack.configs.settings import load_settings

Folder = Callable[..., Path]


@pytest.fixture(scope="module")
def settings() -> QuantizeSettings:
    return load_settings().score.quantize


@pytest.fixture(scope="module")
def doll() -> Path:
    folder = show_tagger("doll_vit").folder
    assert folder is not None
    return folder


@pytest.fixture(scope="module")
def pixels(doll: Path) -> NDArray[np.uint8]:
    framing = load_tagger(doll, floor=1e-4, threads=1, smoke=False).framing
    shape = (6, framing.height, framing.width, 3)
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


@pytest.fixture(scope="module")
def quantised(
    doll: Path,
    pixels: NDArray[np.uint8],
    settings: QuantizeSettings,
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[..., Path]:
    """Return the doll quantised for a target, made once and only read."""
    root = tmp_path_factory.mktemp("quantised")

    def found(target: str, precision: str = "int8") -> Path:
        folder = root / f"{target}-{precision}"
        return (
            folder if folder.exists() else made(doll, folder, target, pixels, settings, precision)
        )

    return found


def made(
    doll: Path,
    out: Path,
    target: str,
    pixels: NDArray[np.uint8],
    settings: QuantizeSettings,
    precision: str = "int8",
) -> Path:
    request = QuantiseRequest(source=doll, target_folder=out, target=target, precision=precision)
    return quantise_tagger(request, pixels, settings)


@pytest.mark.parametrize(
    ("target", "precision"), [("cpu", "int8"), ("tensorrt", "int8"), ("tensorrt", "fp8")]
)
def test_a_quantised_tagger_of_its_own(
    doll: Path,
    quantised: Callable[..., Path],
    pixels: NDArray[np.uint8],
    target: str,
    precision: str,
) -> None:
    folder = quantised(target, precision)
    exact = load_tagger(doll, floor=1e-4, threads=1)
    small = load_tagger(folder, floor=1e-4, threads=1)
    assert small.name == f"doll_vit-{precision}-{target}"
    assert small.session.info.precision == precision
    assert small.fingerprint != exact.fingerprint
    assert small.vocabulary == exact.vocabulary
    a, b = exact.logits(pixels), small.logits(pixels)
    assert 0 < np.abs(a - b)[a > -6].max() < 2.0
    if target == "cpu":  # TensorRT wants the float weights and folds them itself
        size = (doll / "model.onnx").stat().st_size
        assert (folder / "model.onnx").stat().st_size < 0.6 * size
    origin = read_origin(folder)
    assert origin is not None
    assert (origin.source, origin.target, origin.n_images) == (str(doll.resolve()), target, 6)
    assert origin.precision == precision
    exact.close()
    small.close()


def test_everything_that_the_contract_names_comes_along(
    tmp_path: Path, settings: QuantizeSettings, make_tagger_folder: Callable[..., Path]
) -> None:
    source = make_tagger_folder()
    best = np.linspace(0.1, 0.9, 10).astype(np.float32)
    (source / "measured").mkdir()
    np.savez(source / "measured" / "tags.npz", best_thr=best)
    toml = source / "tagger.toml"
    named = '[files]\nmetrics = "measured/tags.npz"\n[output]\nfeatures = "flat"\n'
    toml.write_text(toml.read_text().replace("[output]\n", named))
    pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)
    folder = made(source, tmp_path / "int8", "cpu", pixels, settings)
    small = load_tagger(folder, floor=1e-4, threads=1)
    np.testing.assert_array_equal(small.published_thresholds, best)
    # The quantised network has no tensor of that name any more, or it has: never a name of nothing.
    features = small.contract.output.features
    assert features is None or features == "flat"
    if features is not None:
        load_tagger(folder, floor=1e-4, threads=1, features=True).close()
    small.close()


def _zero_points(path: Path) -> Counter[tuple[int, bool]]:
    """Count the zero points of quantisations, by type and whether all are zero."""
    graph = onnx.load(str(path)).graph
    stored = {tensor.name: tensor for tensor in graph.initializer}
    found: Counter[tuple[int, bool]] = Counter()
    for node in graph.node:
        if node.op_type == "QuantizeLinear":
            zero = stored[node.input[2]]
            found[zero.data_type, not numpy_helper.to_array(zero).any()] += 1
    return found


def test_the_two_flavours_are_different_files(quantised: Callable[..., Path]) -> None:
    cpu = _zero_points(quantised("cpu") / "model.onnx")
    trt = _zero_points(quantised("tensorrt") / "model.onnx")
    # On the CPU activations are unsigned with a zero point, for TensorRT signed without one.
    assert {kind for kind, _ in cpu} == {TensorProto.UINT8}
    assert (TensorProto.UINT8, False) in cpu
    assert set(trt) == {(TensorProto.INT8, True)}


def test_tensorrt_takes_its_own_flavour_and_refuses_the_other(
    make_tagger_folder: Folder,
    tmp_path: Path,
    rng: np.random.Generator,
    settings: QuantizeSettings,
    rtx: TrtApi,
    spec: EngineSpec,
) -> None:
    source = make_tagger_folder()
    pixels = rng.integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)
    good = made(source, tmp_path / "trt", "tensorrt", pixels, settings) / "model.onnx"
    assert len(build_plan(good, spec, rtx, None).plan) > 1000
    bad = made(source, tmp_path / "cpu", "cpu", pixels, settings) / "model.onnx"
    with pytest.raises(TagstackError, match=r"quantised for the CPU.*--target tensorrt"):
        build_plan(bad, spec, rtx, None)


@pytest.mark.parametrize("method", ["minmax", "entropy", "percentile"])
def test_every_method_and_a_fixed_batch(
    make_tagger_folder: Folder,
    tmp_path: Path,
    rng: np.random.Generator,
    settings: QuantizeSettings,
    method: str,
    capfd: pytest.CaptureFixture[str],
) -> None:
    source = make_tagger_folder(kind="logits", batch=5)
    pixels = rng.integers(0, 256, (7, 8, 8, 3), dtype=np.uint8)
    chosen = settings.model_copy(update={"method": method})
    folder = made(source, tmp_path / "out", "cpu", pixels, chosen)
    assert capfd.readouterr().out == ""
    exact = load_tagger(source, floor=1e-4, threads=1)
    small = load_tagger(folder, floor=1e-4, threads=1)
    assert small.session.info.model_batch == 5
    np.testing.assert_allclose(small.logits(pixels), exact.logits(pixels), atol=0.5)
    exact.close()
    small.close()


def test_what_is_refused(
    doll: Path,
    quantised: Callable[..., Path],
    tmp_path: Path,
    pixels: NDArray[np.uint8],
    settings: QuantizeSettings,
) -> None:
    folder = quantised("cpu")
    with pytest.raises(TagstackError, match=r"cpu-int8 exists; choose a folder"):
        made(doll, folder, "cpu", pixels, settings)
    with pytest.raises(TagstackError, match=r"in int8 already; give the float32 tagger"):
        made(folder, tmp_path / "twice", "cpu", pixels, settings)
    with pytest.raises(TagstackError, match=r"No processor computes in fp8.*--target tensorrt"):
        made(doll, tmp_path / "x", "cpu", pixels, settings, "fp8")
    broken = tmp_path / "broken"
    shutil.copytree(doll, broken)
    (broken / "model.onnx").write_bytes(b"junk" * 99)
    with pytest.raises(TagstackError, match=r"Cannot load the model"):
        made(broken, tmp_path / "x", "cpu", pixels, settings)
    (broken / "model.onnx").unlink()
    with pytest.raises(TagstackError, match=r"model\.onnx is missing"):
        made(broken, tmp_path / "x", "cpu", pixels, settings)
    assert not (tmp_path / "x").exists()
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_an_origin_from_before_there_was_fp8(
    quantised: Callable[..., Path], tmp_path: Path
) -> None:
    content = json.loads((quantised("cpu") / "quantised.json").read_text())
    del content["precision"]
    (tmp_path / "quantised.json").write_text(json.dumps(content))
    origin = read_origin(tmp_path)
    assert origin is not None
    assert origin.precision == "int8"


@pytest.mark.parametrize("content", ["", "[]", '{"source": "x"}'])
def test_a_damaged_origin(tmp_path: Path, content: str) -> None:
    (tmp_path / "quantised.json").write_text(content)
    with pytest.raises(TagstackError, match=r"quantised\.json.*[Qq]uantise the tagger again"):
        read_origin(tmp_path)


@pytest.mark.parametrize("precision", ["int8", "fp8"])
def test_for_tensorrt_only_what_goes_into_a_layer_is_quantised(
    quantised: Callable[..., Path],
    settings: QuantizeSettings,
    precision: str,
) -> None:
    folder = quantised("tensorrt", precision)
    graph = onnx.load(str(folder / "model.onnx")).graph
    back = {node.output[0] for node in graph.node if node.op_type == "DequantizeLinear"}
    readers = {node.op_type for node in graph.node if back & set(node.input)}
    assert back
    assert readers <= set(settings.operators)
    assert {"logits", "prediction"} <= {port.name for port in graph.output} - back
