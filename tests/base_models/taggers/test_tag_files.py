"""Tag files: every format, hostile names, and faults."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tagstack.base_models.contract import Tags
from tagstack.base_models.taggers.tag_files import TagRow, counts_from_rows, read_tag_file
from tagstack.configs.errors import TagstackError

WD = Tags(format="selected_tags_csv", categories={"0": "general", "4": "character", "9": "rating"})


def _file(folder: Path, text: str) -> Path:
    path = folder / "tags"
    path.write_bytes(text.encode())
    return path


def test_category_comes_from_its_column_not_from_the_position(tmp_path: Path) -> None:
    text = "tag_id,name,category,count\n1,solo,0,9\n2,hatsune_miku,4,8\n3,general,9,7\n4,hat,0,6\n"
    rows = read_tag_file(_file(tmp_path, text), WD)
    assert [row.tag for row in rows] == ["solo", "hatsune_miku", "general", "hat"]
    assert [row.category for row in rows] == ["general", "character", "rating", "general"]
    assert [row.best_threshold for row in rows] == [None] * 4


def test_best_threshold_is_read_where_given(tmp_path: Path) -> None:
    text = "\ufefftag_id,name,category,count,best_threshold,ips\r\n1,a,0,9,0.35,[]\r\n2,b,4,8,,\r\n"
    rows = read_tag_file(_file(tmp_path, text), WD)
    assert rows == (TagRow("a", "general", 0.35, 9), TagRow("b", "character", None, 8))


@pytest.mark.parametrize("cell", ["", "many", "nan", "inf", "-3", "0"])
def test_a_count_that_is_no_number_above_0_is_not_known(tmp_path: Path, cell: str) -> None:
    rows = read_tag_file(_file(tmp_path, f"name,category,count\na,0,{cell}\nb,0,7\n"), WD)
    np.testing.assert_array_equal(counts_from_rows(rows), [np.nan, 7])


@pytest.mark.parametrize("value", ["nan", "1.5", "-0.1", "much"])
def test_best_threshold_outside_0_to_1_is_refused(tmp_path: Path, value: str) -> None:
    text = f"name,category,best_threshold\na,0,{value}\n"
    with pytest.raises(TagstackError, match=rf"best_threshold of 'a' is '{value}'"):
        read_tag_file(_file(tmp_path, text), WD)


# Names from published vocabularies that other readers lose, split or take for "missing".
HOSTILE = [
    "nan",
    "NaN",
    "null",
    "None",
    "n/a",
    "",
    ";d",
    ";)",
    "0_0",
    "(o)_(o)",
    "<o>_<o>",
    "||_||",
]


def test_names_are_literal(tmp_path: Path) -> None:
    names = [name for name in HOSTILE if name]
    text = "name,category\n" + "".join(f"{name},0\n" for name in names)
    assert [row.tag for row in read_tag_file(_file(tmp_path, text), WD)] == names
    text = "\n".join(names)
    rows = read_tag_file(_file(tmp_path, text), Tags(format="tags_txt"))
    assert [row.tag for row in rows] == names


@given(
    names=st.lists(
        st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1).filter(str.strip),
        min_size=1,
        max_size=8,
    )
)
@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_name_survives_the_csv(tmp_path: Path, names: list[str]) -> None:
    stream = io.StringIO(newline="")
    writer = csv.writer(stream)
    writer.writerows([["name", "category"], *([name, "0"] for name in names)])
    rows = read_tag_file(_file(tmp_path, stream.getvalue()), WD)
    assert [row.tag for row in rows] == names


def test_tags_txt_takes_categories_from_prefixes(tmp_path: Path) -> None:
    tags = Tags(format="tags_txt", prefixes={"rating:": "rating"})
    rows = read_tag_file(_file(tmp_path, "1girl\r\nrating:safe\r\n"), tags)
    assert rows == (TagRow("1girl", "general"), TagRow("rating:safe", "rating"))


@pytest.mark.parametrize("version", [1, 2])
def test_camie_layouts(tmp_path: Path, version: int) -> None:
    mapping = {
        "idx_to_tag": {
            "1": "miku",
            "0": "solo",
            "10": "x",
            **{str(i): f"t{i}" for i in range(2, 10)},
        },
        "tag_to_category": {"miku": "character", "solo": "general", "x": "meta"}
        | {f"t{i}": "general" for i in range(2, 10)},
    }
    content = mapping if version == 1 else {"dataset_info": {"tag_mapping": mapping}}
    rows = read_tag_file(_file(tmp_path, json.dumps(content)), Tags(format="camie_json"))
    assert rows[:2] == (TagRow("solo", "general"), TagRow("miku", "character"))
    assert rows[10] == TagRow("x", "meta")


def test_json_class_lists(tmp_path: Path) -> None:
    listed = read_tag_file(_file(tmp_path, '["b", "a"]'), Tags(format="json_list"))
    by_tag = read_tag_file(_file(tmp_path, '{"a": 1, "b": 0}'), Tags(format="json_index"))
    by_index = read_tag_file(_file(tmp_path, '{"1": "a", "0": "b"}'), Tags(format="json_index"))
    assert listed == by_tag == by_index == (TagRow("b", "general"), TagRow("a", "general"))


def test_json_records_map_category_names(tmp_path: Path) -> None:
    text = (
        '{"1": {"tag": "miku", "category": "Character"}, "0": {"tag": "a", "category": "General"}}'
    )
    tags = Tags(format="json_records", categories={"Character": "character", "General": "general"})
    rows = read_tag_file(_file(tmp_path, text), tags)
    assert rows == (TagRow("a", "general"), TagRow("miku", "character"))


def test_json_categories_stand_at_their_offsets(tmp_path: Path) -> None:
    parts = [
        {"name": "rating", "offset": 2, "count": 1, "tags": ["rating:g"]},
        {"name": "style", "offset": 0, "count": 2, "tags": ["bkub", "null"]},
    ]
    content = {"num_classes": 3, "category_order": ["style", "rating"], "categories": parts}
    tags = Tags(format="json_categories", categories={"style": "artist", "rating": "rating"})
    rows = read_tag_file(_file(tmp_path, json.dumps(content)), tags)
    assert rows == (
        TagRow("bkub", "artist"), TagRow("null", "artist"), TagRow("rating:g", "rating"),
    )  # fmt: skip


def _parts(*parts: object, **more: object) -> str:
    return json.dumps({"categories": list(parts), **more})


PARTS = Tags(format="json_categories")


@pytest.mark.parametrize(
    ("tags", "text", "message"),
    [
        (PARTS, '["a"]', "a list of objects with name, offset and tags"),
        (PARTS, _parts({"name": "x", "offset": True, "tags": ["a"]}), "a list of objects with"),
        (PARTS, _parts({"name": "x", "offset": 0, "tags": [1]}), "a list of objects with"),
        (PARTS, _parts({"name": "x", "offset": 1, "tags": ["a"]}), "not 0 to 0 once each"),
        (
            PARTS,
            _parts(
                {"name": "x", "offset": 0, "tags": ["a"]}, {"name": "y", "offset": 1, "tags": ["a"]}
            ),
            "'a' is there twice",
        ),
        (
            PARTS,
            _parts({"name": "x", "offset": 0, "tags": ["a"]}, num_classes=2),
            "1 tags, expected 2",
        ),
        (WD, "tag_id,name,count\n1,a,2\n", r"columns \['category'\] are missing"),
        (WD, "", r"columns \['category', 'name'\] are missing"),
        (WD, "name,category\n", "no tags found"),
        (WD, "name,category\na,5\n", r"category '5' is not in .* \['0', '4', '9'\]"),
        (WD, "name,category\na\n", "line 2: 1 cells, expected 2"),
        (WD, "name,category\na,0\n,0\n", "tag 1 is empty"),
        (Tags(format="tags_txt"), "a\n\nb\n", "tag 1 is empty"),
        (Tags(format="json_list"), '{"a": 0}', "expected a JSON list"),
        (Tags(format="json_index"), '{"a": 0, "b": 2}', "not 0 to 1 once each"),
        (Tags(format="json_index"), '{"a": 0, "b": 0}', "not 0 to 1 once each"),
        (Tags(format="json_index"), '{"x": "a", "y": "b"}', "an index is not a number"),
        (Tags(format="json_index"), '{"0": "a", "1": "a"}', "a tag has two indices"),
        (Tags(format="json_records"), '["a"]', "expected a JSON object"),
        (Tags(format="camie_json"), "{}", "idx_to_tag or tag_to_category is missing"),
        (
            Tags(format="camie_json"),
            '{"idx_to_tag": {"0": "a"}, "tag_to_category": {}}',
            "a tag has no category",
        ),
        (Tags(format="camie_json"), "{", "not valid JSON"),
    ],
)
def test_faults_say_what_is_wrong(tmp_path: Path, tags: Tags, text: str, message: str) -> None:
    path = _file(tmp_path, text)
    with pytest.raises(TagstackError, match=message) as caught:
        read_tag_file(path, tags)
    assert str(caught.value).startswith(str(path))


def test_missing_file_and_wrong_encoding(tmp_path: Path) -> None:
    with pytest.raises(TagstackError, match="Cannot read the tag file"):
        read_tag_file(tmp_path / "none", WD)
    (tmp_path / "latin").write_bytes(b"name,category\nPok\xe9mon,0\n")
    with pytest.raises(TagstackError, match="UTF-8"):
        read_tag_file(tmp_path / "latin", WD)


def test_a_list_of_tags_with_codes_beside(tmp_path: Path) -> None:
    content = {"idx2tag": ["solo", "wolf", "odd"], "tag2category": {"wolf": 5, "solo": 0}}
    (tmp_path / "vocab.json").write_text(json.dumps(content))
    names = {"0": "general", "5": "species", "-1": "unassigned"}
    tags = Tags.model_validate({"format": "camie_json", "categories": names})
    rows = read_tag_file(tmp_path / "vocab.json", tags)
    assert [(row.tag, row.category) for row in rows] == [
        ("solo", "general"), ("wolf", "species"), ("odd", "unassigned"),
    ]  # fmt: skip
