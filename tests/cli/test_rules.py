"""``tagstack rules``, in process, on drawn pictures."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from tagstack.cli import app
from tagstack.configs.errors import TagstackError
from tagstack.ensemble.rules.rule_set import Rules


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["rules", *map(str, arguments)])


def run(*arguments: object) -> str:
    result = invoke(*arguments)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


def content(*arguments: object) -> Any:
    return json.loads(run(*arguments, "--json"))


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return labels of 6,000 images: colours that exclude each other, ears, a rare breach."""
    path = tmp_path_factory.mktemp("labels") / "labels.csv"
    rng = np.random.default_rng(0)
    with path.open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["image", "tags", "part"])
        for i in range(6000):
            tags = [("red", "green", "blue")[rng.integers(3)]]
            tags += ["cat_ears"] if i % 10 == 0 else []
            tags += ["animal_ears"] if i % 5 == 0 else []
            tags += ["indoors"] if i % 2 else ["outdoors"]
            tags += ["outdoors"] if i % 30 == 1 else []
            table.writerow([f"{i}.png", " ".join(tags), "one" if i < 3000 else "two"])
    return path


def test_list_filters_by_tag_and_kind() -> None:
    ids = [entry["id"] for entry in content("list", "--tag", "indoors", "--kind", "exclusion")]
    assert ids == ["place.in_or_out", "place.simple_indoors"]
    text = run("list", "danbooru", "--tag", "evil_grin")
    assert "face.smile" in text
    assert "place.in_or_out" not in text


def test_show_says_what_a_vocabulary_leaves(tmp_path: Path) -> None:
    path = tmp_path / "tags.csv"
    path.write_text("name\nlong_hair\nshort_hair\nsolo\n")
    found = content("show", "hair.length", "--vocabulary", path)
    assert found["strength"] == "hard"
    assert found["binding"]["says"] == ["at most one of long_hair, short_hair; where solo"]
    assert "bald" in found["binding"]["unknown"]
    text = run("show", "hair.length", "--vocabulary", path)
    assert "at most one of long_hair, short_hair; where solo" in text
    with pytest.raises(TagstackError, match=r"no rule 'hair\.lenght'.*Did you mean hair\.length"):
        run("show", "hair.lenght")


def test_check_exits_with_1_on_faults_alone(tmp_path: Path) -> None:
    assert content("check", "danbooru")["passed"]
    bad = tmp_path / "bad.toml"
    bad.write_text(
        "[[implication]]\nid='up'\ntags=['a']\nimplies='b'\nsource=''\n"
        "[[implication]]\nid='down'\ntags=['b']\nimplies='a'\nsource=''\n"
    )
    result = invoke("check", f"danbooru,{bad}")
    assert result.exit_code == 1
    assert "(rules ['down', 'up']). Remove one" in result.stdout
    assert "1 faults, 0 notices" in result.stdout
    found = json.loads(invoke("check", bad, "--json").stdout)
    assert not found["passed"]
    assert found["findings"][0]["rules"] == ["down", "up"]


def test_audit_of_labels_alone(labels: Path) -> None:
    found = content("audit", "--rules", "danbooru", "--labels", labels)
    by_rule = {row["rule"]: row for row in found["rules"]}
    assert found["images"] == 6000
    place = by_rule["place.in_or_out"]
    assert (place["applies"], place["broken"], place["advice"]) == (6000, 200, "soft")
    assert place["low"] < place["rate"] < place["high"]
    assert by_rule["ears.animal"]["advice"] == "keep"
    assert all(row["effect"] is None for row in found["rules"])
    text = run("audit", "--rules", "danbooru", "--labels", labels, "--where", "part=one")
    assert "3000 labelled images: 1 better soft" in text
    with pytest.raises(TagstackError, match="Give --rules, or a --bundle"):
        run("audit", "--labels", labels)
    with pytest.raises(TagstackError, match="Give both --bundle and --scores"):
        run("audit", "--labels", labels, "--bundle", "b")


def test_mine_writes_a_file_that_waits_for_a_person(labels: Path, tmp_path: Path) -> None:
    review = tmp_path / "new" / "review.toml"
    found = content("mine", "--labels", labels, "--rules", "danbooru", "--out", review)
    text = review.read_text()
    assert "accepted = false" in text
    assert Rules.from_toml(text).rules == ()
    mined = Rules.from_toml(text.replace("accepted = false", "accepted = true"))
    assert ("blue", "green", "red") in [rule.tags for rule in mined.exclusives]
    assert all("animal_ears" not in rule.implies for rule in mined.implications)  # known already
    assert [entry["id"] for entry in found["proposed"]] == list(mined.ids)
    with pytest.raises(TagstackError, match="--overwrite"):
        run("mine", "--labels", labels, "--out", review)
    text = run("mine", "--labels", labels, "--out", review, "--overwrite")
    assert "None applies before accepted = true" in text
    assert "cat_ears->animal_ears" in text
    result = invoke("check", review)
    assert "proposed rules are not applied" in result.stdout


def test_the_whole_way_from_mining_to_use(labels: Path, tmp_path: Path) -> None:
    """Mined on one part, accepted by hand, audited on the other."""
    review = tmp_path / "review.toml"
    run("mine", "--labels", labels, "--where", "part=one", "--out", review)
    review.write_text(review.read_text().replace("accepted = false", "accepted = true"))
    found = content("audit", "--rules", review, "--labels", labels, "--where", "part=two")
    assert found["rules"]
    assert all(row["broken"] == 0 and row["applies"] > 0 for row in found["rules"])


def test_audit_with_scores_says_what_each_rule_changes(small: Path) -> None:
    source = ["--bundle", small / "bundle", "--scores", small / "scores"]
    found = content("audit", *source, "--labels", small / "labels.csv")
    assert found["decoded"] == found["images"] == 150
    effects = {row["rule"]: row["effect"] for row in found["rules"] if row["effect"]}
    assert effects
    assert any(effect["images"] > 0 for effect in effects.values())
    scores = {"images", "precision", "recall", "f1", "macro_f1"}
    assert all(set(effect) == scores for effect in effects.values())
    text = run("audit", *source, "--labels", small / "labels.csv")
    assert "Changes are images among 150" in text


def test_show_takes_a_bundle_as_vocabulary(small: Path) -> None:
    found = content("show", "rating", "--vocabulary", small / "bundle")
    assert found["binding"]["says"]


def test_rules_of_several_sources_reach_the_bundle(small: Path) -> None:
    from tagstack.ensemble.bundle.files import load_bundle

    rules = load_bundle(small / "bundle").rules
    assert 0 < len(rules) < 100  # what the drawn pictures' tags have nothing to do with stays out
    assert "rating" in rules.ids
