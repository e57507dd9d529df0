"""Rows that are taken over: the bytes of a table written whole, and only from that very file."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tagstack.base_models.atomic import file_sha256
from tagstack.configs.hooks import OUTPUT_FORMATS
from tagstack.ensemble.outputs.captions import TaggedFile
from tagstack.ensemble.outputs.format import TextTable
from tagstack.ensemble.outputs.table_rows import KeptRows, RowWriter, row_key

Make = Callable[..., Any]
Pictures = dict[str, bool]  # name -> whether it has tags

FORMATS = [
    name
    for name in OUTPUT_FORMATS.built_in
    if issubclass(OUTPUT_FORMATS.load(name), TextTable)  # type: ignore[arg-type]
]


def key(name: str, tagged: bool) -> bytes:
    return row_key(name, "/pictures", str(tagged))


class Folder:
    """A table and its note, written like one run after the other writes them."""

    def __init__(self, folder: Path, form: TextTable, make_file: Make) -> None:
        self.table, self.note, self._new = folder / "table", folder / "note", folder / "new"
        self._form, self._make = form, make_file

    def file(self, name: str, tagged: bool) -> TaggedFile:
        made: TaggedFile = self._make(name) if tagged else self._make(name, ())
        return made

    def kept(self) -> KeptRows:
        sha256 = file_sha256(self.table) if self.table.exists() else ""
        return KeptRows.of(self.note, self.table, self._form, sha256)

    def write(self, pictures: Pictures) -> int:
        """Write the table of some pictures; return how many blocks were made anew."""
        kept, n_new = self.kept(), 0
        with self._new.open("wb") as stream:
            writer = RowWriter(stream, self._form, kept)
            for name, tagged in sorted(pictures.items()):
                if key(name, tagged) in kept.places:
                    writer.keep(key(name, tagged))
                else:
                    writer.add(key(name, tagged), self.file(name, tagged))
                    n_new += 1
            writer.end()
        writer.note(self.note, file_sha256(self._new))
        self._new.replace(self.table)
        return n_new

    def whole(self, pictures: Pictures) -> bytes:
        """Return what a table of these pictures holds that takes over nothing."""
        with self._form.opened(self._new) as add:
            for name, tagged in sorted(pictures.items()):
                add(self.file(name, tagged))
        return self._new.read_bytes()


nights = st.lists(
    st.dictionaries(st.sampled_from(["a.png", "b/ä.png", "c\udce9.png", "d.png"]), st.booleans()),
    min_size=2,
    max_size=3,
)


@pytest.mark.parametrize("name", FORMATS)
@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(nights=nights)
@example(nights=[{}, {"a.png": True}, {}])
@example(nights=[{"a.png": False, "b/ä.png": True}, {"b/ä.png": True, "d.png": False}])
def test_a_table_is_what_it_would_be_written_whole(
    name: str,
    nights: Sequence[Pictures],
    make_captions: Make,
    make_file: Make,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    form = OUTPUT_FORMATS.load(name)(make_captions())  # type: ignore[operator]
    folder = Folder(tmp_path_factory.mktemp("rows"), form, make_file)
    before: Pictures = {}
    for pictures in nights:
        assert folder.write(pictures) == len(pictures.items() - before.items())
        assert folder.table.read_bytes() == folder.whole(pictures)
        before = pictures


@pytest.mark.parametrize("name", ["csv", "kohya"])
def test_rows_come_only_from_the_table_that_was_written(
    name: str, make_captions: Make, make_file: Make, tmp_path: Path
) -> None:
    form = OUTPUT_FORMATS.load(name)(make_captions())  # type: ignore[operator]
    folder = Folder(tmp_path, form, make_file)
    pictures = {"a.png": True, "b.png": True}
    folder.write(pictures)
    assert len(folder.kept().places) == 2
    table, note = folder.table.read_bytes(), folder.note.read_bytes()
    for path, data in [
        (folder.table, table.replace(b"long_hair", b"lang_hair")),
        (folder.note, note[:-1]),
        (folder.note, b""),
        (folder.note, bytes(32) + note[32:]),
    ]:
        path.write_bytes(data)
        assert folder.kept().places == {}
        assert folder.write(pictures) == 2
        assert (folder.table.read_bytes(), folder.note.read_bytes()) == (table, note)
    folder.note.unlink()
    folder.note.symlink_to(tmp_path / "elsewhere")
    assert folder.kept().places == {}


def test_a_key_is_of_name_place_and_content() -> None:
    keys = {row_key(*facts) for facts in ["abc", ("a", "b", "d"), ("a", "c", "c"), ("d", "b", "c")]}
    assert len(keys) == 4
    assert len(row_key("caf\udce9", "/", "0")) == 16
