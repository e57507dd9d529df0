"""Pulling from the hub, against a server that speaks the few endpoints that are used."""

import hashlib
import json
import re
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from typer.testing import CliRunner, Result

from tagstack.base_models import hub, pulling
from tagstack.base_models.admission import add_tagger, contract_and_text
from tagstack.base_models.check import check_tagger
from tagstack.base_models.contract import Hub as HubSection
from tagstack.base_models.contract import read_contract
from tagstack.base_models.pull_record import read_record, record_path
from tagstack.base_models.pulling import plan_pull, pull, pulled_before
from tagstack.base_models.registry import (
    list_taggers,
    load_taggers,
    registry_folder,
    resolve,
    show_tagger,
)
from tagstack.cli import app
from tagstack.configs.errors import TagstackError
from tagstack.configs.level1 import ScoreSettings

Folder = Callable[..., Path]
COMMITS = ("a" * 40, "b" * 40)
REPO = "someone/tiny-tagger"


@dataclass
class Hub:
    """A repository with one set of files a commit, and what it was asked for."""

    versions: dict[str, dict[str, bytes]]
    newest: str = COMMITS[0]
    gated: bool = False
    locked: bool = False
    lies: dict[str, bytes] = field(default_factory=dict)
    cut_at: int | None = None
    ranges: list[tuple[str, str | None]] = field(default_factory=list)
    url: str = ""
    repo: str = REPO

    def info(self, commit: str) -> dict[str, Any]:
        siblings = []
        for name, content in self.versions[commit].items():
            facts: dict[str, Any] = {"rfilename": name, "size": len(content)}
            facts["blobId"] = hashlib.sha1(content).hexdigest()
            if name.endswith(".onnx"):
                sha256 = hashlib.sha256(content).hexdigest()
                facts["lfs"] = {"sha256": sha256, "size": len(content), "pointerSize": 130}
            siblings.append(facts)
        return {
            "id": self.repo,
            "sha": commit,
            "gated": "manual" if self.gated else False,
            "private": False,
            "cardData": {"license": "apache-2.0"},
            "siblings": siblings,
        }


