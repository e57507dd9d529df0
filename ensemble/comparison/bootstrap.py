"""Paired bootstrap over image groups: how sure a score, and a difference of two rungs, is.

Every resample draws as many groups as there are, with replacement; images of a group come along
together. All rungs see the same resamples, so that what is common to two rungs cancels in their
difference. Thresholds stay as they are: the interval speaks about other images of the same kind,
not about another fit.

Intervals are percentiles of the resampled values, shifted so that their mean stands on the sample's
own value. A resample repeats images, and a rare tag whose few positives repeat (or are not drawn at
all) looks easier than it is: unshifted, the interval of a macro average can lie beside its value.
On simulated test sets (250 of 1,500 images, 60 tags, 2 to 225 positives a tag) the shifted 95 %
intervals of the difference of two rungs held the true one in 92 to 97 % of the sets for every
score; for the height of macro average precision itself they did so in 67 % only (unshifted 24 %),
because average precision on few positives is itself too high. Trust differences before heights.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from tagstack.base_models.pairs import PairProba
from tagstack.configs.errors import TagstackError
from tagstack.ensemble.comparison.metrics import canonical, count_by_image, f_beta
from tagstack.ensemble.comparison.weighted_ranking import (
    RankedPositives,
    ranked_positives,
    without_abstentions,
)

_CHUNK = 16  # weightings at a time: enough for the sparse products, little memory

BETTER, WORSE, UNDECIDED = "better", "worse", "no significant difference"
UNDEFINED = "undefined"


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A value with a two-sided, centred percentile interval; NaN where undefined."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Difference(Interval):
    """A difference with its interval and, in words, whether the interval excludes 0."""

    verdict: str


@dataclass(frozen=True, kw_only=True)
class Scope:
    """Some tags over which scores are summed or averaged.

    Parameters
    ----------
    key : str
        Unique name.
    kind : str
        ``vocabulary``, ``category`` or ``frequency``.
    title : str
        What a reader calls it.
    tags : array of shape (n_tags,), bool
    whole : bool
        Also score per image and rank all pairs together, which costs more than per-tag scores.
    """

    key: str
    kind: str
    title: str
    tags: NDArray[np.bool_]
    whole: bool = False


@dataclass(frozen=True, kw_only=True)
class Evaluated:
    """Scores of one rung under several weightings of the images.

    Parameters
    ----------
    scores : mapping of (scope key, score name) to array of shape (n_weightings,), float64
    tag_f, tag_ap : array of shape (n_tags, n_weightings), float64
        F-beta and average precision; NaN for a tag without a positive of weight above 0.
    """

    scores: Mapping[tuple[str, str], NDArray[np.float64]]
    tag_f: NDArray[np.float64]
    tag_ap: NDArray[np.float64]


class Evaluator:
    """One rung against the labels, ready to be scored under any weighting of the images.

    Parameters
    ----------
    proba : PairProba
    decided, labels : csr_array of shape (n_images, n_tags), bool
    scopes : sequence of Scope
    beta : float
        Weight of recall in F-beta.
    """

    def __init__(
        self,
        proba: PairProba,
        decided: sparse.csr_array,
        labels: sparse.csr_array,
        scopes: tuple[Scope, ...],
        beta: float,
    ) -> None:
        labels, decided = canonical(labels), canonical(decided, labels.shape)
        self._beta = beta
        self._scopes = scopes
        self._right = _by_tag(canonical(decided.multiply(labels)))
        self._decided = _by_tag(decided)
        self._true = _by_tag(labels)
        filled = without_abstentions(proba)
        self._ranks = ranked_positives(filled, labels)
        self._whole = {
            scope.key: _Whole(filled, decided, labels, scope.tags, beta)
            for scope in scopes
            if scope.whole
        }
        self._members = sparse.csr_array(np.array([scope.tags for scope in scopes], dtype=float))

    def evaluate(self, weights: NDArray[np.float32]) -> "Evaluated":
        """Return every score under each weighting.

        Parameters
        ----------
        weights : array of shape (n_images, n_weightings), float32, whole numbers
            How often each image counts.
        """
        right, decided, true = (m @ weights for m in (self._right, self._decided, self._true))
        tag_f = _f(right, decided, true, self._beta)
        tag_ap = self._ranks.average_precision(weights)
        n_tags = self._members @ (true > 0).astype(float)
        columns = {
            "micro_f": _f(
                self._members @ right, self._members @ decided, self._members @ true, self._beta
            ),
            "macro_f": _divided(self._members @ np.nan_to_num(tag_f), n_tags),
            "macro_ap": _divided(self._members @ np.nan_to_num(tag_ap), n_tags),
        }
        scores = {
            (scope.key, name): values[row]
            for name, values in columns.items()
            for row, scope in enumerate(self._scopes)
        }
        for key, whole in self._whole.items():
            scores[key, "sample_f"] = whole.sample_f(weights)
            scores[key, "micro_ap"] = whole.ranks.average_precision(weights)[0]
        return Evaluated(scores=scores, tag_f=tag_f, tag_ap=tag_ap)


class _Whole:
    """What needs images or all pairs together: sample-F and micro average precision."""

    ranks: RankedPositives

    def __init__(
        self,
        proba: PairProba,
        decided: sparse.csr_array,
        labels: sparse.csr_array,
        tags: NDArray[np.bool_],
        beta: float,
    ) -> None:
        if not tags.all():
            decided, labels = decided[:, tags], labels[:, tags]
            proba = only_tags(proba, tags)
        counts = count_by_image(decided, labels)
        self._labelled = (counts.true > 0).astype(np.float64)
        self._f = np.where(counts.true > 0, np.nan_to_num(f_beta(counts, beta)), 0.0)
        self.ranks = ranked_positives(proba, labels, together=True)

    def sample_f(self, weights: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the mean F-beta of the images with a label."""
        rows = sparse.csr_array(np.stack([self._f, self._labelled]))
        total, n_images = rows @ weights.astype(np.float64)
        return _divided(total, n_images)


