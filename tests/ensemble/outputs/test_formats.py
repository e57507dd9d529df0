"""Every format holds the same tags, and its readers find them: by their own documented grammar."""

import csv
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import jsonschema
import polars
import pytest

from tagstack.configs.hooks import OUTPUT_FORMATS
from tagstack.ensemble.outputs.captions import Captions, CaptionTag, TaggedFile
from tagstack.ensemble.outputs.format import Sidecar, Table
from tagstack.ensemble.outputs.records import schema

Make = Callable[..., Any]

FINAL = {"long_hair", "saber_(fate)", "fate/stay_night", "safe", "\\m/", "wlop"}
NAMES = tuple(OUTPUT_FORMATS.built_in)


def query(text: str) -> list[tuple[Any, ...]]:
    with duckdb.connect() as connection:
        return connection.execute(text).fetchall()


def made(name: str, captions: Captions) -> Any:
    return OUTPUT_FORMATS.load(name)(captions)  # type: ignore[operator]


def written(table: Table, path: Path, *files: TaggedFile) -> Path:
    with table.opened(path) as add:
        for file in files:
            add(file)
    return path


@pytest.mark.parametrize("name", NAMES)
def test_a_format_reads_back_what_it_writes(
    name: str, make_captions: Make, make_file: Make, tmp_path: Path
) -> None:
    form = made(name, make_captions())
    if isinstance(form, Sidecar):
        found = {form.key(tag) for tag in form.parse(form.render(make_file()))}
        assert found == {form.key(tag) for tag in FINAL}
        assert form.parse(form.render(make_file(entries=()))) == ()
        return
    path = written(form, tmp_path / "table", make_file(), make_file("2.png", ()))
    (image, tags), *rest = form.read(path)
    assert image in ("sub/1.png", "/pictures/sub/1.png")
    # A post's rating is a field of its own.
    assert set(tags) == FINAL - ({"safe"} if name == "danbooru" else set())
    assert [tuple(tags) for _, tags in rest] in ([], [()])
    assert list(form.read(written(form, tmp_path / "empty"))) == []


@pytest.mark.parametrize("name", ["json", "jsonl"])
def test_json_obeys_its_published_schema(
    name: str, make_captions: Make, make_file: Make, tmp_path: Path
) -> None:
    form = made(name, make_captions())
    if name == "json":
        records = [json.loads(form.render(make_file()))]
    else:
        lines = written(form, tmp_path / "t", make_file(), make_file("2.png", ())).read_text()
        records = [json.loads(line) for line in lines.splitlines()]
    validator = jsonschema.Draft202012Validator(schema())
    validator.check_schema(schema())
    for record in records:
        validator.validate(record)
    states = {entry["tag"]: entry["state"] for entry in records[0]["candidates"]}
    assert states["long_hair"] == "confirmed"
    assert states["smile"] == "unconfirmed"  # 0.4 of a threshold of 0.5
    assert states["hat"] == states["2girls"] == "rejected"  # too little; taken out by a rule
    broken = {**records[0], "candidates": [{"tag": "x"}]}
    with pytest.raises(jsonschema.ValidationError, match="required property"):
        validator.validate(broken)


def test_a_tag_that_is_never_tagged_has_no_threshold_in_json(
    make_captions: Make, make_file: Make
) -> None:
    entries = tuple(
        replace(entry, threshold=float("inf"), tagged=False) for entry in make_file().tagged.entries
    )
    text = made("json", make_captions()).render(make_file(entries=entries))
    assert "Infinity" not in text  # which is no JSON
    record = json.loads(text)
    jsonschema.validate(record, schema())
    assert {entry["state"] for entry in record["candidates"]} == {"rejected"}


def test_duckdb_and_polars_read_parquet(
    make_captions: Make, make_file: Make, tmp_path: Path
) -> None:
    files = (make_file(), make_file("2.png", ()))
    path = written(made("parquet", make_captions()), tmp_path / "images.parquet", *files)
    rows = query(f"select image, len(tags) from '{path}' order by image")
    assert rows == [("2.png", 0), ("sub/1.png", 6)]
    assert set(polars.read_parquet(path)["tags"][0]) == FINAL
    ((tag, vote),) = query(
        f"select c.tag, c.votes['a'] from (select unnest(candidates) c from '{path}') "
        "where c.state = 'unconfirmed'"
    )
    assert tag == "smile"
    assert vote == pytest.approx(0.4) or vote == [pytest.approx(0.4)]
    pairs = made("parquet", make_captions(parquet_rows="pair"))
    path = written(pairs, tmp_path / "pairs.parquet", *files)
    assert query(f"select count(*) from '{path}' where tagged") == [(6,)]
    frame = polars.read_parquet(path).filter(polars.col("rule") == "count")
    assert frame["tag"].to_list() == ["2girls"]
    assert bytes(frame["sha256"][0]).hex() == "ab" * 32