class _Handler(BaseHTTPRequestHandler):
    server: Any

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        known: Hub = self.server.hub
        path = self.path.split("?")[0]
        if match := re.fullmatch(rf"/api/models/{known.repo}(?:/revision/(\w+))?", path):
            commit = match[1] or known.newest
            if commit in known.versions:
                return self._send(200, json.dumps(known.info(commit)).encode())
            return self._refuse(404, "RevisionNotFound")
        if match := re.fullmatch(rf"/{known.repo}/resolve/(\w+)/(.+)", path):
            if known.locked:
                return self._refuse(401, "GatedRepo")
            return self._file(known, match[2], known.versions[match[1]][match[2]])
        return self._refuse(401, "RepoNotFound")

    def _file(self, known: Hub, name: str, content: bytes) -> None:
        asked = self.headers.get("Range")
        known.ranges.append((name, asked))
        content = known.lies.get(name, content)
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        self.send_response(206 if asked else 200)
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        end, known.cut_at = known.cut_at, None
        self.wfile.write(content[start:end])
        if end is not None:
            self.connection.close()

    def _refuse(self, status: int, code: str) -> None:
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _send(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def tiny_hub(make_tagger_folder: Folder) -> Hub:
    """Return a hub whose two commits hold different models of the same tags."""
    versions = {}
    for seed, commit in enumerate(COMMITS):
        folder = make_tagger_folder(name=f"seed{seed}", seed=seed)
        names = ("model.onnx", "selected_tags.csv")
        versions[commit] = {name: (folder / name).read_bytes() for name in names}
        versions[commit]["README.md"] = b"what a card says"
    return Hub(versions)


@pytest.fixture
def server(
    tiny_hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_tagger_folder: Folder
) -> Iterator[Hub]:
    """Serve the hub, and let the contract ``tiny`` point to it."""
    folder = make_tagger_folder(name="tiny")
    contract = folder / "tagger.toml"
    contract.write_text(
        contract.read_text() + f'[hub]\nrepo = "{REPO}"\nnote = "made for a test"\n'
    )

    def tiny(_: Path, name: str | None) -> tuple[Any, str]:
        if name != "tiny":
            return contract_and_text(Path(), name)
        return read_contract(contract), contract.read_text()

    monkeypatch.setattr(pulling, "contract_and_text", tiny)
    real = show_tagger

    def show(name: str) -> Any:
        mine = registry_folder() / name
        if name != "tiny" or mine.exists():
            return real(name)
        return replace(real("wd-vit-tagger-v3"), name=name)

    monkeypatch.setattr(pulling, "show_tagger", show)
    monkeypatch.setenv("TAGSTACK_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(huggingface_hub.constants, "DOWNLOAD_CHUNK_SIZE", 700)
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as listening:
        listening.hub = tiny_hub  # type: ignore[attr-defined]
        tiny_hub.url = f"http://127.0.0.1:{listening.server_port}"
        monkeypatch.setenv("HF_ENDPOINT", tiny_hub.url)
        thread = threading.Thread(target=listening.serve_forever, args=(0.01,))
        thread.start()
        yield tiny_hub
        listening.shutdown()
        thread.join()


def _quiet(*_: object) -> None:
    pass


def _sum(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_a_pulled_tagger_is_entered_recorded_and_usable(
    server: Hub, settings: ScoreSettings
) -> None:
    seen: list[tuple[str, int, int]] = []
    assert pulled_before("tiny") is None
    plan = plan_pull("tiny")
    assert server.ranges == []  # planning downloads nothing
    assert [file.name for file in plan.state.files] == ["model.onnx", "selected_tags.csv"]
    assert plan.state.commit == COMMITS[0]
    assert plan.notes == ("licence: none", "licence on its card: apache-2.0", "made for a test")
    files = server.versions[COMMITS[0]]
    assert plan.size_bytes == len(files["model.onnx"]) + len(files["selected_tags.csv"])
    report = pull(plan, settings, lambda *state: seen.append(state))
    assert report.passed, report.findings
    assert sorted(path.name for path in registry_folder().iterdir()) == ["tiny"]
    assert (resolve("tiny") / "model.onnx").read_bytes() == files["model.onnx"]
    record = read_record(record_path(registry_folder(), "tiny"))
    assert record is not None
    assert (record.repo, record.commit) == (REPO, COMMITS[0])
    assert record.files == {n: _sum(files[n]) for n in ("model.onnx", "selected_tags.csv")}
    model = [here for name, here, _ in seen if name == "model.onnx"]
    assert model == sorted(model)
    assert model[0] == 0
    assert model[-1] == len(files["model.onnx"])
    (tagger,) = load_taggers(["tiny"], settings, threads=1)
    tagger.close()
    assert "tiny" in {entry.name for entry in list_taggers()}
    details = {finding.check: finding.detail for finding in check_tagger(resolve("tiny"),
               floor=1e-4, threads=1).findings}  # fmt: skip
    assert details["download"] == (
        f"model.onnx, selected_tags.csv as first pulled from {REPO} at {'a' * 12}"
    )
    assert pulled_before("tiny") == record


@pytest.mark.parametrize("cut", [0, 1, 1500])
def test_a_broken_connection_is_continued_at_once(
    server: Hub, settings: ScoreSettings, cut: int
) -> None:
    server.cut_at = cut
    assert pull(plan_pull("tiny"), settings, _quiet).passed
    asked = [where for name, where in server.ranges if name == "model.onnx"]
    assert asked[0] is None
    assert len(asked) == 2
    if cut > 700:
        assert asked[1] == "bytes=1400-"  # two whole chunks had arrived


def test_an_interrupted_pull_goes_on_at_the_same_commit(
    server: Hub, settings: ScoreSettings
) -> None:
    def interrupt(name: str, here: int, size: int) -> None:
        if here > 1400:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pull(plan_pull("tiny"), settings, interrupt)
    assert show_nothing_but_staging() == [f".pull-tiny-{'a' * 12}"]
    server.newest = COMMITS[1]  # the publisher goes on meanwhile
    server.ranges.clear()
    assert pull(plan_pull("tiny"), settings, _quiet).passed
    assert server.ranges[0] == ("model.onnx", "bytes=1400-")
    files = server.versions[COMMITS[0]]
    assert (resolve("tiny") / "model.onnx").read_bytes() == files["model.onnx"]
    assert list(resolve("tiny").glob("*.unfinished")) == []


def show_nothing_but_staging() -> list[str]:
    return sorted(path.name for path in registry_folder().iterdir())


def test_a_damaged_download_is_refused_and_the_next_one_starts_afresh(
    server: Hub, settings: ScoreSettings
) -> None:
    good = server.versions[COMMITS[0]]["model.onnx"]
    server.lies["model.onnx"] = bytes(len(good))
    wrong = rf"has SHA-256 {_sum(bytes(len(good)))}, but the hub says {_sum(good)}.*Pull again"
    with pytest.raises(TagstackError, match=wrong):
        pull(plan_pull("tiny"), settings, _quiet)
    server.lies.clear()
    assert pull(plan_pull("tiny"), settings, _quiet).passed


def test_other_bytes_than_the_first_pull_recorded_are_refused(
    server: Hub, settings: ScoreSettings
) -> None:
    assert pull(plan_pull("tiny"), settings, _quiet).passed
    folder = resolve("tiny")
    tags = folder / "selected_tags.csv"
    tags.write_bytes(tags.read_bytes().replace(b"tag_0", b"tag_X"))
    for use in (
        lambda: load_taggers(["tiny"], settings, threads=1),
        lambda: pulled_before("tiny"),
    ):
        with pytest.raises(TagstackError, match=r"selected_tags\.csv .* was recorded when it was"):
            use()
    report = check_tagger(folder, floor=1e-4, threads=1)
    assert [finding.check for finding in report.findings if not finding.passed] == ["download"]
    # Small files carry no SHA-256 of the hub's: the record alone notices a rewritten commit.
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    server.lies["selected_tags.csv"] = tags_like(server, b"tag_1", b"tag_Y")
    with pytest.raises(TagstackError, match=r"selected_tags\.csv .* was recorded when it was"):
        pull(plan_pull("tiny"), settings, _quiet)


def tags_like(server: Hub, old: bytes, new: bytes) -> bytes:
    return server.versions[COMMITS[0]]["selected_tags.csv"].replace(old, new)


def test_pulling_again_after_deletion_gives_the_first_commit(
    server: Hub, settings: ScoreSettings
) -> None:
    assert pull(plan_pull("tiny"), settings, _quiet).passed
    folder = resolve("tiny")
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    server.newest = COMMITS[1]
    assert plan_pull("tiny").state.commit == COMMITS[0]
    record_path(registry_folder(), "tiny").unlink()
    assert plan_pull("tiny").state.commit == COMMITS[1]


def test_weights_beside_the_model_come_along(server: Hub, settings: ScoreSettings) -> None:
    server.versions[COMMITS[0]]["model.onnx_data"] = b"weights"
    server.versions[COMMITS[0]]["model2.onnx"] = b"another network"
    names = [file.name for file in plan_pull("tiny").state.files]
    assert names == ["model.onnx", "selected_tags.csv", "model.onnx_data"]


def test_a_gated_repository_says_so_before_and_what_to_do(
    server: Hub, settings: ScoreSettings
) -> None:
    server.gated = server.locked = True
    plan = plan_pull("tiny")
    assert any(note.startswith("gated: its publisher asks") for note in plan.notes)
    with pytest.raises(TagstackError, match=r"is gated: accept its terms at .*HF_TOKEN"):
        pull(plan, settings, _quiet)


def test_what_cannot_be_had_is_one_line(
    server: Hub, settings: ScoreSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(TagstackError, match=r"'deepdanbooru-v3' cannot be pulled: .*models add"):
        plan_pull("deepdanbooru-v3")
    with pytest.raises(TagstackError, match="ships with tagstack"):
        pulled_before("doll_vit")
    with pytest.raises(TagstackError, match="no repository 'SmilingWolf/wd-vit-tagger-v3' that"):
        plan_pull("wd-vit-tagger-v3")
    with pytest.raises(TagstackError, match="has no such revision any more"):
        hub.hub_state(HubSection(repo=REPO), ("model.onnx",), (), "c" * 40)
    with pytest.raises(TagstackError, match=r"has no file 'x/model\.onnx'; its files are \['READ"):
        hub.hub_state(HubSection(repo=REPO, folder="x"), ("model.onnx",), (), None)
    with monkeypatch.context() as patch:
        patch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
        with pytest.raises(TagstackError, match="HF_HUB_OFFLINE is set"):
            plan_pull("tiny")
    with monkeypatch.context() as patch:
        patch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
        with pytest.raises(TagstackError, match=r"Cannot fetch from .*goes on from there"):
            plan_pull("tiny")
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "huggingface_hub", None)
        with pytest.raises(TagstackError, match=r"pip install 'tagstack\[hub\]'"):
            plan_pull("tiny")
    with monkeypatch.context() as patch:
        patch.setattr(pulling, "_KEEP_FREE", 1 << 62)
        with pytest.raises(TagstackError, match=r"needs \d+ MiB below .* are free"):
            pull(plan_pull("tiny"), settings, _quiet)


def test_a_tagger_added_by_hand_is_not_replaced(
    server: Hub, settings: ScoreSettings, tmp_path: Path
) -> None:
    assert add_tagger(tmp_path / "taggers" / "tiny", settings).passed
    with pytest.raises(TagstackError, match="was added by hand"):
        pulled_before("tiny")


def test_a_damaged_record_is_one_line(server: Hub) -> None:
    path = record_path(registry_folder(), "tiny")
    path.parent.mkdir(parents=True)
    for text in ("{", '{"repo": 1}', "[]", '{"repo": "a/b", "commit": "c", "files": []}'):
        path.write_text(text)
        with pytest.raises(TagstackError, match=r"Delete it and pull"):
            plan_pull("tiny")
    path.write_text('{"format": 7, "repo": "a/b", "commit": "c", "files": {}}')
    with pytest.raises(TagstackError, match="has format 7, expected 1"):
        plan_pull("tiny")


@pytest.fixture
def published(server: Hub, monkeypatch: pytest.MonkeyPatch) -> Hub:
    """Let the hub hold what the shipped contract ``wd-vit-tagger-v3`` describes, in miniature."""
    rows = "".join(f"{i},tag_{i},{(0, 4, 9)[i % 3]},9\n" for i in range(9))
    nodes = [
        helper.make_node("ReduceMean", ["input"], ["mean"], axes=[1, 2], keepdims=0),
        helper.make_node("MatMul", ["mean", "w"], ["product"]),
        helper.make_node("Sigmoid", ["product"], ["output"]),
    ]
    weights = np.random.default_rng(0).normal(0, 0.02, (3, 9)).astype(np.float32)
    ports = (("input", ("batch", 448, 448, 3)), ("output", ("batch", 9)))
    given, wanted = (
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)] for name, shape in ports
    )
    initial = [numpy_helper.from_array(weights, "w")]
    graph = helper.make_graph(nodes, "tiny", given, wanted, initial)
    opset = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=8)
    server.versions = {
        COMMITS[0]: {
            "model.onnx": model.SerializeToString(),
            "selected_tags.csv": ("tag_id,name,category,count\n" + rows).encode(),
        }
    }
    server.repo = "SmilingWolf/wd-vit-tagger-v3"
    return server


