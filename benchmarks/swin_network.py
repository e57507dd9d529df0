"""A SwinV2 with random weights, as ONNX: windows, shifts, cosine attention, norms after the blocks.

By default SwinV2-B at a size that windows of 14 patches divide, such as 448. The bias between
positions, which a trained network computes from them once, is a random constant here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from level1_networks import Graph

_FAR = -100.0  # what the mask adds between parts of a shifted window that are no neighbours


@dataclass(frozen=True)
class Stage:
    """One resolution of the network."""

    side: int
    width: int
    heads: int
    window: int


def swin(
    path: Path,
    *,
    size: int,
    n_tags: int,
    width: int = 128,
    depths: Sequence[int] = (2, 2, 18, 2),
    heads: Sequence[int] = (4, 8, 16, 32),
    window: int = 14,
) -> None:
    """Write a SwinV2; four patches of 4 x 4 pixels are merged into one between stages."""
    graph, side = Graph(2), size // 4
    x = graph.convolution("input", (width, 3, 4, 4), 4)
    x = graph.node("Transpose", graph.reshape(x, (0, width, side * side)), perm=[0, 2, 1])
    x = graph.norm(x, width)
    for number, (depth, n_heads) in enumerate(zip(depths, heads, strict=True)):
        if number:
            x = _merged(graph, x, side, width)
            side, width = side // 2, 2 * width
        stage = Stage(side, width, n_heads, min(window, side))
        for block in range(depth):
            shift = stage.window // 2 if block % 2 and stage.window < side else 0
            mixed = _attention(graph, x, stage, shift)
            x = graph.node("Add", x, graph.norm(mixed, width))
            x = graph.node("Add", x, graph.norm(graph.mlp(x, width), width))
    pooled = graph.node(
        "ReduceMean", graph.norm(x, width), graph.constant(np.array([1])), keepdims=0
    )
    graph.save(path, graph.linear(pooled, width, n_tags), size=size, n_tags=n_tags)


def _merged(graph: Graph, x: str, side: int, width: int) -> str:
    half = side // 2
    x = graph.reshape(x, (0, half, 2, half, 2 * width))
    x = graph.node("Transpose", x, perm=[0, 1, 3, 2, 4])
    x = graph.reshape(x, (0, half * half, 4 * width))
    x = graph.node("MatMul", x, graph.random(4 * width, 2 * width))
    return graph.norm(x, 2 * width)


def _attention(graph: Graph, x: str, stage: Stage, shift: int) -> str:
    side, width, window = stage.side, stage.width, stage.window
    n_windows, n_patches = (side // window) ** 2, window * window
    x = graph.reshape(x, (0, side, side, width))
    x = _rolled(graph, x, shift, side)
    x = graph.reshape(x, (0, side // window, window, side // window, window * width))
    x = graph.node("Transpose", x, perm=[0, 1, 3, 2, 4])
    x = graph.reshape(x, (-1, n_patches, width))

    def split(perm: list[int]) -> str:
        parts = graph.linear(x, width, width)
        parts = graph.reshape(parts, (0, 0, stage.heads, width // stage.heads))
        return graph.node("Transpose", parts, perm=perm)

    query = _unit(graph, split([0, 2, 1, 3]), 3)
    key = _unit(graph, split([0, 2, 3, 1]), 2)
    value = split([0, 2, 1, 3])
    scale = graph.constant(np.full((1, stage.heads, 1, 1), 10.0, np.float32))
    scores = graph.node("Mul", graph.node("MatMul", query, key), scale)
    scores = graph.node("Add", scores, graph.random(1, stage.heads, n_patches, n_patches))
    if shift:
        shape = (-1, n_windows, stage.heads, n_patches, n_patches)
        mask = graph.constant(_mask(side, window, shift))
        scores = graph.node("Add", graph.reshape(scores, shape), mask)
        scores = graph.reshape(scores, (-1, stage.heads, n_patches, n_patches))
    mixed = graph.node("MatMul", graph.node("Softmax", scores, axis=-1), value)
    mixed = graph.node("Transpose", mixed, perm=[0, 2, 1, 3])
    mixed = graph.linear(graph.reshape(mixed, (0, 0, width)), width, width)
    across = side // window
    mixed = graph.reshape(mixed, (-1, across, across, window, window * width))
    mixed = graph.node("Transpose", mixed, perm=[0, 1, 3, 2, 4])
    mixed = _rolled(graph, graph.reshape(mixed, (-1, side, side, width)), -shift, side)
    return graph.reshape(mixed, (0, side * side, width))


def _unit(graph: Graph, x: str, axis: int) -> str:
    """Scale vectors to length one."""
    length = graph.node("ReduceL2", x, graph.constant(np.array([axis])), keepdims=1)
    return graph.node(
        "Div", x, graph.node("Max", length, graph.constant(np.array(1e-12, np.float32)))
    )


def _rolled(graph: Graph, x: str, shift: int, side: int) -> str:
    """Move what lies at ``shift`` to the front, in both directions of the picture."""
    for axis in (1, 2) if shift else ():
        cut = shift % side
        ends = [graph.constant(np.array([value])) for value in (0, cut, side, axis)]
        tail = graph.node("Slice", x, ends[1], ends[2], ends[3])
        head = graph.node("Slice", x, ends[0], ends[1], ends[3])
        x = graph.node("Concat", tail, head, axis=axis)
    return x


def _mask(side: int, window: int, shift: int) -> np.ndarray:
    """Return what keeps parts of a window apart that only the roll has put together."""
    part = np.zeros(side, np.int64)
    part[side - window : side - shift] = 1
    part[side - shift :] = 2
    regions = part[:, None] * 3 + part[None]
    across = side // window
    windows = regions.reshape(across, window, across, window).swapaxes(1, 2)
    flat = windows.reshape(across * across, window * window)
    far = flat[:, :, None] != flat[:, None, :]
    return np.where(far, np.float32(_FAR), np.float32(0))[None, :, None].astype(np.float32)
