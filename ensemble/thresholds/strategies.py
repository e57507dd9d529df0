"""How thresholds are chosen from curves. A strategy is one function in ``STRATEGIES``.

A strategy returns one or more candidates, rows of thresholds for all tags; cross-validation picks
among them. All work on the logit scale, where a step means the same at every rarity.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from tagstack.configs.decisions import ThresholdSettings
from tagstack.ensemble.thresholds.curves import GRID, Bools, Counts, Curves, Floats

_INSIDE = 1e-9  # logits stay finite; float32 probabilities stop short of 1 by 6e-8


@dataclass(frozen=True, kw_only=True)
class Sample:
    """The images that thresholds are fitted on.

    Parameters
    ----------
    curves : Curves
        Of all the images.
    parts : sequence of Curves
        Of the images less one fold each.
    n_images : int
    category : array of shape (n_tags,), int
    """

    curves: Curves
    parts: Sequence[Curves]
    n_images: int
    category: NDArray[np.intp]


def fixed(sample: Sample, settings: ThresholdSettings) -> Floats:
    """Return ``settings.value`` for every tag."""
    return np.full((1, sample.curves.n_tags), logit(settings.value))


def one_threshold(sample: Sample, settings: ThresholdSettings) -> Floats:
    """Return the one threshold that is best over all tags."""
    together = np.zeros(sample.curves.n_tags, np.intp)
    return _pooled(sample.curves, together, settings)[None]


def by_category(sample: Sample, settings: ThresholdSettings) -> Floats:
    """Return the threshold that is best over the tags of each category."""
    return _pooled(sample.curves, sample.category, settings)[None]


def scut(sample: Sample, settings: ThresholdSettings) -> Floats:
    """Return each tag's best cut, averaged over folds and shrunk to its category's threshold.

    One candidate per entry of ``settings.shrinkage``: with ``n`` positives and strength ``k`` the
    tag's own cut weighs ``n / (n + k)``.

    References
    ----------
    Yang (2001), "A study of thresholding strategies for text categorization".
    """
    cuts = np.stack([_best_cuts(part, settings.beta) for part in sample.parts])
    found = ~np.isnan(cuts)
    own = np.where(found, cuts, 0).sum(0) / np.maximum(found.sum(0), 1)
    category = _pooled(sample.curves, sample.category, settings)
    n_positives = sample.curves.n_positives
    usable = found.any(0) & (n_positives >= settings.min_positives)
    rows = []
    for strength in settings.shrinkage:
        weight = n_positives / np.maximum(n_positives + strength, 1)
        shrunk = weight * own + (1 - weight) * category
        rows.append(_capped(np.where(usable, shrunk, category), sample, settings))
    return np.stack(rows)


def plugin_f(sample: Sample, settings: ThresholdSettings) -> Floats:
    """Return ``F* / (1 + beta^2)`` of each tag, where F* is what its probabilities lead to expect.

    Right as far as the probabilities are calibrated. It reads no label of the tag itself, so rare
    tags do not overfit: what they borrow from others is in their calibration.

    References
    ----------
    Lipton, Elkan & Naryanaswamy (2014), "Optimal thresholding of classifiers to maximize F1
    measure".
    """
    curves = sample.curves
    expected = _best_expected_f(sample, settings.beta)
    plugged = _logit(expected / (1 + settings.beta**2))
    category = _pooled(curves, sample.category, settings)
    return _capped(np.where(expected > 0, plugged, category), sample, settings)[None, :]


STRATEGIES: dict[str, Callable[[Sample, ThresholdSettings], Floats]] = {
    "fixed": fixed,
    "one_threshold": one_threshold,
    "category": by_category,
    "scut": scut,
    "plugin_f": plugin_f,
}

PER_TAG = frozenset({"scut", "plugin_f"})


def average_f(counts: Counts, settings: ThresholdSettings, axis: int = 0) -> Floats:
    """Return macro or micro F-beta over the tags on ``axis``, tags without positives left out."""
    if settings.average == "macro":
        scores = counts.f_beta(settings.beta)
        n_defined = np.maximum((~np.isnan(scores)).sum(axis=axis), 1)
        return np.asarray(np.nansum(scores, axis=axis) / n_defined)
    total = Counts(
        hits=counts.hits.sum(axis=axis),
        predicted=counts.predicted.sum(axis=axis),
        positives=counts.positives.sum(axis=axis),
    )
    return np.asarray(np.nan_to_num(total.f_beta(settings.beta)))


def thresholds_from_logits(logits: Floats, floor: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return thresholds in (0, 1], each above its tag's floor."""
    above = np.nextafter(floor, np.float32(2))
    return np.asarray(np.maximum(expit(logits).astype(np.float32), above))


