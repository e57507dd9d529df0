"""A hub of a few endpoints on this machine, and a contract that points to it."""

import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from tagstack.base_models.contract import read_contract
from tagstack.base_models.taggers import hub, pulling
from tagstack.base_models.taggers.own_folder import registry_folder
from tagstack.base_models.taggers.registry import contract_and_text, show_tagger

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
    always_cut: bool = False
    knows_ranges: bool = True
    ranges: list[tuple[str, str | None]] = field(default_factory=list)
    url: str = ""
    repo: str = REPO
    web: dict[str, bytes] = field(default_factory=dict)
    tells_size: bool = True
    tokens: list[str | None] = field(default_factory=list)

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
        if path.startswith("/web/"):
            known.tokens.append(self.headers.get("Authorization"))
            return self._web(known, path.removeprefix("/web/"))
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

    def do_HEAD(self) -> None:
        known: Hub = self.server.hub
        known.tokens.append(self.headers.get("Authorization"))
        content = known.web.get(self.path.removeprefix("/web/"))
        self.send_response(200 if content is not None else 404)
        if known.tells_size:
            self.send_header("Content-Length", str(len(content or b"")))
        self.end_headers()

    def _web(self, known: Hub, name: str) -> None:
        self._file(known, name, known.web[name])

    def _file(self, known: Hub, name: str, content: bytes) -> None:
        asked = self.headers.get("Range")
        known.ranges.append((name, asked))
        content = known.lies.get(name, content)
        asked = asked if known.knows_ranges else None
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        self.send_response(206 if asked else 200)
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        end = known.cut_at
        known.cut_at = end if known.always_cut else None
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
    monkeypatch.setattr(hub, "_CHUNK_BYTES", 700)
    monkeypatch.setattr(hub, "_PAUSE_S", 0.0)
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as listening:
        listening.hub = tiny_hub  # type: ignore[attr-defined]
        tiny_hub.url = f"http://127.0.0.1:{listening.server_port}"
        monkeypatch.setenv("HF_ENDPOINT", tiny_hub.url)
        thread = threading.Thread(target=listening.serve_forever, args=(0.01,))
        thread.start()
        yield tiny_hub
        listening.shutdown()
        thread.join()


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
