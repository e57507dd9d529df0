"""A float32 graph in another float: every operator computes in it but those kept in float32.

Written out because runtimes take precision from the types in the file; ONNX Runtime's own
converter knows float16 alone. Scales of quantised parts are converted along, so that what lies
between them really is in the other float.
"""

from collections.abc import Collection, Iterable
from typing import Any

import numpy as np

from tagstack.base_models.runtimes.faults import BackendError

_HALF_MAX = 65504.0
# Inputs that the specification wants in float32 whatever the others are.
_FLOAT_INPUTS = {"Resize": (1, 2), "Upsample": (1,)}
# Operators whose output is what an attribute says, not what their inputs are.
_OWN_TYPE = (
    "Cast",
    "CastLike",
    "ConstantOfShape",
    "DynamicQuantizeLinear",
    "EyeLike",
    "Range",
    "RandomNormal",
    "RandomUniform",
)
QUANTISED = ("QuantizeLinear", "DequantizeLinear")


def cast_floats(
    proto: Any, kind: int, *, kept: Collection[str], kept_nodes: Collection[str]
) -> Any:
    """Return a model that computes in another float; its inputs and outputs stay in float32.

    Parameters
    ----------
    proto : ModelProto
        Changed in place, or replaced by one of a newer opset.
    kind : int
        ``TensorProto.FLOAT16`` or ``TensorProto.BFLOAT16``.
    kept : collection of str
        Operators that stay in float32.
    kept_nodes : collection of str
        Names of nodes that do.

    Raises
    ------
    BackendError
        If it has branches or loops, or weights beyond the float's range.
    """
    from onnx import shape_inference

    proto = _of_newer_opset(proto, kind)
    for node in proto.graph.node:
        if any(item.HasField("g") or item.graphs for item in node.attribute):
            raise BackendError(f"{node.op_type} holds a graph of its own, which is not converted.")
    _unfold_constants(proto.graph)
    typed = shape_inference.infer_shapes(proto, data_prop=False)
    casts = _Casts(typed.graph, kind)
    nodes = []
    for node in proto.graph.node:
        stays = node.op_type in kept or node.op_type in _OWN_TYPE or node.name in kept_nodes
        nodes += casts.converted(node, stays)
    outputs = casts.outputs(proto.graph.output, nodes)
    del proto.graph.node[:]
    proto.graph.node.extend((*nodes, *outputs))
    del proto.graph.value_info[:]
    del proto.graph.initializer[:]
    proto.graph.initializer.extend(casts.initializers())
    return proto


class _Casts:
    """In which float each tensor is, and the casts between."""

    def __init__(self, graph: Any, kind: int) -> None:
        from onnx import TensorProto

        self._kind, self._float = kind, int(TensorProto.FLOAT)
        self._weights = {tensor.name: tensor for tensor in graph.initializer}
        ports = (*graph.value_info, *graph.input, *graph.output)
        self._floats = {p.name for p in ports if p.type.tensor_type.elem_type == self._float}
        self._floats |= {n for n, t in self._weights.items() if t.data_type == self._float}
        self._are = dict.fromkeys(self._floats, self._float)
        self._made: dict[tuple[str, int], str] = {}
        self._used: dict[str, Any] = {}

    def converted(self, node: Any, stays: bool) -> list[Any]:
        """Return a node and the casts before it; it computes in float32 if it stays."""
        want, before = (self._float if stays else self._kind), []
        for place, name in enumerate(node.input):
            if name not in self._floats:
                self._keep(name, name)
                continue
            exact = place in _FLOAT_INPUTS.get(node.op_type, ())
            node.input[place], casts = self._as(name, self._float if exact else want)
            before += casts
        for name in node.output:
            if name in self._floats:
                self._are[name] = want
        return [*before, node]

    def outputs(self, ports: Iterable[Any], nodes: list[Any]) -> list[Any]:
        """Return casts that give the graph's outputs in float32 under their names."""
        from onnx import helper

        made = []
        for port in ports:
            if self._are.get(port.name, self._float) == self._float:
                continue
            inside = f"{port.name}_inside"
            for node in nodes:
                for names in (node.input, node.output):
                    for place, name in enumerate(names):
                        if name == port.name:
                            names[place] = inside
            made.append(helper.make_node("Cast", [inside], [port.name], to=self._float))
        return made

    def initializers(self) -> list[Any]:
        """Return the weights that are used, in the floats that they are used in."""
        return list(self._used.values())

    def _as(self, name: str, want: int) -> tuple[str, list[Any]]:
        from onnx import helper

        if name in self._weights:
            return self._weight(name, want), []
        if self._are[name] == want:
            return name, []
        known = self._made.get((name, want))
        if known is not None:
            return known, []
        made = self._made[name, want] = f"{name}_as_{want}"
        return made, [helper.make_node("Cast", [name], [made], to=want)]

    def _weight(self, name: str, want: int) -> str:
        if want == self._float:
            self._keep(name, name)
            return name
        made = f"{name}_as_{want}"
        if made not in self._used:
            self._used[made] = _converted_weight(self._weights[name], made, want)
        return made

    def _keep(self, name: str, under: str) -> None:
        if name in self._weights:
            self._used[under] = self._weights[name]


def _converted_weight(tensor: Any, name: str, kind: int) -> Any:
    from onnx import TensorProto, helper, numpy_helper

    values = numpy_helper.to_array(tensor)
    if kind == TensorProto.FLOAT16 and values.size and np.abs(values).max() > _HALF_MAX:
        msg = (
            f"Its weight {tensor.name!r} reaches {np.abs(values).max():.3g}, and float16 ends at "
            f'{_HALF_MAX:g}. Set score.precision = "tf32", or "fp32".'
        )
        raise BackendError(msg)
    dtype = helper.tensor_dtype_to_np_dtype(kind)
    return numpy_helper.from_array(values.astype(dtype), name)


def _of_newer_opset(proto: Any, kind: int) -> Any:
    """Return a model in an opset whose operators, or scales, may be of that float."""
    from onnx import TensorProto, version_converter

    quantised = any(node.op_type in QUANTISED for node in proto.graph.node)
    least = 22 if kind == TensorProto.BFLOAT16 else 19 if quantised else 1
    if all(item.version >= least for item in proto.opset_import if item.domain in ("", "ai.onnx")):
        return proto
    try:
        return version_converter.convert_version(proto, least)
    except RuntimeError as error:
        raise BackendError(f"It cannot be brought to opset {least}: {error}") from error


def _unfold_constants(graph: Any) -> None:
    """Make weights of constant nodes, so that they are converted instead of cast."""
    kept = []
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            tensor = node.attribute[0].t
            tensor.name = node.output[0]
            graph.initializer.append(tensor)
        else:
            kept.append(node)
    del graph.node[:]
    graph.node.extend(kept)