def _best_cuts(curves: Curves, beta: float) -> Floats:
    """Return the logit of each tag's best cut, strictest on ties; NaN where none hits anything."""
    counts = curves.cut_counts()
    score = np.where(curves.is_cut & (counts.hits > 0), counts.f_beta(beta), -1.0)
    place = _first_best(score, curves)
    best = np.full(curves.n_tags, np.nan)
    middle = (_logit(curves.proba[place]) + _logit(curves.lower[place])) / 2
    best[curves.tag[place]] = np.where(score[place] > 0, middle, np.nan)
    return best


def _first_best(score: Floats, curves: Curves) -> NDArray[np.intp]:
    """Return the first position of the highest score of each tag that has pairs."""
    if not len(score):
        return np.zeros(0, np.intp)
    begin = curves.starts[:-1][np.diff(curves.starts) > 0]
    highest = np.maximum.reduceat(score, begin)
    sizes = np.diff(np.append(begin, len(score)))
    places = np.flatnonzero(score == np.repeat(highest, sizes))
    _, first = np.unique(curves.tag[places], return_index=True)
    return places[first]


def _best_expected_f(sample: Sample, beta: float) -> Floats:
    curves = sample.curves
    mass = np.cumsum(curves.proba, dtype=np.float64)
    start = curves.starts[curves.tag]
    hits = mass - np.concatenate([[0.0], mass])[start]
    listed = np.bincount(curves.tag, curves.proba, minlength=curves.n_tags)
    unlisted = sample.n_images - np.diff(curves.starts)
    total = listed + unlisted * curves.floor
    predicted = np.arange(1, len(hits) + 1) - start
    score = (1 + beta**2) * hits / (predicted + beta**2 * total[curves.tag])
    best = np.zeros(curves.n_tags)
    place = _first_best(np.where(curves.is_cut, score, -1.0), curves)
    best[curves.tag[place]] = score[place]
    return best


def _pooled(curves: Curves, group: NDArray[np.intp], settings: ThresholdSettings) -> Floats:
    """Return the best threshold of each group of tags; a group without positives takes all's."""
    counts = curves.grid_counts()
    overall = _best_on_grid(counts, np.ones(curves.n_tags, bool), settings)
    fallback = logit(settings.value) if overall is None else overall
    logits = np.full(curves.n_tags, fallback)
    for name in np.unique(group):
        best = _best_on_grid(counts, group == name, settings)
        if best is not None:
            logits[group == name] = best
    return logits


def _best_on_grid(counts: Counts, tags: Bools, settings: ThresholdSettings) -> float | None:
    mine = Counts(
        hits=counts.hits[tags], predicted=counts.predicted[tags], positives=counts.positives[tags]
    )
    score = average_f(mine, settings)
    if not score.max(initial=0.0) > 0:
        return None
    # The strictest of equally good ones.
    last = len(score) - 1 - int(np.argmax(score[::-1]))
    return float(logit(GRID[last]))


def _capped(logits: Floats, sample: Sample, settings: ThresholdSettings) -> Floats:
    """Return thresholds raised until no tag is predicted far more often than it is true.

    F1 of a tag that the scores hardly know is best at "always", which no reader wants.
    """
    curves = sample.curves
    room = np.floor(settings.max_rate * curves.n_positives).astype(np.int64) + 1 - curves.sure
    place = curves.starts[:-1] + np.maximum(room, 0)
    over = place < curves.starts[1:]
    least = np.full(curves.n_tags, -np.inf)
    # Just above the first pair that is one too many.
    least[over] = _logit(np.nextafter(curves.proba[place[over]], np.float32(2)))
    return np.asarray(np.maximum(logits, least))


def _logit(proba: NDArray[np.float32] | Floats) -> Floats:
    return np.asarray(logit(np.clip(proba.astype(np.float64), _INSIDE, 1 - _INSIDE)))
