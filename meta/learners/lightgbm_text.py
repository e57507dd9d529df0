"""LightGBM's text format from a stranger: read, checked and written anew for the library.

The library trusts what it reads: an index out of range ends in a crash or in another's memory.
So it never sees the file. It is given a text made of the numbers that were checked, with nothing
else in it.
"""

import re
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from tagstack.meta.learners.tree_shape import (
    MOST_COLUMNS,
    MOST_LOGIT,
    MOST_NODES,
    MOST_TREES,
    check_numbers,
    check_tree,
)

_WHOLE = re.compile(r"-?\d{1,10}")
_REAL = re.compile(r"-?\d+(\.\d+)?(e[+-]?\d{1,3})?")
# Infinite where all known values go one way and the missing ones the other.
_THRESHOLD = re.compile(rf"-?inf|{_REAL.pattern}")
_HEADER = {
    "version": "v4",
    "num_class": "1",
    "num_tree_per_iteration": "1",
    "label_index": "0",
    "objective": "binary sigmoid:1",
}
_SPLITS = ("split_feature", "decision_type", "left_child", "right_child")
_MISSING = (0, 1, 2)  # what counts as missing: nothing, zero, NaN; bits 2 and 3 of a decision


def checked_text(text: str) -> str:
    """Return a model of numeric splits with everything left out that prediction does not need.

    Parameters
    ----------
    text : str
        As ``Booster.model_to_string`` writes it.

    Raises
    ------
    ValueError
        If it is no such model, or the library would leave its arrays with it.
    """
    body, end, _ = text.partition("end of trees")
    blocks = re.split(r"\n\n+", body.strip("\n"))
    if not end or not blocks or not blocks[0].startswith("tree\n"):
        msg = "it does not begin with 'tree', or 'end of trees' is missing"
        raise ValueError(msg)
    header = _pairs(blocks[0].removeprefix("tree\n"))
    for key, value in _HEADER.items():
        if header.get(key) != value:
            msg = f"{key} is {header.get(key)!r:.40}; expected {value!r}"
            raise ValueError(msg)
    n_columns = 1 + _whole("max_feature_idx", header, 1)[0]
    if not 1 <= n_columns <= MOST_COLUMNS or len(blocks) - 1 > MOST_TREES:
        msg = f"{n_columns} columns and {len(blocks) - 1} trees are too few or too many"
        raise ValueError(msg)
    trees = (_tree(number, block, n_columns) for number, block in enumerate(blocks[1:]))
    return "\n\n".join([_head(header, n_columns), *trees, "end of trees\n"])


def _head(header: Mapping[str, str], n_columns: int) -> str:
    unknown = set(header) - {*_HEADER, "max_feature_idx", "feature_names", "feature_infos"}
    unknown -= {"tree_sizes", "monotone_constraints"}
    if unknown:
        msg = f"its header holds {min(unknown)!r:.40}, which changes what trees mean"
        raise ValueError(msg)
    names = " ".join(f"f{i}" for i in range(n_columns))
    lines = [f"{key}={value}" for key, value in _HEADER.items()]
    lines += [f"max_feature_idx={n_columns - 1}", f"feature_names={names}"]
    return "\n".join(["tree", *lines, f"feature_infos={' '.join(['none'] * n_columns)}"])


def _tree(number: int, block: str, n_columns: int) -> str:
    title, _, rest = block.partition("\n")
    if title != f"Tree={number}":
        msg = f"tree {number} begins with {title!r:.40}"
        raise ValueError(msg)
    values = _pairs(rest)
    n_leaves = int(_whole("num_leaves", values, 1)[0])
    if not 1 <= n_leaves <= MOST_NODES or values.get("num_cat") != "0":
        msg = f"tree {number} has {n_leaves} leaves, {values.get('num_cat')!r:.20} categories"
        raise ValueError(msg)
    if values.get("is_linear", "0") != "0":
        msg = f"tree {number} is linear in its leaves"
        raise ValueError(msg)
    split = {key: _whole(key, values, n_leaves - 1) for key in _SPLITS}
    _check_splits(split, n_columns, n_leaves)
    _parts("threshold", values, n_leaves - 1, _THRESHOLD)
    check_numbers("leaf_value", _real("leaf_value", values, n_leaves), MOST_LOGIT)
    check_numbers("shrinkage", _real("shrinkage", values, 1), MOST_LOGIT)
    kept = ("num_leaves", "num_cat", *_SPLITS, "threshold", "leaf_value")
    lines = [f"{key}={values[key]}" for key in kept]
    return "\n".join([title, *lines, "is_linear=0", f"shrinkage={values['shrinkage']}"])


def _check_splits(split: Mapping[str, NDArray[np.int64]], n_columns: int, n_leaves: int) -> None:
    feature, decision = split["split_feature"], split["decision_type"]
    if feature.size and not (feature.min() >= 0 and feature.max() < n_columns):
        msg = f"split_feature reaches to {feature.max()}; expected 0 to {n_columns - 1}"
        raise ValueError(msg)
    categorical = decision & 1
    if categorical.any() or not np.isin(decision >> 2, _MISSING).all():
        msg = "decision_type holds other than numeric splits"
        raise ValueError(msg)
    # Leaves are -1, -2 and so on; as nodes they follow the n_leaves - 1 that split.
    n_inner, n_nodes = n_leaves - 1, 2 * n_leaves - 1
    children: list[NDArray[np.int64]] = []
    for child in (split["left_child"], split["right_child"]):
        if child.size and not (child.min() >= -n_leaves and child.max() < n_inner):
            msg = f"a child is no node of {n_inner} and no leaf of {n_leaves}"
            raise ValueError(msg)
        nodes = np.where(child < 0, n_inner - 1 - child, child)
        children.append(np.concatenate([nodes, np.zeros(n_leaves, np.int64)]))
    check_tree(children[0], children[1], np.arange(n_nodes) < n_inner)


def _pairs(block: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in block.split("\n"):
        key, equals, value = line.partition("=")
        if not equals or key in found:
            msg = f"the line {line!r:.40} is no 'key=value', or is there twice"
            raise ValueError(msg)
        found[key] = value
    return found


def _whole(key: str, values: Mapping[str, str], n: int) -> NDArray[np.int64]:
    return np.array([int(part) for part in _parts(key, values, n, _WHOLE)], np.int64)


def _real(key: str, values: Mapping[str, str], n: int) -> NDArray[np.float64]:
    return np.array([float(part) for part in _parts(key, values, n, _REAL)], np.float64)


def _parts(key: str, values: Mapping[str, str], n: int, pattern: re.Pattern[str]) -> list[str]:
    parts = values[key].split(" ") if values.get(key) else []
    if len(parts) != n or not all(map(pattern.fullmatch, parts)):
        msg = f"{key} holds {len(parts)} numbers or other things; expected {n} numbers"
        raise ValueError(msg)
    return parts
