"""The features of candidate pairs.

A row describes what each member says, how far they agree, where the tag stands among the image's
other tags, what rivals, relatives and company say, and what is known of the tag. Missing is NaN.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from tagstack.base_models.orders import falling_within
from tagstack.base_models.pairs import Pairs
from tagstack.meta.features.context import company, relative_logit, rival_logit
from tagstack.meta.features.pair_table import PairTable, own_logit
from tagstack.meta.features.tag_statistics import TagStatistics
from tagstack.meta.labels.relations import TagRelations

Floats = NDArray[np.float64]


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
    said = ("shrunken_logistic", "max", "min", "mean", *map(own_logit, names))
    return PairTable(
        pairs=pairs,
        names=tuple(columns),
        values=values,
        logit=logit,
        rising=frozenset(said),
        members=names,
    )


def _member_columns(
    pairs: Pairs, members: Floats, names: tuple[str, ...], statistics: TagStatistics
) -> dict[str, Floats]:
    """Return each member's logit, its distance from the member's best tag, and its skill."""
    columns = {}
    for m, name in enumerate(names):
        columns[own_logit(name)] = members[m]
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
