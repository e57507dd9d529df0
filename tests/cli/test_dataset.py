"""``tagstack dataset`` as people call it: smallest folders first, wrong ones, second runs."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

Command = Callable[..., Any]


def folder(root: Path, captions: dict[str, str], size: tuple[int, int] = (8, 8)) -> Path:
    for name, text in captions.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size).save(path.with_suffix(".png"))
        path.write_text(text, encoding="utf-8")
    return root


def test_one_caption_is_mended_and_taken_back(tmp_path: Path, tagstack: Command) -> None:
    root = folder(tmp_path, {"1.txt": "1girl, solo, solo"})
    (root / "readme.txt").write_text("solo, solo")
    found = tagstack("dataset", "lint", root, "--trigger", "mychar", "--json")
    assert found.returncode == 1
    names = [own["check"] for own in json.loads(found.stdout)["found"]]
    assert names == ["trigger", "double", "no-image"]
    table = root / "f.csv"
    fixed = tagstack("dataset", "lint", root, "--trigger", "mychar", "--fix", "--out", table)
    assert (root / "1.txt").read_text() == "mychar, 1girl, solo"
    assert (root / "readme.txt").read_text() == "solo, solo"
    assert "Mended: 1 double, 1 trigger, in 1 captions" in fixed.stdout
    assert table.read_text() == ("filename,level,check,tag,detail\nreadme.txt,warning,no-image,,\n")
    (root / "readme.txt").unlink()
    again = tagstack("dataset", "lint", root, "--trigger", "mychar", "--fix", "--json")
    assert json.loads(again.stdout)["undo"] is None
    assert again.returncode == 0
    back = tagstack("dataset", "undo", root / "tagstack-undo-001.jsonl", "--json")
    assert back.returncode == 0
    assert (root / "1.txt").read_text() == "1girl, solo, solo"


def test_bad_captions_cost_only_themselves(tmp_path: Path, tagstack: Command) -> None:
    root = folder(tmp_path, {"1.txt": "sky", "2.txt": "sky", "3.txt": "", "4.txt": "sky"})
    (root / "2.txt").write_bytes(b"\xe9t\xe9")
    (root / "4.txt").unlink()
    (root / "4.json").write_text('{"tags": ["old", 1]}')
    (root / "1.caption").write_text("sky")
    found = json.loads(tagstack("dataset", "lint", root, "--fix", "--json").stdout)
    assert {own["check"]: own["n"] for own in found["found"]} == {
        "empty": 1, "unreadable": 2, "several": 1,
    }  # fmt: skip


def test_tags_on_all_captions_and_unknown_ones_are_named(tmp_path: Path, tagstack: Command) -> None:
    root = folder(tmp_path / "set", {f"10_x/{n}.txt": f"red hair, tag{n}" for n in range(5)})
    known = tmp_path / "tags.csv"
    known.write_text("name\nred_hair\ntag0\ntag1\ntag2\ntag3\ntagg4\n")
    old = tmp_path / "old.txt"
    old.write_text("tag 1\ntag0\n")
    found = json.loads(
        tagstack(
            "dataset", "lint", root, "--vocabulary", known, "--deprecated", old, "--json"
        ).stdout
    )
    named = {own["check"]: (own["tag"], own["detail"]) for own in found["found"]}
    assert named == {
        "shared": ("red_hair", "on 5 of 5 captions"),
        "deprecated": ("tag0", ""),
        "unknown": ("tag4", "Did you mean tagg4 or tag3 or tag2?"),
    }


@pytest.mark.parametrize("name", ["nowhere", "file.txt", "empty"])
def test_a_wrong_folder_is_one_line(tmp_path: Path, tagstack: Command, name: str) -> None:
    (tmp_path / "file.txt").write_text("sky")
    (tmp_path / "empty").mkdir()
    found = tagstack("dataset", "lint", tmp_path / name)
    assert found.returncode == 1
    assert found.stderr.count("\n") == 1
    assert "is no folder" in found.stderr or "holds neither pictures nor captions" in found.stderr
