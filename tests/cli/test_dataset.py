"""``tagstack dataset`` as people call it: smallest folders first, wrong ones, second runs."""

import csv
import json
import tomllib
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
    assert {
        "nowhere": "is no folder",
        "file.txt": "are of no known kind",
        "empty": "holds neither pictures nor captions",
    }[name] in found.stderr


def tree(root: Path) -> dict[str, bytes]:
    ours = ("tagstack-undo", ".tagstack")
    paths = (p for p in root.rglob("*") if p.is_file() and not p.name.startswith(ours))
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in paths}


def test_filters_name_what_is_left_out_and_move_it_only_when_asked(
    tmp_path: Path, tagstack: Command
) -> None:
    root = folder(tmp_path / "set", {"7.txt": "a, b, c", "8.txt": "a, b", "950.txt": "a, b, c, d"})
    Image.new("RGB", (4, 4)).save(root / "7.jpg")  # shares 7.txt with 7.png
    (tmp_path / "t.csv").write_text(
        "image,rating,quality,created_at\n7.png,general,5,2020-01-01\n7.jpg,general,5,2020-01-01\n"
        "8.png,explicit,9,2021-01-01\n950.png,general,1,2026-01-01\n"
    )
    before, manifest = tree(root), tmp_path / "m.csv"

    def left_out(*options: object) -> dict[str, str]:
        found = tagstack("dataset", "filter", root, "--out", manifest, "--overwrite", *options)
        assert found.returncode == 0, found.stderr
        rows = [line.split(",") for line in manifest.read_text().splitlines()[1:]]
        return {name: reason for what, name, reason, _ in rows if what == "image"}

    rows = ("--table", tmp_path / "t.csv")
    assert left_out("--least-general", 3) == {"8.png": "general-tags"}
    assert left_out("--ids", "1000:0-899") == {"950.png": "ids"}
    assert left_out("--rating", "general", *rows) == {"8.png": "rating"}
    assert left_out("--least-quality", 5, *rows) == {"950.png": "quality"}
    assert left_out("--created-before", "2026-01-01", *rows) == {"950.png": "created-before"}
    assert left_out("--created-after", "2021", *rows) == {
        "7.png": "created-after", "7.jpg": "created-after",
    }  # fmt: skip
    assert left_out("--least-side", 8) == {"7.jpg": "size"}
    assert left_out("--least-pixels", 65).keys() == {"7.png", "7.jpg", "8.png", "950.png"}
    assert left_out("--least-images", "*=3") == {}
    assert "tag,d,rare-tag,1\n" in manifest.read_text()
    assert "tag,c" not in manifest.read_text()
    assert tree(root) == before
    assert left_out("--least-side", 8, "--apply").keys() == {"7.jpg"}
    assert (root / "7.txt").exists()  # 7.png needs it
    assert (root / ".left-out/7.jpg").exists()
    assert left_out("--least-side", 8, "--apply") == {}
    assert left_out("--least-general", 3, "--apply").keys() == {"8.png"}
    assert not (root / "8.txt").exists()
    for number in (1, 2):
        tagstack("dataset", "undo", root / f"tagstack-undo-00{number}.jsonl")
    assert tree(root) == before


def test_of_near_duplicates_the_largest_stays(tmp_path: Path, tagstack: Command) -> None:
    root = folder(tmp_path / "set", {"c.txt": "sky"})
    picture = Image.radial_gradient("L").convert("RGB").crop((0, 0, 200, 160))
    picture.save(root / "a.png")
    picture.resize((100, 80)).save(root / "b.png")
    for name in "ab":
        (root / f"{name}.txt").write_text("sky, sun")
    found = tagstack("dataset", "filter", root, "--near-duplicates", "--least-images", "*=2",
                     "--out", tmp_path / "m.csv")  # fmt: skip
    assert found.returncode == 0
    assert (tmp_path / "m.csv").read_text().splitlines()[1:] == [
        "image,b.png,near-duplicate,of a.png",
        "tag,sun,rare-tag,1",  # once the copy is gone
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--ids", "10:5-12"), "is no range of ids"),
        (("--least-images", "general"), "is not NAME=NUMBER"),
        (("--table", "t.csv"), "lacks the column 'image'"),
        (("--created-before", "01/02/2024"), "'01/02/2024' is no ISO date"),
        (("--created-after", "2024-13-01"), "is no ISO date"),
        (("--created-after", "2024-01-01"), "the column 'created_at', which no picture has"),
        (("--least-quality", "nan"), "Expected a number"),
        (("--least-quality", "5"), "the column 'quality', which no picture has"),
        (("--rating", "Explicit"), "--rating 'Explicit' is on no picture"),
        (("--created-after", "2024", "--table", "dates.csv"), "'05/01/2024' is no ISO date"),
        (("--table", "twice.csv"), "line 3: '1.png' is there twice, with different cells"),
        (("--table", "both.csv"), "'1.png' and './1.png' are one picture"),
        (("--table", "others.csv"), "names none of the 1 pictures: it has 'other.png'"),
    ],
)
def test_a_wrong_filter_is_said(
    tmp_path: Path, tagstack: Command, options: tuple[str, str], message: str
) -> None:
    root = folder(tmp_path / "set", {"1.txt": "a"})
    (tmp_path / "t.csv").write_text("x\n1\n")
    (tmp_path / "dates.csv").write_text("image,created_at\n1.png,05/01/2024\n")
    (tmp_path / "twice.csv").write_text("image,quality\n1.png,4\n1.png,5\n")
    (tmp_path / "both.csv").write_text("image,quality\n1.png,4\n./1.png,5\n")
    (tmp_path / "others.csv").write_text("image,quality\nother.png,4\n")
    words = [tmp_path / word if word.endswith(".csv") else word for word in options]
    found = tagstack("dataset", "filter", root, "--out", tmp_path / "m.csv", "--apply", *words)
    assert tree(root).keys() == {"1.png", "1.txt"}
    assert found.returncode in (1, 2)
    assert message in found.stderr


