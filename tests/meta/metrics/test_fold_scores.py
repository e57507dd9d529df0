from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import sparse
from sklearn.metrics import average_precision_score, f1_score

from tagstack.base_models.pairs import PairProba, Pairs
from tagstack.configs.stack import Objective
from tagstack.meta.labels.truth import Evidence
from tagstack.meta.metrics.fold_scores import FoldScorer
from tagstack.meta.metrics.influence import expected_f1_cuts
from tagstack.meta.metrics.leads import Lead
from tagstack.meta.metrics.ranking import Rankings
from tagstack.meta.stack.rungs import RungLogits

MakeLabelled = Callable[..., Any]


def scorer_of(data: Any, folds: np.ndarray, groups: np.ndarray | None = None) -> FoldScorer:
    evidence, pairs = Evidence.of(data.labels), data.scores.pairs
    groups = np.arange(len(folds)) if groups is None else groups
    return FoldScorer(pairs, evidence.truth(pairs), evidence, folds, groups)


def member_proba(data: Any, member: int = 0) -> PairProba:
    listed = data.scores.logit[member].astype(np.float64).round(1)
    n_tags = data.scores.pairs.n_tags
    return RungLogits(listed=listed, base=np.full(n_tags, -2.0)).proba(data.scores.pairs)


@pytest.mark.parametrize("restricted", [False, True])
def test_average_precision_agrees_with_scikit_learn_fold_by_fold(
    make_labelled: MakeLabelled, rng: np.random.Generator, restricted: bool
) -> None:
    data = make_labelled(n_images=90, floor=-2.0)
    pairs, folds = data.scores.pairs, rng.integers(0, 3, 90)
    scorer, proba, truth = scorer_of(data, folds), member_proba(data), data.labels.toarray()
    value = proba.dense()
    if restricted:
        rows = np.flatnonzero(rng.random(len(pairs)) < 0.7)
        value = np.full(truth.shape, -1.0)  # never found: below every probability
        value[pairs.image[rows], pairs.tag[rows]] = proba.proba[rows]
    for name, macro in (("macro_ap", True), ("micro_ap", False)):
        objective: Objective = name  # type: ignore[assignment]
        found = (
            scorer.values_at(rows, proba.proba[rows].astype(np.float64), objective)
            if restricted
            else scorer.score(proba, objective).values
        )
        for fold in range(3):
            of, seen = truth[folds == fold], value[folds == fold]
            per_tag = [_reference(of[:, t], seen[:, t]) for t in range(12) if of[:, t].any()]
            expected = np.mean(per_tag) if macro else _reference(of.ravel(), seen.ravel())
            assert found[fold] == pytest.approx(expected, abs=1e-6)


def test_what_was_asked_before_changes_no_score(
    make_labelled: MakeLabelled, rng: np.random.Generator
) -> None:
    """Rows are kept from one question to the next: other tags and other rungs come between."""
    data, folds = make_labelled(n_images=60), rng.integers(0, 3, 60)
    first, second = member_proba(data), member_proba(data, 1)
    silent = PairProba(pairs=second.pairs, proba=second.proba, base=second.base.copy())
    silent.base[3] = np.nan
    some = np.arange(12) < 5
    asked = [(first, None), (silent, None), (second, some), (second, None), (first, some)]
    scorer = scorer_of(data, folds)
    for proba, tags in asked:
        anew = scorer_of(data, folds).score(proba, "balanced_ap", tags)
        found = scorer.score(proba, "balanced_ap", tags)
        assert found.values.tolist() == anew.values.tolist()
        assert found.influence.tolist() == anew.influence.tolist()


def _reference(truth: np.ndarray, value: np.ndarray) -> float:
    """Average precision in which pairs of value -1 are never reached."""
    ranked = value >= 0
    if not truth[ranked].any():
        return 0.0
    share = truth[ranked].sum() / truth.sum()
    return float(average_precision_score(truth[ranked], value[ranked]) * share)