def only_tags(proba: PairProba, tags: NDArray[np.bool_]) -> PairProba:
    """Return the probabilities of some tags, renumbered in their order."""
    kept = tags[proba.pairs.tag]
    number = np.cumsum(tags, dtype=np.int32) - 1
    counts = np.bincount(proba.pairs.image[kept], minlength=proba.pairs.n_images)
    pairs = type(proba.pairs)(
        indptr=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        tag=number[proba.pairs.tag[kept]].astype(np.int32),
        n_tags=int(tags.sum()),
    )
    return PairProba(pairs=pairs, proba=proba.proba[kept], base=proba.base[tags])


def resampled_weights(
    groups: NDArray[np.integer], *, resamples: int, seed: int
) -> Iterator[NDArray[np.float32]]:
    """Yield image weights in chunks of shape (n_images, n_chunk), float32, whole numbers.

    The first column of the first chunk is 1 throughout: the sample as it is. ``resamples``
    columns of multinomial group counts follow.

    Parameters
    ----------
    groups : array of shape (n_images,), integer
        Images with the same number are drawn together.
    resamples : int
    seed : int

    Raises
    ------
    TagstackError
        If there is no image.
    """
    if not len(groups):
        msg = "The comparison has 0 images, expected at least one. Check --where and the labels."
        raise TagstackError(msg)
    group_of = np.unique(groups, return_inverse=True)[1]
    n_groups = int(group_of.max()) + 1
    share = np.full(n_groups, 1 / n_groups)
    rng = np.random.default_rng(seed)
    pending = np.ones((len(groups), 1), np.float32)
    for begin in range(0, resamples, _CHUNK):
        drawn = rng.multinomial(n_groups, share, size=min(_CHUNK, resamples - begin))
        chunk = drawn.T[group_of].astype(np.float32)
        yield np.hstack([pending, chunk]) if begin == 0 else chunk


def interval(samples: NDArray[np.float64], confidence: float) -> Interval:
    """Return the interval of resampled values, of which the first is the sample's own."""
    low, high = _percentiles(samples, confidence)
    return Interval(value=float(samples[0]), low=low, high=high)


def difference(
    ours: NDArray[np.float64], theirs: NDArray[np.float64], confidence: float
) -> Difference:
    """Return ours minus theirs, resample by resample, with a verdict.

    Parameters
    ----------
    ours, theirs : array of shape (1 + n_resamples,), float64
        Scores on the sample itself, then on the same resamples.
    confidence : float
        Of the two-sided interval, in (0.5, 1).
    """
    values = ours - theirs
    low, high = _percentiles(values, confidence)
    return Difference(value=float(values[0]), low=low, high=high, verdict=verdict(low, high))


def verdict(low: float, high: float) -> str:
    """Return in words what an interval of a difference says."""
    if np.isnan(low) or np.isnan(high):
        return UNDEFINED
    if low > 0:
        return BETTER
    return WORSE if high < 0 else UNDECIDED


def _percentiles(samples: NDArray[np.float64], confidence: float) -> tuple[float, float]:
    resampled = samples[1:][~np.isnan(samples[1:])]
    if np.isnan(samples[0]) or not len(resampled):
        return float("nan"), float("nan")
    tail = (1 - confidence) / 2
    low, high = np.quantile(resampled, [tail, 1 - tail]) - (resampled.mean() - samples[0])
    return float(low), float(high)


def _f(
    right: NDArray[np.float64], decided: NDArray[np.float64], true: NDArray[np.float64], beta: float
) -> NDArray[np.float64]:
    """Return F-beta where something is true, NaN elsewhere."""
    squared = beta * beta
    score = _divided((1 + squared) * right, squared * true + decided)
    return np.where(true > 0, score, np.nan)


def _divided(part: NDArray[np.float64], whole: NDArray[np.float64]) -> NDArray[np.float64]:
    result: NDArray[np.float64] = np.full(whole.shape, np.nan)
    return np.divide(part, whole, out=result, where=whole > 0)


def _by_tag(matrix: sparse.csr_array) -> sparse.csr_array:
    return sparse.csr_array(matrix.T, dtype=np.float64)
