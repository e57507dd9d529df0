"""Rungs: what a tagger alone says, and which pairs a threshold tags."""

from collections.abc import Callable

import numpy as np

from tagstack.base_models.pairs import PairProba
from tagstack.base_models.scores.member_info import MemberInfo
from tagstack.base_models.vocabulary import Vocabulary
from tagstack.ensemble.comparison.ladder import member_proba, published_thresholds
from tagstack.ensemble.thresholds.deciding import decided_by


def test_decided_by_equals_the_dense_comparison(
    make_labelled: Callable[..., object], rng: np.random.Generator
) -> None:
    scores = make_labelled(n_images=50, floor=-1.0).scores  # type: ignore[attr-defined]
    proba = PairProba(
        pairs=scores.pairs,
        proba=rng.choice([0.2, 0.5, np.nan, 0.9], len(scores.pairs)).astype(np.float32),
        base=np.full(scores.pairs.n_tags, 0.01, np.float32),
    )
    thresholds = rng.choice([0.2, 0.5, 0.90000004, np.inf], proba.pairs.n_tags).astype(np.float32)
    decided = decided_by(proba, thresholds).toarray()
    with np.errstate(invalid="ignore"):
        assert np.array_equal(decided, proba.dense() >= thresholds)


def test_a_member_has_no_opinion_on_tags_it_lacks(make_labelled: Callable[..., object]) -> None:
    scores = make_labelled(n_images=20).scores  # type: ignore[attr-defined]
    scores.knows[1, 3] = False
    scores.logit[1, scores.pairs.tag == 3] = np.nan
    proba = member_proba(scores, 1)
    assert np.isnan(proba.base[3])
    assert np.isnan(proba.dense()[:, 3]).all()
    assert np.isfinite(np.delete(proba.dense(), 3, axis=1)).all()


def test_published_thresholds_follow_the_tag_and_not_its_position() -> None:
    member = MemberInfo(
        name="m", fingerprint="f", source="m", aliases={}, floor=1e-4,
        runtime="", training=None, vocabulary=Vocabulary(("b", "a"), ("general",) * 2),
        published_thresholds=np.array([0.2, 0.7], np.float32),
        published_counts=np.array([np.nan, 30], np.float32),
    )  # fmt: skip
    found = published_thresholds(member, Vocabulary(("a", "b", "c"), ("general",) * 3))
    assert found.tolist() == np.array([0.7, 0.2, np.inf], np.float32).tolist()
