"""From drawn pictures to tags that no tagger knows: score with features, fit, compare, tag."""

import csv
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tagstack
from tagstack.base_models.scores.store import ScoreStore
from tagstack.base_models.taggers.registry import load_taggers
from tagstack.base_models.zoo.gallery import draw_gallery
from tagstack.configs.errors import TagstackError
from tagstack.configs.settings import load_settings
from tagstack.ensemble.bundle.dataset import DatasetSource
from tagstack.ensemble.bundle.files import load_bundle
from tagstack.ensemble.bundle.honest_ground import ground_of
from tagstack.ensemble.bundle.start import start_bundle
from tagstack.ensemble.bundle.trial import ask
from tagstack.ensemble.comparison.ladder import climb
from tagstack.ensemble.progress import Silent
from tagstack.ensemble.rules.rule_set import Rules
from tagstack.ensemble.tasks.explain import explain_image
from tagstack.ensemble.tasks.tag import tag_images
from tagstack.ensemble.tasks.tag_request import TagRequest

SMALL: dict[str, Any] = {
    "threads": 1,
    "score": {"features": ["doll_vit"]},
    "stack": {
        "learners": [], "outer_fold": False, "folds": 2, "calibration_strengths": [100.0],
        "logistic_strengths": [300.0], "selection_rounds": 5, "tuning": {"trials": 0},
    },
    "start": {"floor_images": 0},
    "thresholds": {"strategy": "one_threshold"},
}  # fmt: skip
OWN, RARE, ONCE = "by_day", "my_favourite", "seen_once"


@pytest.fixture(scope="module")
def booru(once: Callable[..., Path]) -> Path:
    """Return a folder of pictures, labels with own tags, scores with features and a bundle."""

    def make(root: Path) -> None:
        text = draw_gallery(root / "images", n_images=60, seed=5).read_text()
        rows = list(csv.DictReader(text.splitlines()))
        (root / "images" / "labels.csv").unlink()
        # What the features show but no tagger calls by this name: a tag of two pictures in five.
        counts = Counter(tag for row in rows for tag in row["tags"].split())
        known = min(counts, key=lambda tag: (abs(counts[tag] - 0.4 * len(rows)), tag))
        shown = [i for i, row in enumerate(rows) if known in row["tags"].split()]
        fit = [i for i in shown if int(rows[i]["series"][1:]) % 4]
        with (root / "labels.csv").open("w", newline="") as stream:
            table = csv.DictWriter(stream, ["image", "tags", "series", "part"])
            table.writeheader()
            for i, row in enumerate(rows):
                more = [OWN] if i in shown else []
                more += [RARE] if i in fit[:3] else []
                more += [ONCE] if i == fit[4] else []
                tags = " ".join([row["tags"], *more])
                part = "test" if int(row["series"][1:]) % 4 == 0 else "fit"
                table.writerow(
                    {
                        "image": row["image"],
                        "tags": tags,
                        "series": row["series"],
                        "part": part,
                    }
                )
        scores = tagstack.score(root / "images", ["doll_resnet", "doll_vit"], SMALL)
        scores.save(root / "scores")
        labels = tagstack.Labels.read(root / "labels.csv")
        fitted = tagstack.fit(
            scores, labels, "danbooru", where="part=fit", group="series", settings=SMALL
        )
        fitted.save(root / "bundle")

    return once("own tags", make)


def test_own_tags_are_learnt_thresholded_and_tagged(booru: Path, tmp_path: Path) -> None:
    bundle = load_bundle(booru / "bundle")
    assert bundle.vocabulary.tags[-2:] == (OWN, RARE)
    assert [member.name for member in bundle.members] == ["doll_resnet", "doll_vit"]
    assert bundle.settings.score.features == ("doll_vit",)
    notices = " ".join(bundle.evidence["notices"])
    assert f"2 tags that no tagger knows are learnt from your labels: {OWN}" in notices
    assert f"cannot be promised: {RARE} (3)" in notices
    assert f"known to no tagger and are ignored: {ONCE}" in notices
    row = bundle.vocabulary.index[OWN]
    assert 0 < bundle.thresholds.value[row] < 1
    ask(bundle)  # as a stranger's bundle is asked

    out = tmp_path / "tags"
    request = TagRequest(
        images=(booru / "images",), bundle=booru / "bundle", out=out, formats=("txt",)
    )
    tag_images(request, load_settings(changes={"threads": 1}), Silent())
    with (booru / "labels.csv").open() as stream:
        truth = {row["image"]: OWN in row["tags"].split() for row in csv.DictReader(stream)}
    given = {
        name: OWN in (out / name).with_suffix(".txt").read_text().replace(" ", "_")
        for name in truth
    }
    assert {*given.values()} == {True, False}
    assert np.mean([given[name] for name in truth if truth[name]]) > 0.6
    chance = np.mean([*truth.values()])
    assert np.mean([truth[name] for name in truth if given[name]]) > chance + 0.2


def test_the_probe_is_a_member_like_any_other(booru: Path) -> None:
    picture = next((booru / "images").glob("*.png"))
    stored = explain_image(picture, booru / "bundle", OWN, scores=booru / "scores")
    (entry,) = stored.entries
    assert entry.votes["doll_vit"] is None
    assert 0 <= (entry.votes["probe"] or -1) <= 1
    with tagstack.load(booru / "bundle") as stack:
        assert stack.explain(picture, OWN).entries == stored.entries
        scores = tagstack.Scores.read(booru / "scores")
        assert stack.predict_proba(scores).pairs.n_tags == len(stack.tags)

    bundle = load_bundle(booru / "bundle")
    source = DatasetSource(scores=booru / "scores", labels=booru / "labels.csv", group="series")
    # What `calibrate` and `compare` start from: fitted pictures out of fold, others as they are.
    ground = ground_of(booru / "bundle", source, bundle, Silent())
    assert 0 < ground.n_out_of_fold < ground.dataset.scores.n_images == 60
    assert ground.proba.pairs.n_tags == len(bundle.vocabulary)
    rungs = {rung.spec.name for rung in climb(bundle, ground.dataset)}
    assert {"single:probe", "single:doll_vit", "doll_vit @ published", "stack"} <= rungs
    assert "probe @ published" not in rungs  # nobody published it


def test_scores_without_features_are_other_scores(booru: Path) -> None:
    bundle = load_bundle(booru / "bundle")
    reader = ScoreStore(booru / "scores")
    start = start_bundle(reader.members(), Rules.none(), load_settings())
    assert start.settings.score.features == ("doll_vit",)  # what tags with it scores alike
    assert start.scores(reader).members == ("doll_resnet", "doll_vit")
    (plain,) = load_taggers(("doll_vit",), load_settings().score, threads=1)
    with pytest.raises(TagstackError, match=r"'doll_vit' has fingerprint .* fitted with"):
        bundle.check_members((*reader.members()[:1], plain))
    plain.close()
