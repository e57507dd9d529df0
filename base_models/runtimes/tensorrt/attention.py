"""Attention that an export wrote as product, scale, softmax, product, as ONNX's one operator.

Runtimes have kernels for `Attention` (opset 23) that never write the table of all pairs of
tokens, keep its sums in float32 and scale before the first product; in float16 the parts written
out need casts around the softmax instead, and overflow sooner.

References
----------
https://onnx.ai/onnx/operators/onnx__Attention.html
"""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

OPSET = 23
_IR_VERSION = 11


@dataclass(frozen=True)
class _Found:
    """The nodes of one attention, its scale, and what is added before the softmax."""

    nodes: tuple[Any, ...]
    query: str
    key_transposed: str
    value: str
    scale: float
    mask: str | None
    output: str


def with_attention(proto: Any) -> Any:
    """Return a model with its attentions as single operators, or the model itself if it has none.

    Parameters
    ----------
    proto : ModelProto
        Which may be changed.
    """
    from onnx import shape_inference, version_converter
    from onnx.version_converter import ConvertError

    if not any(node.op_type == "Softmax" for node in proto.graph.node):
        return proto
    try:
        newer = version_converter.convert_version(proto, OPSET)
        newer = shape_inference.infer_shapes(newer)
    except (ConvertError, RuntimeError, ValueError):  # an operator without a newer form
        return proto
    found = _attentions(newer.graph)
    if not found:
        return proto
    for number, one in enumerate(found):
        _fuse(newer.graph, one, number)
    _drop_unused(newer.graph)
    del newer.graph.value_info[:]
    newer.ir_version = max(newer.ir_version, _IR_VERSION)
    return newer


def with_scale_first(proto: Any) -> Any:
    """Return a model whose attentions scale the queries, not the products, which may overflow.

    Parameters
    ----------
    proto : ModelProto
        Changed in place.
    """
    from onnx import shape_inference

    if any(node.op_type == "Softmax" for node in proto.graph.node):
        typed = shape_inference.infer_shapes(proto)
        for one in _attentions(typed.graph):
            _scale_first(proto.graph, one)
    return proto


def _scale_first(graph: Any, one: _Found) -> None:
    nodes = {node.output[0]: node for node in graph.node}
    scaled = next((n for n in one.nodes if n.op_type in ("Mul", "Div")), None)
    if scaled is None:
        return
    # The two change places: the scaling takes the queries, the product what it gave.
    scaling, product = nodes[scaled.output[0]], nodes[one.nodes[-1].output[0]]
    between = product.output[0]
    scaling.input[0], product.input[0] = product.input[0], between
    product.output[0], scaling.output[0] = scaling.output[0], between
    at = list(graph.node).index(product)
    graph.node.remove(scaling)
    graph.node.insert(at, scaling)


class _Graph:
    """Who makes a tensor, how often it is used, its rank, and what is constant."""

    def __init__(self, graph: Any) -> None:
        from onnx import numpy_helper

        self.makers = {name: node for node in graph.node for name in node.output}
        self.uses = Counter(name for node in graph.node for name in node.input)
        self.uses.update(port.name for port in graph.output)
        self.ranks = {
            port.name: len(port.type.tensor_type.shape.dim)
            for port in (*graph.value_info, *graph.input, *graph.output)
        }
        self.constants = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
        for node in graph.node:
            if node.op_type == "Constant" and node.attribute[0].name == "value":
                self.constants[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)

    def maker(self, name: str, *kinds: str) -> Any:
        """Return the node that makes a tensor for one other alone, if it is of these kinds."""
        node = self.makers.get(name)
        fits = node is not None and node.op_type in kinds and self.uses[name] == 1
        return node if fits else None

    def scalar(self, name: str) -> float | None:
        """Return a constant of one number."""
        values = self.constants.get(name)
        return None if values is None or values.size != 1 else float(values.reshape(())[()])


def _attentions(graph: Any) -> list[_Found]:
    known = _Graph(graph)
    found = (_attention(known, node) for node in graph.node if node.op_type == "MatMul")
    return [one for one in found if one is not None]


