"""A hub on this machine that holds a contract's files in miniature, for scripts that pull."""

import hashlib
import http.server
import json
import os
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

import numpy as np
from onnx import TensorProto, helper, numpy_helper


def miniature() -> dict[str, bytes]:
    """Return what the contract that is pulled names, with a mean of all pixels for a network."""
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
    graph = helper.make_graph(
        nodes, "miniature", given, wanted, [numpy_helper.from_array(weights, "w")]
    )
    opset = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=8)
    return {
        "model.onnx": model.SerializeToString(),
        "selected_tags.csv": ("tag_id,name,category,count\n" + rows).encode(),
    }


class Hub(http.server.BaseHTTPRequestHandler):
    """Answers what pulling asks of the Hugging Face hub."""

    files: ClassVar[dict[str, bytes]] = miniature()

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        """Describe the repository, or send one of its files from where it is asked."""
        path = self.path.partition("?")[0]
        name = path.rpartition("/")[2]
        if path.startswith("/api/models/"):
            self._send(json.dumps(self._facts()).encode())
        elif name in self.files:
            start = re.sub(r"\D", "", self.headers.get("Range", ""))
            self._send(self.files[name], int(start or 0))
        else:
            self.send_error(404)

    def _facts(self) -> dict[str, object]:
        files = [
            {"rfilename": name, "size": len(data), "blobId": hashlib.sha1(data).hexdigest()}
            for name, data in self.files.items()
        ]
        return {"id": "hub", "sha": "a" * 40, "gated": False, "private": False, "siblings": files}

    def _send(self, data: bytes, start: int = 0) -> None:
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        self.wfile.write(data[start:])


@contextmanager
def local_hub() -> Iterator[None]:
    """Let a process of its own be the hub; pulling asks that one."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    os.environ["HF_ENDPOINT"] = f"http://127.0.0.1:{server.server_port}"
    child = os.fork()
    if not child:
        server.serve_forever()
    server.server_close()
    from huggingface_hub import HfApi  # reads the address once; its import is no child's to pay

    HfApi()
    try:
        yield
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
