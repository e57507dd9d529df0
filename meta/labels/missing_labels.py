"""Labels that were forgotten: how often, by category, and what each pair then counts in a fit.

Where annotators forget tags, a labelled pair is true and an unlabelled one is either. Under the
assumption that every true pair of a category is labelled with the same probability ``c``, weights
make fits on the incomplete labels unbiased: a labelled pair counts ``1 / c``, an unlabelled one as
much as it is likely to be false. Both come from out-of-fold probabilities of being labelled.
"""

import numpy as np
from numpy.typing import NDArray

from tagstack.meta.labels.truth import PairTruth

Floats = NDArray[np.float64]

_TOP_SHARE = (
    0.1  # of a category's labelled pairs' number: so many of its surest pairs are looked at
)
_LEAST_PAIRS = 50  # surest pairs below which a category's rate is that of all tags
_LEAST_RATE = 0.3  # below, the scores are poor rather than the labels incomplete


def labelled_rates(
    proba: Floats, truth: PairTruth, tag: NDArray[np.integer], category: NDArray[np.int64]
) -> Floats:
    """Return how often a true pair of each tag's category is labelled, shape (n_tags,).

    The share of labelled pairs among those that the scores are surest of: there, what is not
    labelled was forgotten. Where even the surest pairs are doubtful it errs to the low side.

    Parameters
    ----------
    proba : array of shape (n_pairs,), float64, in [0, 1]
        Out of fold, of being labelled.
    truth : PairTruth
    tag : array of shape (n_pairs,), integer
    category : array of shape (n_tags,), int64
        Of each tag, counted from 0.

    References
    ----------
    Elkan & Noto (2008), "Learning classifiers from only positive and unlabeled data"; Bekker &
    Davis (2020), "Learning from positive and unlabeled data: a survey" (section 5: class prior from
    the region where all are positive).
    """
    known = np.flatnonzero(truth.known)
    overall = _rate(proba[known], truth.listed[known])
    rates = np.full(int(category.max(initial=-1)) + 1, overall if np.isfinite(overall) else 1.0)
    of_pair = category[tag[known]]
    for number in range(len(rates)):
        own = known[of_pair == number]
        rate = _rate(proba[own], truth.listed[own])
        rates[number] = rate if np.isfinite(rate) else rates[number]
    return np.asarray(np.clip(rates, _LEAST_RATE, 1.0)[category], np.float64)


def pair_weights(
    proba: Floats, truth: PairTruth, tag: NDArray[np.integer], rates: Floats
) -> Floats:
    """Return how much each listed pair counts in a fit, shape (n_pairs,), not negative.

    Parameters
    ----------
    proba : array of shape (n_pairs,), float64, in [0, 1]
        Out of fold, of being labelled.
    truth : PairTruth
    tag : array of shape (n_pairs,), integer
    rates : array of shape (n_tags,), float64, in (0, 1]
        As `labelled_rates` returns them. Where it is 1, every pair counts 1.
    """
    rate = rates[tag]
    false = (1.0 - proba / rate) / np.maximum(1.0 - proba, 1e-9)
    weight = np.where(truth.listed, 1.0 / rate, np.clip(false, 0.0, 1.0))
    return np.asarray(weight * truth.known, np.float64)


def _rate(proba: Floats, labelled: NDArray[np.bool_]) -> float:
    """Return the labelled share of the surest pairs, NaN if these are too few."""
    n_top = int(_TOP_SHARE * labelled.sum())
    if n_top < _LEAST_PAIRS:
        return float("nan")
    surest = np.argsort(-proba, kind="stable")[:n_top]
    return float(labelled[surest].mean())
