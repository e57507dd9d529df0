"""``tagstack compare --against``: two bundles on the images that neither was fitted on."""

import csv
import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tagstack.cli import app


@pytest.fixture
def root(small: Path, tmp_path: Path) -> Path:
    """Return the folder with an old bundle and one whose thresholds are far too high."""
    for name in ("scores", "labels.csv", "images"):
        (tmp_path / name).symlink_to(small / name)
    for name in ("old", "strict"):
        shutil.copytree(small / "bundle", tmp_path / name)
    high = tmp_path / "high.csv"
    with (tmp_path / "old" / "thresholds.csv").open(newline="") as stream:
        tags = [row["tag"] for row in csv.DictReader(stream)]
    high.write_text("tag,threshold\n" + "".join(f"{tag},0.97\n" for tag in tags))
    run("thresholds", "import", high, "--bundle", tmp_path / "strict")
    return tmp_path


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return " ".join(result.stdout.split())


def compare(root: Path, *more: object) -> str:
    return run(
        "compare", "--scores", root / "scores", "--labels", root / "labels.csv", "--where",
        "part=test", "--group", "series", "--out", root / "out", *more,
    )  # fmt: skip


def test_a_worse_bundle_is_called_so_and_nothing_names_a_path(root: Path) -> None:
    text = compare(root, "--bundle", root / "strict", "--against", root / "old", "--publish")
    assert "Use the old bundle old: over the new bundle strict it gains" in text
    assert "Surely worse (" in text
    assert "Surely better (" not in text
    found = json.loads((root / "out" / "metrics.json").read_text())
    assert (found["reference"], found["rival"]) == ("new + decoder", "old + decoder")
    assert found["worst"] == []
    rungs = {rung["name"]: rung["decisions"]["tags_per_image"] for rung in found["rungs"]}
    assert rungs["new + decoder"] < 0.8 * rungs["old + decoder"]
    assert rungs["new at old's tags an image"] == pytest.approx(rungs["old + decoder"], rel=0.05)
    pictures = [path.stem for path in (root / "images").rglob("*.png")]
    assert pictures
    for path in (root / "out").iterdir():
        said = path.read_text()
        assert str(root) not in said, path
        assert not [name for name in pictures if name in said], path


def test_a_bundle_against_itself_changed_nothing(root: Path) -> None:
    shutil.copytree(root / "old", root / "new")
    text = compare(root, "--bundle", root / "new", "--against", root / "old")
    assert "Nothing is sure between the new bundle new and the old bundle old" in text
    assert "old +0.000 [+0.000, +0.000] +0.000" in text  # a row, though probabilities are the same
    assert "At the same number of tags" in text
    assert ": better" not in text
    found = json.loads((root / "out" / "metrics.json").read_text())
    assert found["verdicts"]["better"] == found["verdicts"]["worse"] == 0
    rungs = {rung["name"]: rung for rung in found["rungs"]}
    lead = rungs["old + decoder"]["differences"]["all"]["macro_f"]
    assert (lead["value"], lead["low"], lead["high"]) == (0, 0, 0)
    # As many tags already: nothing is moved, not even by the little that a search leaves.
    assert "moved by +0.00 " in rungs["new at old's tags an image"]["note"]
