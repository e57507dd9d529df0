"""``tagstack calibrate`` and ``tagstack thresholds``, in process, on drawn pictures."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file
from typer.testing import CliRunner

from tagstack.cli import app
from tagstack.configs.errors import TagstackError
from tagstack.configs.settings import load_settings
from tagstack.ensemble.bundle.files import load_bundle, out_of_fold_of
from tagstack.ensemble.thresholds.table import Thresholds


@pytest.fixture
def root(small: Path, tmp_path: Path) -> Path:
    """Return the folder with a bundle of its own for each test."""
    for name in ("scores", "labels.csv", "config.toml", "images"):
        (tmp_path / name).symlink_to(small / name)
    shutil.copytree(small / "bundle", tmp_path / "bundle")
    return tmp_path


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


def calibrate(root: Path, *more: object, part: str = "test") -> dict[str, object]:
    text = run(
        "calibrate", "--bundle", root / "bundle", "--scores", root / "scores", "--labels",
        root / "labels.csv", "--where", f"part={part}", "--group", "series", "--json", *more,
    )  # fmt: skip
    content: dict[str, object] = json.loads(text)
    return content


def count(root: Path, part: str) -> int:
    with (root / "labels.csv").open(newline="") as stream:
        return sum(row["part"] == part for row in csv.DictReader(stream))


def test_calibrated_thresholds_are_used_and_named(root: Path) -> None:
    before = load_bundle(root / "bundle")
    result = calibrate(root, "--objective", "fixed:0.9", "--tag", "1*=fixed:0.2")
    after = load_bundle(root / "bundle")
    assert after.threshold_version == result["version"] != before.threshold_version == "fit"
    tag = after.vocabulary.index
    assert after.thresholds.value[tag["1girl"]] == np.float32(0.2)
    assert after.thresholds.value[tag["long_hair"]] == np.float32(0.9)
    assert result["n_images"] == count(root, "test")
    assert result["n_out_of_fold"] == 0
    assert result["states"] == {"fixed": len(after.vocabulary)}
    assert set(after.rung_thresholds) == set(before.rung_thresholds)
    assert (after.rung_thresholds["mean"] != before.rung_thresholds["mean"]).any()
    image = next((root / "images").rglob("*.png"))
    said = json.loads(run("explain", image, "long_hair", "--bundle", root / "bundle", "--json"))
    assert said["thresholds"] == result["version"]
    assert said["entries"][0]["threshold"] == pytest.approx(0.9)
    tagged = json.loads(
        run("tag", image, "--bundle", root / "bundle", "--out", root / "tags", "--json")
    )
    assert tagged["thresholds"] == result["version"]
    assert run("thresholds", "rollback", "--bundle", root / "bundle") == (
        f"In use: fit (before: {result['version']}).\n"
    )
    assert (load_bundle(root / "bundle").thresholds.value == before.thresholds.value).all()


def test_fitted_images_count_with_their_out_of_fold_probabilities(root: Path) -> None:
    """The fit's own thresholds come from these; the stack's predictions for them would differ."""
    kept = out_of_fold_of(root / "bundle")
    assert kept is not None
    n_fit = count(root, "fit")
    assert len(kept.contents) == n_fit
    result = calibrate(root, "--config", root / "config.toml", part="fit")
    assert (result["n_images"], result["n_out_of_fold"]) == (n_fit, n_fit)
    bundle = load_bundle(root / "bundle")
    at_fit = Thresholds.from_csv(root / "bundle" / "thresholds.csv")
    # Rare tags' too: both draw thresholds towards the start's, the less the more positives.
    assert (at_fit.positives <= 5).any()
    assert bundle.thresholds.value == pytest.approx(at_fit.value, rel=1e-3)
    assert (bundle.thresholds.positives == at_fit.positives).all()
    # All rungs share the strategy: these are fitted anew on the probabilities of the fit.
    version = root / "bundle" / "thresholds" / str(result["version"])
    first, again = (
        load_file(folder / "rung_thresholds.safetensors") for folder in (root / "bundle", version)
    )
    assert set(again) == set(first) > {"mean", "mean + decoder"}
    for name, table in first.items():
        assert again[name] == pytest.approx(table, rel=1e-3), name


def test_fitted_and_new_images_can_be_used_together(root: Path) -> None:
    text = run(
        "calibrate", "--bundle", root / "bundle", "--scores", root / "scores", "--labels",
        root / "labels.csv", "--group", "series", "--objective", "p=r", "--json",
    )  # fmt: skip
    result = json.loads(text)
    assert result["n_out_of_fold"] == count(root, "fit")
    assert result["n_images"] == count(root, "fit") + count(root, "test")
    assert f"{count(root, 'fit')} of 150 images were used to fit" in result["notices"][-1]
    table = load_bundle(root / "bundle").thresholds
    with (root / "labels.csv").open(newline="") as stream:
        n_solo = sum("solo" in row["tags"].split() for row in csv.DictReader(stream))
    assert table.positives[table.vocabulary.index["solo"]] == n_solo


def test_without_kept_probabilities_fitted_images_are_refused(root: Path, small: Path) -> None:
    manifest = root / "bundle" / "manifest.json"
    content = json.loads(manifest.read_text())
    del content["files"]["out_of_fold.safetensors"]  # as a bundle of an earlier version
    manifest.write_text(json.dumps(content))
    (root / "bundle" / "out_of_fold.safetensors").unlink()
    with pytest.raises(TagstackError, match="No image is left to calibrate on"):
        calibrate(root, part="fit")
    whole = run(
        "calibrate", "--bundle", root / "bundle", "--scores", root / "scores", "--labels",
        root / "labels.csv", "--group", "series", "--json",
    )  # fmt: skip
    assert json.loads(whole)["n_images"] == count(root, "test")


def test_overrides_win_and_unknown_tags_are_named(root: Path) -> None:
    (root / "mine.csv").write_text("tag,threshold\nlong_hair,0.123\nno_such_tag,0.5\n")
    result = calibrate(root, "--objective", "f1", "--overrides", root / "mine.csv")
    assert result["ignored_overrides"] == ["no_such_tag"]
    (row,) = json.loads(
        run("thresholds", "show", "--bundle", root / "bundle", "--tag", "long_hair", "--json")
    )["thresholds"]
    assert (row["threshold"], row["state"], row["objective"]) == (0.123, "fixed", "by hand")


def test_the_same_calibration_gives_the_same_content(root: Path) -> None:
    names = [str(calibrate(root, "--objective", "recall>=0.8")["version"]) for _ in range(2)]
    tables = [(root / "bundle" / "thresholds" / n / "thresholds.csv").read_bytes() for n in names]
    assert tables[0] == tables[1]
    listed = json.loads(run("thresholds", "list", "--bundle", root / "bundle", "--json"))
    assert [version["name"] for version in listed] == ["fit", *names]
    assert [version["in_use"] for version in listed] == [False, False, True]
    assert listed[1]["objective"] == "recall>=0.8"
    assert run("thresholds", "diff", "1", "2", "--bundle", root / "bundle") == (
        "No tag is treated differently.\n"
    )


def test_cuts_of_each_images_list_decide_per_image(root: Path) -> None:
    calibrate(root, "--objective", "rcut:3")
    images = sorted((root / "images").rglob("*.png"))[:6]
    run(
        "tag", *images, "--bundle", root / "bundle", "--out", root / "tags", "--format", "json",
    )  # fmt: skip
    found = [json.loads((root / "tags" / f"{path.stem}.json").read_text()) for path in images]
    # The rules may remove rivals among the three and add what they imply.
    assert all(0 < len(record["tags"]) < 12 for record in found)
    assert load_bundle(root / "bundle").thresholds.image_cut == "rcut:3"


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--objective", "best"), "Unknown objective 'best'"),
        (("--tag", "long_hair"), "is no PATTERN=OBJECTIVE"),
        (("--tag", "zzz*=f1"), r"No tag matches 'zzz\*'"),
        (("--tag", "l*=mcut"), "for all tags or none"),
        (("--overrides", "gone.csv"), "Cannot read the thresholds"),
    ],
)
def test_mistakes_write_no_version(root: Path, more: tuple[str, ...], message: str) -> None:
    with pytest.raises(TagstackError, match=message):
        calibrate(root, *more)
    assert load_bundle(root / "bundle").threshold_version == "fit"


def test_a_damaged_version_is_no_bundle_to_use(root: Path) -> None:
    version = str(calibrate(root, "--objective", "p=r")["version"])
    path = root / "bundle" / "thresholds" / version / "thresholds.csv"
    path.write_text(path.read_text().replace("0.", "0.9", 1))
    with pytest.raises(TagstackError, match=f"Thresholds {version} of .* were changed"):
        load_bundle(root / "bundle")


def test_tables_are_printed_for_people(root: Path) -> None:
    calibrate(root, "--objective", "precision>=0.6")
    shown = run("thresholds", "show", "--bundle", root / "bundle")
    assert "precision>=0.6" in shown
    listed = run("thresholds", "list", "--bundle", root / "bundle")
    assert listed.count("\n") == 4
    run("thresholds", "export", root / "out.csv", "--bundle", root / "bundle")
    assert len(Thresholds.from_csv(root / "out.csv").value) == 128
    imported = run("thresholds", "import", root / "out.csv", "--bundle", root / "bundle")
    assert "128 set by hand" in imported
    assert "0002-" in run("thresholds", "use", "1", "--bundle", root / "bundle")


def test_a_table_of_values_is_what_thresholds_are_for(root: Path) -> None:
    table = root / "utility.csv"
    table.write_text("tag,tp,fp,fn\n*,1,-1,0\nlong_hair,1,-0.25,-2\n")
    result = calibrate(root, "--utility", table, "--tag", "1girl=fixed:0.9")
    assert set(result["states"]) == {"fixed"}  # type: ignore[call-overload]
    after = load_bundle(root / "bundle")
    tag, value = after.vocabulary.index, after.thresholds.value
    assert value[tag["long_hair"]] == pytest.approx(0.25 / 3.25)
    assert value[tag["1girl"]] == pytest.approx(0.9)
    assert value[tag["smile"]] == pytest.approx(0.5)
    listed = json.loads(run("thresholds", "list", "--bundle", root / "bundle", "--json"))
    assert listed[-1]["objective"].startswith("utility by utility.csv")
    table.write_text("tag,tp\nlong_hiar,1\n")
    with pytest.raises(TagstackError, match="no tag 'long_hiar' is known here"):
        calibrate(root, "--utility", table)
    refused = CliRunner().invoke(
        app, ["calibrate", "--bundle", "b", "--scores", "s", "--labels", "l", "--utility",
              str(table), "--objective", "f1"]
    )  # fmt: skip
    assert refused.exit_code == 2


def test_a_misspelt_tag_of_a_table_is_found_before_a_fit(root: Path) -> None:
    table = root / "utility.csv"
    table.write_text("tag,tp\nlong_hiar,1\n")
    with pytest.raises(TagstackError, match="no tag 'long_hiar' is known here"):
        run("fit", "--scores", root / "scores", "--labels", root / "labels.csv", "--bundle",
            root / "new", "--where", "part=fit", "--quick", "--utility", table)  # fmt: skip
    assert not (root / "new").exists()


def test_policies_are_written_with_a_promised_recall_and_the_bundle_stays(
    root: Path, checked_answer: Callable[..., Any]
) -> None:
    mine = '[moderation]\nblock = ["1girl", "long_hair>=.3"]\nallow = ["1boy"]\n'
    (root / "mine.toml").write_text(mine)
    before = {path.name: path.stat().st_mtime_ns for path in (root / "bundle").iterdir()}
    options = ("--config", root / "mine.toml", "--policies", root / "out.toml")
    found = calibrate(root, "--objective", "recall>=0.6", *options)
    checked_answer(["calibrate"], json.dumps(found))
    written = load_settings(root / "out.toml").moderation
    assert list(written.allow) == ["1boy"]
    assert [one["written"] for one in found["policies"]] == list(written.block)  # type: ignore[attr-defined]
    assert written.block[0].startswith("1girl>=0.")
    assert before == {path.name: path.stat().st_mtime_ns for path in (root / "bundle").iterdir()}
    assert load_bundle(root / "bundle").threshold_version == "fit"
    with pytest.raises(TagstackError, match=r"out.toml exists"):
        calibrate(root, "--objective", "recall>=0.6", *options)
    with pytest.raises(TagstackError, match="promises a recall, but the objective is f1"):
        calibrate(root, "--objective", "f1", *options)
    with pytest.raises(TagstackError, match="No policies"):
        calibrate(root, "--objective", "recall>=0.6", "--policies", root / "other.toml")
