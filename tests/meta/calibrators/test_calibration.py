from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.special import expit

from tagstack.base_models.pairs import Level1Scores
from tagstack.meta.calibrators.calibration import MemberCalibration, member_samples
from tagstack.meta.calibrators.protocol import How
from tagstack.meta.calibrators.registry import fit_maps
from tagstack.meta.labels.truth import PairTruth

MakeLabelled = Callable[..., Any]


def platt(strength: float) -> How:
    return How(kind="platt", pool="hierarchical", strength=strength)


def fit_members(scores: Level1Scores, truth: PairTruth, how: How) -> MemberCalibration:
    """Return the calibration of every member, fitted on these scores and labels."""
    maps = tuple(fit_maps(sample, how) for sample in member_samples(scores, truth))
    return MemberCalibration(maps=maps)


def test_calibrated_probabilities_match_how_often_they_are_true(
    make_labelled: MakeLabelled,
) -> None:
    noise = (2.5, 3.0, 3.5)
    data, fresh = make_labelled(1500, noise=noise), make_labelled(1500, noise=noise)
    fitted = fit_members(data.scores, PairTruth.of(data.scores.pairs, data.labels), platt(30.0))
    truth = PairTruth.of(fresh.scores.pairs, fresh.labels).listed
    for member in range(3):
        proba = expit(fitted.apply(fresh.scores).listed[member])
        for low, high in ((0.05, 0.3), (0.3, 0.7), (0.7, 0.95)):
            inside = (proba >= low) & (proba < high)
            assert abs(proba[inside].mean() - truth[inside].mean()) < 0.05


def test_unlisted_pairs_take_part_as_negatives(make_labelled: MakeLabelled) -> None:
    """Fitted on listed pairs alone, the probabilities would add up to too many tags."""
    data = make_labelled(n_images=400, floor=-1.5)
    pairs = data.scores.pairs
    truth = PairTruth.of(pairs, data.labels)
    assert truth.n_false.sum() > 0.2 * len(pairs)
    fitted = fit_members(data.scores, truth, platt(30.0))
    members = fitted.apply(data.scores)
    unlisted = (truth.n_true + truth.n_false)[None] * expit(members.base)
    expected = expit(members.listed).sum(axis=1) + unlisted.sum(axis=1)
    np.testing.assert_allclose(expected, data.labels.sum(), rtol=0.05)


def test_a_member_that_is_noise_keeps_a_positive_slope(
    make_labelled: MakeLabelled,
) -> None:
    data = make_labelled(n_images=200, noise=(1.0, 1.0))
    data.scores.logit[1] *= -1  # worse than noise: it always says the opposite
    fitted = fit_members(data.scores, PairTruth.of(data.scores.pairs, data.labels), platt(10.0))
    slopes = [maps.arrays()["theta"][:, 1] for maps in fitted.maps]
    assert (slopes[1] > 0).all()
    assert (slopes[1] < slopes[0]).all()
