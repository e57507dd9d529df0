"""Every shipped contract against its publisher's preprocessing, written here anew from the facts.

The references share no code with the package: they pad whole squares, warp with scipy, and
composite in floats. They take the side, so that pictures are compared at a small one; the size that
a publisher states is held to the contract by itself. Each contract then runs end to end with a tiny
network of its kind of input and outputs and a tag file of its format, in a row order that no
position could explain.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from scipy.ndimage import map_coordinates

from tagstack.base_models.contract import Contract, contract_toml
from tagstack.base_models.pictures.images import decode, open_image
from tagstack.base_models.pictures.preprocess import framed, framing_from_input, input_tensor
from tagstack.base_models.taggers.registry import add_tagger, list_taggers, load_taggers
from tagstack.configs.level1 import ScoreSettings

Pixels = NDArray[np.float64]
Filter = Image.Resampling
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALVES = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
PLAIN = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


def _over(image: Image.Image, matte: int) -> Image.Image:
    rgba = np.asarray(image.convert("RGBA"), np.float64)
    alpha = rgba[..., 3:] / 255
    return Image.fromarray(np.rint(rgba[..., :3] * alpha + matte * (1 - alpha)).astype(np.uint8))


def _square(image: Image.Image, least: int = 0) -> Image.Image:
    side = max(*image.size, least)
    square = Image.new("RGB", (side, side), (255, 255, 255))
    square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return square


def _resized(image: Image.Image, size: tuple[int, int], resample: Filter) -> Image.Image:
    """Resize rows, then columns: what a plain call did for publishers, before Pillow 13."""
    return image.resize((size[0], image.height), resample).resize(size, resample)


def _fitted(image: Image.Image, side: int, resample: Filter) -> Image.Image:
    width, height = image.size
    if width >= height:
        return _resized(image, (side, max(1, side * height // width)), resample)
    return _resized(image, (max(1, side * width // height), side), resample)


def _centred(image: Image.Image, side: int, colour: tuple[int, int, int]) -> Image.Image:
    canvas = Image.new("RGB", (side, side), colour)
    canvas.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return canvas


def _raw_bgr(image: Image.Image) -> Pixels:
    return np.asarray(np.asarray(image, np.float64)[None, :, :, ::-1])


def _chw(image: Image.Image, norm: Any = PLAIN) -> Pixels:
    values = (np.asarray(image, np.float64) / 255 - np.array(norm[0])) / np.array(norm[1])
    return np.asarray(values.transpose(2, 0, 1)[None])


Reference = Callable[[Image.Image, int], Pixels]


def _wd(image: Image.Image, side: int) -> Pixels:
    return _raw_bgr(_square(_over(image, 255)).resize((side, side), Filter.BICUBIC))


def _model_zoo(image: Image.Image, side: int) -> Pixels:
    return _raw_bgr(_square(_over(image, 255), side).resize((side, side), Filter.BOX))


def _deepdanbooru(image: Image.Image, side: int) -> Pixels:
    flat = _over(image, 255)
    scale = side / max(flat.size)
    size = (round(flat.width * scale), round(flat.height * scale))
    small = _resized(flat, size, Filter.BOX)
    rows = np.arange(side) - (side - small.height) / 2
    columns = np.arange(side) - (side - small.width) / 2
    grid = np.meshgrid(rows, columns, indexing="ij")
    pixels = np.asarray(small, np.float64)
    channels = [map_coordinates(pixels[..., c], grid, order=1, mode="nearest") for c in range(3)]
    return np.stack(channels, axis=-1)[None] / 255


def _squashed(norm: Any, resample: Filter = Filter.BILINEAR) -> Reference:
    def reference(image: Image.Image, side: int) -> Pixels:
        return _chw(_resized(_over(image, 255), (side, side), resample), norm)

    return reference


def _camie(pad: tuple[int, int, int], norm: Any, resample: Filter = Filter.LANCZOS) -> Reference:
    def reference(image: Image.Image, side: int) -> Pixels:
        return _chw(_centred(_fitted(_over(image, 255), side, resample), side, pad), norm)

    return reference


def _padded(norm: Any, resample: Filter) -> Reference:
    def reference(image: Image.Image, side: int) -> Pixels:
        return _chw(_square(_over(image, 255)).resize((side, side), resample), norm)

    return reference


def _animetimm(image: Image.Image, side: int) -> Pixels:
    first = side * 4 // 3  # 512 for 384
    canvas = _centred(_fitted(_over(image, 255), first, Filter.BILINEAR), first, (255, 255, 255))
    return _chw(canvas.resize((side, side), Filter.BICUBIC), IMAGENET)


def _cl_tagger(image: Image.Image, side: int) -> Pixels:
    square = _square(_over(image, 255)).resize((side, side), Filter.BICUBIC)
    return (_raw_bgr(square) / 127.5 - 1).transpose(0, 3, 1, 2)


def _oppai(image: Image.Image, side: int) -> Pixels:
    flat = _over(image, 255)
    scale = min(side / flat.width, side / flat.height)
    size = (max(1, round(flat.width * scale)), max(1, round(flat.height * scale)))
    canvas = _centred(_resized(flat, size, Filter.BICUBIC), side, (114, 114, 114))
    mask = np.ones((1, 1, side, side))
    left, top = (side - size[0]) // 2, (side - size[1]) // 2
    mask[:, :, top : top + size[1], left : left + size[0]] = 0
    return np.concatenate([_chw(canvas, HALVES), mask], axis=1)


def _jtp(image: Image.Image, side: int) -> Pixels:
    scale = min(side / image.width, side / image.height)
    size = (min(round(image.width * scale), side), min(round(image.height * scale), side))
    blended = _resized(image.convert("RGBA").convert("RGBa"), size, Filter.LANCZOS)
    rgba = np.asarray(blended.convert("RGBA"), np.float64) / 255
    grey = rgba[..., :3] * rgba[..., 3:] + 0.5 * (1 - rgba[..., 3:])
    tensor = np.zeros((1, 3, side, side))
    top, left = (side - size[1]) // 2, (side - size[0]) // 2
    inner = ((grey - 0.5) / 0.5).transpose(2, 0, 1)
    tensor[0, :, top : top + size[1], left : left + size[0]] = inner
    return tensor


@dataclass(frozen=True)
class Published:
    """A publisher's preprocessing, its model's outputs, and what one level of grey is worth.

    Slacks are in levels: what rounding to 8 bits in another place may cost, for opaque pictures
    and, where compositing differs too, for transparent ones.
    """

    reference: Reference
    side: int
    outputs: tuple[str, ...]
    level: float
    slack: float = 0.01
    alpha_slack: float = 2.0
    batch: int | str = 1


_TIMM = ("embedding", "logits", "prediction")
_SIGMOID = ("predictions_sigmoid",)
_SQUASHED_PLAIN, _SQUASHED_HALVES = _squashed(PLAIN), _squashed(HALVES)
_PIXAI_1 = _camie((0, 0, 0), HALVES, Filter.BILINEAR)
_DEEPDANBOORU = Published(_deepdanbooru, 512, ("activation_172",), 1 / 255, slack=0.51)
_WD3 = Published(_wd, 448, ("output",), 1, batch="batch")
_CL2 = Published(_squashed(HALVES, Filter.BICUBIC), 384, ("logits",), 1 / 127.5)
_HARUKA = Published(_padded(HALVES, Filter.BICUBIC), 448, ("logits",), 1 / 127.5, batch="batch")
PUBLISHED = {
    **{f"wd-v1-4-{name}-tagger-v2": Published(_wd, 448, _SIGMOID, 1) for name in
       ("vit", "convnext", "convnextv2", "swinv2", "moat")},
    **{f"wd-{name}-tagger-v3": _WD3 for name in
       ("vit", "convnext", "swinv2", "vit-large", "eva02-large")},
    **{f"wd-v1-4-{name}-tagger-v2-embeddings": Published(_wd, 448, ("scores", "embedding"), 1)
       for name in ("vit", "convnext", "convnextv2", "swinv2", "moat")},
    **{f"wd-{name}-tagger-v3-embeddings":
       Published(_wd, 448, ("scores", "embedding"), 1, batch="batch")
       for name in ("vit", "convnext", "swinv2", "vit-large", "eva02-large")},
    "idolsankaku-swinv2-tagger-v1": _WD3,
    "idolsankaku-eva02-large-tagger-v1": _WD3,
    "sw-cv-modelzoo-convnext-b": Published(_model_zoo, 448, _SIGMOID, 1),
    "sw-cv-modelzoo-vit-b16": Published(_model_zoo, 448, _SIGMOID, 1),
    "sw-cv-modelzoo-nfnet-l1": Published(_model_zoo, 320, _SIGMOID, 1),
    "deepdanbooru-v3": _DEEPDANBOORU,
    "deepdanbooru-v4": _DEEPDANBOORU,
    "ml-danbooru-caformer-m36": Published(_SQUASHED_PLAIN, 448, ("output",), 1 / 255),
    "ml-danbooru-tresnet-d": Published(_SQUASHED_PLAIN, 640, ("output",), 1 / 255),
    "camie-tagger": Published(_camie((0, 0, 0), PLAIN), 512, ("initial", "refined"), 1 / 255),
    "camie-tagger-v2": Published(
        _camie((124, 116, 104), IMAGENET),
        512,
        ("initial_predictions", "refined_predictions", "selected_candidates"),
        1 / 255 / 0.224,
    ),
    "pixai-tagger-v0.9": Published(_SQUASHED_HALVES, 448, _TIMM, 1 / 127.5),
    "pixai-tagger-v1.0": Published(_PIXAI_1, 1008, ("output",), 1 / 127.5),
    "pixai-tagger-v1.0-noaione": Published(_PIXAI_1, 1008, ("output",), 1 / 127.5),
    "pixai-tagger-v1.0-672": Published(_PIXAI_1, 672, ("output",), 1 / 127.5),
    "pixai-tagger-v1.0-336": Published(_PIXAI_1, 336, ("output",), 1 / 127.5, batch=2),
    "cl-tagger-2.00": _CL2,
    "cl-tagger-2.01a": _CL2,
    "haruka-tagger": _HARUKA,
    "haruka-tagger-large": _HARUKA,
    "lodestones-dinov3": Published(
        _padded(IMAGENET, Filter.LANCZOS), 512, ("logits",), 1 / 255 / 0.224, batch="batch"
    ),
    "oppaioracle-v1.1": Published(
        _oppai, 448, ("probabilities",), 1 / 127.5, batch="batch"
    ),
    "animetimm-caformer-b36-dbv4": Published(
        _animetimm, 384, _TIMM, 1 / 255 / 0.224, batch="batch"
    ),
    "cl-tagger-1.02": Published(_cl_tagger, 448, ("logits",), 1 / 127.5),
    "danbooru-autotagger": Published(_SQUASHED_PLAIN, 224, ("output",), 1 / 255),
    # Grey 0.5 lies between two of our levels, and it composites after the resize.
    "jtp-pilot2": Published(_jtp, 384, ("output",), 1 / 127.5, slack=0.51, alpha_slack=3.5),
    "z3d-e621-convnext": Published(_wd, 448, _SIGMOID, 1),
}  # fmt: skip
SIDE = 96


@cache
def contracts() -> dict[str, Contract]:
    """Return the shipped contracts; reading all of them takes longer than most tests here."""
    return {entry.name: entry.contract for entry in list_taggers() if entry.origin == "contract"}


@cache
def small(name: str) -> Contract:
    """Return a shipped contract for pictures of a small side, all else as it is."""
    contract = contracts()[name]
    changes: dict[str, Any] = {"size": SIDE}
    if contract.input.canvas is not None:
        side = contract.input.canvas.size * SIDE // contract.input.height_width[0]
        changes["canvas"] = contract.input.canvas.model_copy(update={"size": side})
    source = contract.input.model_copy(update=changes)
    return contract.model_copy(update={"input": source})


# Contracts with one reference state the same input, so one of each is enough to look at.
BY_REFERENCE = {published.reference: name for name, published in sorted(PUBLISHED.items())}


def test_every_shipped_contract_has_a_reference() -> None:
    assert set(contracts()) == set(PUBLISHED)


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_contracts_with_one_reference_state_one_input_at_the_publishers_size(name: str) -> None:
    beside = {"batch", "size", "name", "canvas"}
    facts = contracts()[name].input.model_dump(exclude=beside)
    other = contracts()[BY_REFERENCE[PUBLISHED[name].reference]]
    assert facts == other.input.model_dump(exclude=beside)
    assert contracts()[name].input.height_width == (PUBLISHED[name].side,) * 2


@pytest.fixture(scope="module")
def pictures() -> dict[str, Image.Image]:
    """Return small soft pictures; rough ones would let rounding decide."""
    rng = np.random.default_rng(3)

    def soft(width: int, height: int, channels: int) -> Image.Image:
        shape = (height // 9 + 2, width // 9 + 2, channels)
        rough = rng.integers(20, 236, shape, dtype=np.uint8)
        return Image.fromarray(rough).resize((width, height), Filter.BICUBIC)

    return {
        "landscape": soft(301, 120, 3),
        "portrait": soft(97, 260, 3),
        "tall": soft(75, 475, 3),
        "larger": soft(450, 351, 3),
        "square": soft(49, 49, 3),
        "transparent": soft(130, 90, 4),
        "palette": soft(60, 37, 3).quantize(31),
        "grey": soft(64, 150, 3).convert("L"),
    }


def _tensor(image: Image.Image, contract: Contract, path: Path) -> NDArray[np.float32]:
    image.save(path, compress_level=1)
    decoded = decode(open_image(path.read_bytes(), max_pixels=10**7))
    pixels = framed(decoded, framing_from_input(contract.input))
    return input_tensor(pixels[None], contract.input)


@pytest.mark.parametrize("name", sorted(BY_REFERENCE.values()))
def test_golden_tensors(name: str, pictures: dict[str, Image.Image], tmp_path: Path) -> None:
    contract, published = small(name), PUBLISHED[name]
    for kind, image in pictures.items():
        found = _tensor(image, contract, tmp_path / "x.png")
        expected = published.reference(image, SIDE)
        assert found.dtype == np.float32
        assert found.shape == expected.shape, kind
        # Compositing in floats and in Pillow's integers differs by a level, and so then does
        # what is made of it.
        slack = published.slack + (published.alpha_slack if kind == "transparent" else 0)
        assert np.abs(found - expected).max() <= slack * published.level, kind


GRID = 16
TAGS = tuple("hat ;) nan <o>_<o> 1girl null long_hair miku 0_0 solo (o)_(o) rating:s".split())


def _weights(scale: float) -> NDArray[np.float32]:
    drawn = np.random.default_rng(5).normal(0, 0.1 * scale, (3 * GRID * GRID, len(TAGS)))
    return drawn.astype(np.float32)


def _network(contract: Contract, published: Published) -> onnx.ModelProto:
    """Return pooling to 16 x 16, a matrix and a sigmoid if due; all outputs but one are decoys."""
    side = contract.input.height_width[0]
    nhwc = contract.input.layout == "NHWC"
    k = side // GRID
    given = contract.input.name or "input"
    mask = contract.input.padding_mask
    nodes = [
        helper.make_node("Transpose", [given], ["chw"], perm=[0, 3, 1, 2])
        if nhwc
        else helper.make_node("Identity", [given], ["chw"]),
        helper.make_node("AveragePool", ["chw"], ["pool"], kernel_shape=[k, k], strides=[k, k]),
        helper.make_node("Flatten", ["pool"], ["flat"], axis=1),
        helper.make_node("MatMul", ["flat", "w"], ["product" if mask else "z"]),
        *(_masked(mask) if mask else []),
        helper.make_node("Sigmoid", ["z"], ["p"]),
        helper.make_node("Neg", ["z"], ["decoy"]),
    ]
    chosen = contract.output.name or published.outputs[contract.output.index or 0]
    for name in published.outputs:
        source = "p" if contract.output.kind == "probabilities" else "z"
        nodes.append(helper.make_node("Identity", [source if name == chosen else "decoy"], [name]))
    image = (side, side, 3) if nhwc else (3, side, side)
    scale = 1 / 255 if contract.input.range == "0-255" else 1.0
    graph = helper.make_graph(
        nodes,
        "published",
        [
            helper.make_tensor_value_info(given, TensorProto.FLOAT, (published.batch, *image)),
            *(
                [
                    helper.make_tensor_value_info(
                        mask, TensorProto.BOOL, (published.batch, side, side)
                    )
                ]
                if mask
                else []
            ),
        ],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, (published.batch, len(TAGS)))
            for name in published.outputs
        ],
        [
            numpy_helper.from_array(_weights(scale), "w"),
            numpy_helper.from_array(np.array([1], np.int64), "last"),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def _masked(mask: str) -> list[onnx.NodeProto]:
    """Return nodes that add the share of the padding, weighed by rows, to the scores."""
    return [
        helper.make_node("Cast", [mask], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["mask"], ["share"], axes=[1, 2], keepdims=0),
        helper.make_node("Unsqueeze", ["share", "last"], ["column"]),
        helper.make_node("Add", ["product", "column"], ["z"]),
    ]


def _logits(tensor: Pixels, contract: Contract) -> Pixels:
    """Return what `_network` computes, by numpy."""
    chw = tensor if contract.input.layout == "NCHW" else tensor.transpose(0, 3, 1, 2)
    k = chw.shape[2] // GRID
    pooled = chw[:, :3].reshape(1, 3, GRID, k, GRID, k).mean(axis=(3, 5))
    scale = 1 / 255 if contract.input.range == "0-255" else 1.0
    product = pooled.reshape(1, -1) @ _weights(scale).astype(np.float64)
    return np.asarray(product + (chw[:, 3].mean() if chw.shape[1] == 4 else 0.0))


def _codes(contract: Contract) -> Iterator[str]:
    """Yield a category code for each tag, in turn, so that no order of blocks explains them."""
    known = sorted(contract.tags.categories) or ["general", "artist", "rating"]
    for i in range(len(TAGS)):
        yield known[i * 5 % len(known)]


def _by_position(mapping: dict[str, dict[str, str]]) -> dict[str, Any]:
    """Return a vocabulary as cl_tagger v2 has it: categories by their position in a list."""
    names = sorted(set(mapping["tag_to_category"].values()))
    positions = {tag: names.index(code) for tag, code in mapping["tag_to_category"].items()}
    return {**mapping, "tag_to_category": positions, "categories": names}


def _in_parts(codes: list[str]) -> dict[str, Any]:
    """Return the tags as lists of one category each, in any order, with their offsets."""
    parts = [
        {"name": code, "offset": i, "count": 1, "tags": [tag]}
        for i, (tag, code) in enumerate(zip(TAGS, codes, strict=True))
    ]
    return {"num_classes": len(TAGS), "categories": parts[::-1]}


def _category_names(contract: Contract) -> tuple[str, ...]:
    tags = contract.tags
    if tags.format in ("tags_txt", "json_list", "json_index"):
        rated = "rating" if tags.prefixes else "general"
        return tuple(rated if tag.startswith("rating:") else "general" for tag in TAGS)
    starts = {tag: kind for prefix, kind in tags.prefixes.items() for tag in TAGS
              if tag.startswith(prefix)}  # fmt: skip
    coded = zip(TAGS, _codes(contract), strict=True)
    return tuple(starts.get(tag, tags.categories.get(code, code)) for tag, code in coded)


def _tag_file(contract: Contract) -> str:
    codes = list(_codes(contract))
    index = {tag: i for i, tag in enumerate(TAGS)}
    shuffled = dict(sorted(index.items()))
    mapping = {
        "idx_to_tag": {str(i): tag for tag, i in shuffled.items()},
        "tag_to_category": {tag: codes[i] for tag, i in shuffled.items()},
    }
    rows = [f'{i},"{tag}",{codes[i]},1,0.{i + 10}' for tag, i in index.items()]
    records = {str(i): {"tag": tag, "category": codes[i]} for tag, i in shuffled.items()}
    return {
        "selected_tags_csv": "\n".join(["tag_id,name,category,count,best_threshold", *rows]),
        "tags_txt": "\n".join(TAGS),
        "camie_json": json.dumps(_by_position(mapping))
        if contract.files.metrics
        else json.dumps({"dataset_info": {"tag_mapping": mapping}}),
        "json_list": json.dumps(TAGS),
        "json_index": json.dumps(shuffled),
        "json_records": json.dumps(records),
        "json_categories": json.dumps(_in_parts(codes)),
    }[contract.tags.format]


def _by_facts() -> dict[Any, str]:
    """Return a contract for each distinct set of facts that a score or a name depends on."""
    facts = {}
    for name, published in sorted(PUBLISHED.items()):
        contract = small(name)
        key = (contract.digest(), contract.files.metrics, published.outputs, published.batch)
        facts[key] = name
    return facts


@pytest.mark.parametrize("name", sorted(_by_facts().values()))
def test_end_to_end(
    name: str,
    pictures: dict[str, Image.Image],
    settings: ScoreSettings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TAGSTACK_HOME", str(tmp_path / "home"))
    contract, published = small(name), PUBLISHED[name]
    folder = tmp_path / "files"
    folder.mkdir()
    onnx.save(_network(contract, published), str(folder / contract.files.model))
    (folder / contract.files.tags).write_text(_tag_file(contract), encoding="utf-8")
    if contract.files.metrics is not None:
        best = np.linspace(0.1, 0.9, len(TAGS), dtype=np.float32)
        best[3] = np.nan
        pickled = np.array(["never opened"], dtype=object)
        np.savez(folder / contract.files.metrics, best_thr=best, tag_names=pickled)
    (folder / "tagger.toml").write_text(contract_toml(contract), encoding="utf-8")
    report = add_tagger(folder, settings)
    assert report.passed, report.findings[-1]
    (tagger,) = load_taggers([name], settings, threads=1)
    assert tagger.vocabulary.tags == TAGS
    assert tagger.vocabulary.categories == _category_names(contract)
    if contract.files.metrics is not None:
        best[3] = contract.threshold.default
        np.testing.assert_array_equal(tagger.published_thresholds, best)
    image = pictures["larger"]
    image.save(tmp_path / "x.png", compress_level=1)
    decoded = decode(open_image((tmp_path / "x.png").read_bytes(), max_pixels=10**7))
    found = tagger.logits(framed(decoded, tagger.framing)[None])
    expected = _logits(published.reference(image, SIDE), contract)
    assert np.ptp(expected) > 0.5
    # Rounding to 8 bits moves all pixels alike, by up to half a level.
    atol = 5e-3 + 0.05 * (published.slack > 0.5)
    np.testing.assert_allclose(found, expected, atol=atol)


def test_code_5_is_species_on_e621_and_meta_on_danbooru() -> None:
    furry = contracts()["z3d-e621-convnext"].tags.categories
    assert (furry["5"], furry["7"]) == ("species", "meta")
    for name in PUBLISHED:
        categories = contracts()[name].tags.categories
        assert name.startswith(("z3d", "lodestones")) or categories.get("5", "meta") == "meta"


@pytest.mark.parametrize("size", [(300, 100), (100, 300)])
def test_no_contract_crops(size: tuple[int, int]) -> None:
    corners = {(0, 0): (255, 0, 0), (1, 0): (0, 255, 0), (0, 1): (0, 0, 255), (1, 1): (255, 0, 255)}
    image = Image.new("RGB", size, (70, 70, 70))
    block = (size[0] // 10, size[1] // 10)
    for (x, y), colour in corners.items():
        image.paste(colour, (x * 9 * block[0], y * 9 * block[1], *_end(x, y, block)))
    for name in BY_REFERENCE.values():
        pixels = framed(image, framing_from_input(small(name).input))[..., :3].astype(int)
        for colour in corners.values():
            assert (np.abs(pixels - colour).max(axis=-1) < 40).any(), (name, colour)


def _end(x: int, y: int, block: tuple[int, int]) -> tuple[int, int]:
    return (x * 9 + 1) * block[0], (y * 9 + 1) * block[1]
