"""Features: found at the end of a network, given beside the scores, held to the last product."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from tagstack.base_models.contract import read_contract, with_features
from tagstack.base_models.runtimes.added_output import output_names, with_output
from tagstack.base_models.runtimes.built_in import ORT_CUDA
from tagstack.base_models.runtimes.probing import probe
from tagstack.base_models.runtimes.selection import RuntimeChoice, _opened
from tagstack.base_models.taggers.check import check_tagger
from tagstack.base_models.taggers.last_product import last_product
from tagstack.base_models.taggers.registry import load_taggers
from tagstack.base_models.taggers.tagger import Tagger, load_tagger
from tagstack.configs.errors import TagstackError
from tagstack.configs.level1 import ScoreSettings

Folder = Callable[..., Path]
WIDTH = 8 * 8 * 3


@pytest.fixture
def pixels(rng: np.random.Generator) -> NDArray[np.uint8]:
    return rng.integers(0, 256, (9, 8, 8, 3), dtype=np.uint8)


def loaded(folder: Path, backend: str = "ort", **options: Any) -> Tagger:
    found = probe(backend)
    if not found.available:
        pytest.skip(found.reason)
    runtime = RuntimeChoice(backend=backend, precision="fp32")
    return load_tagger(
        folder, floor=1e-4, threads=2, runtime=runtime, **{"features": True, **options}
    )


@pytest.mark.parametrize("batch", ["dynamic", 1, 4])
@pytest.mark.parametrize("backend", ["ort", "openvino"])
def test_features_stand_beside_the_very_scores(
    make_tagger_folder: Folder, pixels: NDArray[np.uint8], backend: str, batch: int | str
) -> None:
    folder = make_tagger_folder(kind="logits", batch=batch)
    plain, tagger = loaded(folder, backend, features=False), loaded(folder, backend)
    logits, features = tagger.outputs(pixels)
    np.testing.assert_array_equal(logits, plain.logits(pixels))
    np.testing.assert_array_equal(
        features, pixels[..., ::-1].reshape(len(pixels), WIDTH).astype(np.float16)
    )
    assert (plain.n_features, tagger.n_features) == (0, WIDTH)
    assert plain.outputs(pixels)[1].shape == (9, 0)
    assert tagger.outputs(pixels[:0])[1].shape == (0, WIDTH)
    alone = [tagger.outputs(pixels[i : i + 1])[1] for i in range(9)]
    np.testing.assert_array_equal(np.concatenate(alone), features)


def test_fingerprints_tell_features_apart_and_leave_those_without_alone(
    make_tagger_folder: Folder,
) -> None:
    folder = make_tagger_folder(three_outputs=True)
    plain, found = loaded(folder, features=False), loaded(folder)
    contract = folder / "tagger.toml"
    text = contract.read_text()
    contract.write_text(text.replace("[output]\n", '[output]\nfeatures = "product"\n'))
    assert loaded(folder, features=False).fingerprint == plain.fingerprint
    assert len({tagger.fingerprint for tagger in (plain, found, loaded(folder))}) == 3


def test_an_image_without_finite_features_has_no_scores(make_tagger_folder: Folder) -> None:
    folder = make_tagger_folder(kind="logits", nan_above=100.0)
    (folder / "tagger.toml").write_text(
        (folder / "tagger.toml").read_text().replace("[output]\n", '[output]\nfeatures = "root"\n')
    )
    tagger = loaded(folder, smoke=False)
    pixels = np.stack([np.full((8, 8, 3), level, np.uint8) for level in (20, 200)])
    logits, features = tagger.outputs(pixels)
    assert np.isfinite(logits[0]).all()
    assert np.isnan(logits[1]).all()
    assert np.isfinite(features).all()


def network(nodes: list[Any], constants: dict[str, NDArray[Any]], path: Path) -> Path:
    """Write a model from "input" of shape (batch, 8, 8, 3) to "output"."""
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ("batch", 8, 8, 3))],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ("batch", 10))],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, str(path))
    return path


WEIGHTS = np.random.default_rng(1).normal(0, 0.01, (WIDTH, 10)).astype(np.float32)
BIAS = np.arange(10, dtype=np.float32)
FLATTEN = helper.make_node("Flatten", ["input"], ["pooled"])
ENDS: dict[str, tuple[list[Any], dict[str, NDArray[Any]]]] = {
    "gemm": ([helper.make_node("Gemm", ["pooled", "w", "b"], ["output"])], {"w": WEIGHTS}),
    "transposed": (
        [helper.make_node("Gemm", ["pooled", "w", "b"], ["output"], transB=1)],
        {"w": np.ascontiguousarray(WEIGHTS.T)},
    ),
    "reordered": (
        [
            helper.make_node("Gemm", ["pooled", "w", "b"], ["made"]),
            helper.make_node("Gather", ["made", "order"], ["logits"], axis=1),
            helper.make_node("Sigmoid", ["logits"], ["output"]),
        ],
        {"w": WEIGHTS, "order": np.arange(10)[::-1].copy()},
    ),
    "added": (
        [
            helper.make_node("MatMul", ["pooled", "w"], ["made"]),
            helper.make_node("Add", ["b", "made"], ["output"]),
        ],
        {"w": WEIGHTS},
    ),
    "convolved": (
        [
            helper.make_node("Reshape", ["pooled", "square"], ["one"]),
            helper.make_node("Conv", ["one", "w", "b"], ["made"], kernel_shape=[1, 1]),
            helper.make_node("Flatten", ["made"], ["output"]),
        ],
        {
            "w": np.ascontiguousarray(WEIGHTS.T)[:, :, None, None],
            "square": np.array([-1, WIDTH, 1, 1]),
        },
    ),
}


@pytest.mark.parametrize("end", ENDS)
def test_the_last_product_is_found_and_checked(
    make_tagger_folder: Folder, pixels: NDArray[np.uint8], end: str
) -> None:
    nodes, constants = ENDS[end]
    kind = "probabilities" if end == "reordered" else "logits"
    folder = make_tagger_folder(kind=kind)
    network([FLATTEN, *nodes], {"b": BIAS, **constants}, folder / "model.onnx")
    product = last_product(folder / "model.onnx", read_contract(folder / "tagger.toml"))
    np.testing.assert_array_equal(product.weights, WEIGHTS)
    np.testing.assert_array_equal(product.bias, BIAS)
    report = check_tagger(folder, floor=1e-4, threads=1)
    (said,) = [finding for finding in report.findings if finding.check == "features"]
    assert report.passed
    assert f"{WIDTH} numbers" in said.detail
    assert "they are the logits" in said.detail
    tagger = loaded(folder)
    flat = pixels[..., ::-1].reshape(len(pixels), WIDTH).astype(np.float16)
    np.testing.assert_array_equal(tagger.outputs(pixels)[1], flat)


def test_what_is_no_product_is_said_and_costs_nothing_but_the_features(
    make_tagger_folder: Folder,
) -> None:
    folder = make_tagger_folder(kind="logits")
    nodes = [
        FLATTEN,
        helper.make_node("MatMul", ["pooled", "w"], ["made"]),
        helper.make_node("Tanh", ["made"], ["output"]),
    ]
    network(nodes, {"w": WEIGHTS}, folder / "model.onnx")
    with pytest.raises(TagstackError, match=r"no product of features and weights .*\[output\] fea"):
        loaded(folder, smoke=False)
    report = check_tagger(folder, floor=1e-4, threads=1)
    (said,) = [finding for finding in report.findings if finding.check == "features"]
    assert said.passed
    assert said.detail.startswith("none to keep")


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ("nowhere", "no tensor 'nowhere'"),
        ("wide", r"is \[1, 2, 96\] for 1 images; expected one vector"),
        ("product", "said to be the features"),
    ],
)
@pytest.mark.parametrize("backend", ["ort", "openvino"])
def test_a_wrong_name_in_the_contract_is_a_fault(
    make_tagger_folder: Folder, features: str, message: str, backend: str
) -> None:
    folder = make_tagger_folder(kind="logits")
    nodes, constants = ENDS["added"]
    more = [
        helper.make_node("Sub", ["pooled", "pooled"], ["product"]),  # the same for any picture
        helper.make_node("Reshape", ["pooled", "shape"], ["wide"]),
    ]
    constants = {"b": BIAS, "shape": np.array([-1, 2, 96]), **constants}
    network([FLATTEN, *more, *nodes], constants, folder / "model.onnx")
    text = (folder / "tagger.toml").read_text()
    (folder / "tagger.toml").write_text(
        text.replace("[output]\n", f'[output]\nfeatures = "{features}"\n')
    )
    if backend == "openvino":  # it drops what no output needs
        message = f"no tensor '{features}'"
    with pytest.raises(TagstackError, match=message):
        loaded(folder, backend)
    if backend == "ort":
        report = check_tagger(folder, floor=1e-4, threads=1)
        assert [finding.check for finding in report.findings if not finding.passed] == ["features"]


def test_weights_beside_the_file_are_found_by_a_model_with_one_more_output(
    make_tagger_folder: Folder, pixels: NDArray[np.uint8]
) -> None:
    folder = make_tagger_folder(kind="logits")
    expected = loaded(folder).outputs(pixels)
    model = onnx.load(str(folder / "model.onnx"))
    onnx.save(
        model,
        str(folder / "model.onnx"),
        save_as_external_data=True,
        location="weights.bin",
        size_threshold=0,
    )
    for own, other in zip(loaded(folder).outputs(pixels), expected, strict=True):
        np.testing.assert_array_equal(own, other)


def test_an_added_output_is_what_the_library_for_onnx_reads(make_tagger_folder: Folder) -> None:
    model = make_tagger_folder() / "model.onnx"
    assert output_names(model) == ("chosen",)
    read = onnx.load_from_string(with_output(model, "a" * 300))
    assert [output.name for output in read.graph.output] == ["chosen", "a" * 300]
    del read.graph.output[1]
    assert read == onnx.load(str(model))
    (model.parent / "broken.onnx").write_bytes(b"\x3a\x7f")
    with pytest.raises(TagstackError, match="Cannot load the model"):
        output_names(model.parent / "broken.onnx")


def test_a_backend_that_gives_scores_alone_says_so(
    make_tagger_folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_tagger_folder()
    contract = with_features(read_contract(folder / "tagger.toml"), "flat")
    plain = replace(ORT_CUDA, gives_features=False)  # as one of another package may be
    monkeypatch.setattr("tagstack.base_models.runtimes.built_in.ORT_CUDA", plain)
    with pytest.raises(TagstackError, match=r"ort-cuda gives scores alone.*'openvino' or 'ort'"):
        # Behind the look for a GPU, which is not what this is about.
        _opened(
            folder / "model.onnx",
            contract,
            RuntimeChoice(backend="ort-cuda", precision="fp32"),
            threads=1,
        )


def test_settings_say_whose_features_are_kept(
    make_tagger_folder: Folder, settings: ScoreSettings
) -> None:
    folders = [str(make_tagger_folder(name=name)) for name in ("one", "two")]

    def widths(*names: str) -> list[int]:
        chosen = settings.model_copy(update={"features": names})
        return [tagger.n_features for tagger in load_taggers(folders, chosen, threads=1)]

    assert (widths(), widths("two"), widths("all")) == ([0, 0], [0, WIDTH], [WIDTH, WIDTH])
    with pytest.raises(TagstackError, match=r"score.features names 'three'.*\['one', 'two'\]"):
        widths("one", "three")
