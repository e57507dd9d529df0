"""A second input, the mask of the padding: the same numbers on every backend, packed or not."""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from tagstack.base_models.contract import Contract, contract_from_toml, contract_toml
from tagstack.base_models.pictures.preprocess import framed, framing_from_input, input_tensor
from tagstack.base_models.runtimes.ort import OrtCpuSession
from tagstack.base_models.runtimes.probing import probe
from tagstack.base_models.runtimes.selection import RuntimeChoice, open_session
from tagstack.base_models.runtimes.tensorrt.onnx_run import run_onnx
from tagstack.base_models.runtimes.tensorrt.pixel_input import pixel_contract
from tagstack.base_models.runtimes.tensorrt.prepared_model import prepared_model
from tagstack.base_models.taggers.check import check_tagger
from tagstack.base_models.taggers.mirrored import Mirror
from tagstack.base_models.taggers.tagger import load_tagger
from tagstack.configs.errors import TagstackError

SIDE, N_TAGS = 8, 10


def contract(layout: str = "NCHW", batch: int | str = "dynamic", **changes: Any) -> Contract:
    source = {
        "name": "picture", "padding_mask": "mask", "layout": layout, "colour": "RGB", "size": SIDE,
        "geometry": "fit_pad", "pad": [114, 114, 114], "resample": "bicubic", "range": "-1-1",
        "rounding": "nearest", "batch": batch, **changes,
    }  # fmt: skip
    return contract_from_toml(
        {"name": "masked", "source": "a test", "licence": "none", "input": source,
         "output": {"name": "logits", "kind": "logits"}, "files": {"tags": "tags.txt"},
         "tags": {"format": "tags_txt"}},
        origin="test",
    )  # fmt: skip


def write(folder: Path, own: Contract, kind: int = TensorProto.BOOL) -> Path:
    """Write a network that sums the picture where there is no padding, and where there is."""
    folder.mkdir(parents=True, exist_ok=True)
    last = own.input.layout == "NHWC"
    rng = np.random.default_rng(0)
    weights = {
        "w": rng.normal(0, 0.2, (SIDE * SIDE * 3, N_TAGS)).astype(np.float32),
        "v": rng.normal(0, 0.3, (SIDE * SIDE, N_TAGS)).astype(np.float32),
        "axis": np.array([3 if last else 1], np.int64),
        "one": np.array(1, np.float32),
    }
    nodes = [
        helper.make_node("Cast", ["mask"], ["padded"], to=TensorProto.FLOAT),
        helper.make_node("Sub", ["one", "padded"], ["seen"]),
        helper.make_node("Unsqueeze", ["seen", "axis"], ["wide"]),
        helper.make_node("Mul", ["picture", "wide"], ["kept"]),
        helper.make_node("Flatten", ["kept"], ["flat"], axis=1),
        helper.make_node("Flatten", ["padded"], ["rows"], axis=1),
        helper.make_node("MatMul", ["flat", "w"], ["a"]),
        helper.make_node("MatMul", ["rows", "v"], ["b"]),
        helper.make_node("Add", ["a", "b"], ["logits"]),
    ]
    batch = own.input.batch if isinstance(own.input.batch, int) else "batch"
    sides = (SIDE, SIDE, 3) if last else (3, SIDE, SIDE)
    graph = helper.make_graph(
        nodes,
        "masked",
        [
            helper.make_tensor_value_info("mask", kind, (batch, SIDE, SIDE)),
            helper.make_tensor_value_info("picture", TensorProto.FLOAT, (batch, *sides)),
        ],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, (batch, N_TAGS))],
        [numpy_helper.from_array(value, key) for key, value in weights.items()],
    )
    opset = [helper.make_opsetid("", 17)]
    onnx.save(
        helper.make_model(graph, opset_imports=opset, ir_version=8), str(folder / "model.onnx")
    )
    (folder / "tags.txt").write_text("\n".join(f"tag_{i}" for i in range(N_TAGS)))
    (folder / "tagger.toml").write_text(contract_toml(own))
    return folder


@pytest.fixture
def pixels() -> NDArray[np.uint8]:
    """Return framed pictures of several shapes: wide, tall, square, and a line."""
    rng = np.random.default_rng(1)
    framing = framing_from_input(contract().input)
    found = []
    for width, height in ((20, 9), (7, 30), (12, 12), (64, 1), (5, 3)):
        noise = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        found.append(framed(Image.fromarray(noise), framing))
    return np.stack(found)


