"""A tagger's folder from a stranger: nothing outside it is read, copied, linked or written."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from onnx.external_data_helper import set_external_data

from tagstack.base_models.runtimes.external_weights import weight_files
from tagstack.base_models.taggers.own_folder import registry_folder
from tagstack.base_models.taggers.registry import add_tagger
from tagstack.base_models.taggers.tagger import load_tagger
from tagstack.configs.errors import TagstackError
from tagstack.configs.level1 import ScoreSettings

Folder = Callable[..., Path]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TAGSTACK_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def _named(folder: Path, key: str, name: str) -> Path:
    text = (folder / "tagger.toml").read_text()
    (folder / "tagger.toml").write_text(f"{text}\n[files]\n{key} = {name!r}\n")
    return folder


@pytest.mark.parametrize("key", ["model", "tags"])
@pytest.mark.parametrize("copy", [False, True])
@pytest.mark.parametrize("up", ["../../mine", "absolute"])
def test_adding_touches_nothing_that_a_contract_names_elsewhere(
    make_tagger_folder: Folder,
    settings: ScoreSettings,
    tmp_path: Path,
    home: Path,
    key: str,
    copy: bool,
    up: str,
) -> None:
    mine = tmp_path / "mine"
    mine.write_text("alias ll='ls -l'")
    folder = _named(make_tagger_folder(), key, str(mine) if up == "absolute" else up)
    with pytest.raises(TagstackError, match=rf"files\.{key}.*file name"):
        add_tagger(folder, settings, copy=copy)
    assert mine.read_text() == "alias ll='ls -l'"
    assert not mine.is_symlink()
    assert not home.exists()


def _external(folder: Path, location: str, *, where: str = "initialiser") -> Path:
    """Let a weight of a tagger's model lie in a file of its own."""
    path = folder / "model.onnx"
    model = onnx.load(str(path))
    tensor = model.graph.initializer[0]
    raw = numpy_helper.to_array(tensor).tobytes()
    if where == "constant":
        node = helper.make_node("Constant", [], [tensor.name], value=tensor)
        model.graph.node.insert(0, node)
        del model.graph.initializer[0]
        tensor = model.graph.node[0].attribute[0].t
    set_external_data(tensor, location=location, offset=0, length=len(raw))
    tensor.ClearField("raw_data")
    path.write_bytes(model.SerializeToString())
    if "/" not in location and ".." not in location:
        (folder / location).write_bytes(raw)
    return folder


@pytest.mark.parametrize("where", ["initialiser", "constant"])
@pytest.mark.parametrize("location", ["../stolen.bin", "/etc/passwd", "sub/../../stolen.bin"])
def test_weights_outside_the_folder_are_not_read(
    make_tagger_folder: Folder, location: str, where: str
) -> None:
    folder = _external(make_tagger_folder(), location, where=where)
    assert weight_files(folder / "model.onnx") == (location,)
    with pytest.raises(TagstackError, match=r"model\.onnx: the file name .* (leads out|holds)"):
        load_tagger(folder, floor=1e-4, threads=1)


@pytest.mark.parametrize("location", ["model.onnx.data", "weights.bin"])
@pytest.mark.parametrize("copy", [False, True])
def test_weights_of_any_plain_name_come_along_and_count(
    make_tagger_folder: Folder, settings: ScoreSettings, location: str, copy: bool
) -> None:
    folder = _external(make_tagger_folder(), location)
    before = load_tagger(folder, floor=1e-4, threads=1)
    assert add_tagger(folder, settings, copy=copy).passed
    added = load_tagger(registry_folder() / "tiny", floor=1e-4, threads=1)
    assert added.fingerprint == before.fingerprint
    data = bytearray((folder / location).read_bytes())
    data[0] ^= 1
    (folder / location).write_bytes(bytes(data))
    assert load_tagger(folder, floor=1e-4, threads=1).fingerprint != before.fingerprint


def test_links_out_of_the_folder_are_refused_and_blobs_of_the_hub_are_not(
    make_tagger_folder: Folder, settings: ScoreSettings, tmp_path: Path
) -> None:
    folder = make_tagger_folder()
    snapshot = tmp_path / "hub" / "snapshots" / "1"
    snapshot.mkdir(parents=True)
    (tmp_path / "hub" / "blobs").mkdir()
    for path in folder.iterdir():
        path.rename(tmp_path / "hub" / "blobs" / f"{path.name}-blob")
        (snapshot / path.name).symlink_to(f"../../blobs/{path.name}-blob")
        path.symlink_to(tmp_path / "hub" / "blobs" / f"{path.name}-blob")
    assert add_tagger(snapshot, settings).passed
    assert load_tagger(registry_folder() / "tiny", floor=1e-4, threads=1).name == "tiny"
    with pytest.raises(TagstackError, match=r"model\.onnx is a link to .*outside of"):
        load_tagger(folder, floor=1e-4, threads=1)


@pytest.mark.parametrize("name", ["model.onnx", "selected_tags.csv", "tagger.toml"])
def test_a_pipe_is_refused_instead_of_waited_for(make_tagger_folder: Folder, name: str) -> None:
    folder = make_tagger_folder()
    (folder / name).unlink()
    os.mkfifo(folder / name)
    with pytest.raises(TagstackError, match=r"no regular file|is a pipe"):
        load_tagger(folder, floor=1e-4, threads=1)


@pytest.mark.parametrize("name", ["selected_tags.csv", "tagger.toml"])
def test_a_huge_file_is_refused_by_its_size(make_tagger_folder: Folder, name: str) -> None:
    folder = make_tagger_folder()
    with (folder / name).open("wb") as stream:
        stream.truncate(3 << 30)
    with pytest.raises(TagstackError, match="is larger than"):
        load_tagger(folder, floor=1e-4, threads=1)


def _model_with(locations: list[str], depth: int) -> Any:
    """Return a model whose weights lie in files, in the graph or in graphs inside of it."""
    tensors = []
    for number, location in enumerate(locations):
        tensor = TensorProto(name=f"w{number}", data_type=TensorProto.FLOAT, dims=[1], raw_data=b"")
        set_external_data(tensor, location=location)
        tensors.append(tensor)
    graph = helper.make_graph([], "g", [], [], tensors)
    for _ in range(depth):
        graph = helper.make_graph(
            [helper.make_node("If", ["c"], [], then_branch=graph)], "g", [], []
        )
    return helper.make_model(graph)


@given(
    locations=st.lists(st.text(min_size=1, max_size=20), max_size=3),
    depth=st.integers(0, 3),
    noise=st.binary(max_size=30),
)
@hypothesis_settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=50
)
def test_locations_are_those_that_onnx_reads(
    tmp_path: Path, locations: list[str], depth: int, noise: bytes
) -> None:
    model = _model_with(locations, depth)
    model.graph.initializer.append(numpy_helper.from_array(np.frombuffer(noise, np.uint8), "n"))
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    assert weight_files(tmp_path / "m.onnx") == tuple(sorted(set(locations)))


def test_what_a_library_would_step_over_is_refused(tmp_path: Path) -> None:
    group = bytes([99 << 3 & 0x7F | 3 | 0x80, 99 >> 4]) + bytes(
        [99 << 3 & 0x7F | 4 | 0x80, 99 >> 4]
    )
    data = _model_with(["../x"], 0).SerializeToString()
    onnx.load_model_from_string(group + data)
    (tmp_path / "m.onnx").write_bytes(group + data)
    with pytest.raises(TagstackError, match="no protocol buffer: a field of kind 3"):
        weight_files(tmp_path / "m.onnx")
