"""`tagstack quality tag`: counts first, a table, and tags in captions that are there."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

Command = Callable[..., Any]  # the fixtures of conftest.py
NAMES = [f"{i:02}.png" for i in range(40)]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "votes.csv"
    rows = [f"{name},{i},{'g' if i % 2 else 'e'}" for i, name in enumerate(NAMES)]
    path.write_text("\n".join(["image,votes,rating", *rows, "none.png,,g"]) + "\n")
    return path


@pytest.fixture
def captions(tmp_path: Path) -> Path:
    folder = tmp_path / "captions"
    folder.mkdir()
    for name in NAMES[:39]:
        (folder / name).with_suffix(".txt").write_text("1girl, by hand\n")
    return folder


ASKED = ("--preset", "hakubooru-old", "--score", "votes")


def test_a_dry_run_counts_and_writes_nothing(
    done: Callable[..., str], table: Path, captions: Path, tmp_path: Path
) -> None:
    before = sorted(tmp_path.rglob("*"))
    out = tmp_path / "q.csv"
    printed = done(
        "quality", "tag", table, *ASKED, "--dry-run", "--out", out, "--captions", captions, "--json"
    )
    found = json.loads(printed)
    assert (found["n_images"], found["n_tagged"], found["without"]) == (41, 40, {"no score": 1})
    assert list(found["counts"].values()) == [2, 4, 4, 10, 10, 6, 4]
    assert found["strata"] == {"e": 20, "g": 20}
    assert sorted(tmp_path.rglob("*")) == before


def test_tags_come_behind_what_a_caption_holds_and_go_again(
    done: Callable[..., str], table: Path, captions: Path
) -> None:
    """Run twice, with other scores, with another preset; a person's removal stays."""
    best, removed = captions / "38.txt", captions / "37.txt"
    found = json.loads(done("quality", "tag", table, *ASKED, "--captions", captions, "--json"))
    assert (found["n_captions"], found["n_without_caption"]) == (39, 2)
    assert best.read_text() == "1girl, by hand, masterpiece\n"
    stamp = best.stat().st_mtime_ns
    done("quality", "tag", table, *ASKED, "--captions", captions)
    assert best.stat().st_mtime_ns == stamp
    done("quality", "tag", table, "--preset", "pony", "--score", "votes", "--captions", captions)
    assert best.read_text().startswith("1girl, by hand, masterpiece, score_9, score_8_up, ")
    removed.write_text("1girl, by hand\n")
    done("quality", "tag", table, *ASKED, "--captions", captions, "--lower-is-better")
    assert removed.read_text() == "1girl, by hand, worst_quality\n"
    assert "masterpiece" not in best.read_text()
    done("quality", "tag", table, *ASKED, "--captions", captions)
    assert removed.read_text() == "1girl, by hand\n"  # taken out by hand once


