"""Which way of framing agrees better with labelled pictures, and how sure that is.

How badly a way agrees with a picture is the log-loss of all its tags, after one slope and one shift
fitted for each way: a way shall not win by making a tagger less sure of itself. Differences are
taken picture by picture and judged by their signed ranks, which one odd picture cannot sway; a way
is named only where the interval of the gain lies above zero, at 95 % for all ways together
(Bonferroni).

References
----------
Hodges & Lehmann (1963), "Estimates of location based on rank tests".
Platt (1999), "Probabilistic outputs for support vector machines".
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tomli_w
from numpy.typing import NDArray

_ALPHA = 0.05
_LEAST_GAIN = 0.01  # nats a picture: ways that are the same to rounding differ by less
_POWER = 0.8  # of the number of pictures that is said to be needed
_WORTH_SAYING = 5000  # pictures; nobody labels more to settle a framing

Facts = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Better:
    """A change under which the scores surely agree better with the labels.

    Parameters
    ----------
    facts : mapping of key to value
        Of the contract's ``[input]``; None = remove the key.
    gain, low, high : float
        By how much the log-loss of a picture's tags falls, in nats, with its interval.
    """

    facts: Facts
    gain: float
    low: float
    high: float

    @property
    def toml(self) -> str:
        """The lines to have in ``[input]``."""
        return toml_of(self.facts)


def toml_of(facts: Facts) -> str:
    """Return facts as the lines of a contract's ``[input]``."""
    said = {k: list(v) if isinstance(v, tuple) else v for k, v in facts.items() if v}
    lines = [" ".join(tomli_w.dumps({key: value}).split()) for key, value in said.items()]
    gone = [f"no {key}" for key, value in facts.items() if value is None]
    return "; ".join([*lines, *gone])


def losses(logits: NDArray[np.float32], labels: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the log-loss of each picture's tags, in nats, after one slope and shift for all.

    Parameters
    ----------
    logits : array of shape (n_pictures, n_tags), float32
    labels : array of shape (n_pictures, n_tags), bool
    """
    from sklearn.linear_model import LogisticRegression

    x = logits.astype(np.float64) / max(float(logits.std()), 1e-9)
    fit = LogisticRegression(C=1e6, solver="newton-cholesky").fit(x.reshape(-1, 1), labels.ravel())
    slope, shift = float(fit.coef_[0, 0]), float(fit.intercept_[0])
    if slope < 0:  # scores that say the contrary say nothing
        share = labels.mean()
        slope, shift = 0.0, math.log(share / (1 - share))
    z = x * slope + shift
    return np.asarray(np.logaddexp(0, np.where(labels, -z, z)).sum(axis=1), np.float64)


def best_way(tried: Sequence[Facts], loss: NDArray[np.float64]) -> Better | None:
    """Return the way with the largest gain among those that are surely better."""
    reach = reach_of(len(tried))
    found = []
    for facts, own in zip(tried, loss[1:], strict=True):
        gain, low, high = middle(loss[0] - own, reach)
        if surely_more(loss[0] - own, reach):
            found.append(Better(facts=facts, gain=gain, low=low, high=high))
    return max(found, key=lambda item: item.gain, default=None)


def undecided_way(
    tried: Sequence[Facts], loss: NDArray[np.float64]
) -> tuple[tuple[Facts, int], ...]:
    """Return the way that is nearest to being surely better, and the pictures that it needs."""
    from scipy.stats import norm

    wanted = reach_of(len(tried)) + float(norm.ppf(_POWER))
    needed = []
    for facts, own in zip(tried, loss[1:], strict=True):
        gains = loss[0] - own
        effect = _signed_ranks(gains) / math.sqrt(loss.shape[1])
        if effect > 0 and np.median(gains) > _LEAST_GAIN:
            needed.append((facts, math.ceil((wanted / effect) ** 2)))
    worth = [item for item in needed if item[1] <= _WORTH_SAYING]
    return tuple(sorted(worth, key=lambda item: item[1])[:1])


def reach_of(n_ways: int) -> float:
    """Return the standard deviations that an interval reaches to either side."""
    from scipy.stats import norm

    return float(norm.ppf(1 - _ALPHA / 2 / max(n_ways, 1)))


def surely_more(gains: NDArray[np.float64], reach: float) -> bool:
    """Return whether gains, in nats a picture, are surely more than rounding."""
    return middle(gains, reach)[1] > _LEAST_GAIN


def _signed_ranks(gains: NDArray[np.float64]) -> float:
    """Return Wilcoxon's signed ranks of gains, in standard deviations."""
    from scipy.stats import rankdata

    n = len(gains)
    ranks = rankdata(np.abs(gains)) * np.sign(gains)
    return float(ranks.sum() / math.sqrt(n * (n + 1) * (2 * n + 1) / 6)) if n else 0.0


def middle(gains: NDArray[np.float64], reach: float) -> tuple[float, float, float]:
    """Return the middle of gains, and its interval by signed ranks.

    The middle is the median of the means of all two of them (Hodges and Lehmann). Where there are
    too few gains for such an interval, it is the whole line.
    """
    n = len(gains)
    rows, columns = np.triu_indices(n)
    means = np.sort((gains[rows] + gains[columns]) / 2)
    half = reach * math.sqrt(n * (n + 1) * (2 * n + 1) / 24)
    cut = math.floor(len(means) / 2 - half)
    if cut < 0 or not n:
        return (float(np.median(means)) if n else 0.0), -math.inf, math.inf
    return float(np.median(means)), float(means[cut]), float(means[-1 - cut])