def kohya_dataset(path: Path) -> dict[str, str]:
    """Return caption by path as a fine-tuning dataset of sd-scripts makes it of its metadata."""
    if path.suffix == ".jsonl":
        lines = (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())
        metadata = {line["image_path"]: line for line in lines}
    else:
        metadata = json.loads(path.read_text(encoding="utf-8"))
    captions = {}
    for key, found in metadata.items():
        assert os.path.isabs(key), "a relative key would need image_dir"
        pieces = (found.get("caption", ""), found.get("tags", ""))
        text = ", ".join(piece for piece in pieces if piece)
        assert text or path.suffix == ".jsonl", "caption or tag is required"
        captions[key] = text.strip()
    return captions


@pytest.mark.parametrize("name", ["kohya", "kohya-jsonl"])
def test_kohyas_trainers_read_the_metadata(
    name: str, make_captions: Make, make_file: Make, tmp_path: Path
) -> None:
    table = made(name, make_captions(spaces=True, rating=False))
    path = written(table, tmp_path / table.file_name, make_file(), make_file('odd "2".png', ()))
    assert kohya_dataset(path) == {
        "/pictures/sub/1.png": "saber (fate), fate/stay night, wlop, long hair, \\m/",
        '/pictures/odd "2".png': "",
    }


def hydrus_import(text: str) -> set[tuple[str, str]]:
    """Return namespace and subtag of each line, parted at the first colon as hydrus does."""
    found = set()
    for line in filter(None, (line.strip().lower() for line in text.split("\n"))):
        namespace, colon, subtag = line.partition(":")
        found.add((namespace, subtag) if colon and namespace else ("", line))
    return found


def test_hydrus_imports_one_tag_a_line_with_namespaces(
    make_captions: Make, make_file: Make
) -> None:
    form = made("hydrus", make_captions(spaces=True))
    assert hydrus_import(form.render(make_file())) == {
        ("rating", "safe"),
        ("character", "saber (fate)"),
        ("series", "fate/stay night"),
        ("creator", "wlop"),
        ("", "long hair"),
        ("", "\\m/"),
    }


def test_hydrus_lines_of_others_stay_as_they_are(make_captions: Make) -> None:
    form = made("hydrus", make_captions())
    theirs = [CaptionTag(line) for line in form.parse("character:Saber (Fate)\nmy own: note\n")]
    assert form.key(theirs[0].name) == form.key("saber_(fate)")
    text = form.merged("character:Saber (Fate)\nmy own: note\n", [*theirs, CaptionTag("1girl")], {})
    assert text == "character:Saber (Fate)\nmy own: note\n1girl\n"


def test_a_post_has_the_fields_of_danboorus_api(
    make_captions: Make, make_file: Make, tmp_path: Path
) -> None:
    # Spaces would be other tags there, whatever captions have.
    table = made("danbooru", make_captions(spaces=True))
    post = json.loads(written(table, tmp_path / "t", make_file()).read_text())
    assert post["rating"] == "g"
    assert post["tag_string_character"] == "saber_(fate)"
    assert post["tag_string_copyright"] == "fate/stay_night"
    assert post["tag_string_artist"] == "wlop"
    assert set(post["tag_string"].split(" ")) == FINAL - {"safe"}


def test_scores_are_a_table_of_filename_tag_score(
    make_captions: Make, make_file: Make, tmp_path: Path
) -> None:
    path = written(made("csv", make_captions()), tmp_path / "t", make_file())
    with path.open(newline="") as stream:
        rows = list(csv.reader(stream))
    assert rows[0] == ["filename", "tag", "score"]
    assert rows[1] == ["sub/1.png", "long_hair", "0.9500"]
    assert {row[1] for row in rows[1:]} == FINAL


def test_a_name_that_is_not_utf8_is_written_losslessly(
    make_captions: Make, make_file: Make, tmp_path: Path
) -> None:
    file = make_file("caf\udce9.png")
    for name in NAMES:
        form = made(name, make_captions())
        if isinstance(form, Table):
            path = written(form, tmp_path / name, file)
            assert "caf" in next(iter(form.read(path)))[0]
    assert json.loads((tmp_path / "jsonl").read_text())["image"] == "caf\udce9.png"
    assert r"caf\udce9.png" in (tmp_path / "csv").read_text()
