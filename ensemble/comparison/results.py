"""What a comparison found, as plain frozen data; the report is written from it."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tagstack.ensemble.comparison.rule_effects import RuleEffect
from tagstack.meta.metrics.bootstrap import Difference, Interval, Repeats, reversed_difference
from tagstack.meta.metrics.calibration_error import Bins, ProbabilityScores
from tagstack.meta.metrics.decision_scores import DecisionScores, HierarchicalScores
from tagstack.meta.metrics.label_ranking import LabelRanking
from tagstack.meta.metrics.scores import Score
from tagstack.meta.stack.rung_spec import RungSpec

Scores = Mapping[str, Interval]
Differences = Mapping[str, Difference]


@dataclass(frozen=True, kw_only=True)
class RungResult:
    """One rung of the ladder.

    Parameters
    ----------
    spec : RungSpec
        Its name and what it is.
    note : str
        Where its probabilities and thresholds come from.
    votes_on : int
        Tags of the vocabulary for which the rung has a probability.
    same_proba : bool
        Whether it has the reference's probabilities and differs in decisions at most.
    scores : mapping of scope key to mapping of score name to Interval
    differences : mapping of scope key to mapping of score name to Difference
        The reference minus this rung, like for like: from a rung without rules, the reference
        without rules.
    repeats : mapping of score name to Repeats
        The same over all tags, from each seed's resamples alone.
    decisions : DecisionScores
    hierarchical : HierarchicalScores, optional
        None where no tag implies another.
    probabilities : ProbabilityScores
    ranking : LabelRanking
    reliability : Bins
        Of all pairs above the floor together.
    contradictions : float
        Mean contradictions per image; NaN without rules.
    contradicting_images : float, in [0, 1]
        Share of images with a contradiction; NaN without rules.
    values : mapping of score name to float
        Every score that is not resampled, those of packages included.
    """

    spec: RungSpec
    note: str
    votes_on: int
    same_proba: bool
    scores: Mapping[str, Scores]
    differences: Mapping[str, Differences]
    repeats: Mapping[str, Repeats]
    decisions: DecisionScores
    hierarchical: HierarchicalScores | None
    probabilities: ProbabilityScores
    ranking: LabelRanking
    reliability: Bins
    contradictions: float
    contradicting_images: float
    values: Mapping[str, float]

    @property
    def name(self) -> str:
        """What files and commands call it."""
        return self.spec.name

    @property
    def title(self) -> str:
        """What the report calls it."""
        return self.spec.title


@dataclass(frozen=True, kw_only=True)
class RungPair:
    """What separates two rungs over all tags: ``first`` minus ``second``, by score name."""

    first: str
    second: str
    differences: Differences


@dataclass(frozen=True, kw_only=True)
class ScopeResult:
    """Some of the tags, or some of the images: the reference against its best rival.

    ``kind`` is ``vocabulary``, ``category``, ``frequency`` or the name of a label column.
    """

    kind: str
    title: str
    n_tags: int
    n_images: int
    reference: Scores
    rival: Scores
    differences: Differences


@dataclass(frozen=True, kw_only=True)
class Curves:
    """Precision-recall curves of many tags, thinned for drawing, tag after tag.

    Parameters
    ----------
    indptr : array of shape (n_tags + 1,), int64
        Points of tag ``j`` are ``indptr[j]:indptr[j + 1]``; none for a tag without positives.
    recall, precision, proba : array of shape (n_points,), float64, in [0, 1]
        Ascending recall; ``proba`` is the threshold that gives the point.
    """

    indptr: NDArray[np.int64]
    recall: NDArray[np.float64]
    precision: NDArray[np.float64]
    proba: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class TagTable:
    """One row per tag; arrays of shape (n_tags,), float64 with NaN where undefined.

    ``f``, ``ap``, ``precision`` and ``recall`` are the reference's, ``rival_*`` its best rival's;
    ``difference*`` is the reference's F-beta minus the rival's with its interval. ``verdict``,
    ``p_value`` and ``q_value`` speak of that difference, ``q_value`` after Benjamini-Hochberg.
    """

    tag: tuple[str, ...]
    category: tuple[str, ...]
    positives: NDArray[np.int64]
    decided: NDArray[np.int64]
    right: NDArray[np.int64]
    threshold: NDArray[np.float64]
    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    f: NDArray[np.float64]
    ap: NDArray[np.float64]
    rival_precision: NDArray[np.float64]
    rival_recall: NDArray[np.float64]
    rival_f: NDArray[np.float64]
    rival_ap: NDArray[np.float64]
    difference: NDArray[np.float64]
    difference_low: NDArray[np.float64]
    difference_high: NDArray[np.float64]
    p_value: NDArray[np.float64]
    q_value: NDArray[np.float64]
    verdict: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class TagVerdicts:
    """On how many tags the reference is better, worse or undecided against the rival."""

    better: int
    worse: int
    undecided: int
    tested: int


@dataclass(frozen=True, kw_only=True)
class TagProba:
    """A tag of one image with the reference's probability (NaN: none)."""

    tag: str
    proba: float


