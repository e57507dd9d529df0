from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import sparse
from sklearn.metrics import average_precision_score

from tagstack.base_models.vocabulary import Vocabulary
from tagstack.configs.errors import TagstackError
from tagstack.configs.settings import load_settings
from tagstack.ensemble.comparison.comparing import Comparison, Rung, compare
from tagstack.meta.labels.truth import known_labels
from tagstack.meta.metrics.calibration_error import blocks_of, probability_scores
from tagstack.meta.metrics.decision_scores import decision_scores
from tagstack.meta.metrics.label_ranking import label_ranking
from tagstack.meta.metrics.left_out import is_left_out, without
from tagstack.meta.metrics.weighted_ranking import ranked_positives, without_abstentions


@pytest.fixture
def case(make_proba: Callable[..., Any]) -> tuple[Any, Any, Any]:
    """Return probabilities, dense labels and unknown pairs, listed and unlisted ones."""
    proba, labels = make_proba(seed=4, n_images=80)
    unknown = np.random.default_rng(5).random(labels.shape) < 0.25
    unknown[0] = False  # every tag keeps its positive there
    return proba, labels & ~unknown, unknown


def test_unknown_pairs_are_listed_and_all_others_unchanged(case: tuple[Any, Any, Any]) -> None:
    proba, _, unknown = case
    found = without(proba, sparse.csr_array(unknown))
    dense = found.dense()
    assert is_left_out(dense)[unknown].all()
    assert np.array_equal(dense[~unknown], proba.dense()[~unknown])
    for image in range(80):
        tags = found.pairs.tag[found.pairs.indptr[image] : found.pairs.indptr[image + 1]]
        assert (np.diff(tags) > 0).all()


@pytest.mark.parametrize("compiled", [False, True])
def test_average_precision_is_that_of_the_known_pairs(
    case: tuple[Any, Any, Any], compiled: bool
) -> None:
    if compiled:
        pytest.importorskip("numba", reason="the compiled areas need the extra `fast`")
    proba, labels, unknown = case
    judged = without_abstentions(without(proba, sparse.csr_array(unknown)))
    weights = np.random.default_rng(0).integers(0, 3, size=(80, 2)).astype(np.float32)
    matrix = sparse.csr_array(labels)
    found = ranked_positives(judged, matrix).average_precision(weights, compiled=compiled)
    whole = ranked_positives(judged, matrix, together=True)
    micro = whole.average_precision(weights, compiled=compiled)
    dense = proba.dense()
    for draw in range(2):
        many = np.repeat(weights[:, [draw]].astype(int), 6, axis=1)
        for tag in range(6):
            kept = ~unknown[:, tag]
            expected = average_precision_score(
                labels[kept, tag], dense[kept, tag], sample_weight=weights[kept, draw]
            )
            assert found[tag, draw] == pytest.approx(expected)
        assert micro[0, draw] == pytest.approx(
            average_precision_score(labels[~unknown], dense[~unknown], sample_weight=many[~unknown])
        )


def test_probabilities_are_judged_on_the_known_pairs(case: tuple[Any, Any, Any]) -> None:
    proba, labels, unknown = case
    judged = without(proba, sparse.csr_array(unknown))
    found = probability_scores(
        blocks_of(judged, sparse.csr_array(labels)),
        labels.sum(0),
        n_bins=5,
        floor=0.0,
        min_positives=1,
    )
    known = ~unknown
    assert found.brier == pytest.approx(np.mean((proba.dense()[known] - labels[known]) ** 2))


def test_label_ranking_skips_unknown_tags(case: tuple[Any, Any, Any]) -> None:
    proba, labels, unknown = case
    found = label_ranking(without(proba, sparse.csr_array(unknown)), sparse.csr_array(labels))
    dense = proba.dense()
    shares, depths = [], []
    for image in range(80):
        known = ~unknown[image]
        value, true = dense[image, known], labels[image, known]
        if true.any():
            rank = np.array([(value >= v).sum() for v in value[true]])
            above = np.array([(value[true] >= v).sum() for v in value[true]])
            shares.append(np.mean(above / rank))
            depths.append(rank.max())
    assert found.lrap == pytest.approx(np.mean(shares))
    assert found.coverage == pytest.approx(np.mean(depths))


def test_scores_that_count_negatives_leave_unknown_pairs_out() -> None:
    rng = np.random.default_rng(1)
    labels, decided, unknown = rng.random((3, 60, 5)) < 0.3
    ours, true = (
        known_labels(sparse.csr_array(m), sparse.csr_array(unknown)) for m in (decided, labels)
    )
    found = decision_scores(ours, true, beta=1.0, unknown=sparse.csr_array(unknown))
    known = ~unknown
    wrong = (decided != labels) & known
    assert found.hamming_loss == pytest.approx(wrong.sum() / known.sum())
    assert found.subset_accuracy == pytest.approx((wrong.sum(1) == 0).mean())
    expected = [
        np.corrcoef(decided[known[:, j], j], labels[known[:, j], j])[0, 1] for j in range(5)
    ]
    assert found.macro_mcc == pytest.approx(np.mean(expected))
    flat = np.corrcoef(decided[known], labels[known])[0, 1]
    assert found.micro_mcc == pytest.approx(flat)


def test_another_shape_is_refused(case: tuple[Any, Any, Any]) -> None:
    with pytest.raises(TagstackError, match=r"A matrix must have shape .* = \(80, 6\)"):
        without(case[0], sparse.csr_array((3, 6), dtype=bool))


def test_what_is_said_about_unknown_pairs_changes_nothing(
    make_rung: Callable[..., Rung], make_rules: Callable[..., Any]
) -> None:
    rng = np.random.default_rng(2)
    vocabulary = Vocabulary(tuple("abcde"), ("general",) * 5)
    labels, unknown = rng.random((2, 120, 5)) < 0.3
    proba = np.clip(labels * 0.4 + rng.random((2, 120, 5)) * 0.7, 0, 1)
    rules = make_rules(tuple("abcde")).bind(vocabulary)

    def judged(probas: Any, truth: Any) -> Comparison:
        ladder = [make_rung(name, p) for name, p in zip(("one", "two"), probas, strict=True)]
        ladder.append(replace(make_rung("two + rules", probas[1]), decided=ladder[0].decided))
        return compare(
            ladder,
            sparse.csr_array(truth),
            vocabulary,
            np.arange(120) // 2,
            reference="two",
            settings=load_settings().compare.model_copy(update={"resamples": 100}),
            seed=0,
            images=[f"{i}.png" for i in range(120)],
            rules=rules,
            unknown=sparse.csr_array(unknown),
        )

    scrambled = np.where(unknown, rng.random((2, 120, 5)), proba)
    guessed = np.where(unknown, rng.random((120, 5)) < 0.5, labels)
    one, two = judged(proba, labels), judged(scrambled, guessed)
    assert one.n_unknown == unknown.sum()
    for first, second in zip(one.rungs, two.rungs, strict=True):
        # Contradictions are those of the tags as decided, unknown ones included.
        pair = [
            replace(rung, contradictions=0.0, contradicting_images=0.0) for rung in (first, second)
        ]
        assert repr(pair[0]) == repr(pair[1])
    assert repr(one.tags) == repr(two.tags)
    assert repr(one.worst) == repr(two.worst)
    assert repr(one.confusions) == repr(two.confusions)
