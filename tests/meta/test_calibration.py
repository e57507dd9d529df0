from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.special import expit

from tagstack.meta.calibration import fit_platt
from tagstack.meta.truth import PairTruth

MakeLabelled = Callable[..., Any]


def test_calibrated_probabilities_match_how_often_they_are_true(
    make_labelled: MakeLabelled,
) -> None:
    noise = (2.5, 3.0, 3.5)
    data, fresh = make_labelled(1500, noise=noise), make_labelled(1500, noise=noise)
    platt = fit_platt(data.scores, PairTruth.of(data.scores.pairs, data.labels), 30.0)
    truth = PairTruth.of(fresh.scores.pairs, fresh.labels).listed
    for member in range(3):
        proba = expit(platt.apply(fresh.scores).listed[member])
        for low, high in ((0.05, 0.3), (0.3, 0.7), (0.7, 0.95)):
            inside = (proba >= low) & (proba < high)
            assert abs(proba[inside].mean() - truth[inside].mean()) < 0.05


def test_unlisted_pairs_take_part_as_negatives(make_labelled: MakeLabelled) -> None:
    """Fitted on listed pairs alone, the probabilities would add up to too many tags."""
    data = make_labelled(n_images=400, floor=-1.5)
    pairs = data.scores.pairs
    truth = PairTruth.of(pairs, data.labels)
    assert truth.n_false.sum() > 0.2 * len(pairs)
    platt = fit_platt(data.scores, truth, 30.0)
    members = platt.apply(data.scores)
    unlisted = (truth.n_true + truth.n_false)[None] * expit(members.base)
    expected = expit(members.listed).sum(axis=1) + unlisted.sum(axis=1)
    np.testing.assert_allclose(expected, data.labels.sum(), rtol=0.05)


def test_a_member_that_is_noise_keeps_a_positive_slope(
    make_labelled: MakeLabelled,
) -> None:
    data = make_labelled(n_images=200, noise=(1.0, 1.0))
    data.scores.logit[1] *= -1  # worse than noise: it always says the opposite
    platt = fit_platt(data.scores, PairTruth.of(data.scores.pairs, data.labels), 10.0)
    assert (platt.slope > 0).all()
    assert (platt.slope[1] < platt.slope[0]).all()
