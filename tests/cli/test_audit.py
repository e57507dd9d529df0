"""`tagstack audit`: what is written, and what stands in its way."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any


def test_an_audit_is_written_whole_and_never_over_another(
    small: Path, tmp_path: Path, done: Callable[..., str], tagstack: Callable[..., Any]
) -> None:
    out = tmp_path / "deep" / "audit"
    arguments = [
        "audit", "--bundle", small / "bundle", "--scores", small / "scores",
        "--labels", small / "labels.csv", "--out", out,
    ]  # fmt: skip
    found = json.loads(done(*arguments, "--by", "part", "--json"))
    kept = json.loads((out / "audit.json").read_text())
    assert {key: found[key] for key in kept} == kept
    assert 0 < found["n_out_of_fold"] < found["n_images"]
    with (out / "slices.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert {row["value"] for row in rows if row["kind"] == "column"} == {"fit", "test"}
    assert {row["kind"] for row in rows} == {"column", "category", "frequency", "family"}
    assert len(rows) == len(found["looks"])
    assert found["asked"][0] == "stack"
    assert len(found["asked"]) > 1  # its taggers, from what the bundle kept of them out of fold
    assert "What tags favour" in (out / "audit.html").read_text()
    assert "--overwrite" in tagstack(*arguments).stderr
    words = [*arguments[:-1], tmp_path / "again", "--against", out, "--parts", "none"]
    since = json.loads(done(*words, "--by", "part", "--json"))["changes"]
    assert (since["n_images"], since["n_missing"]) == (found["n_images"], 0)
    assert {one["verdict"] for one in since["found"]} == {"no significant difference"}
    said = done(*arguments, "--by", "part", "--with", "1girl", "--parts", "none", "--overwrite")
    assert "differ surely in" in said
    with (out / "slices.csv").open(newline="") as stream:
        assert {row["kind"] for row in csv.DictReader(stream)} == {"column", "tag"}
    assert "Did you mean part?" in tagstack(*arguments, "--by", "prt", "--overwrite").stderr


def test_fit_balances_by_a_column_with_two_values_or_says_why_not(
    small: Path, tmp_path: Path, tagstack: Callable[..., Any]
) -> None:
    arguments = [
        "fit", "--scores", small / "scores", "--labels", small / "labels.csv",
        "--bundle", tmp_path / "bundle", "--where", "part=fit", "--balance",
    ]  # fmt: skip
    for column, why in (("prt", "Did you mean part?"), ("part", "part=fit; expected two values")):
        result = tagstack(*arguments, column)
        assert result.returncode == 1
        assert why in result.stderr
    assert not (tmp_path / "bundle").exists()


def test_an_audit_shows_pictures_in_guises_and_fits_without_values_and_taggers(
    small: Path, tmp_path: Path, done: Callable[..., str], tagstack: Callable[..., Any]
) -> None:
    (tmp_path / "audit.toml").write_text(
        '[audit]\nprobe_images = 6\nguises = ["grey", "mirrored"]\n[compare]\nresamples = 100\n'
    )
    arguments = [
        "audit", "--bundle", small / "bundle", "--scores", small / "scores",
        "--labels", small / "labels.csv", "--config", tmp_path / "audit.toml", "--by", "part",
        "--parts", "none",
    ]  # fmt: skip
    out = tmp_path / "audit"
    found = json.loads(
        done(
            *arguments, "--out", out, "--probes", small / "images", "--leave-out", "part",
            "--drop-members", "--json",
        )
    )  # fmt: skip
    probes = found["probes"]
    assert probes["n_images"] == 6
    assert set(probes["guises"]) == {"grey", "mirrored"}
    assert [row["by"] for row in probes["moved"][: len(found["asked"])]] == found["asked"]
    kept = [row["kept"] for row in probes["moved"]]
    assert min(kept) < 1  # a tagger sees that a picture has lost its colours
    refits = found["refits"]
    assert {(row["left_out"], row["value"]) for row in refits if row["left_out"] == "value"} == {
        ("value", "fit"),
        ("value", "test"),
    }
    taggers = found["asked"][1:]
    dropped = [row for row in refits if row["left_out"] == "member"]
    assert [row["without"] for row in dropped] == [name for name in taggers for _ in range(3)]
    for name in ("probes.csv", "probe-tags.csv", "refits.csv"):
        assert (out / name).is_file()
    page = (out / "audit.html").read_text()
    for title in ("in other guises", "no model saw", "Without a tagger"):
        assert title in page
    wrong = tagstack(*arguments, "--out", tmp_path / "x", "--probes", tmp_path)
    assert wrong.returncode == 1
    assert "Expected the folder that was scored." in wrong.stderr
