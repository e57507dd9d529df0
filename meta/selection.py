"""The rungs' scores fold by fold, and the gate that keeps the simplest rung that suffices.

Scores are taken within folds: models of different folds differ a little in every tag's level,
which would distort a ranking across folds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from tagstack.base_models.pairs import Pairs
from tagstack.configs.stack import Objective
from tagstack.meta.ranking import area_of_steps
from tagstack.meta.truth import Evidence, PairTruth

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class FoldScores:
    """Average precision in each fold, arrays of shape (n_folds,); NaN without positives."""

    macro: Floats
    micro: Floats

    def objective(self, name: Objective) -> Floats:
        """Return the score that selection raises, shape (n_folds,)."""
        if name == "macro_ap":
            return self.macro
        return self.micro if name == "micro_ap" else (self.macro + self.micro) / 2


@dataclass(frozen=True, kw_only=True)
class LadderRow:
    """One rung of the ladder, judged on images that its models were not fitted on.

    Parameters
    ----------
    rung : str
    macro_ap, micro_ap : float
        Mean over folds of the average precision within a fold.
    macro_error, micro_error : float
        Their standard errors over folds.
    fold_values : tuple of float
        The objective in each fold.
    weights : tuple of (str, float)
        What the rung averages and how much, empty for others.
    why : str
        How the gate judged it.
    """

    rung: str
    macro_ap: float
    macro_error: float
    micro_ap: float
    micro_error: float
    fold_values: tuple[float, ...]
    weights: tuple[tuple[str, float], ...]
    why: str


class FoldScorer:
    """Scores logits of all pairs, or of some listed ones, in each fold.

    Parameters
    ----------
    pairs : Pairs
    truth : PairTruth
    evidence : Evidence
        Pairs of which nothing is known are not ranked at all.
    folds : array of shape (n_images,), int64, in [0, n_folds)
    """

    def __init__(
        self,
        pairs: Pairs,
        truth: PairTruth,
        evidence: Evidence,
        folds: NDArray[np.int64],
    ) -> None:
        self.n_folds, self.n_tags = int(folds.max()) + 1, pairs.n_tags
        self.truth = truth
        self.key = folds[pairs.image] * pairs.n_tags + pairs.tag
        size = self.n_folds * pairs.n_tags
        image, tag = evidence.labels.nonzero()
        hidden_image, hidden_tag = evidence.unknown.nonzero()
        n_true = np.bincount(folds[image] * pairs.n_tags + tag, minlength=size)
        n_images = np.repeat(np.bincount(folds, minlength=self.n_folds), pairs.n_tags)
        n_hidden = np.bincount(folds[hidden_image] * pairs.n_tags + hidden_tag, minlength=size)
        self.n_known = truth.known.astype(np.int64)
        n_listed = np.bincount(self.key[truth.known], minlength=size)
        self.n_unlisted = n_images - n_hidden - n_listed
        self.n_missed = n_true - np.bincount(self.key[truth.listed], minlength=size)
        self.n_true = n_true

    def score(self, listed: Floats, base: Floats) -> FoldScores:
        """Return the scores of logits (n_pairs,) and of unlisted pairs' logits (n_tags,)."""
        key = np.concatenate([self.key, np.arange(len(self.n_true))])
        logit = np.concatenate([listed, np.tile(base, self.n_folds)])
        count = np.concatenate([self.n_known, self.n_unlisted])
        true = np.concatenate([self.truth.listed.astype(np.int64), self.n_missed])
        kept = ~np.isnan(logit) & (count > 0)
        n_true = np.where(np.isnan(np.tile(base, self.n_folds)), 0, self.n_true)
        proba = expit(logit[kept])
        return self._scores(key[kept], proba, count[kept], true[kept], n_true)

    def score_rows(self, rows: NDArray[np.int64], proba: Floats) -> FoldScores:
        """Return the scores when only the listed pairs at ``rows`` are ranked, the rest missed."""
        key, true = self.key[rows], self.truth.listed[rows].astype(np.int64)
        kept = self.n_known[rows] > 0
        key, proba, true = key[kept], proba[kept], true[kept]
        return self._scores(key, proba, np.ones(len(key), np.int64), true, self.n_true)

    def _scores(
        self,
        key: NDArray[np.int64],
        proba: Floats,
        count: NDArray[np.int64],
        true: NDArray[np.int64],
        n_true: NDArray[np.int64],
    ) -> FoldScores:
        """Return the scores of ranked pairs; true pairs that are not ranked are never found."""
        value = proba.astype(np.float32)
        fold = key // self.n_tags
        per_tag = area_of_steps(key, value, count, true, len(n_true))
        per_tag = _of_all_true(per_tag, _summed(key, true, len(n_true)), n_true)
        micro = area_of_steps(fold, value, count, true, self.n_folds)
        of_fold = n_true.reshape(self.n_folds, -1).sum(axis=1)
        micro = _of_all_true(micro, _summed(fold, true, self.n_folds), of_fold)
        return FoldScores(
            macro=_mean_over_tags(per_tag.reshape(self.n_folds, -1)),
            micro=micro,
        )


