"""Versions: immutable, checked, switched at once; a damaged one never comes into use."""

import json
import multiprocessing
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tagstack.base_models.vocabulary import Vocabulary
from tagstack.configs.errors import TagstackError
from tagstack.ensemble.tasks.threshold_versions import (
    diff_versions,
    export_version,
    import_overrides,
    list_versions,
    roll_back,
    show_version,
    use_version,
)
from tagstack.ensemble.thresholds.table import Thresholds
from tagstack.ensemble.thresholds.versions import ThresholdVersions


def table(*values: float, **changes: Any) -> Thresholds:
    n_tags = len(values)
    columns: dict[str, Any] = {
        "vocabulary": Vocabulary(("long_hair", "solo", "1girl")[:n_tags], ("general",) * n_tags),
        "value": np.array(values, np.float32),
        "state": ("tuned",) * n_tags,
        "positives": np.arange(n_tags) * 10,
        "estimate": np.linspace(0.5, 0.7, n_tags),
        "low": np.linspace(0.4, 0.6, n_tags),
        "high": np.linspace(0.6, 0.8, n_tags),
        "objective": ("F1",) * n_tags,
        "calibration_hash": "ab" * 32,
    }
    return Thresholds(**(columns | changes))


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    folder = tmp_path / "bundle"
    folder.mkdir()
    (folder / "manifest.json").write_text("{}")
    table(0.1, 0.2, 0.3).to_csv(folder / "thresholds.csv")
    return folder


def test_a_new_version_is_in_use_and_the_old_ones_stay(bundle: Path) -> None:
    versions = ThresholdVersions(bundle)
    assert versions.current == "fit"
    rungs = {"mean": np.array([0.5, 0.6, 0.7], np.float32)}
    first = versions.add(table(0.4, 0.5, np.inf), {"objective": "p=r", "n_images": 9}, rungs)
    second = versions.add(table(0.4, 0.5, 0.6), {"objective": "F1", "n_images": 9})
    assert versions.current == second
    assert [version.name for version in versions.listed()] == ["fit", first, second]
    assert versions.thresholds(first).value.tolist()[2] == np.inf
    assert versions.thresholds("fit").value[0] == np.float32(0.1)
    found = versions.rung_thresholds(first)
    assert found is not None
    assert found["mean"].tolist() == rungs["mean"].tolist()
    assert versions.rung_thresholds(second) is None
    assert versions.about(first)["objective"] == "p=r"


def test_equal_content_has_the_same_hash_and_a_new_number(bundle: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(bundle, other)
    names = [
        ThresholdVersions(folder).add(table(0.4, 0.5, 0.6), {"a": 1})
        for folder in (bundle, other, bundle)
    ]
    assert names[0] == names[1]
    assert names[2] == f"0002-{names[0].split('-')[1]}"


def test_rolling_back_goes_through_the_history(bundle: Path) -> None:
    versions = ThresholdVersions(bundle)
    first = versions.add(table(0.4, 0.5, 0.6), {})
    second = versions.add(table(0.4, 0.5, 0.7), {})
    assert use_version(bundle, "fit") == (second, "fit")
    assert use_version(bundle, "fit") == ("fit", "fit")  # twice is once
    assert roll_back(bundle) == ("fit", second)
    assert roll_back(bundle) == (second, first)
    assert roll_back(bundle) == (first, "fit")
    with pytest.raises(TagstackError, match="nothing before them"):
        roll_back(bundle)
    assert use_version(bundle, "2")[1] == second
    assert use_version(bundle, first)[1] == first


@pytest.mark.parametrize("text", ["7", "", "0003-aa", "FIT", "current-1"])
def test_unknown_versions_are_refused(bundle: Path, text: str) -> None:
    ThresholdVersions(bundle).add(table(0.4, 0.5, 0.6), {})
    with pytest.raises(TagstackError, match=r"has no version .* of thresholds; it has"):
        ThresholdVersions(bundle).resolve(text)


@pytest.mark.parametrize("file", ["thresholds.csv", "about.json"])
def test_a_changed_version_is_refused_and_the_one_in_use_stays(bundle: Path, file: str) -> None:
    versions = ThresholdVersions(bundle)
    first = versions.add(table(0.4, 0.5, 0.6), {})
    second = versions.add(table(0.4, 0.5, 0.7), {})
    path = bundle / "thresholds" / first / file
    path.write_text(path.read_text() + " ")
    with pytest.raises(TagstackError, match="were changed or are incomplete"):
        use_version(bundle, first)
    with pytest.raises(TagstackError, match="were changed or are incomplete"):
        roll_back(bundle)
    assert versions.current == second


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"history": ["0009-aa"]}', '{"history": []}'])
def test_a_damaged_history_is_named(bundle: Path, text: str) -> None:
    ThresholdVersions(bundle).add(table(0.4, 0.5, 0.6), {})
    (bundle / "thresholds" / "history.json").write_text(text)
    with pytest.raises(TagstackError, match=r"history\.json"):
        _ = ThresholdVersions(bundle).current


