"""`models init`: what files show, what pictures decide, what is asked, and what is refused."""

import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

import tagstack
from tagstack.base_models.contract import read_contract
from tagstack.base_models.taggers import model_facts
from tagstack.base_models.taggers.draft import Fact, Question, answered
from tagstack.base_models.taggers.tagger import load_tagger
from tagstack.configs.errors import TagstackError
from tagstack.configs.settings import load_settings
from tagstack.ensemble.tasks.init_tagger import Initialised, InitRequest, init_tagger

SETTINGS = load_settings().score
N_TAGS = 12
TAGS = tuple(f"tag_{i}" for i in range(N_TAGS))
SEEN = {
    "input.colour": "RGB", "input.range": "0-1", "input.geometry": "pad_square",
    "input.resample": "bicubic",
}  # fmt: skip


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at networks here: they are this file's own, and a process takes longer than a test."""
    monkeypatch.setattr(
        model_facts, "model_facts", lambda model, side, seconds: model_facts.examine(model, side)
    )


def network(
    path: Path,
    *,
    kind: str = "probabilities",
    layout: str = "NCHW",
    side: int | str = 8,
    weights: Any = None,
    outputs: tuple[str, ...] = ("prediction",),
    batch: int | str = "batch",
) -> None:
    """Write pooling to 4 x 4, a product and a sigmoid if due, with more outputs if asked for."""
    drawn = np.random.default_rng(0).normal(0, 2, (48, N_TAGS)) if weights is None else weights
    first = "Transpose" if layout == "NHWC" else "Identity"
    nodes = [
        helper.make_node(
            first, ["x"], ["c"], **({"perm": [0, 3, 1, 2]} if layout == "NHWC" else {})
        ),
        helper.make_node("Resize", ["c", "", "", "sizes"], ["p"], mode="linear")
        if side == "side"
        else helper.make_node("AveragePool", ["c"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Flatten", ["p"], ["embedding"], axis=1),
        helper.make_node("MatMul", ["embedding", "w"], ["logits"]),
        helper.make_node("Sigmoid", ["logits"], ["sigmoid"]),
        helper.make_node(
            "Identity", ["sigmoid" if kind == "probabilities" else "logits"], ["prediction"]
        ),
    ]
    sides = (side, side, 3) if layout == "NHWC" else (3, side, side)
    constants = [numpy_helper.from_array(np.asarray(drawn, np.float32), "w")]
    if side == "side":
        constants.append(numpy_helper.from_array(np.array([1, 3, 4, 4]), "sizes"))
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (batch, *sides))],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        constants,
    )
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), str(path))


def csv(codes: str = "0,4,9") -> str:
    listed = codes.split(",")
    rows = [f"{i},{tag},{listed[i % len(listed)]},1" for i, tag in enumerate(TAGS)]
    return "\n".join(["tag_id,name,category,count", *rows])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "My Tagger"
    path.mkdir()
    network(path / "model.onnx")
    (path / "selected_tags.csv").write_text(csv())
    return path


def made(folder: Path, said: Mapping[str, str] = SEEN, **how: Any) -> Initialised:
    given = {key: answered(key, value) for key, value in said.items()}
    ask = how.pop("ask", None)
    return init_tagger(InitRequest(folder=folder, given=given, **how), SETTINGS, ask, _quiet)


def _quiet(done: int, total: int) -> None:
    pass


def test_what_the_files_show_is_written_with_where_it_comes_from(folder: Path) -> None:
    (folder / "README.md").write_text("---\nlicense: apache-2.0\ntags:\n- x\n---\n# A tagger\n")
    result = made(folder)
    assert result.report.passed, result.report.findings[-1]
    contract = read_contract(folder / "tagger.toml")
    assert contract == result.draft.contract()
    assert (contract.name, contract.licence) == ("my-tagger", "apache-2.0")
    assert contract.input.layout == "NCHW"
    assert contract.input.height_width == (8, 8)
    assert contract.output.kind == "probabilities"
    assert contract.output.features == "embedding"  # found by the check, and written
    assert contract.tags.categories == {"0": "general", "4": "character", "9": "rating"}
    assert contract.unverified == ("input.pad", "input.matte")
    text = (folder / "tagger.toml").read_text()
    assert 'layout = "NCHW"  # its input is ? x 3 x 8 x 8' in text
    assert 'colour = "RGB"  # you said so' in text
    assert "on three pictures of noise" in text
    load_tagger(folder, floor=1e-4, threads=1).close()


