"""From scores to quality tags: who is ranked with whom, and which cut each picture reaches.

A picture's rank is the share of its stratum with a lower score, ties counting half, so that equal
scores always get equal tags, and one picture alone, or equal scores alone, lie in the middle.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from tagstack.configs.quality_presets import QualityPreset

POOLED = "(small strata together)"


@dataclass(frozen=True, kw_only=True)
class QualityTags:
    """What a preset gives some pictures.

    Parameters
    ----------
    tags : tuple of tuple of str
        Of each picture, the best first; empty for none.
    why : tuple of str
        Why a picture could have none: no score, too young, after the last year; else empty.
    rank : array of shape (n_images,), float64
        Share in [0, 1] within the stratum; NaN where nothing was ranked.
    strata : tuple of str
        Whom each picture was ranked with.
    pooled : tuple of str
        Strata that were too small to be ranked alone.
    """

    tags: tuple[tuple[str, ...], ...]
    why: tuple[str, ...]
    rank: NDArray[np.float64]
    strata: tuple[str, ...]
    pooled: tuple[str, ...]


def quality_tags(
    score: NDArray[np.float64],
    preset: QualityPreset,
    *,
    strata: Sequence[str] | None = None,
    ids: NDArray[np.float64] | None = None,
    age_days: NDArray[np.float64] | None = None,
    least_stratum: int = 1,
    second: NDArray[np.float64] | None = None,
) -> QualityTags:
    """Return the tags that a preset gives.

    Parameters
    ----------
    score : array of shape (n_images,), float64
        Any score, higher is better, or the year of a preset of years; NaN where there is none.
    preset : QualityPreset
    strata : sequence of str, optional
        Of each picture; all are one stratum by default.
    ids : array of shape (n_images,), optional
        Posts' numbers, for ``last_id``; NaN where unknown, which is never too young.
    age_days : array of shape (n_images,), optional
        For ``least_age_days`` and ``half_life_days``; NaN where unknown: then there is no tag.
    least_stratum : int
        Strata with fewer scored pictures are ranked together.
    second : array of shape (n_images,), float64, optional
        Another score, for cuts that must be ``agreed``; without it one score decides. Where it is
        NaN nothing is agreed.
    """
    why = _reasons(score, preset, ids, age_days)
    counted = np.array([not reason for reason in why], bool)
    level = np.where(counted, score, np.nan)
    if preset.half_life_days and age_days is not None:
        there = -np.expm1(-np.log(2) * age_days / preset.half_life_days)
        level[counted] /= there[counted]
    names = np.array(strata if strata is not None else [""] * len(score), object)
    rank = np.full(len(score), np.nan)
    pooled: tuple[str, ...] = ()
    if preset.kind == "rank":
        names, pooled = _pooled(names, counted, least_stratum)
        rank = level = _ranked(level, names)
    place = _places(level, preset)
    if second is not None:
        other = np.where(counted, second, np.nan)
        other = _ranked(other, names) if preset.kind == "rank" else other
        agreed = np.array([*(cut.agreed for cut in preset.cuts), False])
        place[agreed[place] & (_places(other, preset) != place)] = len(preset.cuts)
    ends = [_tags_from(preset, start) for start in range(len(preset.cuts) + 1)]
    tags = tuple(ends[p] if ok else () for p, ok in zip(place, counted, strict=True))
    return QualityTags(tags=tags, why=why, rank=rank, strata=tuple(names), pooled=pooled)


def _reasons(
    score: NDArray[np.float64],
    preset: QualityPreset,
    ids: NDArray[np.float64] | None,
    age_days: NDArray[np.float64] | None,
) -> tuple[str, ...]:
    """Return why each picture can have no tag; the first reason that applies."""
    reasons = np.full(len(score), "", object)
    if preset.needs_age and age_days is not None:
        reasons[age_days <= preset.least_age_days] = "too young"
        reasons[~np.isfinite(age_days)] = "no date"
    if preset.last_id and ids is not None:
        reasons[ids > preset.last_id] = "too young"
    if preset.kind == "year" and preset.last:
        reasons[score > preset.last] = f"after {preset.last}"
    reasons[~np.isfinite(score)] = "no score"
    return tuple(reasons.tolist())


def _pooled(
    names: NDArray[np.object_], counted: NDArray[np.bool_], least: int
) -> tuple[NDArray[np.object_], tuple[str, ...]]:
    """Return the strata with the small ones as one, and the names of those, if there are others."""
    found, n = np.unique(names[counted].astype(str), return_counts=True)
    small = tuple(found[n < least].tolist())
    if not small or len(found) == 1:
        return names, ()
    new = names.copy()
    new[np.isin(names.astype(str), small)] = POOLED
    return new, small


def _ranked(level: NDArray[np.float64], names: NDArray[np.object_]) -> NDArray[np.float64]:
    """Return ranks within strata, shape (n_images,); NaN where there is no number."""
    rank, counted = np.full(len(level), np.nan), np.isfinite(level)
    for name in dict.fromkeys(names[counted].tolist()):
        own = counted & (names == name)
        rank[own] = (rankdata(level[own]) - 0.5) / own.sum()
    return rank


def _places(level: NDArray[np.float64], preset: QualityPreset) -> NDArray[np.int64]:
    """Return the first cut that each picture reaches; the number of cuts where it reaches none."""
    place = np.full(len(level), len(preset.cuts))
    for i in reversed(range(len(preset.cuts))):
        least = preset.cuts[i].least
        if least is None:
            reached = np.isfinite(level)
        else:
            reached = level >= least if preset.inclusive else level > least
        place[reached] = i
    return place


def _tags_from(preset: QualityPreset, start: int) -> tuple[str, ...]:
    cuts = preset.cuts[start:] if preset.cumulative else preset.cuts[start : start + 1]
    return tuple(cut.tag for cut in cuts if cut.tag)
