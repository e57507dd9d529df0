"""A rung's scores in each fold, and how sure the difference of two rungs is.

Scores are taken within folds: models of different folds differ a little in every tag's level,
which would distort a ranking across folds. F1 is taken after thresholds: the plug-in cut of each
tag (macro) or of all pairs (micro), from the probabilities of the other folds. Utility is taken
where tagging pays by the probabilities themselves.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from tagstack.base_models.pairs import PairProba, Pairs
from tagstack.configs.stack import Objective
from tagstack.meta.labels.drawn_images import drawn_images
from tagstack.meta.labels.labelled import Labelled
from tagstack.meta.labels.truth import Evidence, PairTruth, found_among
from tagstack.meta.metrics.count_metrics import CountMetric
from tagstack.meta.metrics.influence import (
    average_precision_influence,
    expected_cuts,
    expected_f1_cuts,
    f1,
    f1_influence,
    metric_influence,
)
from tagstack.meta.metrics.leads import Floats, FoldScore, Judgement
from tagstack.meta.metrics.ranking import Rankings, area_of, falling_order
from tagstack.meta.metrics.utility import break_even_of

Ints = NDArray[np.int64]

_PARTS: Mapping[str, tuple[str, ...]] = {
    "balanced_ap": ("macro_ap", "micro_ap"),
    "macro_ap": ("macro_ap",),
    "micro_ap": ("micro_ap",),
    "macro_f1": ("macro_f1",),
    "micro_f1": ("micro_f1",),
    "utility": ("utility",),
    "metric": ("macro_metric",),
}
_AREAS = ("macro_ap", "micro_ap")
_POOLED = ("micro_ap", "micro_f1")  # over all pairs together


class FoldScorer:
    """Scores probabilities of all pairs, or of some listed ones, in each fold.

    Parameters
    ----------
    pairs : Pairs
    truth : PairTruth
    evidence : Evidence
        Pairs of which nothing is known are not ranked at all.
    folds : array of shape (n_images,), int64, in [0, n_folds)
    groups : array of shape (n_images,), integer
        Images that are no independent evidence of each other.
    worth : array of shape (4, n_tags), float64, optional
        Of the objective ``utility``, as of `utility.utility_of`.
    metric : CountMetric, optional
        Of the objective ``metric``.
    """

    def __init__(
        self,
        pairs: Pairs,
        truth: PairTruth,
        evidence: Evidence,
        folds: NDArray[np.int64],
        groups: NDArray[np.int64],
        worth: Floats | None = None,
        metric: CountMetric | None = None,
    ) -> None:
        self.worth, self.metric = worth, metric
        self.n_images = np.bincount(folds)
        self.n_folds, self.n_tags = int(folds.max()) + 1, pairs.n_tags
        self.group = np.unique(groups, return_inverse=True)[1].astype(np.int64)
        self.n_groups = int(self.group.max()) + 1
        self.truth, self.folds, self.pairs = truth, folds, pairs
        self.key = folds[pairs.image] * pairs.n_tags + pairs.tag
        image, tag = evidence.labels.nonzero()
        self.n_true = self._per_key(image, tag)
        missed = _missed(pairs, evidence)
        self.missed_image, self.missed_key = missed[0], folds[missed[0]] * pairs.n_tags + missed[1]
        n_images = np.repeat(np.bincount(folds, minlength=self.n_folds), pairs.n_tags)
        n_listed = np.bincount(self.key[truth.known], minlength=len(self.n_true))
        n_missed = np.bincount(self.missed_key, minlength=len(self.n_true))
        n_hidden = self._per_key(*evidence.unknown.nonzero())
        self.n_false_unlisted = n_images - n_hidden - n_listed - n_missed
        self.n_known = n_images - n_hidden
        # Rungs are asked one after the other, mostly about the same tags.
        self._last: tuple[NDArray[np.bool_], Rankings, Ints, Ints] | None = None

    def score(
        self, proba: PairProba, objective: Objective, tags: NDArray[np.bool_] | None = None
    ) -> FoldScore:
        """Return the score of probabilities of all pairs.

        Tags without probabilities (NaN base) are left out, positives included.

        Parameters
        ----------
        proba : PairProba
            Over the scorer's pairs.
        objective : str
        tags : array of shape (n_tags,), bool, optional
            Only these tags are looked at.
        """
        rows, group = self._all_rows(proba, tags)
        return FoldScore.average([self._part(p, rows, group) for p in _PARTS[objective]])

    def judgement(self, proba: PairProba, objective: Objective) -> "Judgement":
        """Return both average precisions and the objective, what they share computed once."""
        rows, group = self._all_rows(proba, None)
        parts = {
            p: self._part(p, rows, group) for p in {"macro_ap", "micro_ap", *_PARTS[objective]}
        }
        return Judgement(
            macro_ap=parts["macro_ap"],
            micro_ap=parts["micro_ap"],
            objective=FoldScore.average([parts[p] for p in _PARTS[objective]]),
            parts={p: parts[p] for p in _PARTS[objective]},
        )

    def _part(self, part: str, rows: Rankings, group: Ints) -> FoldScore:
        values, per_row = self._influenced(part, rows)
        n_usable = max(int((~np.isnan(values)).sum()), 1)
        held = group >= 0
        influence = np.bincount(group[held], weights=per_row[held], minlength=self.n_groups)
        if part == "utility":  # a mean over images: each pulls by what it has above that
            influence -= np.bincount(self.group, weights=(values / self.n_images)[self.folds])
        return FoldScore(values=values, influence=influence / n_usable)

    def values_at(
        self, rows: NDArray[np.int64], proba: NDArray[np.floating], objective: Objective
    ) -> Floats:
        """Return the score in each fold when only the listed pairs at ``rows`` are ranked.

        Shape (n_folds,).

        The true pairs elsewhere count as never found. This is what selections raise.
        """
        return self.among(rows)(proba, objective)

    def among(self, rows: NDArray[np.int64]) -> Callable[[NDArray[np.floating], Objective], Floats]:
        """Return `values_at` of these rows for many of their probabilities: shape (n_folds,)."""
        known = np.flatnonzero(self.truth.known[rows])
        everything, rows = len(known) == len(rows), rows[known]
        key, true = self.key[rows], self.truth.listed[rows].astype(np.int64)
        ones = np.ones(len(rows), np.int64)

        def values(proba: NDArray[np.floating], objective: Objective) -> Floats:
            value = (proba if everything else proba[known]).astype(np.float32)
            rankings = Rankings(
                key=key,
                value=value,
                falling=falling_order(value),
                count=ones,
                true=true,
                n_true=self.n_true,
            )
            parts = [self._value(part, rankings) for part in _PARTS[objective]]
            return np.asarray(np.mean(parts, axis=0))

        return values

    def _per_key(self, image: NDArray[np.integer], tag: NDArray[np.integer]) -> Ints:
        key = self.folds[image] * self.n_tags + tag
        return np.bincount(key, minlength=self.n_folds * self.n_tags)

    def _all_rows(self, proba: PairProba, tags: NDArray[np.bool_] | None) -> tuple[Rankings, Ints]:
        """Return every pair's row and its group, -1 for a tag's unlisted false pairs."""
        wanted = ~np.isnan(proba.base) if tags is None else ~np.isnan(proba.base) & tags
        if self._last is None or (self._last[0] != wanted).any():
            self._last = wanted, *self._rows_of(wanted)
        _, rankings, kept, group = self._last
        base = np.tile(proba.base, self.n_folds)
        value = np.concatenate([proba.proba, base[self.missed_key], base])[kept]
        return replace(rankings, value=value, falling=falling_order(value)), group

    def _rows_of(self, wanted: NDArray[np.bool_]) -> tuple[Rankings, Ints, Ints]:
        """Return the rows of some tags without values, their places among all, and their groups."""
        size, missed = len(self.n_true), self.missed_key
        key = np.concatenate([self.key, missed, np.arange(size)])
        ones, none = np.ones(len(missed), np.int64), np.zeros(size, np.int64)
        count = np.concatenate([self.truth.known.astype(np.int64), ones, self.n_false_unlisted])
        true = np.concatenate([self.truth.listed.astype(np.int64), ones, none])
        of_missed = self.group[self.missed_image]
        group = np.concatenate([self.group[self.pairs.image], of_missed, none - 1])
        kept = np.flatnonzero(np.tile(wanted, self.n_folds)[key] & (count > 0))
        rankings = Rankings(
            key=key[kept],
            value=np.zeros(0, np.float32),
            count=count[kept],
            true=true[kept],
            n_true=np.where(np.tile(wanted, self.n_folds), self.n_true, 0),
        )
        return rankings, kept, group[kept]

    def _value(self, part: str, rankings: Rankings) -> Floats:
        """Return one score in each fold."""
        if part == "utility":
            return self._gained(rankings)[0]
        if part in _POOLED:
            rankings = self._by_fold(rankings)
        if part in _AREAS:
            found = area_of(rankings)
        elif part == "macro_metric":
            found = self._measured(rankings)[0]
        else:
            found = f1(rankings, self._tagged(rankings))
        return found if part in _POOLED else self._over_tags(found)[0]

    def _influenced(self, part: str, rankings: Rankings) -> tuple[Floats, Floats]:
        """Return one score in each fold, and how each row moves the score of its fold."""
        if part == "utility":
            return self._gained(rankings)
        if part in _POOLED:
            rankings = self._by_fold(rankings)
        if part in _AREAS:
            found, influence = average_precision_influence(rankings)
        elif part == "macro_metric":
            found, influence = self._measured(rankings)
        else:
            found, influence = f1_influence(rankings, self._tagged(rankings))
        if part in _POOLED:
            return found, influence
        mean, n_valued = self._over_tags(found)
        influence = self._between_positives(found, influence, rankings)
        return mean, influence / np.maximum(n_valued, 1)[rankings.key // self.n_tags]

    def _gained(self, rankings: Rankings) -> tuple[Floats, Floats]:
        """Return what tagging is worth an image over tagging nothing, and each row's part in it.

        A tag is given where its probability makes that pay.
        """
        if self.worth is None:
            msg = "the objective 'utility' needs worths"
            raise ValueError(msg)
        tp, fp, fn, tn = self.worth
        fold, tag = rankings.key // self.n_tags, rankings.key % self.n_tags
        right, wrong = rankings.true, rankings.count - rankings.true
        gain = right * (tp - fn)[tag] + wrong * (fp - tn)[tag]
        tagged = rankings.value >= break_even_of(self.worth)[tag]
        brought = np.where(tagged, gain, 0.0) / self.n_images[fold]
        total = np.bincount(fold, weights=brought, minlength=self.n_folds)
        return np.asarray(total, np.float64), brought

    def _measured(self, rankings: Rankings) -> tuple[Floats, Floats]:
        """Return the metric of each fold's tags at the other folds' cuts, and rows' influences."""
        if self.metric is None:
            msg = "the objective 'metric' needs a metric"
            raise ValueError(msg)
        own, known = self.metric, self.n_known.reshape(self.n_folds, -1)
        fold, tag = rankings.key // self.n_tags, rankings.key % self.n_tags
        of_tag = replace(rankings, key=tag, n_true=np.zeros(self.n_tags, np.int64))
        everywhere = self.n_folds == 1
        cuts = np.stack(
            [
                expected_cuts(
                    of_tag,
                    np.ones(len(fold), bool) if everywhere else fold != f,
                    own,
                    known.sum(axis=0) - (0 if everywhere else known[f]),
                )
                for f in range(self.n_folds)
            ]
        )
        return metric_influence(rankings, rankings.value >= cuts[fold, tag], own, self.n_known)

    def _between_positives(self, found: Floats, influence: Floats, rankings: Rankings) -> Floats:
        """Return influences that know how much a tag's score hangs on which positives it has.

        A fold's only positive of a tag pulls on nothing: its score is its own, whatever it weighs.
        So a positive is measured against the tag's mean over all folds, and the only one of all
        folds against the mean of all tags that have but one; as in a sample variance, n - 1 counts.
        """
        shape = (self.n_folds, self.n_tags)
        scores, n_true = found.reshape(shape), rankings.n_true.reshape(shape)
        total = n_true.sum(axis=0)
        summed = np.nan_to_num(scores).sum(axis=0)
        centre = summed / np.maximum((~np.isnan(scores)).sum(axis=0), 1)
        if (total == 1).any():
            centre[total == 1] = centre[total == 1].mean()
        apart = (np.nan_to_num(scores) - centre) / np.maximum(n_true, 1)
        key, tag = rankings.key, rankings.key % self.n_tags
        whole = influence + (rankings.true > 0) * apart.ravel()[key]
        return np.asarray(whole * np.sqrt(total / np.maximum(total - 1, 1))[tag])

    def _by_fold(self, rankings: Rankings) -> Rankings:
        n_true = rankings.n_true.reshape(self.n_folds, -1).sum(axis=1)
        return replace(rankings, key=rankings.key // self.n_tags, n_true=n_true)

    def _over_tags(self, per_key: Floats) -> tuple[Floats, Ints]:
        """Return the mean of each fold over the tags that have a value, and how many have one."""
        per_key = per_key.reshape(self.n_folds, -1)
        n_valued = (~np.isnan(per_key)).sum(axis=1)
        total = np.nan_to_num(per_key).sum(axis=1)
        return np.where(n_valued > 0, total / np.maximum(n_valued, 1), np.nan), n_valued

    def _tagged(self, rankings: Rankings) -> NDArray[np.bool_]:
        """Return which rows reach the cut that the other folds' probabilities give."""
        size = len(rankings.n_true)
        per_fold = size // self.n_folds  # tags, or 1 where all pairs are ranked together
        fold, tag = rankings.key // per_fold, rankings.key % per_fold
        of_tag = replace(rankings, key=tag, n_true=np.zeros(per_fold, np.int64))
        if self.n_folds == 1:
            cuts = expected_f1_cuts(of_tag, np.ones(len(fold), bool))[None]
        else:
            cuts = np.stack([expected_f1_cuts(of_tag, fold != f) for f in range(self.n_folds)])
        return np.asarray(rankings.value >= cuts[fold, tag])


def _missed(pairs: Pairs, evidence: Evidence) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return (image, tag) of the true pairs that are not listed."""
    image, tag = (axis.astype(np.int64) for axis in evidence.labels.nonzero())
    listed = pairs.keys()
    missed = ~found_among(listed, image * pairs.n_tags + tag)[1]
    return image[missed], tag[missed]


class DrawnScorer:
    """A scorer of drawn images that is asked with the probabilities of all.

    Standard errors are those of the drawn images: wider than all of them would give.

    Parameters
    ----------
    data : Labelled
    counts : array of shape (n_images,), integer
        Pairs of each image that a score has to look at.
    max_pairs : int
        About so many are looked at. All images are if they hold no more, or if the draw has none of
        some fold.
    seed : int
    worth : array of shape (4, n_tags), float64, optional
        As of `FoldScorer`.

    Attributes
    ----------
    images : array of shape (n_drawn,), int64
        Ascending.
    rows : array of shape (n_pairs_drawn,), int64, or slice
        Their listed pairs among all.
    scorer : FoldScorer
        Of the drawn images alone, renumbered.
    """

    def __init__(
        self,
        data: Labelled,
        counts: NDArray[np.integer],
        max_pairs: int,
        seed: int,
        worth: Floats | None = None,
        metric: CountMetric | None = None,
    ) -> None:
        images = drawn_images(counts, max_pairs, seed)
        self.whole = len(images) == len(counts) or len(np.unique(data.folds[images])) < data.n_folds
        self.images = np.arange(len(counts)) if self.whole else images
        whole = slice(None)
        self.rows = whole if self.whole else data.scores.pairs.rows(self.images)
        self._n_pairs = len(data.scores.pairs)
        drawn = data if self.whole else data.take(images)
        pairs = drawn.scores.pairs
        truth = drawn.evidence.truth(pairs)
        self.scorer = FoldScorer(
            pairs, truth, drawn.evidence, drawn.folds, drawn.groups, worth, metric
        )

    def places(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return where those of some listed pairs that are drawn lie among the drawn ones.

        Parameters
        ----------
        rows : array of shape (n,), int64
            Ascending, among all listed pairs.
        """
        if self.whole:
            return rows
        asked = np.zeros(self._n_pairs, bool)
        asked[rows] = True
        return np.flatnonzero(asked[self.rows])

    def score(
        self, proba: PairProba, objective: Objective, tags: NDArray[np.bool_] | None = None
    ) -> FoldScore:
        """Return the drawn images' score; see `FoldScorer.score`."""
        return self.scorer.score(self._drawn(proba), objective, tags)

    def judgement(self, proba: PairProba, objective: Objective) -> Judgement:
        """Return the drawn images' scores; see `FoldScorer.judgement`."""
        return self.scorer.judgement(self._drawn(proba), objective)

    def _drawn(self, proba: PairProba) -> PairProba:
        return proba if self.whole else proba.take(self.images)