def test_without_anybody_to_ask_one_error_names_every_open_value(folder: Path) -> None:
    (folder / "selected_tags.csv").write_text(csv("0,5"))
    with pytest.raises(
        TagstackError, match=r"no file says .*tags\.categories.*\[danbooru, e621"
    ) as told:
        made(folder, {})
    for key in SEEN:
        assert key in str(told.value)
    assert "--set KEY=VALUE" in str(told.value)
    assert not (folder / "tagger.toml").exists()


def test_a_user_is_asked_for_what_is_open_and_for_nothing_else(folder: Path) -> None:
    asked: list[str] = []

    def ask(question: Question) -> Fact:
        asked.append(question.key)
        return answered(question.key, SEEN[question.key])

    assert made(folder, {"input.colour": "BGR"}, ask=ask).report.passed
    assert sorted(asked) == sorted(set(SEEN) - {"input.colour"})
    assert read_contract(folder / "tagger.toml").input.colour == "BGR"


def test_python_says_what_the_command_says(folder: Path) -> None:
    known = {**SEEN, "input.size": 8, "licence": "MIT"}
    found = tagstack.init_tagger(folder, known)
    assert found.report.passed
    contract = read_contract(folder / "tagger.toml")
    assert (contract.licence, contract.input.colour) == ("MIT", "RGB")
    assert found.draft.facts["licence"].source == "you said so"
    with pytest.raises(TagstackError, match="is there already"):
        tagstack.init_tagger(folder, known)
    with pytest.raises(TagstackError, match=r"'input\.color' cannot be set"):
        tagstack.init_tagger(folder, {"input.color": "RGB"}, force=True)
    assert tagstack.init_tagger(folder, known, force=True).path == folder / "tagger.toml"


def test_a_contract_that_is_there_stays_unless_forced(folder: Path) -> None:
    (folder / "tagger.toml").write_text("mine")
    with pytest.raises(TagstackError, match=r"tagger\.toml is there already\. Say --force"):
        made(folder)
    assert (folder / "tagger.toml").read_text() == "mine"
    assert made(folder, force=True).report.passed


@pytest.mark.parametrize(
    ("name", "content", "wanted"),
    [
        (
            "preprocess.json",
            {"stages": [
                {"type": "resize", "size": [8, 8], "interpolation": "bicubic"},
                {"type": "normalize", "mean": [0.5] * 3, "std": [0.25] * 3},
            ]},
            {"geometry": "squash", "resample": "bicubic", "mean": (0.5,) * 3, "std": (0.25,) * 3},
        ),
        (
            "config.json",
            {"pretrained_cfg": {
                "mean": [0.1, 0.2, 0.3], "std": 0.5, "interpolation": "bilinear",
                "crop_mode": "border", "input_size": [3, 8, 8],
            }},
            {"geometry": "fit_pad", "resample": "bilinear", "mean": (0.1, 0.2, 0.3),
             "std": (0.5,) * 3},
        ),
        (
            "preprocessor_config.json",
            {"do_resize": True, "size": {"height": 8, "width": 8}, "resample": 2,
             "do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": False},
            {"geometry": "squash", "resample": "bilinear", "range": "0-1"},
        ),
        (
            "preprocessing.json",
            {"image_size": 8, "pad_color_rgb": [114, 114, 114], "normalize_mean": [0.5] * 3,
             "normalize_std": [0.5] * 3},
            {"geometry": "fit_pad", "pad": (114, 114, 114), "rounding": "nearest"},
        ),
    ],
)  # fmt: skip
def test_files_of_publishers_leave_less_to_ask(
    folder: Path, name: str, content: Any, wanted: Mapping[str, Any]
) -> None:
    (folder / name).write_text(json.dumps(content))
    said = {} if "resample" in wanted else {"input.resample": "bicubic"}
    result = made(folder, said)
    assert result.report.passed, result.report.findings[-1]
    source = read_contract(folder / "tagger.toml").input
    assert {key: getattr(source, key) for key in wanted} == wanted
    assert result.draft.facts["input.geometry"].source == name


def test_a_crop_leaves_the_geometry_open_and_says_so(folder: Path) -> None:
    config = {"pretrained_cfg": {"mean": 0.5, "std": 0.5, "interpolation": "bicubic",
                                 "crop_mode": "center", "input_size": [3, 8, 8]}}  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(TagstackError, match=r"no file says \(1\) input\.geometry: how") as told:
        made(folder, {})
    assert "input.colour" not in str(told.value)
    result = made(folder, {"input.geometry": "pad_square"})
    assert any("crop_mode 'center' is a crop" in note for note in result.draft.notes)


