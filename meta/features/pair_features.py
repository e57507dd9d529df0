"""The table that tree learners see, one row per candidate pair; and which rows say something.

A row describes what each member says, how far they agree, where the tag stands among the image's
other tags, what rivals, relatives and company say, and what is known of the tag. Missing is NaN.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from tagstack.base_models.orders import falling_within
from tagstack.base_models.pairs import Pairs
from tagstack.base_models.spill import IN_MEMORY, Spill
from tagstack.meta.calibrators.calibration import MemberLogits
from tagstack.meta.features.context import company, relative_logit, rival_logit
from tagstack.meta.features.tag_statistics import TagStatistics
from tagstack.meta.labels.relations import TagRelations

Floats = NDArray[np.float64]

_AT_ONCE = 2_000_000  # rows that a draw looks at together
_READ_TOGETHER = 20_000  # rows of a table: far apart, each takes a page of its file into memory
_AT_RANDOM = 0.25  # part of the rows that is drawn whatever the pilot says: bounds the weights


def informative_rows(
    proba: NDArray[np.floating],
    true: NDArray[np.bool_],
    weight: NDArray[np.floating],
    n_rows: int,
    seed: int,
) -> tuple[NDArray[np.int64], Floats]:
    """Return about ``n_rows`` rows, ascending, and their new weights.

    Rows of weight 0 are left out. With as many rows as asked for or fewer, all others are kept
    with their weights.

    Parameters
    ----------
    proba : array of shape (n,), floating, in [0, 1]
        What a pilot model says, best one that was fitted on other images.
    true : array of shape (n,), bool
    weight : array of shape (n,), floating, not negative
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
    if np.count_nonzero(weight) <= n_rows:
        counted = np.flatnonzero(weight > 0)
        return counted, weight[counted].astype(np.float64)
    pilot = _Pilot(proba, true, weight)
    factor = pilot.factor(n_rows)
    # Systematic: evenly spaced over the rows, so every image and every tag gives its share.
    place, reached = np.random.default_rng(seed).random(), 0.0
    rows, counts = [], []
    for block in pilot.blocks:
        chance = np.minimum(pilot.interest(block) * factor, 1.0)
        places = place + np.cumsum(chance)
        whole = np.floor(places)
        drawn = np.flatnonzero((np.diff(whole, prepend=reached) >= 1.0) | (chance >= 1.0))
        rows.append(block.start + drawn)
        counts.append(weight[block][drawn] / chance[drawn])
        place, reached = places[-1], whole[-1]
    return np.concatenate(rows), np.concatenate(counts)


