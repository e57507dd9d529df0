"""What programs give by hand: taken as meant, or refused in one line, and never by its letters."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tagstack
from tagstack.configs.errors import TagstackError
from tagstack.configs.settings import load_settings

pd: Any = pytest.importorskip("pandas")
PIXELS = np.full((16, 16, 3), 90, np.uint8)


@pytest.fixture
def scores() -> tagstack.Scores:
    return tagstack.score({"a.png": PIXELS}, ["doll_resnet"])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("1girl, solo", "The tags of 'a' are one text, '1girl, solo'; expected several"),
        (b"1girl", "are of type bytes"),
        (None, "are of type NoneType"),
        (7, "are of type int"),
        (["1girl", 7], "hold 7 of type int; expected text"),
        ([None], "hold None of type NoneType"),
        ([b"1girl"], "hold b'1girl' of type bytes"),
    ],
)
def test_tags_that_are_no_texts_are_refused(given: Any, said: str) -> None:
    with pytest.raises(TagstackError, match=said):
        tagstack.Labels({"a": given})


def test_tags_come_in_any_iterable_of_texts() -> None:
    for given in (["x", "y", "x"], ("x", "y"), {"x": 1, "y": 0}, np.array(["x", "y"]), iter("xy")):
        (row,) = tagstack.Labels({"a": given}).table.rows
        assert row.tags == ("x", "y")


def test_images_are_named_by_texts_or_paths() -> None:
    (row,) = tagstack.Labels({Path("b") / "a.png": ["x"]}, {"n": {Path("b/a.png"): 3}}).table.rows  # type: ignore[dict-item]
    assert (row.image, row.columns) == ("b/a.png", {"n": "3"})
    with pytest.raises(TagstackError, match="names of images hold 3 of type int"):
        tagstack.Labels({3: ["x"]})  # type: ignore[dict-item]


@pytest.mark.parametrize("given", [None, "a,x", [("a", ["x"])], pd.DataFrame({"a": [["x"]]})])
def test_labels_are_a_mapping(given: Any) -> None:
    with pytest.raises(TagstackError, match=r"labels are of type .*; expected a mapping"):
        tagstack.Labels(given)


@pytest.mark.parametrize("missing", [None, math.nan, np.float32("nan"), pd.NA, pd.NaT])
def test_a_missing_value_is_an_empty_cell_and_no_value_that_images_share(missing: Any) -> None:
    labels = tagstack.Labels({"a": ["x"], "b": ["x"]}, {"artist": {"a": missing, "b": "m"}})
    assert [row.columns["artist"] for row in labels.table.rows] == ["", "m"]


def test_columns_are_mappings_with_a_value_for_every_image() -> None:
    for columns, said in (
        ({"c": "a"}, "values of the column 'c' are of type str"),
        ({"c": {}}, "column 'c' has no value for 'a'"),
        (["c"], "columns are of type list"),
    ):
        with pytest.raises(TagstackError, match=said):
            tagstack.Labels({"a": ["x"]}, columns)  # type: ignore[arg-type]


def test_a_folder_that_is_no_store_is_told_when_it_is_read(tmp_path: Path) -> None:
    with pytest.raises(TagstackError, match="no score store"):
        tagstack.Scores.read(tmp_path / "nowhere")


def test_one_name_is_not_taken_for_its_letters(scores: tagstack.Scores, tmp_path: Path) -> None:
    folder = tagstack.TrainingSet(tmp_path)
    calls: list[Callable[[], object]] = [
        lambda: tagstack.load(tmp_path, "doll_resnet"),
        lambda: tagstack.score({"a": PIXELS}, "doll_resnet"),
        lambda: tagstack.quality({"a": PIXELS}, "exposure"),
        lambda: tagstack.fit(scores, tagstack.Labels({"a": ["x"]}), models="doll_resnet"),
        lambda: scores.level1("a.png"),
        lambda: scores.level1(members="doll_resnet"),
        lambda: folder.prune("hair"),
        lambda: folder.prune(tags="solo"),
    ]
    for call in calls:
        with pytest.raises(TagstackError, match=r"are one text, '.*'; expected several, such as"):
            call()


def test_pictures_are_named_by_texts_and_none_is_told() -> None:
    for call in (tagstack.score, tagstack.quality):
        with pytest.raises(TagstackError, match="No images given"):
            call({}, ["exposure"])
        for name in (3, None, b"a"):
            with pytest.raises(TagstackError, match="names of pictures hold"):
                call({name: PIXELS}, ["exposure"])  # type: ignore[dict-item]


def test_taggers_and_rules_may_be_paths(tmp_path: Path) -> None:
    with pytest.raises(TagstackError, match=r"Unknown tagger|No such|is no"):
        tagstack.score({"a": PIXELS}, [tmp_path / "gone"])
    assert tagstack.score({"a": PIXELS}, ["doll_resnet"]).images == ("a",)


def test_arguments_of_another_kind_are_named(scores: tagstack.Scores) -> None:
    labels = tagstack.Labels({"a.png": ["solo"]})
    for call, said in (
        (lambda: tagstack.fit(labels, scores), "scores is of type Labels; expected Scores"),  # type: ignore[arg-type]
        (lambda: tagstack.fit(scores, "labels.csv"), "labels is of type str; expected Labels"),  # type: ignore[arg-type]
        (lambda: tagstack.fit(scores, labels, where=3), "where is of type int"),  # type: ignore[arg-type]
        (lambda: tagstack.compare("bundle", scores, labels), "stack is of type str"),  # type: ignore[arg-type]
        (lambda: tagstack.calibrate(scores, scores, labels), "stack is of type Scores"),  # type: ignore[arg-type]
        (lambda: tagstack.audit(None, scores, labels), "stack is of type NoneType"),  # type: ignore[arg-type]
        (lambda: tagstack.fit(scores, labels, [3]), "The rules hold 3 of type int"),  # type: ignore[list-item]
    ):
        with pytest.raises(TagstackError, match=said):
            call()


def test_numbers_of_numpy_are_numbers_in_settings() -> None:
    changes = {
        "score": {"batch_images": np.int64(3)},
        "output": {"score_floor": np.float32(0.25)},
        "stack": {"outer_fold": np.bool_(True), "learners": np.array(["svm"])},
    }
    own = load_settings(changes=changes)
    assert own.score.batch_images == 3
    assert own.output.score_floor == 0.25
    assert own.stack.outer_fold is True
    assert own.stack.learners == ("svm",)
    with pytest.raises(TagstackError, match=r"batch_images = 2.5: expected a whole number"):
        load_settings(changes={"score": {"batch_images": np.float32(2.5)}})