@pytest.mark.parametrize(
    ("how", "wanted"),
    [
        ({"kind": "logits"}, {"kind": "logits", "name": None}),
        ({"layout": "NHWC", "batch": 1}, {"kind": "probabilities", "name": None}),
        (
            {"outputs": ("embedding", "logits", "prediction")},
            {"kind": "probabilities", "name": "prediction"},
        ),
    ],
)
def test_outputs_are_told_by_running_them(
    folder: Path, how: Mapping[str, Any], wanted: Mapping[str, Any]
) -> None:
    network(folder / "model.onnx", **how)
    result = made(folder)
    assert result.report.passed, result.report.findings[-1]
    contract = result.draft.contract()
    assert {key: getattr(contract.output, key) for key in wanted} == wanted
    assert contract.input.layout == how.get("layout", "NCHW")
    assert contract.input.batch == how.get("batch", "dynamic")


def test_a_side_that_the_file_leaves_open_is_asked_for(folder: Path) -> None:
    network(folder / "model.onnx", side="side", batch=1)
    with pytest.raises(TagstackError, match=r"no file says \(1\) input\.size"):
        made(folder)
    assert made(folder, {**SEEN, "input.size": "[8, 16]"}).draft.contract().input.size == (8, 16)


def test_thresholds_by_name_are_found(folder: Path) -> None:
    table = {tag: {"f1_threshold": 0.25 + i / 100} for i, tag in enumerate(TAGS)}
    (folder / "pr_thresholds.json").write_text(json.dumps({"per_tag": {"per_tag": table}}))
    (folder / "summary_thresholds.json").write_text('{"micro": 1}')
    result = made(folder)
    assert result.report.passed
    assert read_contract(folder / "tagger.toml").files.metrics == "pr_thresholds.json"
    tagger = load_tagger(folder, floor=0.001, threads=1, smoke=False)
    try:
        assert tagger.published_thresholds[3] == pytest.approx(0.28)
    finally:
        tagger.close()


@pytest.mark.parametrize(
    ("name", "content", "format_"),
    [
        ("tags.txt", "\n".join(TAGS), "tags_txt"),
        ("labels.json", json.dumps(TAGS), "json_list"),
        ("class.json", json.dumps({tag: i for i, tag in enumerate(TAGS)}), "json_index"),
        (
            "tag_mapping.json",
            json.dumps({str(i): {"tag": t, "category": "General"} for i, t in enumerate(TAGS)}),
            "json_records",
        ),
        (
            "tags.json",
            json.dumps({"num_classes": len(TAGS), "categories": [
                {"name": "general", "offset": 0, "count": len(TAGS), "tags": list(TAGS)},
            ]}),
            "json_categories",
        ),
        (
            "metadata.json",
            json.dumps({"dataset_info": {"tag_mapping": {
                "idx_to_tag": {str(i): tag for i, tag in enumerate(TAGS)},
                "tag_to_category": dict.fromkeys(TAGS, "general"),
            }}}),
            "camie_json",
        ),
    ],
)  # fmt: skip
def test_tag_files_of_every_kind(folder: Path, name: str, content: str, format_: str) -> None:
    (folder / "selected_tags.csv").unlink()
    (folder / name).write_text(content)
    (folder / "readme.txt").write_text("\n".join(TAGS))
    result = made(folder)
    assert result.report.passed, result.report.findings[-1]
    contract = read_contract(folder / "tagger.toml")
    assert (contract.files.tags, contract.tags.format) == (name, format_)
    assert set(load_tagger(folder, floor=1e-4, threads=1).vocabulary.categories) == {"general"}


def test_two_lists_that_differ_are_a_question(folder: Path) -> None:
    (folder / "other.txt").write_text("\n".join(reversed(TAGS)))
    with pytest.raises(
        TagstackError, match=r"files\.tags: which file .*\[other.txt, selected_tags"
    ):
        made(folder)
    (folder / "other.txt").write_text("\n".join(TAGS))  # the same list twice is none
    assert made(folder).draft.facts["files.tags"].value in ("other.txt", "selected_tags.csv")