def test_f1_is_taken_at_cuts_from_the_other_folds(
    make_labelled: MakeLabelled, rng: np.random.Generator
) -> None:
    data = make_labelled(n_images=120, floor=-2.0)
    folds = rng.integers(0, 3, 120)
    scorer, proba, truth = scorer_of(data, folds), member_proba(data), data.labels.toarray()
    value = proba.dense()
    macro, micro = (scorer.score(proba, name).values for name in ("macro_f1", "micro_f1"))
    for fold in range(3):
        of, seen = truth[folds == fold], value[folds == fold]
        cuts = np.array([_cut(value[folds != fold, t]) for t in range(12)])
        per_tag = [
            f1_score(of[:, t], seen[:, t] >= cuts[t], zero_division=0)
            for t in range(12)
            if of[:, t].any()
        ]
        assert macro[fold] == pytest.approx(np.mean(per_tag))
        one = _cut(value[folds != fold].ravel())
        assert micro[fold] == pytest.approx(f1_score(of.ravel(), seen.ravel() >= one))


def _cut(value: np.ndarray) -> float:
    n = len(value)
    rows = Rankings(
        key=np.zeros(n, np.int64), value=value, count=np.ones(n, np.int64),
        true=np.zeros(n, np.int64), n_true=np.zeros(1, np.int64),
    )  # fmt: skip
    return float(expected_f1_cuts(rows, np.ones(n, bool))[0])


def test_the_error_of_a_lead_is_that_of_the_bootstrap_over_groups(
    make_labelled: MakeLabelled, rng: np.random.Generator
) -> None:
    """Against the slow way: draw groups, score anew, take the standard deviation."""
    data = make_labelled(n_images=400, n_tags=2, noise=(2.5, 3.0))
    folds, groups = np.zeros(400, np.int64), np.arange(400) // 2
    scorer, truth = scorer_of(data, folds, groups), data.labels.toarray()
    first, second = member_proba(data, 0), member_proba(data, 1)
    a, b = first.dense(), second.dense()

    def difference(weight: np.ndarray) -> float:
        return float(
            np.mean([
                average_precision_score(truth[:, t], a[:, t], sample_weight=weight)
                - average_precision_score(truth[:, t], b[:, t], sample_weight=weight)
                for t in range(2)
            ])
        )  # fmt: skip

    drawn = [
        difference(np.bincount(rng.integers(0, 200, 200), minlength=200)[groups].astype(float))
        for _ in range(150)
    ]
    lead = Lead.of(scorer.score(first, "macro_ap"), scorer.score(second, "macro_ap"))
    assert lead.value == pytest.approx(difference(np.ones(400)), abs=1e-6)
    assert lead.error == pytest.approx(np.std(drawn), rel=0.2)
    low, high = lead.interval
    assert low < lead.value < high


def test_images_of_one_group_are_no_independent_evidence(make_labelled: MakeLabelled) -> None:
    data = make_labelled(n_images=400, noise=(2.5, 3.0))
    folds = np.zeros(400, np.int64)
    errors = [
        Lead.of(
            *(scorer_of(data, folds, g).score(member_proba(data, m), "micro_ap") for m in (0, 1))
        ).error
        for g in (np.arange(400), np.zeros(400, np.int64))
    ]
    assert errors[0] < 0.1
    assert errors[1] == np.inf


def test_a_lead_over_itself_is_nothing(make_labelled: MakeLabelled) -> None:
    data = make_labelled(n_images=60)
    score = scorer_of(data, np.arange(60) % 3).score(member_proba(data), "balanced_ap")
    assert Lead.of(score, score) == Lead(value=0.0, error=0.0)


def test_only_the_tags_asked_for_count(make_labelled: MakeLabelled) -> None:
    data = make_labelled(n_images=200)
    scorer, proba = scorer_of(data, np.arange(200) % 2), member_proba(data)
    tags = np.arange(12) < 3
    whole, part = scorer.score(proba, "macro_ap"), scorer.score(proba, "macro_ap", tags)
    rest = scorer.score(proba, "macro_ap", ~tags)
    np.testing.assert_allclose(whole.values, (3 * part.values + 9 * rest.values) / 12)
    together = (3 * part.influence + 9 * rest.influence) / 12
    np.testing.assert_allclose(whole.influence, together, atol=1e-12)


def test_a_fold_without_positives_has_no_value(make_labelled: MakeLabelled) -> None:
    data = make_labelled(n_images=60)
    folds = np.arange(60) % 3
    labels = data.labels.toarray()
    labels[folds == 1] = False
    data = type(data)(data.scores, type(data.labels)(labels), data.groups)
    score = scorer_of(data, folds).score(member_proba(data), "balanced_ap")
    assert np.isnan(score.values).tolist() == [False, True, False]
    assert score.mean == pytest.approx(np.nanmean(score.values))