def _attention(graph: _Graph, last: Any) -> _Found | None:
    softmax = graph.maker(last.input[0], "Softmax")
    if softmax is None or not _over_last_axis(graph, softmax):
        return None
    nodes, name, mask, scale = [last, softmax], softmax.input[0], None, 1.0
    added = graph.maker(name, "Add")
    if added is not None:
        first, second = added.input
        name, mask = (first, second) if _leads_to_product(graph, first) else (second, first)
        if graph.ranks.get(mask, 0) != 4 and mask not in graph.constants:
            return None
        nodes.append(added)
    scaled = graph.maker(name, "Mul", "Div")
    if scaled is not None:
        factor = graph.scalar(scaled.input[1])
        if factor is None or factor == 0:
            return None
        scale, name = (factor if scaled.op_type == "Mul" else 1 / factor), scaled.input[0]
        nodes.append(scaled)
    first_product = graph.maker(name, "MatMul")
    if first_product is None or graph.ranks.get(name) != 4:
        return None
    query, key = first_product.input
    return _Found((*nodes, first_product), query, key, last.input[1], scale, mask, last.output[0])


def _leads_to_product(graph: _Graph, name: str) -> bool:
    node = graph.maker(name, "MatMul", "Mul", "Div")
    while node is not None and node.op_type != "MatMul":
        node = graph.maker(node.input[0], "MatMul", "Mul", "Div")
    return node is not None


def _over_last_axis(graph: _Graph, softmax: Any) -> bool:
    axis = next((item.i for item in softmax.attribute if item.name == "axis"), -1)
    return graph.ranks.get(softmax.output[0]) == 4 and axis in (-1, 3)


def _fuse(graph: Any, one: _Found, number: int) -> None:
    from onnx import helper, numpy_helper

    nodes = list(graph.node)
    at = nodes.index(one.nodes[0]) - len(one.nodes) + 1
    for node in one.nodes:
        graph.node.remove(node)
    key, made = _key(graph, one.key_transposed, number)
    inputs = [one.query, key, one.value]
    if one.mask is not None:
        inputs.append(_mask(graph, one.mask, number, numpy_helper))
    fused = helper.make_node(
        "Attention", inputs, [one.output], name=f"attention_{number}", scale=one.scale
    )
    for offset, node in enumerate((*made, fused)):
        graph.node.insert(at + offset, node)


def _drop_unused(graph: Any) -> None:
    """Remove nodes whose outputs nobody reads: transpositions that became part of others."""
    read = Counter(name for node in graph.node for name in node.input)
    read.update(port.name for port in graph.output)
    for node in reversed(list(graph.node)):
        if not any(read[name] for name in node.output):
            read.subtract(node.input)
            graph.node.remove(node)


def _key(graph: Any, transposed: str, number: int) -> tuple[str, list[Any]]:
    """Return the keys as rows, and the node that lays them so, one instead of two if need be."""
    from onnx import helper

    maker = next((node for node in graph.node if transposed in node.output), None)
    source, order = transposed, [0, 1, 3, 2]
    if maker is not None and maker.op_type == "Transpose":
        first = next((list(item.ints) for item in maker.attribute if item.name == "perm"), None)
        if first is not None and len(first) == 4:
            source, order = maker.input[0], [first[i] for i in order]
    if order == [0, 1, 2, 3]:
        return source, []
    name = f"attention_{number}_key"
    return name, [helper.make_node("Transpose", [source], [name], perm=order)]


def _mask(graph: Any, name: str, number: int, numpy_helper: Any) -> str:
    """Return a mask of four sides; a constant of fewer gets sides of one in front."""
    for tensor in graph.initializer:
        if tensor.name == name and len(tensor.dims) != 4:
            values = np.asarray(numpy_helper.to_array(tensor))
            wide = values.reshape((1,) * (4 - values.ndim) + values.shape)
            made = numpy_helper.from_array(wide, f"attention_{number}_mask")
            graph.initializer.append(made)
            return str(made.name)
    return name
