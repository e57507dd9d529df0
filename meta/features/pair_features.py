"""The table that tree learners see, one row per candidate pair; and which rows say something.

A row describes what each member says, how far they agree, where the tag stands among the image's
other tags, what rivals, relatives and company say, and what is known of the tag. Missing is NaN.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from tagstack.base_models.pairs import Pairs
from tagstack.meta.calibrators.calibration import MemberLogits
from tagstack.meta.features.context import company, relative_logit, rival_logit
from tagstack.meta.features.tag_statistics import TagStatistics
from tagstack.meta.labels.relations import TagRelations

Floats = NDArray[np.float64]

_AT_RANDOM = 0.25  # part of the rows that is drawn whatever the pilot says: bounds the weights


def informative_rows(
    proba: Floats, true: NDArray[np.bool_], weight: Floats, n_rows: int, seed: int
) -> tuple[NDArray[np.int64], Floats]:
    """Return about ``n_rows`` rows, ascending, and their new weights.

    Rows of weight 0 are left out. With as many rows as asked for or fewer, all others are kept
    with their weights.

    Parameters
    ----------
    proba : array of shape (n,), float64, in [0, 1]
        What a pilot model says, best one that was fitted on other images.
    true : array of shape (n,), bool
    weight : array of shape (n,), float64, not negative
    n_rows : int, positive
    seed : int
        Where the systematic draw starts.

    Returns
    -------
    rows : array of shape (n_kept,), int64
    weight : array of shape (n_kept,), float64, positive

    References
    ----------
    Fithian & Hastie (2014), "Local case-control sampling: efficient subsampling in imbalanced data
    sets"; here with weights by inverse chance (Horvitz & Thompson 1952) instead of an offset, and
    some rows at random (Hesterberg 1995, defensive mixtures).
    """
    counted = np.flatnonzero(weight > 0)
    if len(counted) <= n_rows:
        return counted, weight[counted]
    surprise = np.abs(true[counted] - proba[counted]) * weight[counted]
    foreseen = weight[counted] * (surprise.sum() / weight[counted].sum() + 1e-12)
    chance = _chances((1 - _AT_RANDOM) * surprise + _AT_RANDOM * foreseen, n_rows)
    # Systematic: evenly spaced over the rows, so every image and every tag gives its share.
    place = np.floor(np.cumsum(chance) + np.random.default_rng(seed).random())
    drawn = np.flatnonzero((np.diff(place, prepend=0.0) >= 1.0) | (chance >= 1.0))
    return counted[drawn], weight[counted[drawn]] / chance[drawn]


def _chances(surprise: Floats, n_rows: int) -> Floats:
    """Return chances in proportion to ``surprise``, at most 1, that add up to about ``n_rows``."""
    factor = n_rows / surprise.sum()
    for _ in range(20):
        chance = np.minimum(surprise * factor, 1.0)
        total = chance.sum()
        if total > 0.999 * n_rows:
            break
        factor *= n_rows / total
    chances: Floats = np.minimum(surprise * factor, 1.0)
    return chances


def candidate_rows(
    members: MemberLogits, pairs: Pairs, *, per_image: int, min_logit: float
) -> NDArray[np.int64]:
    """Return the positions of the candidate pairs, ascending.

    Parameters
    ----------
    members : MemberLogits
        Calibrated logits of ``pairs``.
    pairs : Pairs
    per_image : int
        At most this many pairs of an image, the most plausible ones; of equals the lower tag.
    min_logit : float
        A pair is plausible if a member's calibrated logit reaches this.

    Returns
    -------
    array of shape (n_candidates,), int64
    """
    best = np.fmax.reduce(members.listed, axis=0)
    plausible = np.flatnonzero(best >= min_logit)
    image = pairs.image[plausible]
    order = plausible[np.lexsort((-best[plausible], image))]
    first = np.searchsorted(pairs.image[order], pairs.image[order])
    return np.sort(order[np.arange(len(order)) - first < per_image])


def subset(pairs: Pairs, rows: NDArray[np.int64]) -> Pairs:
    """Return the pairs at the positions ``rows`` (ascending), images kept as they are."""
    counts = np.bincount(pairs.image[rows], minlength=pairs.n_images)
    indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return Pairs(indptr=indptr, tag=pairs.tag[rows], n_tags=pairs.n_tags)


def recall(rows: NDArray[np.int64], listed: NDArray[np.bool_], n_true: int) -> float:
    """Return the share of all ``n_true`` true pairs that are candidates; NaN without any."""
    return float(listed[rows].sum() / n_true) if n_true else float("nan")


@dataclass(frozen=True, kw_only=True)
class PairTable:
    """Features of candidate pairs.

    Parameters
    ----------
    pairs : Pairs
        The candidate pairs; row ``i`` of ``values`` belongs to pair ``i``.
    names : tuple of str
        Name of each column.
    values : array of shape (n_pairs, n_columns), float32
        NaN where missing.
    logit : array of shape (n_pairs,), float64
        The shrunken logistic's logit: where trees start from.
    groups : array of shape (n_images,), integer, optional
        Images with the same number are no independent evidence; without it, all are.
    rising : frozenset of str
        Columns of which a higher value never makes a pair less likely: what a member or a
        learner says of it. Trees are held to that.
    """

    pairs: Pairs
    names: tuple[str, ...]
    values: NDArray[np.float32]
    logit: Floats
    groups: NDArray[np.int64] | None = None
    rising: frozenset[str] = frozenset()

    def column(self, name: str) -> Floats:
        """Return one column as float64, shape (n_pairs,)."""
        return self.values[:, self.names.index(name)].astype(np.float64)

    def take(self, images: NDArray[np.intp]) -> "PairTable":
        """Return the rows of the images at these indices, in that order."""
        rows = self.pairs.rows(images)
        return replace(
            self,
            pairs=self.pairs.take(images),
            values=self.values[rows],
            logit=self.logit[rows],
            groups=None if self.groups is None else self.groups[images],
        )

    def with_columns(
        self, columns: Mapping[str, Floats], rising: Iterable[str] = ()
    ) -> "PairTable":
        """Return the table with further columns of shape (n_pairs,) at its end.

        Parameters
        ----------
        columns : mapping of name to array of shape (n_pairs,), float64
        rising : iterable of str
            Those of them that are `rising`.
        """
        added = [column.astype(np.float32)[:, None] for column in columns.values()]
        return replace(
            self,
            names=(*self.names, *columns),
            rising=self.rising.union(rising),
            values=np.concatenate([self.values, *added], axis=1),
        )


def pair_table(
    pairs: Pairs,
    members: Floats,
    names: tuple[str, ...],
    logit: Floats,
    statistics: TagStatistics,
    relations: TagRelations,
) -> PairTable:
    """Return the features of candidate pairs.

    Parameters
    ----------
    pairs : Pairs
        Candidate pairs alone.
    members : array of shape (n_members, n_pairs), float64
        Calibrated logits, NaN where a member abstains.
    names : tuple of str
        Member names.
    logit : array of shape (n_pairs,), float64
        The shrunken logistic's.
    statistics : TagStatistics
    relations : TagRelations
    """
    columns: dict[str, Floats] = {"shrunken_logistic": logit}
    columns |= _member_columns(pairs, members, names, statistics)
    columns |= _agreement_columns(members)
    columns |= _image_columns(pairs, logit)
    columns |= _context_columns(pairs, logit, statistics, relations)
    columns |= {"prior": statistics.prior[pairs.tag], "tag": pairs.tag.astype(np.float64)}
    values = np.empty((len(pairs), len(columns)), np.float32)
    for i, column in enumerate(columns.values()):
        values[:, i] = column
    said = ("shrunken_logistic", "max", "min", "mean", *(f"logit:{name}" for name in names))
    return PairTable(
        pairs=pairs, names=tuple(columns), values=values, logit=logit, rising=frozenset(said)
    )


def _member_columns(
    pairs: Pairs, members: Floats, names: tuple[str, ...], statistics: TagStatistics
) -> dict[str, Floats]:
    """Return each member's logit, its distance from the member's best tag, and its skill."""
    columns = {}
    for m, name in enumerate(names):
        columns[f"logit:{name}"] = members[m]
        columns[f"gap:{name}"] = members[m] - _image_max(pairs, members[m])
        columns[f"skill:{name}"] = statistics.skill[m, pairs.tag]
    return columns


def _agreement_columns(members: Floats) -> dict[str, Floats]:
    """Return maximum, minimum, mean, spread of those who know the tag, and how many they are."""
    known = ~np.isnan(members)
    count = np.maximum(known.sum(axis=0), 1)
    filled = np.where(known, members, 0.0)
    mean = filled.sum(axis=0) / count
    variance = (np.where(known, members - mean, 0.0) ** 2).sum(axis=0) / count
    return {
        "max": np.fmax.reduce(members, axis=0),
        "min": np.fmin.reduce(members, axis=0),
        "mean": mean,
        "spread": np.sqrt(variance),
        "n_know": known.sum(axis=0).astype(np.float64),
    }


def _image_columns(pairs: Pairs, logit: Floats) -> dict[str, Floats]:
    """Return where the pair stands in its image, and what the image as a whole looks like."""
    order = np.lexsort((-logit, pairs.image))
    rank = np.empty(len(pairs))
    rank[order] = np.arange(len(pairs)) - np.repeat(pairs.indptr[:-1], np.diff(pairs.indptr))
    above = np.full(len(pairs), np.nan)
    above[order[1:]] = logit[order[:-1]] - logit[order[1:]]
    above[order[rank[order] == 0]] = np.nan
    expected = np.bincount(pairs.image, weights=expit(logit), minlength=pairs.n_images)
    return {
        "rank": rank,
        "gap_to_top": logit - _image_max(pairs, logit),
        "gap_to_next": above,
        "expected_tags": expected[pairs.image],
        "rank_minus_expected": rank - expected[pairs.image],
    }


def _context_columns(
    pairs: Pairs, logit: Floats, statistics: TagStatistics, relations: TagRelations
) -> dict[str, Floats]:
    rival = rival_logit(pairs, logit, relations)
    return {
        "rival": rival,
        "lead_over_rival": logit - rival,
        "parent": relative_logit(pairs, logit, relations.parents),
        "child": relative_logit(pairs, logit, relations.children),
        "company": company(pairs, logit, statistics.heard),
    }


def _image_max(pairs: Pairs, values: Floats) -> Floats:
    """Return the highest value among the pairs of each pair's image, shape (n_pairs,)."""
    highest = np.full(pairs.n_images, np.nan)
    np.fmax.at(highest, pairs.image, values)
    return highest[pairs.image]
