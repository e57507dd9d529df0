"""XGBoost's UBJSON from a stranger: parsed and checked before the library sees it.

The library follows children and columns without a look at how many there are. What is checked is
the whole file: nothing in it goes unread.
"""

import math
import re
from collections.abc import Mapping
from typing import Any

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
from tagstack.meta.learners.ubjson import read_ubjson

_WHOLE = ("left_children", "right_children", "parents", "split_indices")
_REAL = ("split_conditions", "base_weights", "loss_changes", "sum_hessian")
_FLAGS = ("default_left", "split_type")
_EMPTY = ("categories", "categories_nodes", "categories_segments", "categories_sizes")
_NO_PARENT = 2**31 - 1
_BASE_SCORE = re.compile(r"\[?(\d+(\.\d+)?(E-?\d+)?)\]?")


def check_model(data: bytes) -> None:
    """Refuse a model that is no forest of numeric splits with one output.

    Parameters
    ----------
    data : bytes
        As ``Booster.save_model`` writes a file named ``.ubj``.

    Raises
    ------
    ValueError
        Says what is wrong.
    """
    content = read_ubjson(data)
    try:
        n_columns = _check_learner(content)
        _check_forest(content["learner"]["gradient_booster"]["model"], n_columns)
    except (KeyError, TypeError, AttributeError, OverflowError) as error:
        msg = f"something is missing or of another kind: {error}"
        raise ValueError(msg) from error


def _check_learner(content: Mapping[str, Any]) -> int:
    learner = content["learner"]
    said = {
        "attributes": dict(learner["attributes"]),
        "objective": learner["objective"]["name"],
        "booster": learner["gradient_booster"]["name"],
        "num_class": learner["learner_model_param"]["num_class"],
        "num_target": learner["learner_model_param"].get("num_target", "1"),
        "feature_names": list(learner["feature_names"]),
        "feature_types": list(learner["feature_types"]),
    }
    expected = {
        "attributes": {},
        "objective": "binary:logistic",
        "booster": "gbtree",
        "num_class": "0",
        "num_target": "1",
        "feature_names": [],
        "feature_types": [],
    }
    for key, value in expected.items():
        if said[key] != value:
            msg = f"{key} is {said[key]!r:.60}; expected {value!r}"
            raise ValueError(msg)
    _check_version(content["version"])
    base = _BASE_SCORE.fullmatch(learner["learner_model_param"]["base_score"])
    if base is None or not 0 < float(base[1]) < 1:
        msg = "base_score is no probability"
        raise ValueError(msg)
    scale = learner["objective"].get("reg_loss_param", {}).get("scale_pos_weight", "1")
    if not math.isfinite(float(scale)):
        msg = f"scale_pos_weight is {scale!r:.40}"
        raise ValueError(msg)
    return _count(learner["learner_model_param"]["num_feature"], 1, MOST_COLUMNS)


def _check_version(version: Any) -> None:
    parts = [int(part) for part in version]
    if len(parts) != 3 or not 1 <= parts[0] <= 9 or min(parts) < 0 or max(parts) > 999:
        msg = f"version is {parts!r:.40}"
        raise ValueError(msg)


def _check_forest(model: Mapping[str, Any], n_columns: int) -> None:
    trees = model["trees"]
    n_trees = _count(model["gbtree_model_param"]["num_trees"], 0, MOST_TREES)
    _count(model["gbtree_model_param"]["num_parallel_tree"], 1, 1)
    info, rounds = (np.asarray(model[key], np.int64) for key in ("tree_info", "iteration_indptr"))
    if len(trees) != n_trees or len(info) != n_trees or info.any():
        msg = f"{n_trees} trees are said, {len(trees)} are there, for {len(info)} outputs"
        raise ValueError(msg)
    if rounds.tolist() != list(range(n_trees + 1)):
        msg = "the rounds are not of one tree each"
        raise ValueError(msg)
    for part in model.get("cats", {}).values():
        if len(part):
            msg = "it has categories"
            raise ValueError(msg)
    for number, tree in enumerate(trees):
        if tree["id"] != number:
            msg = f"tree {number} calls itself {tree['id']!r:.20}"
            raise ValueError(msg)
        _check_tree(tree, n_columns)


def _check_tree(tree: Mapping[str, Any], n_columns: int) -> None:
    n_nodes = _count(tree["tree_param"]["num_nodes"], 1, MOST_NODES)
    _count(tree["tree_param"]["num_feature"], n_columns, n_columns)
    _count(tree["tree_param"]["size_leaf_vector"], 0, 1)
    _count(tree["tree_param"]["num_deleted"], 0, n_nodes)
    whole = {key: _array(tree, key, n_nodes, "iu") for key in (*_WHOLE, *_FLAGS)}
    for key in _REAL:
        check_numbers(key, _array(tree, key, n_nodes, "f").astype(np.float64))
    for key in _EMPTY:
        if len(tree[key]):
            msg = f"{key} is not empty"
            raise ValueError(msg)
    left, right, parents, feature = (whole[key].astype(np.int64) for key in _WHOLE)
    inner = left != -1
    if (right[~inner] != -1).any():
        msg = "a node has a right child and no left one"
        raise ValueError(msg)
    check_tree(left, right, inner)
    _check_parents(parents, left, right, inner)
    if not (feature.min() >= 0 and feature.max() < n_columns):
        msg = f"split_indices reach to {feature.max()}; expected 0 to {n_columns - 1}"
        raise ValueError(msg)
    if whole["split_type"].any() or whole["default_left"].max() > 1:
        msg = "split_type or default_left hold other than numeric splits"
        raise ValueError(msg)
    leaves = tree["split_conditions"][~inner].astype(np.float64)
    check_numbers("a leaf", leaves, MOST_LOGIT)


def _check_parents(
    parents: NDArray[np.int64],
    left: NDArray[np.int64],
    right: NDArray[np.int64],
    inner: NDArray[np.bool_],
) -> None:
    above = np.flatnonzero(inner)
    right_ones = (parents[left[inner]] == above) & (parents[right[inner]] == above)
    if not right_ones.all() or parents[0] != _NO_PARENT:
        msg = "parents and children contradict each other"
        raise ValueError(msg)


def _array(tree: Mapping[str, Any], key: str, n: int, kinds: str) -> NDArray[Any]:
    found = tree[key]
    if not isinstance(found, np.ndarray) or len(found) != n or found.dtype.kind not in kinds:
        msg = f"{key} is no array of {n} numbers"
        raise ValueError(msg)
    return found


def _count(text: Any, low: int, high: int) -> int:
    if not isinstance(text, str) or not re.fullmatch(r"\d{1,9}", text):
        msg = f"{text!r:.40} is no count"
        raise ValueError(msg)
    if not low <= int(text) <= high:
        msg = f"a count of {text}; expected {low} to {high}"
        raise ValueError(msg)
    return int(text)