def test_scores_stay_with_their_underscores(
    done: Callable[..., str], table: Path, captions: Path, tmp_path: Path
) -> None:
    (tmp_path / "own.toml").write_text("[output]\nspaces = true\n")
    for preset in ("pony", "hakubooru-old"):
        done("quality", "tag", table, "--preset", preset, "--score", "votes",
             "--captions", captions, "--config", tmp_path / "own.toml")  # fmt: skip
    text = (captions / "35.txt").read_text()
    assert text == ("1girl, by hand, score_8_up, score_7_up, score_6_up, score_5_up, score_4_up, "
                    "best quality\n")  # fmt: skip


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_tables_come_in_and_go_out_in_both_forms(
    done: Callable[..., str], tmp_path: Path, ending: str
) -> None:
    source, out = tmp_path / f"s{ending}", tmp_path / f"q{ending}"
    if ending == ".csv":
        source.write_text("filename;Score\na.png;1,5\nb.png;-2\nc.png;nan\n")
    else:
        columns = {"filename": ["a.png", "b.png", "c.png"], "Score": [1.5, -2.0, None]}
        parquet.write_table(pa.table(columns), source)
    done("quality", "tag", source, "--preset", "dbaesthetic", "--out", out)
    if ending == ".csv":
        rows = list(csv.DictReader(out.read_text().splitlines()))
    else:
        rows = parquet.read_table(out).to_pylist()
    assert [(r["image"], r["tags"], r["no_tag"]) for r in rows] == [
        ("a.png", "great", ""), ("b.png", "normal", ""), ("c.png", "", "no score")
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "arguments", "message"),
    [
        ("image,score\na,1\n", ("--preset", "hakubooru-old"), "no column 'rating'"),
        ("image,votes\na,1\n", ("--preset", "dbaesthetic"), "no column 'score'"),
        ("image,score\na,x\n", ("--preset", "dbaesthetic"), "is no number"),
        ("image,score\na,1\na,2\n", ("--preset", "dbaesthetic"), "stands in line 2 and in line 3"),
        ("name,score\na,1\n", ("--preset", "dbaesthetic"), "no column of pictures"),
        ("image,date\na,soon\n", ("--preset", "noobai-years"), "is no date"),
        ("image,score\na,1\n", ("--preset", "nobody"), "Known are"),
        ("image,score\na,1\n", ("--preset", "dbaesthetic", "--out", "t.csv"), "t.csv"),
    ],
)
def test_what_stands_in_the_way_is_one_line(
    tagstack: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str,
    arguments: tuple[str, ...], message: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.csv").write_text(text)
    last = () if "--out" in arguments else ("--dry-run",)
    result = tagstack("quality", "tag", "t.csv", *arguments, *last)
    assert result.returncode == 1
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_names_that_lead_out_of_the_folder_are_no_captions(
    done: Callable[..., str], captions: Path, tmp_path: Path
) -> None:
    (tmp_path / "outside.txt").write_text("mine\n")
    (tmp_path / "t.csv").write_text("image,score\n../outside.png,1\n")
    done("quality", "tag", tmp_path / "t.csv", "--preset", "dbaesthetic", "--captions", captions)
    assert (tmp_path / "outside.txt").read_text() == "mine\n"


def test_equal_scores_and_ties_are_said(tagstack: Command, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("image,score\na,1\nb,1\n")
    assert (
        "all scores are equal"
        in tagstack("quality", "tag", path, "--preset", "dbaesthetic", "--dry-run").stderr
    )
    path.write_text("image,score\n" + "".join(f"{i},{i // 10}\n" for i in range(40)))
    said = tagstack("quality", "tag", path, "--preset", "dbaesthetic", "--dry-run").stderr
    assert "10 of 40 pictures share one score" in said


def test_a_date_gives_the_year(done: Callable[..., str], tmp_path: Path) -> None:
    path, out = tmp_path / "t.csv", tmp_path / "q.csv"
    path.write_text("image,created_at\na,2016-03-01T12:00:00+00:00\nb,2022-01-01\nc,\n")
    done("quality", "tag", path, "--preset", "noobai-years", "--out", out)
    assert [row["tags"] for row in csv.DictReader(out.read_text().splitlines())] == [
        "mid",
        "newest",
        "",
    ]


def test_a_scorers_direction_is_known_and_can_be_said(
    tagstack: Command, done: Callable[..., str], tmp_path: Path
) -> None:
    path, out = tmp_path / "t.csv", tmp_path / "q.csv"
    path.write_text("image,Blur,votes\n" + "".join(f"{i},{i},{i}\n" for i in range(20)))

    def best(column: str, *more: str) -> str:
        done("quality", "tag", path, "--preset", "dbaesthetic", "--score", column, "--out", out,
             "--overwrite", *more)  # fmt: skip
        rows = list(csv.DictReader(out.read_text().splitlines()))
        return str(next(row["image"] for row in rows if row["tags"] == "masterpiece"))

    assert best("Blur") == "0"
    assert best("Blur", "--higher-is-better") == "19"
    assert best("votes") == "19"
    assert best("votes", "--lower-is-better") == "0"
    said = tagstack("quality", "tag", path, "--preset", "dbaesthetic", "--score", "Blur",
                    "--dry-run").stderr  # fmt: skip
    assert "the lowest Blur is taken for the best" in said


AGES = """about = "with time for votes"
least_age_days = 30
half_life_days = 90
cuts = [{ least = 0.5, tag = "top" }, { tag = "rest" }]
"""


def test_ages_count_from_a_given_date_whatever_the_day(
    tagstack: Command, done: Callable[..., str], tmp_path: Path
) -> None:
    """The younger post of equal votes is the better one, once it is old enough."""
    path, preset = tmp_path / "t.csv", tmp_path / "p.toml"
    preset.write_text(AGES)
    path.write_text("image,score,date\nold,10,2020-01-01\nnew,10,2026-01-01\nnone,9,\n")

    def tags(as_of: str) -> tuple[dict[str, str], str]:
        out = tmp_path / "q.csv"
        printed = done("quality", "tag", path, "--preset", preset, "--out", out, "--overwrite",
                       "--as-of", as_of, "--json")  # fmt: skip
        rows = csv.DictReader(out.read_text().splitlines())
        return {r["image"]: r["tags"] or r["no_tag"] for r in rows}, json.loads(printed)["as_of"]

    assert tags("2026-01-20") == (
        {"old": "top", "new": "too young", "none": "no date"}, "2026-01-20T00:00:00+00:00"
    )  # fmt: skip
    assert tags("2026-03-01")[0] == {"old": "rest", "new": "top", "none": "no date"}
    assert tags("2019-01-01")[0]["old"] == "too young"  # not posted yet
    now = tagstack("quality", "tag", path, "--preset", preset, "--dry-run")
    assert "ages are counted from now: give --as-of DATE" in now.stderr
    wrong = tagstack("quality", "tag", path, "--preset", preset, "--dry-run", "--as-of", "soon")
    assert "--as-of: 'soon' is no date" in wrong.stderr
    vain = tagstack("quality", "tag", path, "--preset", "dbaesthetic", "--dry-run",
                    "--as-of", "2026-01-01")  # fmt: skip
    assert "--as-of changes nothing" in vain.stderr


def test_preset_and_table_are_checked_before_where_the_tags_go(
    tagstack: Command, tmp_path: Path
) -> None:
    path = tmp_path / "t.csv"
    path.write_text("image,score\na,1\n")
    asked = [("nobody", path, "Known are"), ("dbaesthetic", tmp_path / "gone.csv", "gone.csv"),
             ("hakubooru-old", path, "no column 'rating'"),
             ("dbaesthetic", path, "Nothing says where the tags go")]  # fmt: skip
    for preset, table, message in asked:
        result = tagstack("quality", "tag", table, "--preset", preset)
        assert result.returncode == 1
        assert message in result.stderr


def test_columns_of_another_table_part_the_pictures(
    done: Callable[..., str], tmp_path: Path
) -> None:
    path, more = tmp_path / "t.csv", tmp_path / "m.csv"
    path.write_text("image,blur\n" + "".join(f"{i},{i}\n" for i in range(50)))
    more.write_text("image,rating,blur\n" + "".join(f"{i},{'ge'[i % 2]},9\n" for i in range(40)))
    found = json.loads(
        done("quality", "tag", path, "--preset", "hakubooru-new", "--score", "blur",
             "--more", more, "--dry-run", "--json")
    )  # fmt: skip
    assert found["strata"] == {"(small strata together)": 10, "e": 20, "g": 20}


def test_two_scores_agree_on_the_worst_and_one_alone_is_said(
    done: Callable[..., str], tagstack: Command, tmp_path: Path
) -> None:
    table = tmp_path / "s.csv"
    # By waifu 0 to 4 of 100 are the lowest; of these only 0 and 1 are blurred most.
    rows = [f"{i}.png,{i},{1 - i / 200 if i < 2 else i / 200}" for i in range(100)]
    table.write_text("\n".join(["image,waifu,blur", *rows]) + "\n")
    asked = ["quality", "tag", table, "--preset", "noobai-aesthetic", "--score", "waifu"]
    alone = tagstack(*asked, "--dry-run", "--json")
    assert json.loads(alone.stdout)["counts"] == {"very_awa": 5, "worst_aesthetic": 5}
    assert "--second-score names another" in " ".join(alone.stderr.split())
    both = json.loads(done(*asked, "--second-score", "blur", "--dry-run", "--json"))
    assert both["counts"] == {"very_awa": 5, "worst_aesthetic": 2}
    vain = tagstack(*asked[:4], "pony", *asked[5:], "--second-score", "blur", "--dry-run")
    assert "--second-score changes nothing" in " ".join(vain.stderr.split())
    gone = tagstack(*asked, "--second-score", "shadow", "--dry-run")
    assert "has no column 'shadow', which holds the second score" in " ".join(gone.stderr.split())


def test_votes_with_commas_between_thousands_are_not_read_as_fractions(
    tagstack: Command, done: Callable[..., str], tmp_path: Path
) -> None:
    path = tmp_path / "votes.csv"
    path.write_text('image,votes\na.png,"1,234"\nb.png,12\n')
    words = ("quality", "tag", path, "--preset", "dbaesthetic", "--score", "votes")
    refused = tagstack(*words, "--dry-run")
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
    assert "line 2, votes: '1,234' may be 1234 or 1.234" in refused.stderr
    path.write_text("image;votes\na.png;1,234\nb.png;0,5\n")
    done(*words, "--out", tmp_path / "out.csv")
    with (tmp_path / "out.csv").open(newline="") as stream:
        tags = {row["image"]: row["tags"] for row in csv.DictReader(stream)}
    assert tags == {"a.png": "great", "b.png": "normal"}
