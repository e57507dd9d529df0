"""An ONNX graph as a PyTorch module, so that PyTorch runs the very network that is compared.

Attention is given to PyTorch's fused kernel where the graph has the plain pattern (product, scale,
softmax, product), as it would be in a model written for PyTorch. Only the operators of the
benchmark's networks are known.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper
from torch.nn import functional


class TorchGraph(torch.nn.Module):  # type: ignore[misc]  # torch is not read for types
    """Runs the nodes of an ONNX file one after the other.

    Parameters
    ----------
    path : Path
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        graph = onnx.load(str(path)).graph
        # Shapes and axes as plain lists, which torch.compile takes for constants.
        self.fixed: dict[str, list[int]] = {}
        self.weights = torch.nn.ParameterDict()
        for tensor in graph.initializer:
            values = numpy_helper.to_array(tensor)
            if values.dtype == np.float32:
                parameter = torch.nn.Parameter(torch.from_numpy(values.copy()), requires_grad=False)
                self.weights[tensor.name] = parameter
            else:
                self.fixed[tensor.name] = values.tolist()
        self.source, self.target = graph.input[0].name, graph.output[0].name
        self.steps = _fused([_step(node) for node in graph.node], self.weights)

    def forward(self, images: Any) -> Any:
        """Return the graph's output for a batch."""
        values: dict[str, Any] = {self.source: images}

        def look_up(name: str) -> Any:
            if name in values:
                return values[name]
            return self.fixed[name] if name in self.fixed else self.weights[name]

        for kind, inputs, output, options in self.steps:
            values[output] = _OPERATORS[kind](options, *(look_up(name) for name in inputs))
        return values[self.target]


Step = tuple[str, list[str], str, dict[str, Any]]


def _step(node: Any) -> Step:
    options = {item.name: helper.get_attribute_value(item) for item in node.attribute}
    return node.op_type, list(node.input), node.output[0], options


def _fused(steps: list[Step], weights: Any) -> list[Step]:
    """Put fused attention in place of product, scale by one number, softmax and product."""
    makers = {output: (kind, inputs) for kind, inputs, output, _ in steps}
    found = []
    for kind, inputs, output, options in steps:
        softmax = makers.get(inputs[0], ("", []))
        scaled = makers.get(softmax[1][0], ("", [])) if softmax[0] == "Softmax" else ("", [])
        product = makers.get(scaled[1][0], ("", [])) if scaled[0] == "Mul" else ("", [])
        if kind == "MatMul" and product[0] == "MatMul" and weights[scaled[1][1]].numel() == 1:
            scale = {"scale": float(weights[scaled[1][1]])}
            found.append(("Attention", [*product[1], inputs[1]], output, scale))
        else:
            found.append((kind, inputs, output, options))
    needed = {name for _, inputs, _, _ in found for name in inputs} | {steps[-1][2]}
    while any(step[2] not in needed for step in found):
        found = [step for step in found if step[2] in needed]
        needed = {name for _, inputs, _, _ in found for name in inputs} | {steps[-1][2]}
    return found


def _reshape(options: dict[str, Any], x: Any, shape: list[int]) -> Any:
    sides = [x.shape[i] if side == 0 else side for i, side in enumerate(shape)]
    return x.reshape(sides)


def _slice(options: dict[str, Any], x: Any, start: Any, end: Any, axis: Any) -> Any:
    return x.narrow(axis[0], start[0], min(end[0], x.shape[axis[0]]) - start[0])


def _convolution(options: dict[str, Any], x: Any, weight: Any, bias: Any) -> Any:
    padding = options.get("pads", [0, 0])[:2]
    return functional.conv2d(
        x, weight, bias, options["strides"], padding, groups=options.get("group", 1)
    )


def _norm(options: dict[str, Any], x: Any, scale: Any, bias: Any) -> Any:
    return functional.layer_norm(x, scale.shape, scale, bias, options.get("epsilon", 1e-5))


def _attention(options: dict[str, Any], query: Any, key: Any, value: Any) -> Any:
    turned = key.transpose(-1, -2)
    return functional.scaled_dot_product_attention(query, turned, value, scale=options["scale"])


_OPERATORS: dict[str, Callable[..., Any]] = {
    "Add": lambda o, a, b: a + b,
    "Attention": _attention,
    "Concat": lambda o, *parts: torch.cat(parts, dim=o["axis"]),
    "Conv": _convolution,
    "Div": lambda o, a, b: a / b,
    "Gelu": lambda o, x: functional.gelu(x),
    "LayerNormalization": _norm,
    "MatMul": lambda o, a, b: a @ b,
    "Max": lambda o, a, b: torch.maximum(a, b),
    "Mul": lambda o, a, b: a * b,
    "ReduceL2": lambda o, x, axes: torch.linalg.vector_norm(x, dim=axes, keepdim=True),
    "ReduceMean": lambda o, x, axes: x.mean(dim=axes, keepdim=bool(o["keepdims"])),
    "Reshape": _reshape,
    "Sigmoid": lambda o, x: torch.sigmoid(x.float()),
    "Slice": _slice,
    "Softmax": lambda o, x: torch.softmax(x, dim=o["axis"]),
    "Transpose": lambda o, x: x.permute(*o["perm"]),
}