def choose_rung(
    scores: Mapping[str, FoldScores],
    order: Sequence[str],
    objective: Objective,
    standard_errors: float,
) -> tuple[str, dict[str, str]]:
    """Return the simplest rung that the best does not clearly beat, and what was said of each.

    Parameters
    ----------
    scores : mapping of rung to FoldScores
    order : sequence of str
        Rungs that may be chosen, the simplest first.
    objective : str
    standard_errors : float
        The best must lead by more than this many standard errors of the paired difference.

    Returns
    -------
    chosen : str
    why : dict of rung to str
    """
    values = {rung: scores[rung].objective(objective) for rung in order}
    usable = ~np.isnan(np.stack(list(values.values()))).any(axis=0)
    if not usable.any():
        return order[0], {order[0]: "chosen: no fold has a positive label to judge by"}
    means = {rung: float(value[usable].mean()) for rung, value in values.items()}
    best = max(order, key=lambda rung: means[rung])
    chosen, why = best, {}
    for rung in reversed(order):
        behind, error = _paired(values[best][usable] - values[rung][usable])
        if behind <= standard_errors * error or rung == best:
            chosen = rung
        why[rung] = f"{behind:+.4f} behind {best}, standard error {error:.4f}"
    why[best] = "best of the rungs"
    why[chosen] = f"chosen: {why[chosen]}" + ("" if chosen == best else "; simpler")
    return chosen, why


def ladder_row(
    rung: str, scores: FoldScores, objective: Objective, weights: Mapping[str, float], why: str
) -> LadderRow:
    """Return a rung's row of the ladder."""
    (macro, macro_error), (micro, micro_error) = _summary(scores.macro), _summary(scores.micro)
    return LadderRow(
        rung=rung,
        macro_ap=macro,
        macro_error=macro_error,
        micro_ap=micro,
        micro_error=micro_error,
        fold_values=tuple(float(v) for v in scores.objective(objective)),
        weights=tuple((name, float(weight)) for name, weight in weights.items() if weight > 0),
        why=why,
    )


def _summary(values: Floats) -> tuple[float, float]:
    return _paired(values[~np.isnan(values)])


def _paired(difference: Floats) -> tuple[float, float]:
    """Return mean and standard error; the error of fewer than two values is infinite."""
    if not len(difference):
        return float("nan"), float("inf")
    if len(difference) < 2:
        return float(difference.mean()), float("inf")
    return float(difference.mean()), float(difference.std(ddof=1) / np.sqrt(len(difference)))


def _summed(key: NDArray[np.int64], counts: NDArray[np.int64], size: int) -> Floats:
    return np.bincount(key, weights=counts, minlength=size).astype(np.float64)


def _of_all_true(area: Floats, n_found: Floats, n_true: NDArray[np.int64]) -> Floats:
    """Return the areas relative to all true pairs instead of those ranked; NaN without any."""
    share = n_found / np.maximum(n_true, 1)
    return np.where(n_true > 0, np.nan_to_num(area) * share, np.nan)


def _mean_over_tags(per_tag: Floats) -> Floats:
    """Return the mean of each row over the tags that have a value, NaN where none has."""
    valued = ~np.isnan(per_tag)
    count = valued.sum(axis=1)
    total = np.where(valued, per_tag, 0.0).sum(axis=1)
    mean: Floats = np.full(len(per_tag), np.nan)
    np.divide(total, count, out=mean, where=count > 0)
    return mean
