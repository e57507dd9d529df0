"""`tagstack accept`: what may go unseen, what goes to people, and what stands in its way."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tagstack.ensemble.bundle.files import load_bundle


def rows(path: Path) -> list[tuple[str, str]]:
    with path.open(newline="") as stream:
        return [(row["filename"], row["tag"]) for row in csv.DictReader(stream)]


def test_a_batch_is_parted_into_accepted_and_queue(
    small: Path, tmp_path: Path, done: Callable[..., str], tagstack: Callable[..., Any]
) -> None:
    out = tmp_path / "deep" / "accepted.csv"
    arguments = [
        "accept", "--bundle", small / "bundle", "--tags", small / "scores", "--out", out,
    ]  # fmt: skip
    found = json.loads(done(*arguments, "--fdr", "0.2", "--json"))
    yes, rest = rows(out), rows(tmp_path / "deep" / "accepted-queue.csv")
    assert len(yes) == found["n_accepted"] > 0
    assert len(yes) + len(rest) == found["n_proposed"]
    with (small / "labels.csv").open(newline="") as stream:
        truth = {row["image"]: row for row in csv.DictReader(stream)}
    assert {truth[Path(name).as_posix()]["part"] for name, _ in yes} == {"test"}
    assert any("used to fit this bundle" in notice for notice in found["notices"])
    bundle = load_bundle(small / "bundle")
    bound = bundle.rules.bind(bundle.vocabulary)
    kept: dict[str, set[str]] = {}
    for name, tag in yes:
        kept.setdefault(name, set()).add(tag)
    index = bundle.vocabulary.index
    for tags in kept.values():  # closed: what is accepted takes along what it implies
        for tag in tags:
            row = bound.ancestors[[index[tag]], :].indices
            assert {bundle.vocabulary.tags[above] for above in row} <= tags
    again = tagstack(*arguments)
    assert again.returncode == 1
    assert "--overwrite" in again.stderr


def test_stricter_accepts_less_and_says_what_is_not_promised(
    small: Path, tmp_path: Path, done: Callable[..., str]
) -> None:
    def accepted(rate: str) -> set[tuple[str, str]]:
        out = tmp_path / f"{rate}.csv"
        said = done(
            "accept", "--bundle", small / "bundle", "--tags", small / "scores", "--out", out,
            "--fdr", rate, "--scores", small / "scores", "--labels", small / "labels.csv",
            "--where", "part=fit", "--group", "series",
        )  # fmt: skip
        assert "other kinds of pictures" in said
        return set(rows(out))

    assert accepted("0.01") <= accepted("0.1") <= accepted("0.3")


def test_what_stands_in_the_way(small: Path, tmp_path: Path, tagstack: Callable[..., Any]) -> None:
    def said(*arguments: object) -> str:
        result = tagstack("accept", "--bundle", small / "bundle", *arguments)
        assert result.returncode in (1, 2)
        assert "Traceback" not in result.stderr
        return " ".join(result.stderr.split())

    out = tmp_path / "a.csv"
    assert "holds no scores" in said("--tags", tmp_path, "--out", out)
    assert "--labels" in said("--tags", tmp_path, "--out", out, "--scores", small / "scores")
    assert "accept.fdr" in said("--tags", small / "scores", "--out", out, "--fdr", "0")
    assert "two files" in said("--tags", small / "scores", "--out", out, "--queue", out)
    assert not out.exists()