def test_labelled_pictures_decide_colours_and_scale(
    folder: Path, tmp_path: Path, rng: np.random.Generator
) -> None:
    # The network knows: tag i < 6 is how red and not blue a part of the picture is, on 0 to 255.
    weights = np.zeros((48, N_TAGS))
    for i in range(N_TAGS):
        weights[i % 16, i], weights[32 + i % 16, i] = 0.04, -0.04
    network(folder / "model.onnx", weights=weights, kind="logits")
    rows = ["image,tags"]
    images = tmp_path / "images"
    images.mkdir()
    for i in range(60):
        pixels = np.full((8, 8, 3), 110, np.uint8)
        chosen = rng.random(N_TAGS) < 0.3
        for j in range(N_TAGS):
            y, x = 2 * (j % 16 // 4), 2 * (j % 4)
            pixels[y : y + 2, x : x + 2] = (240, 100, 20) if chosen[j] else (20, 100, 240)
        Image.fromarray(pixels).save(images / f"{i}.png")
        rows.append(
            f"{i}.png,{' '.join(tag for tag, one in zip(TAGS, chosen, strict=True) if one)}"
        )
    (tmp_path / "labels.csv").write_text("\n".join(rows))
    said = {"input.geometry": "squash", "input.resample": "bicubic"}
    how = {"images": images, "labels": tmp_path / "labels.csv"}
    with pytest.raises(
        TagstackError, match=r"no file says \(1\) input\.range: .*; the pictures agree best with"
    ):
        made(folder, said, **how)  # a linear network is as right on any scale
    result = made(folder, {**said, "input.range": "0-255"}, **how)
    assert result.draft.facts["input.colour"].value == "RGB"
    assert "58 labelled pictures surely" in result.draft.facts["input.colour"].source


def _linked(path: Path) -> bool:
    path.symlink_to("/etc/hostname")
    return True


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: (f / "model.onnx").unlink(), r"has no \.onnx file"),
        (lambda f: (f / "selected_tags.csv").unlink(), "has no list of the tags"),
        (
            lambda f: (f / "selected_tags.csv").write_text(csv().rsplit("\n", 1)[0]),
            r"gives 12 scores, and there is selected_tags\.csv 11",
        ),
        (
            lambda f: (f / "b.onnx").write_bytes(b""),
            r"files\.model: which network \[b\.onnx, model",
        ),
        (
            lambda f: (f / "model.onnx").rename(f / "net") and _linked(f / "model.onnx"),
            "is a link to",
        ),
    ],
)
def test_folders_that_are_none(folder: Path, change: Callable[[Path], Any], message: str) -> None:
    change(folder)
    with pytest.raises(TagstackError, match=message):
        made(folder)
    assert not (folder / "tagger.toml").exists()


def test_what_a_stranger_wrote_is_escaped_and_costs_itself_alone(folder: Path) -> None:
    (folder / "config.json").write_text('{"pretrained_cfg": {"mean": "\\u001b[2J", "std": 1}}')
    (folder / "preprocess.json").write_text("[" * 100_000)
    (folder / "README.md").write_text("---\nlicense: \x1b[2Jmit\n---\n")
    os.mkfifo(folder / "preprocessing.json")
    result = made(folder)
    assert result.report.passed, result.report.findings[-1]
    assert len(result.draft.notes) >= 2
    assert "\x1b" not in (folder / "tagger.toml").read_text() + "".join(result.draft.notes)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("input.nope", "1", "'input.nope' cannot be set; expected one of name,"),
        ("input.colour", "GBR", "input.colour"),
        ("output.name", "nope", "'nope' is no output of 12 numbers; expected one of prediction"),
    ],
)
def test_values_that_no_contract_takes(folder: Path, key: str, value: str, message: str) -> None:
    with pytest.raises(TagstackError, match=message):
        made(folder, {**SEEN, key: value})
    assert not (folder / "tagger.toml").exists()


def test_a_network_runs_in_a_process_of_its_own_that_may_die(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()  # the look in this process
    path = folder / "model.onnx"
    for code, message in (
        ("import os; os.abort()", "cannot be run: it ended with -6"),
        ("import sys; sys.exit('bad \x1b[2J graph')", r"cannot be run: bad .x1b\[2J graph"),
        ("import time; time.sleep(60)", "was not through within 0.5 s"),
    ):
        monkeypatch.setattr(model_facts, "COMMAND", (sys.executable, "-c", code))
        with pytest.raises(TagstackError, match=message):
            model_facts.model_facts(path, 8, 0.5 if "sleep" in code else 60)
    monkeypatch.undo()
    assert model_facts.model_facts(path, 8, 120) == model_facts.examine(path, 8)
