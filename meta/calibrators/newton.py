"""Logistic regressions for every tag at once, each shrunk to its category and that to all.

One Newton step for all tags costs a few passes over the rows: rows are sorted by tag, so sums
per tag are contiguous, and the small linear systems are solved as one stack. There is no loop
over tags and no solver call per tag. Tags that have converged take no further part.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tagstack.base_models.compilation import can_compile
from tagstack.configs.calibration import Pool
from tagstack.meta.calibrators.tag_rows import Floats, TagRows

_MAX_STEPS = 25
_MAX_HALVINGS = 6
_TOLERANCE = 1e-4  # largest change of a coefficient at which a fit counts as converged
TIGHT = 1e12  # precision that holds a coefficient where it is
_WEAK = 1e-2  # precision of the prior of the fit over all tags: keeps it finite, no more
_COMPILED = 20_000  # rows from which on loading compiled code pays


def fit_hierarchy(
    rows: TagRows,
    prior: Floats,
    precision: Floats,
    *,
    pool: Pool = "hierarchical",
    least: Floats | None = None,
) -> Floats:
    """Return the coefficients of every tag.

    All rows together are fitted first, then each category shrunk to that, then each tag shrunk
    to its category. A tag without rows has its category's coefficients. The other pools leave
    steps out: one fit for each category, or for each tag, held weakly to ``prior`` alone.

    Parameters
    ----------
    rows : TagRows
    prior : array of shape (n_columns,), float64
        Where the fit over all tags starts and what it is held to, weakly.
    precision : array of shape (n_columns,), float64, positive
        How strongly a tag is held to its category and a category to all: the inverse variance
        of the coefficient. From `TIGHT` on, it is the prior's in every fit.
    pool : {"hierarchical", "category", "tag"}
    least : array of shape (n_columns,), float64, optional
        Lower bounds. A coefficient that would fall below is held there while the others are
        fitted again.

    Returns
    -------
    array of shape (n_tags, n_columns), float64
    """
    n_categories = int(rows.category_of_tag.max(initial=-1)) + 1
    if not len(rows.weight):
        return np.tile(prior, (len(rows.category_of_tag), 1))
    least = np.full(len(prior), -np.inf) if least is None else least
    weak = np.where(precision >= TIGHT, precision, _WEAK)
    shrunk = precision if pool == "hierarchical" else weak
    pooled = rows.pooled
    overall = _fitted_overall(pooled, prior, weak, least)
    by_category = np.tile(overall, (n_categories, 1))
    seen = rows if pool == "category" else pooled
    if pool == "category" or (pool == "hierarchical" and len(seen.categories) > 1):
        centre = by_category if pool == "hierarchical" else np.tile(prior, (n_categories, 1))
        by_category[seen.categories] = _fit_bounded(
            seen, seen.category_start, centre[seen.categories], shrunk, least
        )
    by_tag = by_category[rows.category_of_tag]
    if pool != "category":
        centre = by_tag if pool == "hierarchical" else np.tile(prior, (len(by_tag), 1))
        by_tag[rows.tags] = _fit_bounded(rows, rows.tag_start, centre[rows.tags], shrunk, least)
    return by_tag


def _fitted_overall(pooled: TagRows, prior: Floats, weak: Floats, least: Floats) -> Floats:
    """Return the coefficients of all rows together, (1, n_columns); found once, then kept."""
    key = np.stack([prior, weak, least]).tobytes()
    if key not in pooled.overall:
        first = np.zeros(1, np.int64)
        pooled.overall[key] = _fit_bounded(pooled, first, prior[None], weak, least)
    return pooled.overall[key]


def fit_segments(
    rows: TagRows,
    start: NDArray[np.int64],
    centre: Floats,
    precision: Floats,
    *,
    compiled: bool | None = None,
) -> Floats:
    """Return the penalised maximum-likelihood coefficients of each segment of rows.

    Parameters
    ----------
    rows : TagRows
    start : array of shape (n_segments,), int64
        First row of each segment; the last one ends with the rows.
    centre : array of shape (n_segments, n_columns), float64
        Mean of the Gaussian prior; also the starting point.
    precision : array of shape (n_columns,) or (n_segments, n_columns), float64
    compiled : bool, optional
        Whether compiled code does it (five times as fast, needs numba; coefficients agree to twelve
        digits); by default where numba works and there are rows enough to pay for loading it.

    Returns
    -------
    array of shape (n_segments, n_columns), float64
    """
    precision = np.broadcast_to(precision, centre.shape)
    if (len(rows.weight) >= _COMPILED and can_compile()) if compiled is None else compiled:
        from tagstack.meta.calibrators.compiled_newton import fit_by_segment

        most = (_MAX_STEPS, _MAX_HALVINGS, _TOLERANCE)
        return fit_by_segment(rows.design, rows.true, rows.weight, start, centre, precision, most)
    lengths = np.diff(np.append(start, len(rows.weight)))
    problem = _Problem(rows.design, rows.true, rows.weight, lengths, centre, precision)
    fitted, of = centre.copy(), np.arange(len(centre))
    theta, point = centre.copy(), problem.at(centre)
    moving = np.ones(len(centre), bool)
    for _ in range(_MAX_STEPS):
        theta, point, step = _halved_where_worse(problem, theta, point)
        # What has converged stays, though its rows are still here: as the compiled code leaves it.
        fitted[of[moving]] = theta[moving]
        moving &= np.abs(step).max(axis=1) >= _TOLERANCE
        if not moving.any():
            break
        # Copying the rows that are still needed costs less than to go on with all of them.
        if problem.lengths[moving].sum() < 0.7 * len(problem.weight):
            problem, point = problem.of(moving, point)
            theta, of, moving = theta[moving], of[moving], moving[moving]
    return fitted


@dataclass(frozen=True)
class _Point:
    """Where a fit stands: loss of each segment, probability of each row."""

    loss: Floats
    proba: Floats


def _fit_bounded(
    rows: TagRows, start: NDArray[np.int64], centre: Floats, precision: Floats, least: Floats
) -> Floats:
    """Return the coefficients of each segment, none below ``least``.

    A coefficient once held stays held: with the few columns there are, that is the optimum or
    next to it.
    """
    theta = fit_segments(rows, start, centre, precision)
    held = np.zeros(theta.shape, bool)
    for _ in range(len(least)):
        low = theta < least
        again = np.flatnonzero((low & ~held).any(axis=1))
        if not len(again):
            break
        held |= low
        part, part_start = _only(rows, start, again)
        bound = np.broadcast_to(least, theta.shape)
        centre = np.where(held, bound, centre)
        tight = np.where(held, TIGHT, precision)
        theta[again] = fit_segments(part, part_start, centre[again], tight[again])
    return np.maximum(theta, least)


def _only(
    rows: TagRows, start: NDArray[np.int64], segments: NDArray[np.int64]
) -> tuple[TagRows, NDArray[np.int64]]:
    """Return the rows of some segments, and where those segments begin among them."""
    lengths = np.diff(np.append(start, len(rows.weight)))
    chosen = np.zeros(len(start), bool)
    chosen[segments] = True
    kept = np.repeat(chosen, lengths)
    part = replace(
        rows, design=rows.design[:, kept], true=rows.true[kept], weight=rows.weight[kept]
    )
    return part, np.cumsum(lengths[segments]) - lengths[segments]


@dataclass(frozen=True)
class _Problem:
    """Loss, gradient and Hessian of some segments of rows."""

    design: Floats
    true: Floats
    weight: Floats
    lengths: NDArray[np.int64]
    centre: Floats
    precision: Floats

    def at(self, theta: Floats) -> _Point:
        logit = np.repeat(theta[:, 0], self.lengths)
        for column, coefficient in zip(self.design[1:], theta.T[1:], strict=True):
            logit += column * np.repeat(coefficient, self.lengths)
        # One exponential serves the loss and the probability.
        small = np.exp(-np.abs(logit))
        nll = np.log1p(small) + np.maximum(logit, 0.0) - self.true * logit
        proba = np.where(logit >= 0, 1.0, small) / (1.0 + small)
        prior = 0.5 * ((theta - self.centre) ** 2 * self.precision).sum(axis=1)
        return _Point(loss=self._sum(self.weight * nll) + prior, proba=proba)

    def step(self, theta: Floats, point: _Point) -> Floats:
        """Return what Newton's method takes off ``theta``."""
        residual = self.weight * (point.proba - self.true)
        curvature = self.weight * point.proba * (1 - point.proba)
        gradient: Floats = (theta - self.centre) * self.precision
        hessian: Floats = self.precision[:, :, None] * np.eye(len(self.design))
        for i in range(len(self.design)):
            gradient[:, i] += self._sum(self.design[i] * residual if i else residual)
            scaled = self.design[i] * curvature if i else curvature
            for j in range(i + 1):
                hessian[:, i, j] += self._sum(scaled * self.design[j] if j else scaled)
                hessian[:, j, i] = hessian[:, i, j]
        step = np.linalg.solve(hessian, gradient[:, :, None])[:, :, 0]
        return np.asarray(step, np.float64)

    def of(self, segments: NDArray[np.bool_], point: _Point) -> tuple["_Problem", _Point]:
        """Return the problem of some segments alone, and where it stands."""
        kept = np.flatnonzero(np.repeat(segments, self.lengths))
        smaller = _Problem(
            self.design[:, kept],
            self.true[kept],
            self.weight[kept],
            self.lengths[segments],
            self.centre[segments],
            self.precision[segments],
        )
        return smaller, _Point(loss=point.loss[segments], proba=point.proba[kept])

    def _sum(self, values: Floats) -> Floats:
        start = np.cumsum(self.lengths) - self.lengths
        total: Floats = np.add.reduceat(values, start)
        return total


def _halved_where_worse(
    problem: _Problem, theta: Floats, point: _Point
) -> tuple[Floats, _Point, Floats]:
    """Take a step; halve it in segments whose loss rose, at last leave them where they were."""
    step = problem.step(theta, point)
    for _ in range(_MAX_HALVINGS):
        trial = problem.at(theta - step)
        worse = trial.loss > point.loss + 1e-10 * (1 + np.abs(point.loss))
        if not worse.any():
            return theta - step, trial, step
        step[worse] *= 0.5
    step[worse] = 0.0
    return theta - step, problem.at(theta - step), step
