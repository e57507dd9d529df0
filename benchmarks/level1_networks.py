"""Networks of published architectures with random weights, as ONNX: speed does not need training.

`vit` is a ViT-B/16 by default, `convnext` a ConvNeXt-B; both end in one sigmoid per tag, take NCHW
RGB and have a dynamic batch. Widths and depths are arguments so that small ones can be made too.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 20


class Graph:
    """Collects nodes and random weights; every method returns the name of its output."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def constant(self, values: np.ndarray) -> str:
        """Add values that do not depend on the input."""
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(values, name))
        return name

    def random(self, *shape: int) -> str:
        """Add random weights that keep the size of what they are applied to."""
        scale = 1 / np.sqrt(np.prod(shape[1:]) if len(shape) == 4 else shape[0])
        return self.constant((self._rng.standard_normal(shape, np.float32) * scale).astype("f4"))

    def node(self, kind: str, *inputs: str, **attributes: object) -> str:
        """Add an operator."""
        name = f"n{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def convolution(self, x: str, shape: Sequence[int], stride: int, *, group: int = 1) -> str:
        """Add a convolution; with stride 1 it keeps the size."""
        pad = (shape[2] - stride + 1) // 2 if stride == 1 else 0
        bias = self.constant(np.zeros(shape[0], np.float32))
        where = {"strides": [stride] * 2, "pads": [pad] * 4, "group": group}
        return self.node("Conv", x, self.random(*shape), bias, **where)

    def linear(self, x: str, inner: int, outer: int) -> str:
        """Add a matrix product and a bias."""
        bias = self.constant(np.zeros(outer, np.float32))
        return self.node("Add", self.node("MatMul", x, self.random(inner, outer)), bias)

    def norm(self, x: str, width: int) -> str:
        """Add a layer norm over the last axis."""
        scale, bias = np.ones(width, np.float32), np.zeros(width, np.float32)
        ends = (self.constant(scale), self.constant(bias))
        return self.node("LayerNormalization", x, *ends, epsilon=1e-6)

    def mlp(self, x: str, width: int) -> str:
        """Add an expansion by four, GELU and the way back."""
        hidden = self.node("Gelu", self.linear(x, width, 4 * width))
        return self.linear(hidden, 4 * width, width)

    def reshape(self, x: str, shape: Sequence[int]) -> str:
        """Add a reshape; 0 keeps a side."""
        return self.node("Reshape", x, self.constant(np.array(shape, np.int64)))

    def save(self, path: Path, last: str, *, size: int, n_tags: int) -> None:
        """Write the model that ends in the sigmoid of a node."""
        self.nodes.append(helper.make_node("Sigmoid", [last], ["prediction"]))
        shape = ("batch", 3, size, size)
        graph = helper.make_graph(
            self.nodes,
            "benchmark",
            [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info("prediction", TensorProto.FLOAT, ("batch", n_tags))],
            self.weights,
        )
        opset = helper.make_opsetid("", OPSET)
        onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=9), str(path))


def vit(
    path: Path, *, size: int, n_tags: int, width: int = 768, depth: int = 12, patch: int = 16
) -> None:
    """Write a vision transformer with heads of 64 channels and mean pooling."""
    graph, heads, n_patches = Graph(0), width // 64, (size // patch) ** 2
    x = graph.convolution("input", (width, 3, patch, patch), patch)
    x = graph.node("Transpose", graph.reshape(x, (0, width, n_patches)), perm=[0, 2, 1])
    x = graph.node("Add", x, graph.random(n_patches, width))
    for _ in range(depth):
        x = graph.node("Add", x, _attention(graph, graph.norm(x, width), width, heads))
        x = graph.node("Add", x, graph.mlp(graph.norm(x, width), width))
    pooled = graph.node("ReduceMean", x, graph.constant(np.array([1])), keepdims=0)
    last = graph.linear(graph.norm(pooled, width), width, n_tags)
    graph.save(path, last, size=size, n_tags=n_tags)


def _attention(graph: Graph, x: str, width: int, heads: int) -> str:
    def split(perm: list[int]) -> str:
        parts = graph.reshape(graph.linear(x, width, width), (0, 0, heads, 64))
        return graph.node("Transpose", parts, perm=perm)

    query, key, value = split([0, 2, 1, 3]), split([0, 2, 3, 1]), split([0, 2, 1, 3])
    scale = graph.constant(np.array(0.125, np.float32))
    scores = graph.node("Mul", graph.node("MatMul", query, key), scale)
    mixed = graph.node("MatMul", graph.node("Softmax", scores, axis=-1), value)
    joined = graph.node("Transpose", mixed, perm=[0, 2, 1, 3])
    return graph.linear(graph.reshape(joined, (0, 0, width)), width, width)


def _norm_channels(graph: Graph, x: str, width: int) -> str:
    inner = graph.norm(graph.node("Transpose", x, perm=[0, 2, 3, 1]), width)
    return graph.node("Transpose", inner, perm=[0, 3, 1, 2])


def convnext(
    path: Path,
    *,
    size: int,
    n_tags: int,
    widths: Sequence[int] = (128, 256, 512, 1024),
    depths: Sequence[int] = (3, 3, 27, 3),
) -> None:
    """Write a ConvNeXt: depthwise 7 x 7, layer norm, pointwise expansion by four."""
    graph, before, x = Graph(1), 3, "input"
    for stage, (width, depth) in enumerate(zip(widths, depths, strict=True)):
        side = 4 if stage == 0 else 2
        x = _norm_channels(graph, x, before) if stage else x
        x = graph.convolution(x, (width, before, side, side), side)
        x = x if stage else _norm_channels(graph, x, width)
        for _ in range(depth):
            inner = graph.convolution(x, (width, 1, 7, 7), 1, group=width)
            inner = graph.node("Transpose", inner, perm=[0, 2, 3, 1])
            inner = graph.mlp(graph.norm(inner, width), width)
            x = graph.node("Add", x, graph.node("Transpose", inner, perm=[0, 3, 1, 2]))
        before = width
    pooled = graph.node("ReduceMean", x, graph.constant(np.array([2, 3])), keepdims=0)
    last = graph.linear(graph.norm(pooled, before), before, n_tags)
    graph.save(path, last, size=size, n_tags=n_tags)