@pytest.mark.parametrize("option", ["--resolution", "--bucket-reso-steps", "--max-bucket-reso"])
def test_a_bucket_of_nothing_is_refused(tmp_path: Path, tagstack: Command, option: str) -> None:
    found = tagstack("dataset", "stats", folder(tmp_path, {"1.txt": "a"}), option, 0)
    assert found.returncode == 1
    assert " = 0: expected at least" in found.stderr


def test_a_table_without_a_group_is_not_passed_over(tmp_path: Path, tagstack: Command) -> None:
    root = folder(tmp_path / "set", {"1.txt": "a"})
    found = tagstack("dataset", "split", root, "--out", tmp_path / "s", "--table", tmp_path / "t")
    assert found.returncode == 1
    assert "--table alone says nothing" in found.stderr


def test_groups_are_pruned_so_that_the_trigger_learns_them(
    tmp_path: Path, tagstack: Command
) -> None:
    root = folder(
        tmp_path,
        {"1.txt": "mychar, blue eyes, long hair, sky\n", "2.txt": "blue eyes", "3.txt": "sky"},
    )
    before = tree(root)
    words = ("dataset", "prune", root, "--group", "hair,eyes", "--trigger", "mychar")
    counted = json.loads(tagstack(*words, "--json").stdout)
    assert (counted["tags"], counted["undo"]) == ({"blue_eyes": 1, "long_hair": 1}, None)
    assert tree(root) == before
    done = json.loads(tagstack(*words, "--apply", "--json").stdout)
    assert (root / "1.txt").read_text() == "mychar, sky\n"
    assert done["emptied"] == ["2.txt"]
    assert json.loads(tagstack(*words, "--apply", "--json").stdout)["n_changed"] == 0
    tagstack("dataset", "undo", done["undo"])
    assert tree(root) == before
    kept = tagstack(*words, "--keep", "--apply")
    assert kept.returncode == 0
    assert (root / "1.txt").read_text() == "mychar, blue eyes, long hair\n"
    wrong = tagstack("dataset", "prune", root, "--group", "hairs")
    assert (wrong.returncode, wrong.stderr.count("\n")) == (1, 1)
    assert "Did you mean hair" in wrong.stderr


def test_repeats_are_proposed_by_concept_folder(tmp_path: Path, tagstack: Command) -> None:
    root = folder(
        tmp_path / "set",
        {
            **{f"1_a b/{n}.txt": "x" for n in range(6)},
            "5_b/1.txt": "x",
            "5_b/2.txt": "x",
            "c/1.txt": "x",
        },
    )
    target = tmp_path / "d.toml"
    words = ("dataset", "balance", root, "--out", target, "--most", 5, "--json")
    found = json.loads(tagstack(*words).stdout)["concepts"]
    assert [(own["folder"], own["repeats"], own["proposed"]) for own in found] == [
        ("1_a b", 1, 1), ("5_b", 5, 3), ("c", 0, 5),
    ]  # fmt: skip
    subsets = tomllib.loads(target.read_text())["datasets"][0]["subsets"]
    assert [own["num_repeats"] for own in subsets] == [1, 3, 5]
    assert subsets[0]["image_dir"] == str(root / "1_a b")
    wrong = tagstack("dataset", "balance", root, "--weight", "d=2")
    assert "which are no concept folders" in wrong.stderr