def expected(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return what the network computes, by numpy."""
    rng = np.random.default_rng(0)
    w = rng.normal(0, 0.2, (SIDE * SIDE * 3, N_TAGS)).astype(np.float32).astype(np.float64)
    v = rng.normal(0, 0.3, (SIDE * SIDE, N_TAGS)).astype(np.float32).astype(np.float64)
    padded = (pixels[..., 3] > 0).astype(np.float64)
    values = (pixels[..., :3] / 127.5 - 1) * (1 - padded[..., None])
    flat = values.transpose(0, 3, 1, 2).reshape(len(pixels), -1)
    return np.asarray(flat @ w + padded.reshape(len(pixels), -1) @ v)


def test_the_mask_is_where_the_picture_is_not(pixels: NDArray[np.uint8]) -> None:
    assert pixels.shape == (5, SIDE, SIDE, 4)
    wide, tall, square = pixels[0, ..., 3], pixels[1, ..., 3], pixels[2, ..., 3]
    assert [row.tolist() for row in np.unique(wide, axis=1)] == [
        [255], [255], [0], [0], [0], [0], [255], [255],
    ]  # fmt: skip
    assert (tall[:, :3] == 255).all()
    assert (tall[:, 3:5] == 0).all()
    assert not square.any()
    assert (pixels[0, ..., :3][wide == 255] == 114).all()


@pytest.mark.parametrize("backend", ["ort", "openvino"])
@pytest.mark.parametrize(
    ("batch", "kind"),
    [("dynamic", TensorProto.BOOL), (1, TensorProto.FLOAT), (3, TensorProto.UINT8)],
)
def test_every_backend_feeds_both(
    tmp_path: Path, pixels: NDArray[np.uint8], backend: str, batch: int | str, kind: int
) -> None:
    if not probe(backend).available:
        pytest.skip(f"{backend} is not installed")
    own = contract(batch=batch)
    folder = write(tmp_path / "tagger", own, kind)
    choice = RuntimeChoice(backend=backend, precision="fp32")
    with closing(open_session(folder / "model.onnx", own, choice, threads=2)) as session:
        found = session.run(input_tensor(pixels, own.input))
        with pytest.raises(TagstackError, match=r"shape \(n_images, 4, 8, 8\), got float32"):
            session.run(np.zeros((1, 3, SIDE, SIDE), np.float32))
    np.testing.assert_allclose(found, expected(pixels), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("batch", ["dynamic", 1])
def test_on_a_gpu_both_go_through_one_input(
    tmp_path: Path, pixels: NDArray[np.uint8], fake_gpu: Any, batch: int | str
) -> None:
    own = contract(batch=batch)
    folder = write(tmp_path / "tagger", own)
    with closing(fake_gpu.open(folder)) as session:
        found = session.run(input_tensor(pixels, own.input))
    np.testing.assert_allclose(found, expected(pixels), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_packed_files_take_tensors_or_pixels(
    tmp_path: Path, pixels: NDArray[np.uint8], layout: str, precision: str
) -> None:
    own = contract(layout)
    model = write(tmp_path / "tagger", own) / "model.onnx"
    reference = OrtCpuSession(model, own, threads=1).run(input_tensor(pixels, own.input))
    atol = 1e-4 if precision == "fp32" else 2e-2
    for takes_pixels in (False, True):
        made = prepared_model(
            model, own, tmp_path / "kept", precision=precision, max_batch=8, pixels=takes_pixels
        )
        assert made.takes_pixels == takes_pixels
        fed = pixels if takes_pixels else input_tensor(pixels, own.input)
        np.testing.assert_allclose(run_onnx(made.path, fed)[0], reference, atol=atol)
        seen = pixel_contract(own) if takes_pixels else own
        assert len(onnx.load(str(made.path)).graph.input) == 1
        assert seen.input.planes == 4


def test_a_tagger_with_a_mask_passes_its_check_and_its_mirror(
    tmp_path: Path, pixels: NDArray[np.uint8]
) -> None:
    folder = write(tmp_path / "tagger", contract())
    report = check_tagger(folder, floor=1e-4, threads=1)
    assert report.passed, report.findings[-1]
    assert any("and mask (batch, 8, 8)" in finding.detail for finding in report.findings)
    tagger = load_tagger(folder, floor=1e-4, threads=1, sided=())
    assert isinstance(tagger.mirror, Mirror)
    both = (expected(pixels) + expected(pixels[:, :, ::-1])) / 2
    np.testing.assert_allclose(tagger.logits(pixels), both, rtol=1e-4, atol=1e-4)
    tagger.close()


def test_a_contract_without_a_mask_is_the_one_that_it_was() -> None:
    plain = contract(padding_mask=None)
    assert "padding_mask" not in contract_toml(plain)
    assert plain.digest() != contract().digest()
    # Of the same facts before there were masks: stores of scores must stay good.
    assert framing_from_input(plain.input).planes == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"geometry": "squash"},
            "padding_mask goes with geometry fit_pad and no canvas",
        ),
        ({"name": "mask"}, "padding_mask and name are both 'mask'"),
    ],
)
def test_contracts_that_no_mask_fits(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(TagstackError, match=message):
        contract(**changes)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: contract(padding_mask="other"),
            r"has the inputs \['mask', 'picture'\]",
        ),
        (lambda: contract(padding_mask=None), r"Name both where one is a mask"),
        (lambda: contract(name="nope"), r"expects \['nope', 'mask'\]"),
    ],
)
def test_files_and_contracts_that_contradict(
    tmp_path: Path, make: Callable[[], Contract], message: str
) -> None:
    model = write(tmp_path / "tagger", contract()) / "model.onnx"
    with pytest.raises(TagstackError, match=message):
        OrtCpuSession(model, make(), threads=1)
