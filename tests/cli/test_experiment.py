"""`tagstack experiment`: from the start to the page, by CSV, by hand and by a review's answers."""

import csv
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tagstack.base_models.scores.store import ScoreStore
from tagstack.ensemble.feedback.decision import Answer, Decision, Shown
from tagstack.ensemble.feedback.store import FILE, DecisionStore
from tagstack.ensemble.thresholds.versions import ThresholdVersions


@pytest.fixture
def bundle(small: Path, tmp_path: Path) -> Path:
    """Return a bundle with a second version of its thresholds, under which nothing is tagged."""
    folder = tmp_path / "bundle"
    shutil.copytree(small / "bundle", folder)
    versions = ThresholdVersions(folder)
    fit = versions.thresholds("fit")
    never = np.full(len(fit.value), np.inf, np.float32)
    versions.add(replace(fit, value=never), {"made_by": "a test"})
    return folder


def test_a_csv_with_and_without_arms(
    bundle: Path, tmp_path: Path, done: Callable[..., str], tagstack: Any
) -> None:
    folder = tmp_path / "try"
    said = done("experiment", "start", folder, "--a", f"{bundle}@fit", "--b", f"{bundle}@1",
                "--effect", "0.4", "--baseline", "0.5")  # fmt: skip
    assert "bundle (fit)" in said
    assert "units in half of the cases" in said
    units = [f"u{i}" for i in range(60)]
    arms = json.loads(done("experiment", "arm", folder, *units, "--json"))
    table = tmp_path / "o.csv"
    with table.open("w", newline="") as stream:
        rows = [(unit, int(arms[unit] == "B")) for unit in units]
        csv.writer(stream).writerows([("unit", "outcome"), *rows])
    assert "60 new outcomes" in done("experiment", "record", folder, "--csv", table)
    assert "60 were there already" in done("experiment", "record", folder, "--csv", table)
    done("experiment", "record", folder, "--unit", "one more", "--outcome", "0.5")
    found = json.loads(done("experiment", "status", folder, "--json"))
    assert (found["n"], found["verdict"]) == (61, "better")
    page = tmp_path / "pages" / "try.html"
    assert "It is stopped." in done("experiment", "stop", folder, "--page", page)
    assert "B is better than A" in page.read_text()
    refused = tagstack("experiment", "record", folder, "--unit", "x", "--outcome", "1")
    assert refused.returncode == 1
    assert "takes no more outcomes" in refused.stderr
    again = tagstack("experiment", "start", folder, "--a", "note:x", "--b", "note:y")
    assert "holds an experiment already" in again.stderr