OBJECTIVES: tuple[Objective, ...] = ("macro_ap", "micro_ap", "macro_f1", "micro_f1")


@pytest.mark.parametrize("share", [0.012, 0.1])
def test_the_error_of_a_lead_is_its_spread_over_other_samples(
    rng: np.random.Generator, share: float
) -> None:
    """Also with one or two positives a tag, where a fold's only one has none to differ from."""
    drawn = [_sampled_leads(rng, share) for _ in range(60)]
    for objective in OBJECTIVES:
        leads = [sample[objective] for sample in drawn]
        spread = np.std([lead.value for lead in leads])
        typical = np.sqrt(np.mean([lead.error**2 for lead in leads]))
        assert 0.75 * spread < typical < 1.6 * spread, objective


def _sampled_leads(rng: np.random.Generator, share: float) -> dict[Objective, Lead]:
    """Return the leads of a better over a worse ranking of freshly drawn images."""
    n_images, n_tags = 150, 40
    truth = rng.random((n_images, n_tags)) < share
    signal = np.where(truth, 2.5, 0.0) + np.log(share / (1 - share)) - 1.0
    common = rng.normal(0, 1.0, truth.shape)
    pairs = Pairs(
        indptr=np.arange(n_images + 1, dtype=np.int64) * n_tags,
        tag=np.tile(np.arange(n_tags, dtype=np.int32), n_images),
        n_tags=n_tags,
    )
    evidence = Evidence.of(sparse.csr_array(truth))
    folds, groups = np.arange(n_images) % 5, np.arange(n_images)
    scorer = FoldScorer(pairs, evidence.truth(pairs), evidence, folds, groups)
    better, worse = (
        RungLogits(
            listed=(signal + common + rng.normal(0, noise, truth.shape)).ravel(),
            base=np.full(n_tags, -9.0),
        ).proba(pairs)
        for noise in (0.5, 1.0)
    )
    return {
        name: Lead.of(scorer.score(better, name), scorer.score(worse, name)) for name in OBJECTIVES
    }


def test_utility_is_that_of_a_loop_and_its_error_that_of_a_mean(
    make_labelled: MakeLabelled, rng: np.random.Generator
) -> None:
    """What decisions gain over tagging nothing, an image; groups of two images are one witness."""
    data = make_labelled(n_images=120, floor=-1.0)
    folds, groups = np.arange(120) // 2 % 3, np.arange(120) // 2
    evidence, pairs = Evidence.of(data.labels), data.scores.pairs
    low = -rng.uniform(0.2, 2, 12)
    worth = np.stack([rng.uniform(1, 3, 12), low, low / 2, np.zeros(12)])
    worth[2, :6] = 0
    scorer = FoldScorer(pairs, evidence.truth(pairs), evidence, folds, groups, worth)
    proba, truth = member_proba(data), data.labels.toarray()
    tp, fp, fn, tn = worth
    cut = (tn - fp) / (tn - fp + tp - fn)
    gain = np.where(truth, tp - fn, fp - tn) * (proba.dense() >= cut)
    found = scorer.score(proba, "utility")
    expected = [gain[folds == fold].sum(axis=1).mean() for fold in range(3)]
    np.testing.assert_allclose(found.values, expected, rtol=1e-6)
    listed = np.arange(len(pairs))
    values = scorer.values_at(listed, proba.proba.astype(np.float64), "utility")
    given = np.zeros(truth.shape, bool)
    given[pairs.image, pairs.tag] = True  # what is not listed is not given
    of_listed = [(gain * given)[folds == fold].sum(axis=1).mean() for fold in range(3)]
    np.testing.assert_allclose(values, of_listed, rtol=1e-6)
    per_group = gain.sum(axis=1).reshape(-1, 2).sum(axis=1)
    drawn = rng.integers(0, 60, (4000, 60))
    spread = (per_group[drawn].sum(axis=1) / 120).std()
    assert found.error == pytest.approx(spread, rel=0.1)
    half = scorer.score(proba, "utility", np.arange(12) < 6)
    assert half.mean == pytest.approx(gain[:, :6].sum() / 120, rel=1e-6)


def test_utility_without_worths_is_a_fault_of_ours(make_labelled: MakeLabelled) -> None:
    data = make_labelled(n_images=20)
    with pytest.raises(ValueError, match="needs worths"):
        scorer_of(data, np.arange(20) % 2).score(member_proba(data), "utility")
