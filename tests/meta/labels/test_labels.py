"""Labels: every format reads alike, and whatever cannot be used is counted and named."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tagstack.base_models.vocabulary import Vocabulary
from tagstack.configs.errors import TagstackError
from tagstack.meta.labels.label_files import LabelTable, read_labels
from tagstack.meta.labels.labels import align_labels, group_numbers
from tagstack.meta.labels.tag_texts import split_tags

VOCABULARY = Vocabulary(("1girl", "hat", "long_hair", "solo"), ("general",) * 4)


@pytest.fixture
def csv_file(tmp_path: Path) -> Path:
    path = tmp_path / "labels.csv"
    path.write_text("image,tags,series\na.png,1girl solo,x\nsub/b.jpg,hat,y\n")
    return path


def test_csv_jsonl_and_sidecars_give_the_same_labels(csv_file: Path, tmp_path: Path) -> None:
    jsonl = tmp_path / "labels.jsonl"
    rows = [
        {"image": "a.png", "tags": ["1girl", "solo"]},
        {"image": "sub/b.jpg", "tags": "hat"},
    ]
    jsonl.write_text("\n".join(json.dumps(row) for row in rows) + "\n\n")
    sidecars = tmp_path / "sidecars"
    (sidecars / "sub").mkdir(parents=True)
    (sidecars / "a.txt").write_text("1girl, solo")
    (sidecars / "sub/b.txt").write_text("hat\n")
    images = ["a.png", "sub/b.jpg"]
    matrices = [
        align_labels(read_labels(source), images, VOCABULARY).matrix.toarray()
        for source in (csv_file, jsonl, sidecars)
    ]
    expected = [[True, False, False, True], [False, True, False, False]]
    for matrix in matrices:
        assert matrix.tolist() == expected


def test_a_sidecar_may_bear_the_whole_name_of_its_image(tmp_path: Path) -> None:
    """``tag`` writes such names where two images share a stem; a plain stem still means both."""
    for name in ("1.png.txt", "1.jpg.txt", "2.txt"):
        (tmp_path / name).write_text({"1.png.txt": "hat", "1.jpg.txt": "solo"}.get(name, "1girl"))
    images = ["1.jpg", "1.png", "2.jpg", "2.png"]
    labels = align_labels(read_labels(tmp_path), images, VOCABULARY)
    assert labels.matrix.indices.tolist() == [3, 1, 0, 0]
    assert labels.notices == ()


def test_whatever_cannot_be_used_is_counted_and_named(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(
        "image,tags\na.png,1girl sky\nb.png,sky cloud\ngone.png,hat\na.png,solo\nc.png,hat\n"
    )
    labels = align_labels(read_labels(path), ["a.png", "b.png", "c.png", "new.png"], VOCABULARY)
    assert labels.rows.tolist() == [0, 1, 2]
    assert labels.matrix.toarray().sum(1).tolist() == [2, 0, 1]
    assert labels.notices == (
        "1 labelled images have no scores: gone.png",
        "1 images have several rows, which are joined: a.png",
        "1 scored images have no labels: new.png",
        "1 labelled images have no tag that a tagger knows, and count as images without any: b.png",
        "2 label tags are known to no tagger and are ignored: sky (2), cloud",
    )


def test_an_outdated_tag_counts_under_its_current_name(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("image,tags\na.png,longhair long_hair\n")
    labels = align_labels(read_labels(path), ["a.png"], VOCABULARY, {"longhair": "long_hair"})
    assert labels.matrix.toarray().tolist() == [[False, False, True, False]]
    assert labels.notices == ()


def test_where_keeps_the_rows_that_meet_the_condition(csv_file: Path) -> None:
    table = read_labels(csv_file)
    assert [row.image for row in table.where("series=y").rows] == ["sub/b.jpg"]
    assert table.where(None) is table


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("series", "has no '='"),
        ("artist=x", r"has no column 'artist'.*\['series'\]"),
        ("series=z", r"No row .* has series = 'z'. Values there: \['x', 'y'\]"),
    ],
)
def test_where_says_what_it_cannot_find(csv_file: Path, condition: str, message: str) -> None:
    with pytest.raises(TagstackError, match=message):
        read_labels(csv_file).where(condition)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "what,tags\nx,y\n", "lacks the column 'image'"),
        ("a.csv", "image,tags\nx\n", "line 2: 1 cells, expected 2"),
        ("a.csv", "image,tags\n", "holds no labels"),
        ("a.csv", "", "lacks the column 'image'"),
        ("a.jsonl", '{"image": "x"}\n', "line 1: expected an object with 'image' and 'tags'"),
        ("a.jsonl", "{", "Cannot read labels from .*line 1: not valid JSON"),
        ("a.xlsx", "", "of no known kind"),
    ],
)
def test_a_bad_label_file_is_one_clear_line(
    tmp_path: Path, name: str, content: str, message: str
) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(TagstackError, match=message) as caught:
        read_labels(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_a_missing_label_file_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(TagstackError, match=r"Cannot read the labels .*gone\.csv"):
        read_labels(tmp_path / "gone.csv")


def test_labels_of_other_images_alone_are_refused(csv_file: Path) -> None:
    with pytest.raises(TagstackError, match=r"None of the 2 images .* names 'a.png'.*'z.png'"):
        align_labels(read_labels(csv_file), ["z.png"], VOCABULARY)


def test_a_name_that_is_not_utf8_meets_its_file(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_bytes(b"image,tags\ncaf\xe9.png,hat\n")
    labels = align_labels(read_labels(path), ["caf\udce9.png"], VOCABULARY)
    assert labels.matrix.sum() == 1


def test_kaomoji_survive_splitting() -> None:
    assert split_tags("1girl ;d <o>_<o>") == ("1girl", ";d", "<o>_<o>")


@given(st.lists(st.text("ab_(;", min_size=1), unique=True, min_size=2))
def test_splitting_inverts_joining(tags: list[str]) -> None:
    assert list(split_tags(" ".join(tags))) == tags
    assert list(split_tags(", ".join(tags))) == tags


def test_equal_values_and_equal_contents_share_a_group() -> None:
    groups = group_numbers(["x", "x", "y", "", ""], ["1", "2", "2", "3", "4"])
    assert groups[0] == groups[1] == groups[2]
    assert len(np.unique(groups)) == 3


def test_an_empty_table_has_no_column_to_ask_for() -> None:
    with pytest.raises(TagstackError, match="has no column 'series'"):
        LabelTable(source="x", rows=read_rows_without_columns()).column("series")


def read_rows_without_columns() -> tuple:  # type: ignore[type-arg]
    from tagstack.meta.labels.label_files import LabelRow

    return (LabelRow(image="a", tags=(), columns={}),)
