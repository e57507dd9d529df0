"""Tables in and out: cells come back as they were, whatever a spreadsheet would make of them."""

import io
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tagstack.configs.errors import TagstackError
from tagstack.configs.shown import shown
from tagstack.configs.tables import TableWriter, guarded, number_of, parse_table, unguarded
from tagstack.configs.text_files import parse_json, read_bytes, read_text, read_toml

FORMULAS = ("=1+1", "+A1", "-A1", "@SUM(A1)", "=_=", "@_@", "+_+", "-_-", "\t=1")


@pytest.mark.parametrize("cell", FORMULAS)
def test_no_cell_starts_a_formula(cell: str) -> None:
    assert guarded(cell) == f"'{cell}"


@pytest.mark.parametrize("cell", ["-0.5", "+3", "1girl", ":=", "'tis", ""])
def test_other_cells_stay_as_they_are(cell: str) -> None:
    assert guarded(cell) == cell


@given(st.text("'=+-@a\t1"))
def test_guarding_is_undone_by_reading(cell: str) -> None:
    assert unguarded(guarded(cell)) == cell


@given(st.lists(st.text("'=+-@a,;\"x ", min_size=1), min_size=1, max_size=4))
def test_what_is_written_is_what_is_read(cells: list[str]) -> None:
    stream = io.StringIO()
    table = TableWriter(stream)
    names = [f"column{i}" for i in range(len(cells))]
    table.writerows([names, cells])
    (row,) = parse_table(stream.getvalue(), "t", expected=names).rows
    assert list(row.cells.values()) == cells
    assert row.line == 2


@pytest.mark.parametrize(("text", "value"), [("0,5", 0.5), (" 1.5 ", 1.5), ("-1e-3", -0.001)])
def test_decimal_commas_are_numbers(text: str, value: float) -> None:
    assert number_of(text, "x") == value


@pytest.mark.parametrize("text", ["1,234", "-12,500", "999,000"])
def test_a_comma_that_may_part_thousands_is_asked_about(text: str) -> None:
    with pytest.raises(TagstackError, match=rf"t, line 2: '{text}' may be {text.replace(',', '')}"):
        number_of(text, "t, line 2", ",")
    assert number_of(text, "") == float(text.replace(",", "."))  # as Excel writes it beside ;


def test_a_comma_that_cannot_part_thousands_is_decimal() -> None:
    for text in ("0,125", "1,5", "12,34", "1234,567", "1,2345"):
        assert number_of(text, "", ",") == float(text.replace(",", "."))


def test_a_table_knows_what_parts_its_cells() -> None:
    for separator in (",", ";", "\t"):
        text = separator.join(("image", "favs")) + "\n" + separator.join(("a", "1"))
        assert parse_table(text, "t", expected=("image", "favs")).separator == separator


def test_what_is_no_number_is_named() -> None:
    with pytest.raises(TagstackError, match=r"row 3: '1,2,3' is no number"):
        number_of("1,2,3", "row 3")


@pytest.mark.parametrize("text", ["[" * 100_000, "9" * 5000, "{", "\ud800"])
def test_impossible_json_is_one_line(text: str) -> None:
    with pytest.raises(TagstackError, match="not valid JSON") as caught:
        parse_json(text, "a.json")
    assert len(str(caught.value)) < 300


def test_a_pipe_and_a_sparse_file_are_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(TagstackError, match="no regular file"):
        read_bytes(tmp_path / "pipe")
    with (tmp_path / "sparse").open("wb") as stream:
        stream.truncate(3 * 2**30)
    with pytest.raises(TagstackError, match="larger than 1,073,741,824 bytes"):
        read_text(tmp_path / "sparse")


def test_a_mark_at_the_beginning_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_bytes(b"\xef\xbb\xbfa = 1\n")
    assert read_toml(path) == {"a": 1}
    path.write_text("a = 1\n", encoding="utf-16")
    assert read_toml(path) == {"a": 1}


def test_another_encoding_is_named_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_bytes(b"a = 1\nb = '\xe9'\n")
    with pytest.raises(TagstackError, match=r"line 2 is not UTF-8 \(byte 0xe9\)"):
        read_toml(tmp_path / "a.toml")


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("plain \u00e9 \u732b", "plain \u00e9 \u732b"),
        ("\x1b[2J", "\\x1b[2J"),
        ("a\nb\r", "a\\nb\\r"),
        ("gnp\u202etxt", "gnp\\u202etxt"),
        ("caf\udce9", "caf\\udce9"),
    ],
)
def test_text_from_outside_is_shown_escaped(text: str, safe: str) -> None:
    assert shown(text) == safe