def test_answers_on_the_frozen_slice_judge_both_arms(
    small: Path,
    bundle: Path,
    tmp_path: Path,
    done: Callable[..., str],
    tagstack: Any,
    from_docs: Callable[[str], None],
) -> None:
    folder, review = tmp_path / "try", tmp_path / "review"
    done("experiment", "start", folder, "--a", f"{bundle}@fit", "--b", f"{bundle}@1", "--paired",
         "--effect", "0.5")  # fmt: skip
    record = ["experiment", "record", folder, "--review", review, "--scores", small / "scores"]
    assert "holds no decisions" in tagstack(*record).stderr
    review.mkdir()
    images = list(ScoreStore(small / "scores").load().images)
    with DecisionStore(review / FILE) as store:
        for i, image in enumerate(images[:40]):
            for tag, answer in (("1girl", "yes"), ("smile", "no")):
                said: Answer = "yes" if answer == "yes" else "no"
                shown = Shown(order="random", judging=i < 30, propensity=0.01)
                store.record([Decision(who="a", image=image, tag=tag, answer=said, shown=shown)])
    assert json.loads(done(*record, "--json"))["n_new"] == 60
    found = json.loads(done("experiment", "status", folder, "--json"))
    assert found["n"] == 30
    assert found["means"][1] == pytest.approx(0.5)  # nothing is tagged: right about each "no"

    worth, table = tmp_path / "worth", tmp_path / "utility.csv"
    table.write_text("tag,tp,fp,fn,tn\n*,1,-1,0,0\n1girl,4,-1,-4,0\n")
    made = json.loads(
        done("experiment", "start", worth, "--a", f"{bundle}@fit", "--b", f"{bundle}@1",
             "--paired", "--effect", "0.5", "--utility", table, "--json")
    )  # fmt: skip
    assert made["utility"] == {"*": [1, -1, 0, 0], "1girl": [4, -1, -4, 0]}
    assert made["outcome"] == "worth of an answer, from -4 (0) to 4 (1)"
    table.unlink()  # the experiment keeps it
    done("experiment", "record", worth, *record[3:])
    found = json.loads(done("experiment", "status", worth, "--json"))
    # Nothing is tagged: each "yes" is missed (-4), each "no" rightly left out (0).
    assert found["means"][1] == pytest.approx((0 + 4) / 2 / 8)

    from_docs("A metric that is raised")
    metric = tmp_path / "metric"
    begin = ["experiment", "start", metric, "--a", f"{bundle}@fit", "--b", f"{bundle}@1",
             "--paired", "--effect", "0.5", "--metric", "review_worth"]  # fmt: skip
    assert "--between LOW,HIGH" in " ".join(tagstack(*begin).stderr.split())
    both = tagstack(*begin, "--between", "-1,1", "--utility", tmp_path / "u.csv")
    assert "give one" in both.stderr
    made = json.loads(done(*begin, "--between", "-1,3", "--json"))
    assert made["measure"] == {
        "metric": "review_worth", "low": -1, "high": 3, "package": "my-worth 1.2",
    }  # fmt: skip
    done("experiment", "record", metric, *record[3:])
    found = json.loads(done("experiment", "status", metric, "--json"))
    assert found["n"] == 30
    assert found["means"][1] == pytest.approx(0.25)  # nothing is tagged: worth 0 of -1 to 3

    manifest = bundle / "manifest.json"
    manifest.write_text(manifest.read_text() + " ")
    assert "another bundle than at the start" in tagstack(*record).stderr


def test_what_cannot_be_meant(bundle: Path, tmp_path: Path, tagstack: Any) -> None:
    def said(*arguments: object) -> str:
        result = tagstack("experiment", *arguments)
        assert result.returncode in (1, 2)
        assert "Traceback" not in result.stderr
        return " ".join(result.stderr.split())

    folder = tmp_path / "e"
    assert "is no bundle" in said("start", folder, "--a", tmp_path / "x", "--b", bundle)
    assert "has no version" in said("start", folder, "--a", f"{bundle}@9", "--b", bundle)
    assert "expected two that differ" in said("start", folder, "--a", bundle, "--b", bundle)
    assert "says nothing" in said("start", folder, "--a", "note: ", "--b", bundle)
    assert "holds no experiment" in said("status", folder)
    table = tmp_path / "t.csv"
    table.write_text("tag,tp\n*,1\n")
    alone = said("start", folder, "--a", f"{bundle}@1", "--b", f"{bundle}@fit", "--utility", table)
    assert "they need --paired and two bundles" in alone
    assert not folder.exists()
    assert tagstack("experiment", "start", folder, "--a", "note:x", "--b", bundle, "--effect",
                    "0.5").returncode == 0  # fmt: skip
    for text, message in (
        ("a,b\n1,2\n", "expected unit and outcome"),
        ("unit,outcome\nx,much\n", "is no number"),
        ("unit,outcome\nx,7\n", "expected one in [0, 1]"),
        ("unit,arm,outcome\nx,C,1\n", "expected A or B"),
    ):
        table.write_text(text)
        assert message in said("record", folder, "--csv", table)
    assert "Give one of" in said("record", folder)
    assert "needs --scores" in said("record", folder, "--review", tmp_path)
    paired = said("record", folder, "--review", tmp_path, "--scores", tmp_path)
    assert "start with --paired" in paired
