"""Contracts read from a publisher's preprocess.json and config.json."""

import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tagstack.base_models.contract import Contract, contract_from_toml, contract_toml
from tagstack.base_models.taggers.check import check_tagger
from tagstack.base_models.taggers.registry import (
    add_tagger,
    list_taggers,
    load_taggers,
    show_tagger,
)
from tagstack.base_models.taggers.timm_contract import describes_itself, timm_contract
from tagstack.configs.errors import TagstackError
from tagstack.configs.level1 import ScoreSettings

ANIMETIMM = [
    {"type": "pad_to_size", "size": [512, 512], "background_color": "white",
     "interpolation": "bilinear"},
    {"type": "resize", "size": 384, "interpolation": "bicubic", "max_size": None,
     "antialias": True},
    {"type": "center_crop", "size": [384, 384]},
    {"type": "maybe_to_tensor"},
    {"type": "normalize", "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]},
]  # fmt: skip
CATEGORIES = [
    {"category": 0, "name": "general"},
    {"category": 4, "name": "character"},
    {"category": 9, "name": "rating"},
]
TIMM = {
    "input_size": [3, 96, 128],
    "interpolation": "box",
    "crop_mode": "squash",
    "mean": [0.5, 0.5, 0.5],
    "std": [0.5, 0.5, 0.5],
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "CaFormer b36.dbv4-full"
    made.mkdir()
    (made / "preprocess.json").write_text(json.dumps({"test": ANIMETIMM, "val": [{"type": "?"}]}))
    (made / "categories.json").write_text(json.dumps(CATEGORIES))
    rows = (
        "category,name,alpha,threshold\n0,general,1.0,0.31\n0,general,0.9,0.5\n4,character,1,0.4\n"
    )
    (made / "thresholds.csv").write_text(rows)
    return made


def _stages(folder: Path, stages: Any) -> None:
    (folder / "preprocess.json").write_text(json.dumps(stages))


def test_animetimm_files_say_what_the_shipped_contract_says(folder: Path) -> None:
    found, shipped = timm_contract(folder), show_tagger("animetimm-caformer-b36-dbv4").contract
    facts = found.input.model_dump(exclude={"batch"})
    assert facts == shipped.input.model_dump(exclude={"batch"})
    assert (found.output, found.tags) == (shipped.output, shipped.tags)
    assert found.name == "caformer-b36.dbv4-full"
    assert found.threshold.default == 0.4
    assert found.threshold.per_category == {"general": 0.31, "character": 0.4}


def test_pixai_files_say_what_the_shipped_contract_says(folder: Path) -> None:
    resize = {"type": "resize", "size": [448, 448], "interpolation": "bilinear"}
    rgb = {"type": "convert_rgb", "force_background": "white"}
    norm = {"type": "normalize", "mean": 0.5, "std": 0.5}
    _stages(folder, {"stages": [rgb, resize, {"type": "to_tensor"}, norm]})
    facts = timm_contract(folder).input.model_dump(exclude={"batch", "size"})
    shipped = show_tagger("pixai-tagger-v0.9").contract.input
    assert facts == shipped.model_dump(exclude={"batch", "size"})
    assert timm_contract(folder).input.height_width == shipped.height_width


def test_padding_alone_is_a_fit(folder: Path) -> None:
    pad = {"type": "pad_to_size", "size": 320, "background_color": "#7c7468"}
    _stages(folder, [{"type": "convert_rgb", "force_background": "black"}, pad])
    image = timm_contract(folder).input
    assert (image.geometry, image.size, image.resample) == ("fit_pad", 320, "bilinear")
    assert (image.pad, image.matte, image.range) == ((124, 116, 104), (0, 0, 0), "0-1")


def test_config_json_is_read_where_nothing_is_cropped(folder: Path) -> None:
    (folder / "preprocess.json").unlink()
    assert not describes_itself(folder)
    (folder / "config.json").write_text(json.dumps({"pretrained_cfg": TIMM}))
    assert describes_itself(folder)
    image = timm_contract(folder).input
    assert image.height_width == (96, 128)
    assert (image.geometry, image.resample, image.std) == ("squash", "area", (0.5, 0.5, 0.5))


def test_categories_may_stand_in_the_thresholds(folder: Path) -> None:
    (folder / "categories.json").unlink()
    assert timm_contract(folder).tags.categories == {"0": "general", "4": "character"}
    (folder / "thresholds.csv").unlink()
    with pytest.raises(TagstackError, match=r"says nothing about what its category codes mean"):
        timm_contract(folder)


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        (
            [{"type": "resize", "size": 384}],
            "resize to 384 fits the shorter side, which would crop",
        ),
        (
            [{"type": "resize", "size": [448, 448]}, {"type": "center_crop", "size": 384}],
            r"center_crop cuts 384 out of \[448, 448\], which would crop",
        ),
        ([{"type": "pad_to_size", "size": [300, 200]}], r"\[300, 200\] is no square"),
        ([{"type": "blur"}], "the stage 'blur' is none of"),
        ([{"type": "to_tensor"}], "no stage gives the size"),
        ({"val": []}, 'an object with "test" or "stages"'),
        (
            [{"type": "pad_to_size", "size": 8, "background_color": "whitish"}],
            "'whitish' is no colour",
        ),
        (
            [{"type": "resize", "size": [8, 8], "interpolation": "hamming"}],
            "resample = 'hamming': expected 'nearest'",
        ),
    ],
)
def test_what_cannot_be_expressed_is_refused(folder: Path, stages: Any, message: str) -> None:
    _stages(folder, stages)
    with pytest.raises(TagstackError, match=message):
        timm_contract(folder)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"pretrained_cfg": TIMM | {"crop_mode": "center"}}, "crop_mode 'center' would crop"),
        ({"pretrained_cfg": {"crop_mode": "squash"}}, "pretrained_cfg lacks or garbles"),
    ],
)
def test_configs_that_do_not_suffice(folder: Path, config: Any, message: str) -> None:
    (folder / "preprocess.json").unlink()
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(TagstackError, match=message):
        timm_contract(folder)


