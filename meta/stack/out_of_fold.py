"""Out-of-fold values of the groundwork and of the last calibration; learners' are in `fold_fits`.

A value for an image comes from models that were fitted on the other folds. Columns that a later
learner is fitted on are made the same way, so what it sees in fitting is what it sees later.
"""

import numpy as np
from numpy.typing import NDArray

from tagstack.base_models.pairs import Level1Scores, Pairs
from tagstack.configs.stack import StackSettings
from tagstack.meta.calibrators.calibration import MemberLogits, fit_monotone
from tagstack.meta.calibrators.protocol import How, TagMaps
from tagstack.meta.features.pair_features import PairTable, subset
from tagstack.meta.labels.drawn_images import drawn_images
from tagstack.meta.labels.relations import TagRelations
from tagstack.meta.labels.truth import Evidence
from tagstack.meta.stack.groundwork import Ground, Strengths, fit_groundwork

Floats = NDArray[np.float64]


def cross_fitted_ground(
    scores: Level1Scores,
    evidence: Evidence,
    folds: NDArray[np.int64],
    relations: TagRelations,
    strengths: Strengths,
    settings: StackSettings,
) -> Ground:
    """Return calibrated logits, candidates and features of every image, made out of fold.

    The base values, one per tag for all images, are the mean of the folds'.
    """
    members = MemberLogits(
        listed=np.full(scores.logit.shape, np.nan), base=np.zeros(scores.knows.shape)
    )
    listed, base = np.empty(len(scores.pairs)), np.zeros(scores.pairs.n_tags)
    parts, names = [], np.unique(folds)
    for fold in names:
        fit, held = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        groundwork = fit_groundwork(
            scores.take(fit), evidence.take(fit, scores.pairs), strengths, settings
        )
        ground = groundwork.apply(scores.take(held), relations, settings)
        rows = scores.pairs.rows(held)
        members.listed[:, rows] = ground.members.listed
        members.base[:] += ground.members.base / len(names)
        listed[rows] = ground.listed
        base += ground.base / len(names)
        parts.append((rows[ground.rows], ground.table))
    rows, table = _joined(scores.pairs, parts)
    return Ground(members=members, listed=listed, base=base, rows=rows, table=table)


def cross_fitted_monotone(
    listed: Floats,
    base: Floats,
    pairs: Pairs,
    evidence: Evidence,
    folds: NDArray[np.int64],
    category: NDArray[np.int64],
    how: How,
    max_pairs: int,
) -> tuple[Floats, Floats]:
    """Return logits calibrated per tag, each fold by the others; the base by the mean of all.

    Parameters
    ----------
    listed : array of shape (n_pairs,), float64
    base : array of shape (n_tags,), float64
    pairs, evidence, folds, category, how
    max_pairs : int
        That one fit looks at, of drawn images.
    """
    calibrated, calibrated_base = np.empty(len(listed)), np.zeros(len(base))
    names = np.unique(folds)
    for fold in names:
        fit, rows = np.flatnonzero(folds != fold), pairs.rows(np.flatnonzero(folds == fold))
        maps = drawn_monotone(listed, base, pairs, evidence, fit, category, how, max_pairs)
        calibrated[rows] = maps.apply(pairs.tag[rows], listed[rows])
        calibrated_base += maps.apply(np.arange(pairs.n_tags), base) / len(names)
    return calibrated, calibrated_base


def drawn_monotone(
    listed: Floats,
    base: Floats,
    pairs: Pairs,
    evidence: Evidence,
    images: NDArray[np.int64],
    category: NDArray[np.int64],
    how: How,
    max_pairs: int,
) -> TagMaps:
    """Return the calibration fitted on so many of ``images`` as hold about ``max_pairs``.

    Parameters
    ----------
    listed : array of shape (n_pairs,), float64
    base : array of shape (n_tags,), float64
    pairs, evidence
        Of all images.
    images : array of shape (n_fit,), int64
    category, how, max_pairs
    """
    some = images[drawn_images(np.diff(pairs.indptr)[images], max_pairs, seed=0)]
    fewer = pairs.take(some)
    truth = evidence.take(some, pairs).truth(fewer)
    return fit_monotone(listed[pairs.rows(some)], base, fewer, truth, category, how)


def _joined(
    pairs: Pairs, parts: list[tuple[NDArray[np.int64], PairTable]]
) -> tuple[NDArray[np.int64], PairTable]:
    """Return the folds' candidate rows and tables as one, in the order of the listed pairs."""
    candidate = np.zeros(len(pairs), bool)
    for held, _ in parts:
        candidate[held] = True
    rows, place = np.flatnonzero(candidate), np.cumsum(candidate) - 1
    names, rising = parts[0][1].names, parts[0][1].rising
    values, logit = np.empty((len(rows), len(names)), np.float32), np.empty(len(rows))
    while parts:  # each part is let go as soon as it is copied: together they are the largest array
        held, table = parts.pop()
        values[place[held]] = table.values
        logit[place[held]] = table.logit
    every = subset(pairs, rows)
    return rows, PairTable(pairs=every, names=names, values=values, logit=logit, rising=rising)
