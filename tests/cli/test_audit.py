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
    assert {row["value"] for row in rows} == {"fit", "test"}
    assert len(rows) == len(found["looks"]) == 10
    assert "--overwrite" in tagstack(*arguments).stderr
    said = done(*arguments, "--by", "part", "--overwrite")
    assert "figures of slices surely differ" in said
    assert "Did you mean part?" in tagstack(*arguments, "--by", "prt", "--overwrite").stderr
