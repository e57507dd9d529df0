"""Networks as scorers: what their contracts promise, against NumPy; and what contradicts them."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from tagstack.configs.errors import TagstackError
from tagstack.configs.settings import load_settings
from tagstack.ensemble.progress import Silent
from tagstack.ensemble.tasks.quality_scores import score_quality
from tagstack.ensemble.workshop.quality.scorers.network import (
    shipped_contract,
    shipped_contracts,
)
from tagstack.ensemble.workshop.quality.scorers.opening import opened_scorers

WEIGHT = np.array([[1.0, 0, -2], [0, 3, 0], [0.5, -1, 2]], np.float32)
BASE = """name = "grade"
source = "here"
licence = "MIT"
[input]
layout = "NCHW"
colour = "BGR"
size = 8
geometry = "squash"
resample = "bilinear"
mean = [0.5, 0.4, 0.3]
std = [0.5, 0.25, 0.2]
batch = "dynamic"
[output]
"""


def network(folder: Path, output: str, base: str = BASE) -> Path:
    """Write a scorer whose network is the mean of each channel times `WEIGHT`."""
    folder.mkdir(exist_ok=True)
    nodes = [
        helper.make_node("GlobalAveragePool", ["x"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "grade",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])],
        [onnx.numpy_helper.from_array(WEIGHT, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, folder / "model.onnx")
    (folder / "scorer.toml").write_text(base + output)
    return folder


def outputs(colour: tuple[int, int, int]) -> NDArray[np.float64]:
    """Return what the network makes of a picture of one colour, in RGB."""
    scaled = (np.array(colour) / 255 - (0.5, 0.4, 0.3)) / (0.5, 0.25, 0.2)
    return np.asarray(scaled[::-1] @ WEIGHT)


def scored(folder: Path, colour: tuple[int, int, int], contract: str = "") -> float:
    name = f"{contract}={folder}" if contract else str(folder)
    with opened_scorers((name,), threads=1) as (scorer,):
        return scorer.function(np.full((5, 11, 3), colour, np.uint8))


def test_each_head_is_what_its_contract_says(tmp_path: Path) -> None:
    y = outputs((200, 30, 90))
    folder = network(tmp_path / "s", 'head = "value"\nplace = 1\n')
    assert scored(folder, (200, 30, 90)) == pytest.approx(y[1], rel=1e-4)
    network(folder, 'head = "value"\nplace = 2\nactivation = "sigmoid"\n')
    assert scored(folder, (200, 30, 90)) == pytest.approx(1 / (1 + np.exp(-y[2])), rel=1e-4)
    network(folder, 'head = "expected"\nactivation = "softmax"\nvalues = [1, 5, 10]\n')
    share = np.exp(y) / np.exp(y).sum()
    assert scored(folder, (200, 30, 90)) == pytest.approx(share @ [1, 5, 10], rel=1e-4)


def test_similarity_is_the_cosine_to_texts_or_a_probability_against_others(tmp_path: Path) -> None:
    y = outputs((200, 30, 90))
    folder = network(tmp_path / "s", 'head = "similarity"\ntexts = "t.json"\nscale = 4\n')

    def scores(**texts: object) -> float:
        (folder / "t.json").write_text(json.dumps(texts))
        return scored(folder, (200, 30, 90))

    def cosine(*row: float) -> float:
        return float(y @ row / np.linalg.norm(y) / np.linalg.norm(row))

    good, odd, bad = (1, 2, 3), (0, -4, 1), (-1, 0, 0.5)
    near = (cosine(*good) + cosine(*odd)) / 2
    assert scores(towards=[good, odd]) == pytest.approx(near, rel=1e-4)
    expected = 1 / (1 + np.exp(4 * (cosine(*bad) - near)))
    assert scores(towards=[good, odd], against=[bad]) == pytest.approx(expected, rel=1e-4)
    for wrong, message in (
        ({"towards": []}, "none towards, or of several lengths"),
        ({"towards": [good], "against": [[1, 2]]}, "of several lengths"),
        ({"towards": [[0, 0, 0]]}, "without a direction"),
        ({"towards": 3}, "a list is expected"),
        ({"towards": [["x", 1, 2]]}, "could not convert"),
        ({"towards": [[1, 2]]}, "gives 3 outputs; the contract reads 2"),
    ):
        with pytest.raises(TagstackError, match=message):
            scores(**wrong)
    for more, message in (
        ('head = "similarity"', "texts belongs to head"),
        ('head = "value"\ntexts = "t.json"', "texts belongs to head"),
        ('head = "similarity"\ntexts = "t.json"\nactivation = "sigmoid"', "no activation"),
        ('head = "similarity"\ntexts = "t.json"\ntowards = [[1, 2, 3]]', "a file of their own"),
    ):
        network(folder, more + "\n")
        with pytest.raises(TagstackError, match=message):
            scored(folder, (200, 30, 90))


def test_other_texts_are_another_scorer(tmp_path: Path) -> None:
    folder = network(tmp_path / "s", 'head = "similarity"\ntexts = "t.json"\n')
    versions = set()
    for row in ((1, 2, 3), (3, 2, 1)):
        (folder / "t.json").write_text(json.dumps({"towards": [row]}))
        with opened_scorers((str(folder),), threads=1) as (scorer,):
            versions.add(scorer.fingerprint)
    assert len(versions) == 2


def test_grades_follow_the_publishers_order_of_classes(tmp_path: Path) -> None:
    output = ('head = "expected"\nactivation = "softmax"\nlabels = "meta.json"\n'
              "grades = { worst = 0, good = 1, best = 2 }\n")  # fmt: skip
    folder = network(tmp_path / "s", output)
    (folder / "meta.json").write_text(json.dumps({"labels": ["best", "worst", "good"]}))
    y = outputs((9, 200, 90))
    expected = np.exp(y) / np.exp(y).sum() @ [2, 0, 1]
    assert scored(folder, (9, 200, 90)) == pytest.approx(expected, rel=1e-4)
    for text in ('{"labels": ["best", "worst"]}', '{"labels": 3}', "[", "{}", '{"labels": [1, 2]}'):
        (folder / "meta.json").write_text(text)
        with pytest.raises(TagstackError, match=r"meta\.json (has the classes|holds no list)"):
            scored(folder, (0, 0, 0))
    (folder / "meta.json").unlink()
    with pytest.raises(TagstackError, match=r"meta\.json is missing"):
        scored(folder, (0, 0, 0))


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ('head = "expected"\nvalues = [1, 2, 3]\n', 'set activation = "softmax"'),
        ('head = "expected"\nactivation = "softmax"\nvalues = [1, 2]\n', "gives 3 outputs"),
        ('head = "value"\nplace = 3\n', "gives 3 outputs; the contract reads 4"),
        ('head = "value"\nvalues = [1]\n', "belong to head"),
        ('head = "expected"\n', "belong to head"),
        ('head = "expected"\nlabels = "../m.json"\ngrades = { a = 1 }\n', "out of its folder"),
        ('head = "expected"\nvalues = [1]\nactivation = "sigmoid"\n', "needs probabilities"),
        ('head = "value"\nmodel = "x"\n', "model"),
    ],
)
def test_what_contradicts_is_one_line(tmp_path: Path, output: str, message: str) -> None:
    folder = network(tmp_path / "s", output)
    with pytest.raises(TagstackError, match=message) as error:
        scored(folder, (250, 30, 90))
    assert "\n" not in str(error.value)


def test_folders_that_are_no_scorers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TagstackError, match=r"has no scorer\.toml"):
        scored(tmp_path, (0, 0, 0))
    with pytest.raises(TagstackError, match="No contract 'nima' of a scorer is known; known are"):
        scored(tmp_path, (0, 0, 0), contract="nima")
    folder = network(tmp_path / "s", 'head = "value"\n')
    (folder / "model.onnx").write_bytes(b"no network")
    with pytest.raises(TagstackError):
        scored(folder, (0, 0, 0))
    (folder / "model.onnx").unlink()
    with pytest.raises(TagstackError, match=r"model\.onnx is missing"):
        scored(folder, (0, 0, 0))
    matte = BASE.replace('resample = "bilinear"', 'resample = "bilinear"\nmatte = [0, 0, 0]')
    with pytest.raises(TagstackError, match="matte must be white"):
        scored(network(tmp_path / "m", 'head = "value"\n', matte), (0, 0, 0))


def test_another_network_scores_anew_and_another_title_does_not(tmp_path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (20, 20), (200, 30, 90)).save(tmp_path / "a.png")
    folder, table = network(tmp_path / "s", 'head = "value"\n'), tmp_path / "s.csv"
    settings = load_settings(None, {"threads": 1})

    def run() -> int:
        asked = [tmp_path / "a.png"], (str(folder),), table, settings, Silent()
        return score_quality(*asked).n_scored

    assert run() == 1
    network(folder, 'head = "value"\n', BASE.replace('"MIT"', '"MIT"\ntitle = "Grade"'))
    assert run() == 0
    network(folder, 'head = "value"\nplace = 1\n')
    assert run() == 1
    assert float(table.read_text().splitlines()[1].split(",")[1]) == pytest.approx(
        outputs((200, 30, 90))[1], rel=1e-4
    )


@pytest.mark.parametrize("name", shipped_contracts())
def test_shipped_contracts_say_what_is_not_verified(name: str) -> None:
    contract = shipped_contract(name)
    assert contract.name == name
    assert contract.unverified
    assert contract.source.startswith("https://")