def _command(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["models", "pull", *arguments])


def test_the_command_shows_what_it_would_fetch_and_asks_nobody(published: Hub) -> None:
    result = _command("wd-vit-tagger-v3")
    assert isinstance(result.exception, TagstackError)
    assert "Nobody is there to ask before downloading 'wd-vit-tagger-v3'. Pass --yes." in str(
        result.exception
    )
    assert "licence: Apache-2.0" in result.stderr
    assert f"from: SmilingWolf/wd-vit-tagger-v3 at {COMMITS[0]}" in result.stderr
    assert published.ranges == []


def test_the_command_downloads_once_and_then_checks(published: Hub) -> None:
    result = _command("wd-vit-tagger-v3", "--yes", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["passed"]
    assert [name for name, _ in published.ranges] == ["model.onnx", "selected_tags.csv"]
    assert resolve("wd-vit-tagger-v3") == registry_folder() / "wd-vit-tagger-v3"
    again = _command("wd-vit-tagger-v3")
    assert again.exit_code == 0
    assert "as first pulled from SmilingWolf/wd-vit-tagger-v3" in again.stdout
    assert len(published.ranges) == 2


def test_every_contract_on_the_hub_names_a_repository_of_its_source() -> None:
    contracts = [entry.contract for entry in list_taggers() if entry.origin == "contract"]
    on_hub = [contract for contract in contracts if contract.hub is not None]
    assert len(on_hub) > 10
    for contract in on_hub:
        assert contract.hub is not None
        assert f"huggingface.co/{contract.hub.repo}" in contract.source
        assert contract.source.endswith(contract.hub.folder)