def test_folds_keep_groups_whole_and_spread_tags(tmp_path: Path, tagstack: Command) -> None:
    root = folder(tmp_path / "set", {f"{n}.txt": "a, b" if n % 2 else "a" for n in range(12)})
    rows = "".join(f"{n}.png,{n // 3}\n" for n in range(12))
    (tmp_path / "t.csv").write_text(f"image,artist\n{rows}")
    target = tmp_path / "f.csv"
    words = ("dataset", "split", root, "--out", target, "--folds", 2, "--no-near-duplicates")
    found = tagstack(*words, "--table", tmp_path / "t.csv", "--group", "artist", "--json")
    assert json.loads(found.stdout)["sizes"] == [6, 6]
    fold = {row["image"]: row["fold"] for row in csv.DictReader(target.read_text().splitlines())}
    for artist in range(4):
        assert len({fold[f"{n}.png"] for n in range(3 * artist, 3 * artist + 3)}) == 1
    again = tagstack(*words)
    assert again.returncode == 1
    assert "f.csv" in again.stderr


def test_near_duplicates_stay_in_one_fold_unless_that_is_not_wanted(
    tmp_path: Path, tagstack: Command
) -> None:
    root = tmp_path / "set"
    root.mkdir()
    picture = Image.radial_gradient("L").convert("RGB").crop((0, 0, 200, 160))
    for n in range(4):  # one picture four times
        picture.resize((200 - 25 * n, 160 - 20 * n)).save(root / f"{n}.png")
        (root / f"{n}.txt").write_text("a")
    other = Image.linear_gradient("L").convert("RGB")
    other.save(root / "other.png")
    (root / "other.txt").write_text("a")

    def sizes(*more: str) -> list[int]:
        words = ("dataset", "split", root, "--out", tmp_path / "f.csv", "--folds", 2)
        found = tagstack(*words, "--overwrite", "--json", *more)
        return sorted(json.loads(found.stdout)["sizes"])

    assert sizes() == [1, 4]
    assert sizes("--no-near-duplicates") == [2, 3]


def test_a_folder_is_counted(tmp_path: Path, tagstack: Command) -> None:
    root = folder(tmp_path, {"1.txt": "a, b", "2.txt": "a, b, c"}, size=(30, 20))
    (root / "3.png").write_bytes(b"no picture")
    found = json.loads(tagstack("dataset", "stats", root, "--json").stdout)
    assert found == {
        "n_images": 3, "n_tags": 3, "n_without_caption": 1, "n_unreadable": 1,
        "tags": {"a": 2, "b": 2, "c": 1}, "pairs": [["a", "b", 2], ["a", "c", 1], ["b", "c", 1]],
        "together": [["a", "b", 2, 1.0]], "matrix": [[2, 2, 1], [2, 2, 1], [1, 1, 1]],
        "tags_per_image": {"0": 1, "2": 1, "3": 1}, "shorter_sides": {"under 256": 2},
        "buckets": {"1216x832": 2}, "n_enlarged": 2, "n_no_bucket": 0, "near_duplicates": [],
    }  # fmt: skip
    small = tagstack("dataset", "stats", root, "--bucket-no-upscale", "--no-near-duplicates")
    assert "2 pictures are too narrow for any bucket" in small.stdout
    assert "near-duplicates: not looked for" in small.stdout
    wrong = tagstack("dataset", "stats", root, "--resolution", 100)
    assert (wrong.returncode, wrong.stderr.count("\n")) == (1, 1)
    assert "min_bucket_reso <= resolution <= max_bucket_reso" in wrong.stderr


def test_a_folder_of_captions_alone_and_one_without_tags_have_a_page(
    tmp_path: Path, tagstack: Command
) -> None:
    alone, bare = (
        folder(tmp_path / "alone", {"1.txt": "a"}),
        folder(tmp_path / "bare", {"1.txt": ""}),
    )
    (alone / "1.png").unlink()
    for root in (alone, bare):
        page = tmp_path / f"{root.name}.html"
        found = tagstack("dataset", "stats", root, "--out", page)
        assert (found.returncode, found.stderr.count("Traceback")) == (0, 0)
        assert "</html>" in page.read_text("utf-8")


def test_captions_that_cannot_be_read_are_told_once(tmp_path: Path, tagstack: Command) -> None:
    root = folder(tmp_path, {"1.txt": "a, b", "2.txt": "a"})
    (root / "2.txt").write_bytes(b"\xff\xfe\x00")
    out = tmp_path / "out.csv"
    for words in (
        ("stats", root),
        ("filter", root, "--least-general", 1, "--out", out),
        ("split", root, "--folds", 2, "--out", tmp_path / "folds.csv"),
    ):
        told = tagstack("dataset", *words).stderr
        assert told.count("1 caption cannot be read, such as 2.txt") == 1


