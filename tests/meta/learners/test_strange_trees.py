"""Tree models from strangers: what the libraries would walk out of their arrays with is refused."""

import json
from collections.abc import Callable
from typing import Any

import lightgbm
import numpy as np
import pytest
import xgboost
from numpy.typing import NDArray

from tagstack.meta.learners.lightgbm_text import checked_text
from tagstack.meta.learners.ubjson import read_ubjson
from tagstack.meta.learners.xgboost_model import check_model

COLUMNS = 4


@pytest.fixture(scope="module")
def table() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(400, COLUMNS)).astype(np.float32)
    values[rng.random(values.shape) < 0.1] = np.nan
    return values, (np.nan_to_num(values[:, 0] * values[:, 1]) > 0).astype(np.float32)


@pytest.fixture(scope="module")
def text(table: Any) -> str:
    data = lightgbm.Dataset(table[0], label=table[1], feature_name=list("abcd"))
    options = {"objective": "binary", "num_leaves": 5, "verbosity": -1, "num_threads": 1}
    return str(lightgbm.train(options, data, 4).model_to_string())


@pytest.fixture(scope="module")
def model(table: Any) -> bytes:
    options = {"objective": "binary:logistic", "max_depth": 3, "nthread": 1}
    booster = xgboost.train(options, xgboost.QuantileDMatrix(table[0], label=table[1]), 3)
    return bytes(booster.save_raw("ubj"))


def test_checked_text_predicts_the_same_bits(text: str, table: Any) -> None:
    first, second = (lightgbm.Booster(model_str=t) for t in (text, checked_text(text)))
    one, other = (b.predict(table[0], raw_score=True) for b in (first, second))
    np.testing.assert_array_equal(one, other)
    assert "parameters" not in checked_text(text)


def test_a_tree_of_one_leaf_is_a_tree(table: Any) -> None:
    data = lightgbm.Dataset(table[0], label=np.r_[1.0, np.zeros(399)])
    options = {"objective": "binary", "min_data_in_leaf": 300, "verbosity": -1}
    text = lightgbm.train(options, data, 2).model_to_string()
    assert "num_leaves=1" in text
    booster = lightgbm.Booster(model_str=checked_text(text))
    np.testing.assert_array_equal(
        booster.predict(table[0]), lightgbm.Booster(model_str=text).predict(table[0])
    )


def _changed(key: str, value: str) -> Callable[[str], str]:
    """Put another first number behind a key of the first tree."""

    def change(text: str) -> str:
        before, sign, after = text.partition(f"\n{key}=")
        line, _, rest = after.partition("\n")
        return f"{before}{sign}{' '.join([value, *line.split(' ')[1:]])}\n{rest}"

    return change


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_changed("split_feature", "4"), "split_feature reaches to 4"),
        (_changed("split_feature", "-1"), "split_feature reaches"),
        (_changed("left_child", "900"), "a child is no node"),
        (_changed("left_child", "-900"), "a child is no node"),
        (_changed("left_child", "0"), "a child is no node of its tree"),
        (_changed("right_child", "-1"), "two parents"),
        (_changed("leaf_value", "nan"), "leaf_value holds"),
        (_changed("leaf_value", "1e300"), "leaf_value holds"),
        (_changed("threshold", "nan"), "threshold holds"),
        (_changed("num_leaves", "6"), "expected 5 numbers"),
        (_changed("num_leaves", "-1"), "-1 leaves"),
        (_changed("num_leaves", "99999999999999"), "num_leaves holds"),
        (_changed("num_cat", "1"), "'1' categories"),
        (_changed("decision_type", "1"), "decision_type"),
        (_changed("is_linear", "1"), "is linear"),
        (_changed("shrinkage", "inf"), "shrinkage holds"),
        (_changed("max_feature_idx", "-1"), "too few or too many"),
        (_changed("max_feature_idx", "99999999"), "too few or too many"),
        (_changed("num_class", "2"), "num_class is '2'"),
        (lambda t: t.replace("Tree=0\n", "Tree=0\nnum_leaves=3\n"), "is there twice"),
        (lambda t: t.replace("version=v4", "version=v4\naverage_output=1"), "changes what trees"),
        (lambda t: t[: len(t) // 5], "end of trees"),
        (lambda t: t.replace("Tree=1", "Tree=7"), "tree 1 begins"),
        (lambda _: "", "end of trees"),
    ],
)
def test_lightgbm_text_that_would_crash_is_refused(
    text: str, change: Callable[[str], str], reason: str
) -> None:
    assert change(text) != text
    with pytest.raises(ValueError, match=reason):
        checked_text(change(text))


