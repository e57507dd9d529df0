"""Relations that labels are evidence for: tags that shun each other, tags that entail another.

Every pair of tags that chance would bring together often enough is tested against a bound, not
against independence: with many images the least dependence is significant, but only a strong one
makes a rule. Among the pairs that pass, the false discovery rate holds for that strong claim.
What is unknown is left out, pair by pair.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.special import gammaincinv, pdtr

from tagstack.configs.ruling import RuleSettings
from tagstack.ensemble.rule_study.labelled import LabelledTags
from tagstack.meta.metrics.intervals import lower_bound, too_good_for

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

_HALF = 0.5


@dataclass(frozen=True, kw_only=True)
class Relation:
    """One pair of tags that labels are evidence for.

    Parameters
    ----------
    tags : tuple of two ints
        Of an exclusion the two tags, ascending; of an implication the tag and what it implies.
    stratum : int, optional
        The tag among whose images this holds.
    images : int
        Images looked at: those of the stratum on which both tags are known.
    first, together : int
        Images with the first tag, and with both.
    expected : float
        Images with both tags if they had nothing to do with each other.
    bound : float
        Of an exclusion, what ``together / expected`` is at most; of an implication, what the
        share of the first tag's images with the second is at least.
    q_value : float
        Smallest false discovery rate at which the relation is still proposed.
    """

    tags: tuple[int, int]
    stratum: int | None
    images: int
    first: int
    together: int
    expected: float
    bound: float
    q_value: float


def mine_relations(
    labelled: LabelledTags, settings: RuleSettings
) -> tuple[tuple[Relation, ...], tuple[Relation, ...]]:
    """Return the exclusions and the implications that labels are evidence for.

    Exclusions are looked for among all images and among those of each of
    ``settings.mining.strata``, which counts as further tests; implications among all images.

    References
    ----------
    Benjamini & Yekutieli (2001), "The control of the false discovery rate in multiple testing
    under dependency".
    """
    whole = CoCounts(labelled)
    return _exclusions(labelled, whole, settings), _implications(whole, settings)


def _exclusions(
    labelled: LabelledTags, whole: "CoCounts", settings: RuleSettings
) -> tuple[Relation, ...]:
    """Return the pairs of tags that are together far more rarely than chance would have it."""
    mining, index = settings.mining, labelled.vocabulary.index
    tested: list[tuple[int | None, PairCounts]] = [(None, _frequent(whole, mining.expected))]
    for stratum in [index[tag] for tag in mining.strata if tag in index]:
        images = np.flatnonzero(labelled.tags[:, [stratum]].toarray().ravel())
        counts = CoCounts(labelled.take(images))
        tested.append((stratum, _frequent(counts, mining.expected)))
    # The p-value of "the lift is at least the bound": Poisson, whose tail is the wider one.
    p_values = [pdtr(pairs.together, mining.lift * pairs.expected) for _, pairs in tested]
    q_values = np.split(_adjusted(p_values, settings), np.cumsum([len(p) for p in p_values])[:-1])
    found = []
    for (within, pairs), q_value in zip(tested, q_values, strict=True):
        most = gammaincinv(pairs.together + 1, settings.confidence) / pairs.expected
        passed = (q_value <= mining.false_discovery_rate) & (most <= mining.lift)
        found += pairs.relations(np.flatnonzero(passed), within, most, q_value)
    return tuple(found)


def _implications(whole: "CoCounts", settings: RuleSettings) -> tuple[Relation, ...]:
    """Return the pairs of which nearly every image with the first tag has the second."""
    mining = settings.mining
    pairs = _entailed(whole, mining.images, mining.precision)
    q_value = _adjusted([too_good_for(pairs.together, pairs.first, mining.precision)], settings)
    least = lower_bound(pairs.together, pairs.first, settings.confidence, "clopper_pearson")
    passed = (q_value <= mining.false_discovery_rate) & (least >= mining.precision)
    passed &= least * pairs.first >= mining.implication_lift * pairs.expected
    return tuple(pairs.relations(np.flatnonzero(passed), None, least, q_value))


def _adjusted(p_values: list[Floats], settings: RuleSettings) -> Floats:
    """Return the q-value of each test; tests that speak against a relation are set aside.

    Most pairs lie far on the wrong side of the bound. What is left of a p-value below one half,
    doubled, is a p-value again, and there are far fewer of them.

    References
    ----------
    Zhao, Small & Su (2019), "Multiple testing when many p-values are uniformly conservative".
    """
    from scipy.stats import false_discovery_control  # a second to import: here alone it is needed

    together = np.concatenate(p_values)
    q_values = np.ones(len(together))
    open_ = together <= _HALF
    if open_.any():
        doubled = together[open_] / _HALF
        q_values[open_] = false_discovery_control(doubled, method=settings.mining.method)
    return q_values


@dataclass(frozen=True, kw_only=True)
class PairCounts:
    """Counts of pairs of tags on the images where both are known; parallel arrays."""

    one: Ints
    other: Ints
    images: Ints
    together: Ints
    first: Ints  # images with the first tag
    expected: Floats

    def where(self, chosen: NDArray[np.bool_]) -> "PairCounts":
        """Return the chosen pairs."""
        return PairCounts(**{name: values[chosen] for name, values in vars(self).items()})

    def relations(
        self, rows: Ints, stratum: int | None, bound: Floats, q_value: Floats
    ) -> list[Relation]:
        """Return the pairs at these rows."""
        return [
            Relation(
                tags=(int(self.one[row]), int(self.other[row])),
                stratum=stratum,
                images=int(self.images[row]),
                first=int(self.first[row]),
                together=int(self.together[row]),
                expected=float(self.expected[row]),
                bound=float(bound[row]),
                q_value=float(q_value[row]),
            )
            for row in rows.tolist()
        ]


class CoCounts:
    """How often tags are together, by one sparse product."""

    def __init__(self, labelled: LabelledTags) -> None:
        tags, unknown = labelled.tags.astype(np.int32), labelled.unknown.astype(np.int32)
        self.n_images = labelled.n_images
        self.count = np.asarray(tags.sum(axis=0), np.int64)
        self.both = sparse.csr_array(tags.T @ tags)
        self.dark = np.asarray(unknown.sum(axis=0), np.int64)
        self.lost = sparse.csr_array(tags.T @ unknown)
        self.darker = sparse.csr_array(unknown.T @ unknown)

    def pairs(self, one: Ints, other: Ints) -> PairCounts:
        """Return the counts of pairs of tags."""
        n_one = self.count[one] - _looked_up(self.lost, one, other)
        n_other = self.count[other] - _looked_up(self.lost, other, one)
        unseen = self.dark[one] + self.dark[other] - _looked_up(self.darker, one, other)
        images = self.n_images - unseen
        return PairCounts(
            one=one,
            other=other,
            images=images,
            together=_looked_up(self.both, one, other),
            first=n_one,
            expected=n_one * n_other / np.maximum(images, 1),
        )


def _frequent(counts: CoCounts, expected: float) -> PairCounts:
    """Return the pairs of tags that chance would bring together often enough."""
    # What is unknown makes a pair's images fewer and so raises what is expected of it.
    least = expected * max(counts.n_images - 2 * int(counts.dark.max(initial=0)), 1)
    pairs = counts.pairs(*_frequent_pairs(counts.count, least))
    return pairs.where(pairs.expected >= expected)


def _entailed(counts: CoCounts, images: int, precision: float) -> PairCounts:
    """Return the ordered pairs of which the share already reaches the bound."""
    both = counts.both.tocoo()
    one, other = both.row.astype(np.int64), both.col.astype(np.int64)
    known = np.maximum(counts.count[one] - counts.dark[other], images)
    near = (one != other) & (counts.count[one] >= images) & (both.data >= precision * known)
    pairs = counts.pairs(one[near], other[near])
    return pairs.where((pairs.first >= images) & (pairs.together >= precision * pairs.first))


def _frequent_pairs(count: Ints, product: float) -> tuple[Ints, Ints]:
    """Return the pairs of tags, ascending, of which the counts' product reaches a number."""
    order = np.argsort(-count, kind="stable")
    falling = count[order]
    # How many of the most frequent tags go with each tag; only tags that come after it are new.
    partners = np.searchsorted(-falling, -product / np.maximum(falling, 1), side="right")
    partners = np.where(falling > 0, partners, 0)
    first = np.repeat(np.arange(len(count)), np.maximum(partners - np.arange(len(count)) - 1, 0))
    within = np.arange(len(first)) - np.searchsorted(first, first)
    one, other = order[first], order[first + 1 + within]
    return np.minimum(one, other), np.maximum(one, other)


def _looked_up(matrix: sparse.csr_array, row: Ints, column: Ints) -> Ints:
    """Return the entries at these places, 0 where there is none."""
    if not len(row) or not matrix.nnz:
        return np.zeros(len(row), np.int64)
    return np.asarray(matrix[row, column], np.int64)