def test_broken_files_are_one_line(folder: Path) -> None:
    (folder / "thresholds.csv").write_text("category,threshold\n7,0.5\n")
    with pytest.raises(TagstackError, match=r"thresholds\.csv: a row without a known category"):
        timm_contract(folder)
    (folder / "categories.json").write_text("[1]")
    with pytest.raises(TagstackError, match=r"categories\.json: expected a list of objects"):
        timm_contract(folder)
    (folder / "preprocess.json").write_text("{")
    with pytest.raises(TagstackError, match=r"preprocess\.json: not valid JSON"):
        timm_contract(folder)


def test_a_folder_without_a_contract_runs_and_can_be_added(
    make_tagger_folder: Callable[..., Path],
    settings: ScoreSettings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TAGSTACK_HOME", str(tmp_path / "home"))
    folder = make_tagger_folder(
        name="plain", layout="NCHW", colour="RGB", range="0-1", three_outputs=True
    )
    (folder / "tagger.toml").unlink()
    (folder / "categories.json").write_text(json.dumps(CATEGORIES))
    _stages(folder, [{"type": "resize", "size": [8, 8], "interpolation": "bicubic"}])
    report = check_tagger(folder, floor=1e-4, threads=1)
    assert "asks for 'prediction'" in report.findings[-1].detail
    model = onnx.load(str(folder / "model.onnx"))
    model.graph.node[-1].output[0] = model.graph.output[-1].name = "prediction"
    onnx.save(model, str(folder / "model.onnx"))
    assert check_tagger(folder, floor=1e-4, threads=1).passed
    assert add_tagger(folder, settings).passed
    (direct,) = load_taggers([str(folder)], settings, threads=1)
    (added,) = load_taggers(["plain"], settings, threads=1)
    assert added.fingerprint == direct.fingerprint
    pixels = np.zeros((1, 8, 8, 3), np.uint8)
    np.testing.assert_array_equal(added.logits(pixels), direct.logits(pixels))


def test_a_contract_that_contradicts_the_publisher_fails_its_check(
    make_tagger_folder: Callable[..., Path],
    settings: ScoreSettings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TAGSTACK_HOME", str(tmp_path / "home"))
    folder = make_tagger_folder(name="both", layout="NCHW", colour="RGB", range="0-1")
    (folder / "categories.json").write_text(json.dumps(CATEGORIES))
    _stages(folder, [{"type": "resize", "size": [8, 8], "interpolation": "bilinear"}])
    report = check_tagger(folder, floor=1e-4, threads=1)
    found = {finding.check: finding for finding in report.findings}
    assert not report.passed
    for wanted in ("geometry is pad_square, not squash", "resample is bicubic, not bilinear"):
        assert wanted in found["preprocess.json"].detail
    assert "mean" not in found["preprocess.json"].detail
    assert not add_tagger(folder, settings).passed
    toml = folder / "tagger.toml"
    toml.write_text(toml.read_text().replace("pad_square", "squash").replace("bicubic", "bilinear"))
    assert check_tagger(folder, floor=1e-4, threads=1).passed
    assert add_tagger(folder, settings).passed
    _stages(folder, [{"type": "blur"}])
    report = check_tagger(folder, floor=1e-4, threads=1)
    assert report.passed
    assert "cannot be compared" in {f.check: f.detail for f in report.findings}["preprocess.json"]


@pytest.mark.parametrize("name", [entry.name for entry in list_taggers()])
def test_a_contract_written_out_is_the_same_contract(name: str) -> None:
    contract = show_tagger(name).contract
    text = contract_toml(contract)
    assert contract_from_toml(tomllib.loads(text), origin="text") == contract


# What stands in others' files: control characters, quotes, other scripts; pydantic lets no half
# of a surrogate pair in.
_ANY = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)


@pytest.fixture(scope="module")
def doll() -> Contract:
    return show_tagger("doll_vit").contract


@settings(deadline=None, max_examples=50)
@given(title=_ANY, names=st.dictionaries(_ANY, _ANY, max_size=3))
@example(title='\x7f\x00\r\n"\\', names={"\x7f": "\x85", "": "#"})
def test_no_text_breaks_a_contract(doll: Contract, title: str, names: dict[str, str]) -> None:
    changed = doll.model_copy(update={"title": title, "aliases": names})
    again = contract_from_toml(tomllib.loads(contract_toml(changed)), origin="text")
    assert again == changed
