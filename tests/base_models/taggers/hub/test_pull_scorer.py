"""``tagstack quality pull`` against the same server: fetched once, run once, opened by its name."""

import json
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from typer.testing import CliRunner, Result

from tagstack.cli import app
from tagstack.configs.errors import TagstackError
from tagstack.ensemble.workshop.quality.scorers.opening import opened_scorers
from tagstack.ensemble.workshop.quality.scorers.pulling import pulled_folder, scorers_folder

Hub = Any  # the server of conftest.py
NAME, FOLDER = "anime-aesthetic", "swinv2pv3_v0_448_ls0.2_x"
CLASSES = ["masterpiece", "best", "great", "good", "normal", "low", "worst"]


def pull(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["quality", "pull", *arguments])


@pytest.fixture
def aesthetic(server: Hub) -> Hub:
    """Let the hub hold what the shipped contract describes, in miniature."""
    nodes = [
        helper.make_node("ReduceMean", ["input"], ["mean"], axes=[2, 3], keepdims=0),
        helper.make_node("MatMul", ["mean", "w"], ["product"]),
        helper.make_node("Softmax", ["product"], ["output"], axis=1),
    ]
    weights = np.random.default_rng(0).normal(0, 1, (3, 7)).astype(np.float32)
    ports = (("input", (1, 3, 448, 448)), ("output", (1, 7)))
    given, wanted = (
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)] for name, shape in ports
    )
    graph = helper.make_graph(nodes, "tiny", given, wanted, [numpy_helper.from_array(weights, "w")])
    opset = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=8)
    files = {
        f"{FOLDER}/model.onnx": model.SerializeToString(),
        f"{FOLDER}/meta.json": json.dumps({"labels": CLASSES}).encode(),
    }
    server.repo, server.versions = "deepghs/anime_aesthetic", {server.newest: files}
    return server


def test_a_scorer_is_fetched_once_and_then_opened_by_its_name(aesthetic: Hub) -> None:
    with pytest.raises(TagstackError, match=r"not here\. Fetch it: tagstack quality pull anime-"):
        opened_scorers((NAME,), threads=1).__enter__()
    result = pull(NAME, "--yes", "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert (found["commit"], 0 < found["grey"] < 6) == (aesthetic.newest, True)
    assert "licence: OpenRAIL, by the card" in result.stderr
    assert "input.size" in found["unverified"][0]
    assert pulled_folder(NAME) == scorers_folder() / NAME
    with opened_scorers((NAME,), threads=1) as (scorer,):
        assert scorer.function(np.full((64, 48, 3), 128, np.uint8)) == found["grey"]
    n_asked = len(aesthetic.ranges)
    assert pull(NAME).exit_code == 0  # nothing is asked, nothing is fetched
    assert len(aesthetic.ranges) == n_asked == 2


def test_nobody_is_there_to_ask(aesthetic: Hub) -> None:
    result = pull(NAME)
    assert isinstance(result.exception, TagstackError)
    assert "Nobody is there to ask before downloading 'anime-aesthetic'" in str(result.exception)
    assert aesthetic.ranges == []


def test_what_does_not_fit_its_contract_is_not_kept(aesthetic: Hub) -> None:
    aesthetic.versions[aesthetic.newest][f"{FOLDER}/meta.json"] = b'{"labels": ["good"]}'
    result = pull(NAME, "--yes")
    assert isinstance(result.exception, TagstackError)
    assert "has the classes" in str(result.exception)
    assert not (scorers_folder() / NAME).exists()


def test_a_changed_file_is_refused(aesthetic: Hub) -> None:
    assert pull(NAME, "--yes").exit_code == 0
    with (scorers_folder() / NAME / "model.onnx").open("ab") as file:
        file.write(b"!")
    with pytest.raises(TagstackError, match=r"model\.onnx"):
        opened_scorers((NAME,), threads=1).__enter__()


def test_an_unknown_name_is_a_message(server: Hub) -> None:
    result = pull("nothing")
    assert isinstance(result.exception, TagstackError)
    assert "No contract 'nothing' of a scorer is known" in str(result.exception)