@dataclass(frozen=True, kw_only=True)
class WorstImage:
    """An image with many errors of the reference."""

    image: str
    right: tuple[TagProba, ...]
    wrong: tuple[TagProba, ...]
    missed: tuple[TagProba, ...]


@dataclass(frozen=True, kw_only=True)
class Confusion:
    """What was decided inside one exclusive group against what is true.

    Parameters
    ----------
    group : str
    names : tuple of str
        The group's commonest tags, then ``other tags``, ``none`` and ``several``.
    counts : array of shape (n_names, n_names), int64
        Images; rows are true, columns decided.
    """

    group: str
    names: tuple[str, ...]
    counts: NDArray[np.int64]


@dataclass(frozen=True)
class DecisionChange:
    """What the rules did to one tag, in images."""

    tag: str
    added_right: int
    added_wrong: int
    removed_right: int
    removed_wrong: int


@dataclass(frozen=True, kw_only=True)
class DecisionChanges:
    """How two sets of decisions by the same probabilities differ: before and after the rules.

    ``added_right`` counts added pairs that are true, ``removed_right`` removed pairs that are
    false: both are improvements.
    """

    before: str
    after: str
    added_right: int
    added_wrong: int
    removed_right: int
    removed_wrong: int
    images_changed: int
    tags: tuple[DecisionChange, ...]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Everything measured about some rungs on one test set.

    Parameters
    ----------
    n_images, n_groups, n_tags, n_labels : int
    n_shared_tags : int
        Tags for which every rung has a probability.
    n_supported_tags : int
        Tags with at least ``min_positives`` positives.
    n_tags_without_positives : int
        Tags that no average over tags can contain.
    n_unknown : int
        (image, tag) pairs that nobody labelled: they count neither for nor against.
    min_positives, resamples, seed, seeds : int
        ``resamples`` in all, drawn with ``seeds`` seeds from ``seed`` on.
    confidence, beta, false_discovery_rate, calibration_floor : float
    reference, rival : str
        Names of rungs; ``rival`` is the best rung outside the reference by macro-F (its
        probabilities differ from the reference's). Empty when there is no other.
    opponent : str
        The rival where it was asked for, as with two bundles; empty for the best of the others.
    best_single : str
        The best rung that is one tagger alone, on the reference's side of the rules, or empty.
    best_published : str
        The best tagger as it was published, or empty.
    scopes : mapping of scope key to its title and number of tags
    rungs : tuple of RungResult
        In the order given: the ladder.
    pairs : tuple of RungPair
        Every rung with every rung above it.
    parts : tuple of ScopeResult
        By vocabulary, category, frequency and label column.
    tags : TagTable
    verdicts : TagVerdicts
    curves, rival_curves : Curves
    confusions : tuple of Confusion
    changes : DecisionChanges, optional
    rules : tuple of RuleEffect
        What each rule did to the reference's decisions, the most active first.
    worst : tuple of WorstImage
        Most errors first.
    thumbnail_px : int
        Longer side of their pictures in the report.
    personal : tuple of Score
        Those of packages, which the settings ask for.
    """

    n_images: int
    n_groups: int
    n_tags: int
    n_labels: int
    n_shared_tags: int
    n_supported_tags: int
    n_tags_without_positives: int
    n_unknown: int
    min_positives: int
    resamples: int
    seed: int
    seeds: int
    confidence: float
    beta: float
    false_discovery_rate: float
    calibration_floor: float
    reference: str
    rival: str
    opponent: str
    best_single: str
    best_published: str
    scopes: Mapping[str, tuple[str, int]]
    rungs: tuple[RungResult, ...]
    pairs: tuple[RungPair, ...]
    parts: tuple[ScopeResult, ...]
    tags: TagTable
    verdicts: TagVerdicts
    curves: Curves
    rival_curves: Curves
    confusions: tuple[Confusion, ...]
    changes: DecisionChanges | None
    rules: tuple[RuleEffect, ...]
    worst: tuple[WorstImage, ...]
    thumbnail_px: int
    personal: tuple[Score, ...] = ()

    def rung(self, name: str) -> RungResult:
        """Return the result of the rung with this name."""
        return next(rung for rung in self.rungs if rung.name == name)

    def lead(self, first: str, second: str) -> Differences:
        """Return what separates two rungs over all tags, by score name: first minus second."""
        for pair in self.pairs:
            if (pair.first, pair.second) == (first, second):
                return pair.differences
            if (pair.first, pair.second) == (second, first):
                return {name: reversed_difference(d) for name, d in pair.differences.items()}
        msg = f"{first!r} and {second!r} are no two rungs of this comparison"
        raise LookupError(msg)
