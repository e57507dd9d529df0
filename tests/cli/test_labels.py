"""``tagstack labels`` and partial labels, in process, on a small drawn booru."""

import csv
import json
import shutil
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from tagstack.base_models.zoo.gallery import draw_gallery
from tagstack.cli import app
from tagstack.configs.errors import TagstackError

SETTINGS = """
[stack]
folds = 3
calibration_strengths = [100.0]
logistic_strengths = [300.0]
selection_rounds = 5
learners = []
outer_fold = false
member_worth = "none"
[stack.tuning]
trials = 0
[thresholds]
joint_rounds = 2
frontier = []
[compare]
resamples = 100
"""
N_PLANTED = 20


def run(*arguments: object) -> Any:
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    if isinstance(result.exception, TagstackError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result


def remembering(folder: Path) -> Path:
    """Return a copy of an embedded tagger that says it was trained on ids up to 99."""
    package = resources.files("tagstack.base_models.zoo") / "doll_resnet"
    with resources.as_file(package) as original:
        shutil.copytree(original, folder)
    text = (folder / "tagger.toml").read_text()
    start = text.index("[training]")
    (folder / "tagger.toml").write_text(
        text[:start] + '[training]\nids = "the first hundred"\nlast_id = 99\n'
    )
    return folder


@pytest.fixture(scope="module")
def booru(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, set[Any], set[Any]]:
    """A fitted bundle whose labels lack some tags and have some wrong ones; both are returned."""
    root = tmp_path_factory.mktemp("booru")
    labels = draw_gallery(root / "images", n_images=240, seed=5)
    with labels.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    rng = np.random.default_rng(0)
    every = sorted({tag for row in rows for tag in row["tags"].split()})
    common = [t for t in every if sum(t in row["tags"].split() for row in rows) >= 40]
    missing: set[Any] = set()
    wrong: set[Any] = set()
    for row in rng.permutation(np.array(rows, dtype=object))[: 2 * N_PLANTED]:
        own = row["tags"].split()
        if len(missing) < N_PLANTED:
            tag = str(rng.choice([t for t in own if t in common]))
            own.remove(tag)
            missing.add((row["image"], tag))
        else:
            tag = str(rng.choice([t for t in common if t not in own]))
            own.append(tag)
            wrong.add((row["image"], tag))
        row["tags"] = " ".join(own)
    with (root / "labels.csv").open("w", newline="") as stream:
        table = csv.DictWriter(stream, [*rows[0], "id"])
        table.writeheader()
        table.writerows({**row, "id": i} for i, row in enumerate(rows))
    (root / "small.toml").write_text(SETTINGS)
    tagger = remembering(root / "tagger")
    run("score", root / "images", "--models", f"{tagger},doll_vit", "--scores", root / "scores")
    run(*fitting(root, root / "bundle"))
    return root, missing, wrong


def fitting(root: Path, bundle: Path, *more: object) -> list[object]:
    return [
        "fit", "--scores", root / "scores", "--labels", root / "labels.csv", "--bundle", bundle,
        "--group", "series", "--config", root / "small.toml", *more,
    ]  # fmt: skip


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def suspects(root: Path, out: Path, *more: object) -> Any:
    return run(
        "labels", "suspects", "--bundle", root / "bundle", "--scores", root / "scores",
        "--labels", root / "labels.csv", "--out", out, *more,
    )  # fmt: skip


def test_planted_errors_head_the_lists(booru: tuple[Path, set[Any], set[Any]]) -> None:
    """The labels were learned from, errors and all; out of fold they stand out all the same."""
    root, missing, wrong = booru
    said = suspects(root, root / "suspects")
    for name, planted in (("probably_missing.csv", missing), ("probably_wrong.csv", wrong)):
        rows = read(root / "suspects" / name)
        assert [int(row["rank"]) for row in rows] == list(range(1, len(rows) + 1))
        top = {(row["image"], row["tag"]) for row in rows[: 2 * N_PLANTED]}
        # By chance there would be none: 240 pictures have thousands of such pairs.
        assert len(top & planted) >= 0.4 * N_PLANTED, name
    proba = [float(row["proba"]) for row in read(root / "suspects" / "probably_missing.csv")]
    assert proba == sorted(proba, reverse=True)
    assert min(proba) >= 0.5
    assert "probably missing" in said.output


def test_lists_are_counted_in_json_and_not_replaced_unasked(
    booru: tuple[Path, set[Any], set[Any]],
) -> None:
    root, _, _ = booru
    found = json.loads(suspects(root, root / "again", "--json").stdout)
    assert found["n_images"] == found["n_out_of_fold"] == 240
    assert found["n_missing"] == len(read(root / "again" / "probably_missing.csv"))
    assert found["missing"][0]["rank"] == 1
    with pytest.raises(TagstackError, match=r"probably_missing.csv exists.*--overwrite"):
        suspects(root, root / "again")
    suspects(root, root / "again", "--overwrite")


def test_a_trained_range_is_noticed_and_kept_as_evidence(
    booru: tuple[Path, set[Any], set[Any]],
) -> None:
    root, _, _ = booru
    evidence = json.loads((root / "bundle" / "manifest.json").read_text())["evidence"]
    (overlap,) = evidence["training_overlaps"]
    assert overlap["member"] == "doll_resnet"
    assert (overlap["n_ids"], overlap["n_inside"]) == (240, 100)
    assert overlap["micro_ap"]["low"] <= overlap["micro_ap"]["high"]
    assert any("100 of 240 images with known ids" in text for text in evidence["notices"])


def test_families_that_are_unknown_where_absent_take_no_part(
    booru: tuple[Path, set[Any], set[Any]],
) -> None:
    root, _, _ = booru
    run(*fitting(root, root / "aware", "--unknown-if-absent", "*_hair"))
    manifests = [
        json.loads((root / name / "manifest.json").read_text())["evidence"]
        for name in ("bundle", "aware")
    ]
    assert manifests[0]["n_unknown"] == 0
    assert manifests[1]["n_unknown"] > 0
    assert manifests[0]["labels_sha256"] != manifests[1]["labels_sha256"]
    assert any("are unknown: neither positive" in text for text in manifests[1]["notices"])
    with pytest.raises(TagstackError, match="stands for 0 of"):
        run(*fitting(root, root / "none", "--unknown-if-absent", "no_such_*"))
