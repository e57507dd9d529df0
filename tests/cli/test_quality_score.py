"""`tagstack quality score`: a table that goes on where it was, and accounts for every file."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pyarrow import parquet

import tagstack.ensemble.workshop.quality.scoring as scoring
from tagstack.configs.errors import TagstackError
from tagstack.configs.settings import load_settings
from tagstack.ensemble.progress import Silent
from tagstack.ensemble.tasks.quality_scores import score_quality
from tagstack.ensemble.workshop.quality.known_scores import ScoreRecord
from tagstack.ensemble.workshop.quality.scorers import technical

Command = Callable[..., Any]  # the fixtures of conftest.py


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Return a folder with six pictures, one of them twice, a broken one and a text."""
    folder = tmp_path / "images"
    (folder / "sub").mkdir(parents=True)
    for i in range(5):
        pixels = np.random.default_rng(i).integers(0, 50 * i + 1, (40, 48, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
    shutil.copy(folder / "4.png", folder / "sub" / "=copy.png")
    (folder / "broken.png").write_bytes(b"no picture")
    (folder / "notes.txt").write_text("mine\n")
    return folder


def rows_of(table: Path) -> dict[str, dict[str, str]]:
    return {row["image"]: row for row in csv.DictReader(table.read_text().splitlines())}


COUNTS = ("n_found", "n_scored", "n_current", "n_failed", "n_passed_over")


def counts(printed: str) -> tuple[int, ...]:
    found = json.loads(printed)
    return tuple(found[name] for name in COUNTS)


def test_every_file_is_accounted_for_and_a_second_run_scores_nothing(
    tagstack: Command, pictures: Path, tmp_path: Path
) -> None:
    table = tmp_path / "s.csv"
    asked = ("quality", "score", pictures, "--scores", table, "--threads", 1, "--json")
    first = tagstack(*asked)
    assert first.returncode == 3
    assert counts(first.stdout) == (8, 5, 1, 1, 1)  # a copy is scored once
    rows = rows_of(table)
    assert list(rows["0.png"]) == [
        "image", "blur", "exposure", "contrast", "compression", "resolution", "error"
    ]  # fmt: skip
    assert rows["broken.png"]["error"] == "not an image that can be read: unknown format"
    assert rows["4.png"]["blur"] == rows["'=sub/=copy.png".replace("'=", "")]["blur"]
    pixels = np.asarray(Image.open(pictures / "3.png").convert("RGB"))
    assert float(rows["3.png"]["contrast"]) == pytest.approx(technical.contrast(pixels), rel=1e-8)
    assert rows["0.png"]["blur"] == ""  # nothing in it varies
    assert json.loads(first.stdout)["without"]["blur"] == 1
    before = table.read_bytes()
    assert counts(tagstack(*asked).stdout) == (8, 0, 6, 1, 1)
    assert table.read_bytes() == before


def test_what_changed_or_is_new_is_scored_and_a_further_scorer_adds_a_column(
    done: Callable[..., str], pictures: Path, tmp_path: Path
) -> None:
    (pictures / "broken.png").unlink()
    table = tmp_path / "s.csv"
    asked = ("quality", "score", pictures, "--scores", table, "--json", "--scorer")
    done(*asked, "contrast")
    before = rows_of(table)
    shutil.copy(pictures / "1.png", pictures / "2.png")
    Image.new("RGB", (30, 30)).save(pictures / "new.png")
    assert counts(done(*asked, "contrast")) == (8, 1, 6, 0, 1)
    after = rows_of(table)
    assert after["2.png"]["contrast"] == before["1.png"]["contrast"]
    assert counts(done(*asked, "resolution")) == (8, 5, 2, 0, 1)
    assert list(rows_of(table)["1.png"]) == ["image", "contrast", "resolution", "error"]
    (pictures / "new.png").unlink()
    done(*asked, "resolution")
    assert "new.png" not in rows_of(table)


def test_a_run_that_is_killed_goes_on_where_it_was(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after kill -9: what was saved stays, no table is half written, the rest comes."""
    table, asked = tmp_path / "s.csv", ("blur",)
    settings = load_settings(None, {"threads": 1})
    plain, seen = scoring._Run._keep, list[str]()

    def dying(run: scoring._Run, one: scoring._Looked, values: dict[str, float]) -> None:
        plain(run, one, values)
        seen.append(one.name)
        if len(seen) == 3:
            monkeypatch.setattr(ScoreRecord, "save", lambda _: None)
            raise SystemExit(137)

    monkeypatch.setattr(scoring, "_SAVE_S", 0.0)
    monkeypatch.setattr(scoring._Run, "_keep", dying)
    with pytest.raises(SystemExit):
        score_quality([pictures], asked, table, settings, Silent())
    assert not table.exists()
    monkeypatch.undo()
    found = score_quality([pictures], asked, table, settings, Silent())
    assert (found.n_scored, found.n_current) == (2, 4)
    whole = tmp_path / "whole.csv"
    score_quality([pictures], asked, whole, settings, Silent())
    assert whole.read_bytes() == table.read_bytes()


def test_a_table_that_somebody_made_or_changed_is_left_alone(
    tagstack: Command, pictures: Path, tmp_path: Path
) -> None:
    table = tmp_path / "s.csv"
    asked = ("quality", "score", pictures / "1.png", "--scores", table, "--scorer", "contrast")
    table.write_text("mine\n")
    refused = tagstack(*asked)
    assert (refused.returncode, table.read_text()) == (1, "mine\n")
    assert "was not written by this command, or was changed since" in refused.stderr
    assert tagstack(*asked, "--overwrite").returncode == 0
    table.write_text(table.read_text() + "2.png,1,\n")
    assert tagstack(*asked).returncode == 1


def test_names_and_forms(done: Callable[..., str], tagstack: Command, tmp_path: Path) -> None:
    folder = tmp_path / "i"
    folder.mkdir()
    for name in (b"\xff.png", b'=a, "b".png', b"\xe3\x81\x82.png"):
        Image.new("RGBA", (20, 20), (255, 0, 0, 128)).save(
            folder / name.decode("utf-8", "surrogateescape")
        )
    table = tmp_path / "s.csv"
    done("quality", "score", folder, "--scores", table, "--scorer", "exposure")
    found = json.loads(
        done("quality", "tag", table, "--preset", "dbaesthetic", "--score", "exposure",
             "--dry-run", "--json")
    )  # fmt: skip
    assert (found["n_images"], found["n_tagged"]) == (3, 3)
    assert b"\xff.png" in table.read_bytes()
    done("quality", "score", folder, "--scores", tmp_path / "s.parquet", "--scorer", "exposure")
    rows = parquet.read_table(tmp_path / "s.parquet").to_pylist()
    # Half red on white is (255, 127, 127).
    grey = (0.299 * 255 + 0.701 * 127) / 255
    assert [row["exposure"] for row in rows] == pytest.approx([abs(grey - 0.5) * 2] * 3)
    assert "ends in .csv or .parquet" in tagstack(
        "quality", "score", folder, "--scores", tmp_path / "s.txt").stderr  # fmt: skip
    assert "Unknown scorer 'nima'" in tagstack(
        "quality", "score", folder, "--scores", table, "--scorer", "nima").stderr  # fmt: skip


def test_a_broken_record_says_what_to_do(pictures: Path, tmp_path: Path) -> None:
    table, settings = tmp_path / "s.csv", load_settings(None, {"threads": 1})
    score_quality([pictures / "1.png"], ("contrast",), table, settings, Silent())
    (record,) = (tmp_path / ".tagstack").glob("*.sqlite")
    record.write_bytes(b"no database, that is for sure" * 99)
    with pytest.raises(TagstackError, match=r"Cannot use the record .* delete it"):
        score_quality([pictures / "1.png"], ("contrast",), table, settings, Silent())
    record.unlink()
    with pytest.raises(TagstackError, match="was not written by this command"):
        score_quality([pictures / "1.png"], ("contrast",), table, settings, Silent())


def test_scorers_are_listed(done: Callable[..., str]) -> None:
    found = json.loads(done("quality", "scorers", "--json"))
    assert {row["name"]: row["lower_is_better"] for row in found}["brisque"] is True
    listed = done("quality", "scorers")
    assert "blur           lower is better: 0 sharp" in listed
    assert "none run with its real weights yet: anime-aesthetic, skytnt-aesthetic." in listed


def test_the_scorer_of_the_page_is_a_column(
    done: Callable[..., str], from_docs: Callable[[str], None], pictures: Path, tmp_path: Path
) -> None:
    from_docs("A scorer")
    table = tmp_path / "s.csv"
    done("quality", "score", pictures / "0.png", "--scores", table, "--scorer", "greyness")
    assert rows_of(table)["0.png"]["greyness"] == "1.0"