class _Pilot:
    """What a pilot makes of rows, a few of them at a time."""

    def __init__(
        self,
        proba: NDArray[np.floating],
        true: NDArray[np.bool_],
        weight: NDArray[np.floating],
    ) -> None:
        self.proba, self.true, self.weight = proba, true, weight
        n = len(true)
        self.blocks = [slice(i, min(i + _AT_ONCE, n)) for i in range(0, n, _AT_ONCE)]
        surprise = sum(float(self._surprise(block).sum()) for block in self.blocks)
        total = sum(float(weight[block].sum(dtype=np.float64)) for block in self.blocks)
        self.foreseen = surprise / total + 1e-12
        # Of rows in one block it is kept: chances are scaled until they add up.
        self.only = self._interest(self.blocks[0]) if len(self.blocks) == 1 else None

    def interest(self, block: slice) -> Floats:
        """Return how much each row deserves to be drawn, shape (n_block,)."""
        return self._interest(block) if self.only is None else self.only

    def _interest(self, block: slice) -> Floats:
        foreseen = self.weight[block] * self.foreseen
        return (1 - _AT_RANDOM) * self._surprise(block) + _AT_RANDOM * foreseen

    def factor(self, n_rows: int) -> float:
        """Return what makes of interest chances, at most 1, that add up to about ``n_rows``."""
        factor = n_rows / self._total(1.0, np.inf)
        for _ in range(20):
            total = self._total(factor, 1.0)
            if total > 0.999 * n_rows:
                break
            factor *= n_rows / total
        return factor

    def _total(self, factor: float, most: float) -> float:
        return sum(
            float(np.minimum(self.interest(block) * factor, most).sum()) for block in self.blocks
        )

    def _surprise(self, block: slice) -> Floats:
        far = np.abs(self.true[block] - self.proba[block].astype(np.float64))
        return np.asarray(far * self.weight[block], np.float64)


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
    order = plausible[falling_within(image, best[plausible])]
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
    spill : Spill
        Where ``values`` lie; what was read of them is let go.
    members : tuple of str
        The taggers, each with a column of its own logits.
    """

    pairs: Pairs
    names: tuple[str, ...]
    values: NDArray[np.float32]
    logit: Floats
    groups: NDArray[np.int64] | None = None
    rising: frozenset[str] = frozenset()
    spill: Spill = IN_MEMORY
    members: tuple[str, ...] = ()

    @property
    def member_columns(self) -> list[int]:
        """Where each member's own logits stand among the columns."""
        return [self.names.index(_own_logit(member)) for member in self.members]

    def column(self, name: str) -> Floats:
        """Return one column as float64, shape (n_pairs,)."""
        return self.values[:, self.names.index(name)].astype(np.float64)

    def values_at(self, rows: NDArray[np.integer] | slice) -> NDArray[np.float32]:
        """Return some rows of ``values``, shape (n_rows, n_columns)."""
        if self.spill is IN_MEMORY or (isinstance(rows, slice) and rows.step in (None, 1)):
            return self.values[rows]
        if isinstance(rows, slice):
            rows = np.arange(len(self.values))[rows]
        if len(rows) <= _READ_TOGETHER:
            return self.values[rows]
        found = np.empty((len(rows), self.values.shape[1]), np.float32)
        for start in range(0, len(rows), _READ_TOGETHER):
            some = slice(start, start + _READ_TOGETHER)
            found[some] = self.values[rows[some]]
            self.spill.let_go()
        return found

    def take(self, images: NDArray[np.intp]) -> "PairTable":
        """Return the rows of the images at these indices, in that order.

        Their values are read when they are asked for: `values_at` reads no others.
        """
        return TakenTable(self, images)

    def with_columns(
        self,
        columns: Mapping[str, NDArray[np.floating]],
        rising: Iterable[str] = (),
        spill: Spill = IN_MEMORY,
    ) -> "PairTable":
        """Return the table with further columns of shape (n_pairs,) at its end.

        Parameters
        ----------
        columns : mapping of name to array of shape (n_pairs,), floating
        rising : iterable of str
            Those of them that are `rising`.
        spill : Spill, optional
            Where the new values lie.
        """
        n_own = len(self.names)
        values = spill.empty((len(self.pairs), n_own + len(columns)), np.float32)
        for _, rows in self.pairs.blocks():
            values[rows, :n_own] = self.values_at(rows)
            for place, column in enumerate(columns.values(), n_own):
                values[rows, place] = column[rows]
            spill.let_go()
        return PairTable(
            pairs=self.pairs,
            names=(*self.names, *columns),
            values=values,
            logit=self.logit,
            groups=self.groups,
            rising=self.rising.union(rising),
            spill=spill,
            members=self.members,
        )


class TakenTable(PairTable):
    """Some images' rows of another table, read from there when they are asked for.

    Parameters
    ----------
    whole : PairTable
    images : array of shape (n_images,), integer
    """

    _whole: PairTable
    _rows: NDArray[np.int64]

    def __init__(self, whole: PairTable, images: NDArray[np.intp]) -> None:
        self._set(_whole=whole, _rows=whole.pairs.rows(images))
        self._set(
            pairs=whole.pairs.take(images),
            names=whole.names,
            logit=whole.logit[self._rows],
            groups=None if whole.groups is None else whole.groups[images],
            rising=whole.rising,
            spill=whole.spill,
            members=whole.members,
        )

    def values_at(self, rows: NDArray[np.integer] | slice) -> NDArray[np.float32]:
        """Return some rows of ``values``, shape (n_rows, n_columns)."""
        return self._whole.values_at(self._rows[rows])

    @cached_property
    def values(self) -> NDArray[np.float32]:
        """All values, shape (n_pairs, n_columns), float32."""
        return self.values_at(slice(None))

    def _set(self, **fields: object) -> None:
        for name, value in fields.items():
            object.__setattr__(self, name, value)


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
    said = ("shrunken_logistic", "max", "min", "mean", *map(_own_logit, names))
    return PairTable(
        pairs=pairs,
        names=tuple(columns),
        values=values,
        logit=logit,
        rising=frozenset(said),
        members=names,
    )


def _own_logit(member: str) -> str:
    """Return the name of the column with a member's own logits."""
    return f"logit:{member}"


def _member_columns(
    pairs: Pairs, members: Floats, names: tuple[str, ...], statistics: TagStatistics
) -> dict[str, Floats]:
    """Return each member's logit, its distance from the member's best tag, and its skill."""
    columns = {}
    for m, name in enumerate(names):
        columns[_own_logit(name)] = members[m]
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
    order = falling_within(pairs.image, logit)
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
