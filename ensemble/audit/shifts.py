"""Whether one kind of images wants other thresholds: all of them moved by one step of log-odds.

A step for each slice is the least that can help it, and what few images can still tell. It is
chosen on a part of the groups and judged on the others, against the step that would help all
images: what everybody gains by is no matter of the slice.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.special import expit

from tagstack.base_models.pairs import PairProba
from tagstack.ensemble.audit.slices import Slice
from tagstack.ensemble.thresholds.cuts import logits_of
from tagstack.ensemble.thresholds.deciding import Cutting
from tagstack.meta.metrics.bootstrap import Weightings, groups_behind
from tagstack.meta.metrics.counts import count_by_image, f_score
from tagstack.meta.metrics.tag_tests import compare_tags

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Shift:
    """What a step of all thresholds does for a slice, in F-beta of its pairs together.

    Parameters
    ----------
    kind, column, value : str
    n_images, n_groups : int
    shift : float
        The best step on all of the slice, in log-odds: above 0, it wants higher thresholds.
    shift_low, shift_high : float
        Ends of its interval over resamples of the slice's groups.
    common : float
        The best step on all images of the audit.
    in_use, before, after : float
        With the thresholds in use; and on left-out groups, with the step chosen for all images and
        with the one chosen for the slice.
    difference, low, high : float
        After minus before.
    q_value : float
        Adjusted over all slices.
    helps : bool
        Surely better: a proposal.
    """

    kind: str
    column: str
    value: str
    n_images: int
    n_groups: int
    shift: float
    shift_low: float
    shift_high: float
    common: float
    in_use: float
    before: float
    after: float
    difference: float
    low: float
    high: float
    q_value: float
    helps: bool


@dataclass(frozen=True, kw_only=True)
class ShiftedCounts:
    """What each step gives on each image.

    Parameters
    ----------
    steps : array of shape (n_steps,), float64
        In log-odds; ascending, 0 is one of them.
    hits, given : array of shape (n_steps, n_images), float64
    true : array of shape (n_images,), float64
    """

    steps: Floats
    hits: Floats
    given: Floats
    true: Floats

    @classmethod
    def of(
        cls,
        cutting: Cutting,
        proba: PairProba,
        decide: Callable[[Cutting], sparse.csr_array],
        labels: sparse.csr_array,
        unknown: sparse.csr_array,
        *,
        shifts: Sequence[float],
        told: Callable[[int, int], None],
    ) -> "ShiftedCounts":
        """Return what thresholds moved by steps to both sides give.

        Parameters
        ----------
        cutting : Cutting
            As in use.
        proba : PairProba
        decide : callable
            From thresholds to tags, rules included.
        labels, unknown : csr_array of shape (n_images, n_tags), bool
        shifts : sequence of float
            Above 0.
        told : callable of (done, total)
        """
        steps = np.array(sorted({0.0, *shifts, *(-shift for shift in shifts)}))
        hits, given = (np.empty((len(steps), labels.shape[0])) for _ in range(2))
        for i, step in enumerate(steps.tolist()):
            told(i, len(steps))
            decided = decide(moved(cutting, proba.base, step))
            known = sparse.csr_array(decided > decided.multiply(unknown))
            counts = count_by_image(known, labels)
            hits[i], given[i] = counts.hits, counts.predicted
        return cls(steps=steps, hits=hits, given=given, true=counts.positives.astype(np.float64))

    def take(self, images: Bools) -> "ShiftedCounts":
        """Return the counts of some images."""
        return replace(
            self, hits=self.hits[:, images], given=self.given[:, images], true=self.true[images]
        )

    def best(self, images: Bools, beta: float) -> int:
        """Return the place of the step with the highest F-beta; of equals the least step."""
        return int(self._first(self._scores(images[:, None].astype(np.float64), beta))[0])

    def best_resampled(self, weightings: Weightings, beta: float) -> Floats:
        """Return the best step on the sample and on each resample, shape (1 + n_resamples,)."""
        places = [self._first(self._scores(w, beta)) for w in weightings.blocks()]
        return self.steps[np.concatenate(places)]

    def score(self, images: Bools, beta: float) -> float:
        """Return F-beta of some images with the thresholds in use."""
        scores = self._scores(images[:, None].astype(np.float64), beta)
        return float(scores[np.flatnonzero(self.steps == 0)[0], 0])

    def _scores(self, weights: NDArray[np.floating], beta: float) -> Floats:
        """Return F-beta of weighted images, shape (n_steps, n_weightings)."""
        return f_score(self.hits @ weights, self.given @ weights, self.true @ weights, beta)

    def _first(self, scores: Floats) -> Ints:
        order = np.argsort(np.abs(self.steps), kind="stable")
        return np.asarray(order[np.argmax(np.nan_to_num(scores[order], nan=-1.0), axis=0)])


def moved(cutting: Cutting, base: NDArray[np.float32], step: float) -> Cutting:
    """Return thresholds moved by a step of log-odds; 0 returns them as they are.

    Parameters
    ----------
    cutting : Cutting
    base : array of shape (n_tags,), float32
        Probability of unlisted pairs: thresholds stay above it.
    step : float
    """
    if step == 0:
        return cutting
    value = expit(logits_of(cutting.value) + step).astype(np.float32)
    value = np.fmax(value, np.nextafter(base, np.float32(1)))
    never = np.isinf(cutting.value)
    return replace(cutting, value=np.where(never, cutting.value, value))


@dataclass(frozen=True, kw_only=True)
class Judging:
    """How steps are judged.

    Parameters
    ----------
    folds : int
        Parts of the groups, each judged by what the others chose.
    resamples, seed : int
    beta : float
    confidence : float, in (0.5, 1)
    false_discovery_rate : float, in (0, 1)
        Over all slices.
    """

    folds: int
    resamples: int
    seed: int
    beta: float
    confidence: float
    false_discovery_rate: float


def shifts_of(
    slices: Sequence[Slice],
    counts: ShiftedCounts,
    groups: NDArray[np.integer],
    judging: Judging,
) -> tuple[Shift, ...]:
    """Return what each slice of images gains by thresholds of its own.

    Parameters
    ----------
    slices : sequence of Slice
        Of images; those of tags are passed over.
    counts : ShiftedCounts
    groups : array of shape (n_images,), integer
    judging : Judging
    """
    own = [(one, one.images) for one in slices if one.images is not None]
    if not own:
        return ()
    beta, everywhere = judging.beta, np.ones(len(groups), bool)
    fold = _folds(groups, judging.folds, judging.seed)
    common = _chosen_elsewhere(counts, everywhere, fold, beta)
    weightings = Weightings(groups, resamples=judging.resamples, seed=judging.seed)
    after, before, n_groups = [], [], []
    for _, images in own:
        mine = _at(counts, images, _chosen_elsewhere(counts, images, fold, beta))
        theirs = _at(counts, images, common)
        n_groups.append(groups_behind(np.abs(mine - theirs).sum(axis=0), groups))
        after.append(_scores(mine, weightings, beta))
        before.append(_scores(theirs, weightings, beta))
    tests = compare_tags(
        np.stack(after).astype(np.float32),
        np.stack(before).astype(np.float32),
        np.array(n_groups),
        confidence=judging.confidence,
        false_discovery_rate=judging.false_discovery_rate,
        freedom=np.array(n_groups) - 1,
    )
    overall = float(counts.steps[counts.best(everywhere, beta)])
    found = []
    for i, (one, images) in enumerate(own):
        shift, shift_low, shift_high = _own_step(counts.take(images), groups[images], judging)
        sure = tests.q_value[i] <= judging.false_discovery_rate
        found.append(
            Shift(
                kind=one.kind,
                column=one.column,
                value=one.value,
                n_images=int(images.sum()),
                n_groups=len(np.unique(groups[images])),
                shift=shift,
                shift_low=shift_low,
                shift_high=shift_high,
                common=overall,
                in_use=counts.score(images, beta),
                before=float(before[i][0]),
                after=float(after[i][0]),
                difference=float(tests.difference[i]),
                low=float(tests.low[i]),
                high=float(tests.high[i]),
                q_value=float(tests.q_value[i]),
                helps=bool(sure and tests.difference[i] > 0),
            )
        )
    return tuple(found)


def _own_step(
    counts: ShiftedCounts, groups: NDArray[np.integer], judging: Judging
) -> tuple[float, float, float]:
    """Return the best step on some images, and the ends of its interval."""
    weightings = Weightings(groups, resamples=judging.resamples, seed=judging.seed)
    steps = counts.best_resampled(weightings, judging.beta)
    tail = (1 - judging.confidence) / 2
    low, high = np.quantile(steps[1:], [tail, 1 - tail], method="inverted_cdf").tolist()
    return float(steps[0]), low, high


def _folds(groups: NDArray[np.integer], folds: int, seed: int) -> Ints:
    """Return the part of each image, shape (n_images,); a group is never parted."""
    names, own = np.unique(groups, return_inverse=True)
    order = np.random.default_rng(seed).permutation(len(names))
    return np.asarray((order % folds)[own], np.int64)


def _chosen_elsewhere(counts: ShiftedCounts, images: Bools, fold: Ints, beta: float) -> Ints:
    """Return for each image the place of the step that its fold's other images choose."""
    places = np.full(len(fold), np.flatnonzero(counts.steps == 0)[0], np.int64)
    for part in np.unique(fold):
        others = images & (fold != part)
        if others.any():
            places[fold == part] = counts.best(others, beta)
    return places


def _at(counts: ShiftedCounts, images: Bools, places: Ints) -> Floats:
    """Return hits, given and true of each image at its own step, 0 outside ``images``."""
    every = np.arange(len(places))
    own = counts.hits[places, every], counts.given[places, every], counts.true
    return np.stack(own) * images


def _scores(own: Floats, weightings: Weightings, beta: float) -> Floats:
    sums = np.concatenate([own @ weights for weights in weightings.blocks()], axis=1)
    return f_score(sums[0], sums[1], sums[2], beta)
