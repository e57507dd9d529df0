"""A package's metric as an outcome: what it says of the judged tags of one picture, in [0, 1].

A metric may be any number, and an interval that may be watched needs ends that are known before:
whoever begins the experiment names the values that are outcomes 0 and 1, and what lies beyond
counts as that end.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from scipy import sparse

from tagstack.base_models.pairs import PairProba, Pairs
from tagstack.configs.errors import TagstackError
from tagstack.configs.hooks import METRICS
from tagstack.meta.metrics.count_metrics import CountMetric
from tagstack.meta.metrics.counts import Counts
from tagstack.meta.metrics.scores import Judged, Score, of_packages

Answers = Mapping[str, bool]
"""Whether each judged tag of a picture holds."""


@dataclass(frozen=True, kw_only=True)
class Measure:
    """A registered metric and its values that are the outcomes 0 and 1.

    Parameters
    ----------
    metric : str
        Its entry point.
    low, high : float
        The lower and the higher end, whichever of them is better.
    package : str
        Name and version of its package when the experiment began.
    """

    metric: str
    low: float
    high: float
    package: str

    @classmethod
    def of(cls, metric: str, low: float, high: float) -> Self:
        """Return a metric as it is installed now.

        Raises
        ------
        TagstackError
            If there is none of that name, it needs probabilities, or the ends are none.
        """
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            msg = f"The ends are {low:g} and {high:g}; expected two numbers, the lower one first."
            raise TagstackError(msg)
        _score(metric)
        return cls(metric=metric, low=low, high=high, package=METRICS.offer(metric).package)

    @classmethod
    def read(cls, content: Mapping[str, Any]) -> Self:
        """Return what a file says; a `TypeError` or `ValueError` if it is none."""
        found = cls(**content)
        ends = all(isinstance(x, int | float) and math.isfinite(x) for x in (found.low, found.high))
        if not (ends and found.low < found.high and isinstance(found.metric, str)):
            raise ValueError("a measure that is none")
        return found

    @property
    def text(self) -> str:
        """What outcomes mean, for people."""
        worse, better = self.low, self.high
        if not _score(self.metric).larger_is_better:
            worse, better = better, worse
        return f"{self.metric} of a picture's answers, from {worse:g} (0) to {better:g} (1)"

    def judge(self) -> Callable[[Answers, set[str]], float]:
        """Return what gives a picture's outcome by its answers and tags; NaN where undefined.

        Raises
        ------
        TagstackError
            If the package is gone, or has another version than when the experiment began.
        """
        score, offer = _score(self.metric), METRICS.offer(self.metric)
        if offer.package != self.package:
            msg = (
                f"The {offer} is not the {self.package} that the experiment began with. Install "
                "that version again, or begin anew: outcomes of two versions do not mix."
            )
            raise TagstackError(msg)
        value = _by_counts(self.metric) if score.of_counts is not None else _by_picture(score)

        def outcome(answers: Answers, given: set[str]) -> float:
            share = (value(answers, given) - self.low) / (self.high - self.low)
            inside = float(np.clip(share, 0.0, 1.0))
            return inside if score.larger_is_better else 1.0 - inside

        return outcome


def _score(metric: str) -> Score:
    (score,) = of_packages((metric,))
    if score.needs != "decisions":
        msg = (
            f"The {METRICS.offer(metric)} looks at probabilities, and people judge tags. Expected "
            "a metric of decisions (docs/plug-ins.md)."
        )
        raise TagstackError(msg)
    return score


def _by_counts(metric: str) -> Callable[[Answers, set[str]], float]:
    """Return a metric of counts over all judged tags of a picture together."""
    measured = CountMetric(metric)

    def value(answers: Answers, given: set[str]) -> float:
        held = np.array([*answers.values()], bool)
        ours = np.array([tag in given for tag in answers], bool)
        sums = ((held & ours).sum(), ours.sum(), held.sum())
        hits, predicted, positives = (np.array([n], np.int64) for n in sums)
        counts = Counts(hits=hits, predicted=predicted, positives=positives)
        return float(measured.as_named(measured(counts, len(answers)))[0])

    return value


def _by_picture(score: Score) -> Callable[[Answers, set[str]], float]:
    """Return a metric of decisions on a picture whose judged tags are all there are."""

    def value(answers: Answers, given: set[str]) -> float:
        n_tags = len(answers)
        nothing = Pairs(indptr=np.zeros(2, np.int64), tag=np.zeros(0, np.int32), n_tags=n_tags)
        unsaid = np.full(n_tags, np.nan, np.float32)
        judged = Judged(
            proba=PairProba(pairs=nothing, proba=np.zeros(0, np.float32), base=unsaid),
            decided=sparse.csr_array(np.array([[tag in given for tag in answers]], bool)),
            labels=sparse.csr_array(np.array([[*answers.values()]], bool)),
        )
        return score.function(judged)

    return value