def test_a_write_that_fails_leaves_nothing(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    versions = ThresholdVersions(bundle)
    first = versions.add(table(0.4, 0.5, 0.6), {})

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "rename", full)
    with pytest.raises(TagstackError, match=r"No space left on device\. The version in use stays"):
        versions.add(table(0.4, 0.5, 0.7), {})
    assert versions.current == first
    assert sorted(path.name for path in versions.folder.iterdir()) == [
        first, "history.json", "lock",
    ]  # fmt: skip


def add_many(bundle: Path, start: int) -> None:
    for i in range(8):
        ThresholdVersions(bundle).add(table(0.1 + 0.01 * i, 0.2, 0.1 * start), {"i": i})


def test_writers_take_turns_and_readers_see_whole_versions(bundle: Path) -> None:
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=add_many, args=(bundle, start)) for start in (1, 2)]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        versions = ThresholdVersions(bundle)
        assert len(versions.thresholds(versions.current).value) == 3
        time.sleep(0.005)  # they start for seconds
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    names = [version.name for version in ThresholdVersions(bundle).listed()]
    assert len(names) == 17
    assert [int(name.split("-")[0]) for name in names[1:]] == list(range(1, 17))
    history = json.loads((bundle / "thresholds" / "history.json").read_text())["history"]
    assert history == names


def test_showing_comparing_and_exporting(bundle: Path, tmp_path: Path) -> None:
    name = ThresholdVersions(bundle).add(
        table(0.4, 0.2, np.inf, state=("tuned", "pooled", "fixed")), {"n_images": 5}
    )
    shown, rows = show_version(bundle, "current", "*girl")
    assert shown == name
    assert [(row.tag, row.threshold, row.state) for row in rows] == [("1girl", None, "fixed")]
    changes = diff_versions(bundle, "fit", "current")
    assert [change.tag for change in changes] == ["1girl", "long_hair", "solo"]
    assert (changes[1].before, changes[1].after) == (0.1, 0.4)
    assert diff_versions(bundle, "1", "current") == ()
    export_version(bundle, "fit", tmp_path / "t.csv", overwrite=False)
    assert Thresholds.from_csv(tmp_path / "t.csv").value[1] == np.float32(0.2)
    export_version(bundle, "1", tmp_path / "t.json", overwrite=False)
    assert json.loads((tmp_path / "t.json").read_text()) == {
        "long_hair": 0.4, "solo": 0.2, "1girl": None,
    }  # fmt: skip
    with pytest.raises(TagstackError, match=r"exists\. Choose another name or pass --overwrite"):
        export_version(bundle, "1", tmp_path / "t.csv", overwrite=False)
    with pytest.raises(TagstackError, match=r"No tag matches 'x\*'\. Tags are written like"):
        show_version(bundle, "1", "x*")


def test_imported_thresholds_win_and_are_fixed(bundle: Path, tmp_path: Path) -> None:
    jtp = tmp_path / "calibration.csv"
    jtp.write_text("tag,threshold,tp,fp,tn,fn\nsolo,0.625,9,1,80,10\nmecha,0.5,1,1,1,1\n")
    name, n_set, ignored = import_overrides(bundle, jtp)
    assert (n_set, ignored) == (1, ("mecha",))
    found = ThresholdVersions(bundle).thresholds(name)
    assert found.value.tolist() == np.array([0.1, 0.625, 0.3], np.float32).tolist()
    assert found.state == ("tuned", "fixed", "tuned")
    assert found.objective[1] == "by hand"
    summary = list_versions(bundle)[-1]
    assert (summary.made_by, summary.in_use, summary.states) == (
        "import", True, {"tuned": 2, "fixed": 1},
    )  # fmt: skip
    (tmp_path / "none.csv").write_text("name,best_threshold\nmecha,0.5\n")
    with pytest.raises(TagstackError, match="names no tag of"):
        import_overrides(bundle, tmp_path / "none.csv")
    (tmp_path / "twice.csv").write_text("name,best_threshold\nsolo,0.5\nsolo,0.6\n")
    with pytest.raises(TagstackError, match=r"names 'solo' twice, with 0\.5 and 0\.6"):
        import_overrides(bundle, tmp_path / "twice.csv")


def test_a_folder_that_is_no_bundle_is_named(tmp_path: Path) -> None:
    with pytest.raises(TagstackError, match=r"is no bundle: it holds no manifest\.json"):
        list_versions(tmp_path)
