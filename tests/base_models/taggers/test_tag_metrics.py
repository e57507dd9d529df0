"""What a publisher measured for each tag becomes its threshold; a hostile file costs one line."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tagstack.base_models.contract import contract_from_toml
from tagstack.base_models.taggers import tag_metrics
from tagstack.base_models.taggers.check import check_tagger
from tagstack.base_models.taggers.registry import add_tagger, resolve
from tagstack.base_models.taggers.tag_files import TagRow
from tagstack.base_models.taggers.tag_metrics import with_metrics
from tagstack.base_models.taggers.tagger import load_tagger
from tagstack.configs.errors import TagstackError
from tagstack.configs.level1 import ScoreSettings
from tagstack.configs.text_files import read_toml

ROWS = (TagRow("hat", "general", 0.5, 7), TagRow("cat", "general", 0.25), TagRow("solo", "general"))


def test_thresholds_and_counts_replace_those_that_are_known(tmp_path: Path) -> None:
    path = tmp_path / "m.npz"
    names = np.array(["hat", "cat", "solo"], dtype=object)  # pickled, never opened
    best = np.array([0.125, np.nan, 0.75], np.float32)
    np.savez_compressed(path, best_thr=best, n_pos=np.array([3, 0, 5]), tag_names=names)
    found = [(row.best_threshold, row.count) for row in with_metrics(ROWS, path)]
    assert found == [(0.125, 3), (0.25, None), (0.75, 5)]


@pytest.mark.parametrize(
    "content",
    [
        {"per_tag": {"min_support": 3, "per_tag": {
            "hat": {"support": 3, "pr_threshold": 0.9, "f1_threshold": 0.125},
            "cat": {"support": 0, "f1_threshold": None}, "other": {"f1_threshold": 7.0},
            "solo": {"support": 5, "f1_threshold": 0.75},
        }}, "micro": {"pr_breakeven": {"threshold": 0.79}}},
        {"hat": 0.125, "solo": 0.75, "else": 9},
    ],
)  # fmt: skip
def test_thresholds_in_json_go_by_names(tmp_path: Path, content: dict[str, Any]) -> None:
    path = tmp_path / "pr_thresholds.json"
    path.write_text(json.dumps(content))
    found = with_metrics(ROWS, path)
    assert [row.best_threshold for row in found] == [0.125, 0.25, 0.75]
    counts = (3, None, 5) if "per_tag" in content else (7, None, None)
    assert tuple(row.count for row in found) == counts


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"micro": {"pr_breakeven": {"threshold": 0.79}}}', "no threshold of any of the 3 tags"),
        ('{"per_tag": {"pr_summary": {"mean_threshold": 0.5}}}', "no threshold of any"),
        ("[1, 2, 3]", "no threshold of any"),
        ('{"hat": true, "cat": "0.5"}', "no threshold of any"),
        ('{"hat": 1.5}', "reach from 1.5 to 1.5; expected 0 to 1"),
        ("{", "not valid JSON"),
    ],
)
def test_json_without_thresholds_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "t.json"
    path.write_text(text)
    with pytest.raises(TagstackError, match=message):
        with_metrics(ROWS, path)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"other": np.zeros(3)}, "no array 'best_thr'"),
        ({"best_thr": np.zeros(4)}, r"shape \(4,\); expected one number for each of 3 tags"),
        (
            {"best_thr": np.array([0.5, 1.5, 0])},
            "its thresholds reach from 0 to 1.5; expected 0 to 1",
        ),
        ({"best_thr": np.array(["a", "b", "c"])}, "expected one number"),
        ({"best_thr": np.array([{}] * 3, dtype=object)}, "no NPZ file that can be read"),
        ({"best_thr": np.zeros(3), "n_pos": np.zeros((3, 2))}, "n_pos is float64 of shape"),
    ],
)
def test_what_fits_no_tag_file_is_refused(
    tmp_path: Path, arrays: dict[str, Any], message: str
) -> None:
    np.savez(tmp_path / "m.npz", **arrays)
    with pytest.raises(TagstackError, match=message):
        with_metrics(ROWS, tmp_path / "m.npz")


def test_hostile_archives_cost_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "m.npz"
    path.write_bytes(b"PK\x03\x04 nothing")
    with pytest.raises(TagstackError, match="no NPZ file that can be read"):
        with_metrics(ROWS, path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("best_thr.npy", b"\x93NUMPY\x01\x00junk")
    with pytest.raises(TagstackError, match="no NPZ file that can be read"):
        with_metrics(ROWS, path)
    monkeypatch.setattr(tag_metrics, "_MOST_BYTES", 64)  # a bomb, before it is unpacked
    np.savez_compressed(path, best_thr=np.zeros(3))
    with pytest.raises(TagstackError, match="expected at most 64"):
        with_metrics(ROWS, path)


def test_metrics_are_one_of_a_taggers_files(
    make_tagger_folder: Callable[..., Path],
    settings: ScoreSettings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TAGSTACK_HOME", str(tmp_path / "home"))
    folder = make_tagger_folder(kind="logits")
    plain = load_tagger(folder, floor=1e-4, threads=1)
    toml = folder / "tagger.toml"
    toml.write_text(toml.read_text() + '[files]\nmetrics = "m.npz"\n')
    assert contract_from_toml(read_toml(toml), origin="x").digest() == plain.contract.digest()
    with pytest.raises(TagstackError, match=r"m\.npz is missing"):
        add_tagger(folder, settings)
    np.savez(folder / "m.npz", best_thr=np.linspace(0, 1, 10))
    assert add_tagger(folder, settings).passed
    tagger = load_tagger(resolve("tiny"), floor=1e-4, threads=1)
    np.testing.assert_allclose(tagger.published_thresholds, np.linspace(0, 1, 10), rtol=1e-6)
    assert tagger.fingerprint == plain.fingerprint  # no score depends on it
    outside = tmp_path / "outside.npz"
    (folder / "m.npz").rename(outside)
    (folder / "m.npz").symlink_to(outside)
    with pytest.raises(TagstackError, match=r"is a link to .* outside of"):
        load_tagger(folder, floor=1e-4, threads=1)


def test_unverified_facts_are_said(make_tagger_folder: Callable[..., Path]) -> None:
    folder = make_tagger_folder()
    toml = folder / "tagger.toml"
    toml.write_text('unverified = ["input.colour"]\n' + toml.read_text())
    findings = check_tagger(folder, floor=1e-4, threads=1).findings
    (said,) = [finding.detail for finding in findings if finding.check == "unverified"]
    assert "no source says input.colour" in said
