from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from tagstack.meta.rungs import RungLogits
from tagstack.meta.selection import FoldScorer, FoldScores, choose_rung
from tagstack.meta.truth import Evidence, PairTruth

MakeLabelled = Callable[..., Any]


def scores(*values: float) -> FoldScores:
    return FoldScores(macro=np.array(values), micro=np.array(values))


ORDER = ("mean", "caruana", "xgboost")


def test_a_clear_lead_is_kept() -> None:
    ladder = {
        "mean": scores(0.50, 0.52, 0.48),
        "caruana": scores(0.53, 0.55, 0.51),
        "xgboost": scores(0.60, 0.61, 0.59),
    }
    chosen, why = choose_rung(ladder, ORDER, "macro_ap", 1.0)
    assert chosen == "xgboost"
    assert why["mean"].startswith("+0.1000 behind xgboost")


def test_of_rungs_within_one_standard_error_the_simplest_wins() -> None:
    ladder = {
        "mean": scores(0.52, 0.50, 0.51),
        "caruana": scores(0.50, 0.52, 0.51),
        "xgboost": scores(0.51, 0.515, 0.512),
    }
    chosen, why = choose_rung(ladder, ORDER, "macro_ap", 1.0)
    assert chosen == "mean"
    assert why["mean"].endswith("; simpler")


def test_folds_without_positives_are_left_out_and_none_at_all_means_the_mean() -> None:
    nan = np.nan
    ladder = {"mean": scores(0.5, nan), "caruana": scores(0.9, nan), "xgboost": scores(0.4, nan)}
    assert choose_rung(ladder, ORDER, "micro_ap", 1.0)[0] == "mean"  # one fold proves nothing
    empty = {rung: scores(nan, nan) for rung in ORDER}
    assert choose_rung(empty, ORDER, "balanced_ap", 1.0)[0] == "mean"


@pytest.mark.parametrize("restricted", [False, True])
def test_fold_scores_agree_with_scikit_learn_fold_by_fold(
    make_labelled: MakeLabelled, rng: np.random.Generator, restricted: bool
) -> None:
    data = make_labelled(n_images=90, floor=-2.0)
    pairs = data.scores.pairs
    folds = rng.integers(0, 3, 90)
    scorer = FoldScorer(pairs, PairTruth.of(pairs, data.labels), Evidence.of(data.labels), folds)
    listed = data.scores.logit[0].astype(np.float64).round(1)
    truth = data.labels.toarray()
    if restricted:
        rows = np.flatnonzero(rng.random(len(pairs)) < 0.7)
        value = np.full(truth.shape, -1.0)  # never found: below every probability
        value[pairs.image[rows], pairs.tag[rows]] = 1 / (1 + np.exp(-listed[rows]))
        found = scorer.score_rows(rows, 1 / (1 + np.exp(-listed[rows])))
    else:
        base = np.full(12, -2.0)
        value = RungLogits(listed=listed, base=base).proba(pairs).dense()
        found = scorer.score(listed, base)
    for fold in range(3):
        of, seen = truth[folds == fold], value[folds == fold]
        per_tag = [_reference(of[:, t], seen[:, t]) for t in range(12) if of[:, t].any()]
        assert found.macro[fold] == pytest.approx(np.mean(per_tag), abs=1e-6)
        assert found.micro[fold] == pytest.approx(_reference(of.ravel(), seen.ravel()), abs=1e-6)


def _reference(truth: np.ndarray, value: np.ndarray) -> float:
    """Average precision in which pairs of value -1 are never reached."""
    ranked = value >= 0
    if not truth[ranked].any():
        return 0.0
    share = truth[ranked].sum() / truth.sum()
    return float(average_precision_score(truth[ranked], value[ranked]) * share)