def test_ubjson_is_read_as_the_library_writes_it(model: bytes) -> None:
    booster = xgboost.Booster()
    booster.load_model(bytearray(model))
    expected = json.loads(bytes(booster.save_raw("json")))
    found = json.loads(json.dumps(read_ubjson(model), default=lambda a: a.tolist()))
    first, second = (c["learner"]["gradient_booster"]["model"]["trees"] for c in (expected, found))
    for one, other in zip(first, second, strict=True):
        assert one.keys() == other.keys()
        for key, value in one.items():
            if isinstance(value, list):
                pair = [np.array(a, np.float32) for a in (value, other[key])]
                np.testing.assert_array_equal(pair[0], pair[1])
            else:
                assert value == other[key]
    check_model(model)


@pytest.mark.parametrize("end", [0, 1, 2, 50, 500, -1])
def test_cut_ubjson_is_refused(model: bytes, end: int) -> None:
    with pytest.raises(ValueError, match=r"ends too early|more than is left|no kind"):
        check_model(model[:end])


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"{" * 100, "no kind of length"),
        (b"[#i\x01" * 100 + b"Z", "nests more than"),
        (b"[$l#L\x7f\xff\xff\xff\xff\xff\xff\xff", "more than is left"),
        (b"[$Z#L\x00\x00\x00\x00\x00\x00\x00\x01", "is none of numbers"),
        (b"{i\x01aZi\x01aZ}", "there twice"),
        (b"ZZ", "follow its end"),
        (b"[Z]", "does not say its length"),
    ],
)
def test_ubjson_stays_within_bounds(data: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        read_ubjson(data)


def _put(data: bytes, key: str, place: int, number: Any, kind: str) -> bytes:
    """Put a number into the first array of that key."""
    at = data.index(key.encode() + b"[$" + kind.encode() + b"#L") + len(key) + 5 + 8
    dtype = {"l": ">i4", "d": ">f4", "U": "u1"}[kind]
    raw = np.array(number, dtype).tobytes()
    at += place * len(raw)
    return data[:at] + raw + data[at + len(raw) :]


@pytest.mark.parametrize(
    ("key", "place", "number", "kind", "reason"),
    [
        ("left_children", 0, 2**30, "l", "a child is no node"),
        ("left_children", 0, 0, "l", "a child is no node"),
        ("left_children", 0, -7, "l", "a child is no node"),
        ("right_children", 0, 1, "l", "two parents"),
        ("split_indices", 0, COLUMNS, "l", "split_indices reach"),
        ("split_indices", 0, -1, "l", "split_indices reach"),
        ("parents", 1, 5, "l", "contradict"),
        ("split_conditions", 0, np.nan, "d", "split_conditions holds"),
        ("base_weights", 0, np.inf, "d", "base_weights holds"),
        ("split_type", 0, 1, "U", "split_type"),
        ("default_left", 0, 9, "U", "default_left"),
    ],
)
def test_xgboost_models_that_would_crash_are_refused(
    model: bytes, key: str, place: int, number: Any, kind: str, reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        check_model(_put(model, key, place, number, kind))


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (b"\x06gbtree", b"\x06gbline", "booster is 'gbline'"),
        (b"binary:logistic", b"binary:logitraw", "objective is"),
        (
            b"num_featureSL\x00\x00\x00\x00\x00\x00\x00\x014",
            b"num_featureSL" + bytes(7) + b"\x015",
            "count",
        ),
    ],
)
def test_other_models_are_refused(model: bytes, old: bytes, new: bytes, reason: str) -> None:
    assert old in model
    with pytest.raises(ValueError, match=reason):
        check_model(model.replace(old, new, 1))