def test_the_page_of_a_folder_holds_its_pictures_and_shows_names_as_text(
    tmp_path: Path, tagstack: Command
) -> None:
    root = folder(tmp_path / "set", {"<b>.txt": "<script>x</script>, hat"})
    picture = Image.radial_gradient("L").convert("RGB").crop((0, 0, 200, 160))
    for name, size in (("a", (200, 160)), ("a copy", (100, 80)), ("d", (150, 120))):
        picture.resize(size).save(root / f"{name}.png")
    page = tmp_path / "stats.html"
    words = ("dataset", "stats", root, "--out", page)
    found = json.loads(tagstack(*words, "--json").stdout)
    assert found["near_duplicates"] == [["a copy.png", "a.png", "d.png"]]
    text = page.read_text("utf-8")
    assert "&lt;script&gt;x&lt;/script&gt;" in text
    assert "<script" not in text
    assert "&lt;b&gt;" not in text  # not alike: its name stands nowhere
    assert text.count('src="data:image/jpeg;base64,') == 3
    assert "://" not in text
    again = tagstack(*words)
    assert (again.returncode, again.stderr.count("\n")) == (1, 1)
    assert tagstack(*words, "--overwrite").stdout.endswith(f"Page: {page}\n")


def test_an_empty_caption_and_a_broken_picture_make_a_page(
    tmp_path: Path, tagstack: Command
) -> None:
    root = tmp_path / "set"
    root.mkdir()
    (root / "1.png").write_bytes(b"no picture")
    assert tagstack("dataset", "stats", root, "--out", tmp_path / "s.html").returncode == 0
    text = (tmp_path / "s.html").read_text("utf-8")
    assert "No caption holds a tag." in text
    assert "No picture can be read." in text


@pytest.mark.parametrize("name", ["l.csv", "l.jsonl"])
def test_labels_are_checked_as_captions_are(tmp_path: Path, tagstack: Command, name: str) -> None:
    rows = {"a/1.png": "solo, solo", "a/2.png": "1girl, 2girls", "b.png": "", "c.png": "sky"}
    file = tmp_path / name
    if name == "l.csv":
        cells = "".join(f'{image},"{tags}"\n' for image, tags in rows.items())
        file.write_text(f"image,tags\n{cells}")
    else:
        lines = [{"image": i, "tags": t.split(", ") if t else []} for i, t in rows.items()]
        file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    before = file.read_bytes()
    found = tagstack("dataset", "lint", file, "--json")
    assert found.returncode == 1
    answer = json.loads(found.stdout)
    assert {own["check"]: own["files"] for own in answer["found"]} == {
        "empty": ["b.png"], "contradiction": ["a/2.png"], "double": ["a/1.png"],
    }  # fmt: skip
    assert (answer["n_images"], answer["n_captions"]) == (4, 4)
    refused = tagstack("dataset", "lint", file, "--fix")
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
    assert "a table of labels, which is only checked" in refused.stderr
    assert file.read_bytes() == before


def test_a_tag_a_row_is_one_caption_an_image(tmp_path: Path, tagstack: Command) -> None:
    file = tmp_path / "l.csv"
    file.write_text("image,tag\n1.png,long hair\n1.png,long hair\n2.png,sky\n")
    found = json.loads(tagstack("dataset", "lint", file, "--json").stdout)["found"]
    assert [(own["check"], own["tag"], own["files"]) for own in found] == [
        ("double", "long_hair", ["1.png"])
    ]


def test_what_is_checked_is_said_on_the_command_line(tmp_path: Path, tagstack: Command) -> None:
    root = folder(tmp_path, {f"{n}.cap": "hat, sky" if n else "zebra, hat" for n in range(4)})
    words = ("dataset", "lint", root, "--caption-extension", "cap", "--json")
    assert json.loads(tagstack(*words).stdout)["found"] == []
    strict = (*words, "--least-captions", 4, "--shared", ".7", "--order", "name")
    named = [(own["check"], own["tag"]) for own in json.loads(tagstack(*strict).stdout)["found"]]
    assert named == [("order", ""), ("shared", "hat"), ("shared", "sky")]
    allowed = tagstack(*strict, "--allow", "hat", "--allow", "sky", "--fail-on", "error")
    assert allowed.returncode == 0
    assert [own["check"] for own in json.loads(allowed.stdout)["found"]] == ["order"]
    wrong = tagstack(*words, "--shared", "2")
    assert (wrong.returncode, wrong.stderr.count("\n")) == (1, 1)
