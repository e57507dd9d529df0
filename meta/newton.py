"""Logistic regressions for every tag at once, each shrunk to its category and that to all.

One Newton step for all tags costs a few passes over the rows: rows are sorted by tag, so sums
per tag are contiguous, and the small linear systems are solved as one stack. There is no loop
over tags and no solver call per tag.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

Floats = NDArray[np.float64]

_MAX_STEPS = 25
_MAX_HALVINGS = 6
_TOLERANCE = 1e-4  # largest change of a coefficient at which a fit counts as converged
_WEAK = 1e-2  # precision of the prior of the fit over all tags: keeps it finite, no more


@dataclass(frozen=True, kw_only=True)
class TagRows:
    """Weighted rows of a regression, sorted so that tags and categories are contiguous.

    Parameters
    ----------
    design : array of shape (n_columns, n_rows), float64
        The first column is the constant 1.
    true : array of shape (n_rows,), float64, 0 or 1
    weight : array of shape (n_rows,), float64, non-negative
    tag_start, category_start : arrays of shape (n_present,), int64
        First row of each tag and category that has rows.
    tags, categories : arrays of shape (n_present,), int64
        Which tag and which category those are.
    category_of_tag : array of shape (n_tags,), int64
    """

    design: Floats
    true: Floats
    weight: Floats
    tag_start: NDArray[np.int64]
    category_start: NDArray[np.int64]
    tags: NDArray[np.int64]
    categories: NDArray[np.int64]
    category_of_tag: NDArray[np.int64]


def tag_rows(
    columns: Floats,
    true: NDArray[np.bool_],
    weight: Floats,
    tag: NDArray[np.int64],
    category_of_tag: NDArray[np.int64],
) -> TagRows:
    """Return rows sorted by category and tag, those of weight 0 left out.

    Parameters
    ----------
    columns : array of shape (n_features, n_rows), float64
    true, weight, tag : arrays of shape (n_rows,)
    category_of_tag : array of shape (n_tags,), int64
    """
    kept = np.flatnonzero(weight > 0)
    key = category_of_tag[tag[kept]] * len(category_of_tag) + tag[kept]
    order = kept[np.argsort(key, kind="stable")]
    sorted_tag, sorted_category = tag[order], category_of_tag[tag[order]]
    tag_start, category_start = _starts(sorted_tag), _starts(sorted_category)
    return TagRows(
        design=np.concatenate([np.ones((1, len(order))), columns[:, order]]),
        true=true[order].astype(np.float64),
        weight=weight[order].astype(np.float64),
        tag_start=tag_start,
        category_start=category_start,
        tags=sorted_tag[tag_start],
        categories=sorted_category[category_start],
        category_of_tag=category_of_tag,
    )


def fit_hierarchy(rows: TagRows, prior: Floats, precision: Floats) -> Floats:
    """Return the coefficients of every tag.

    All rows together are fitted first, then each category shrunk to that, then each tag shrunk
    to its category. A tag without rows has its category's coefficients.

    Parameters
    ----------
    rows : TagRows
    prior : array of shape (n_columns,), float64
        Where the fit over all tags starts and what it is held to, weakly.
    precision : array of shape (n_columns,), float64, positive
        How strongly a tag is held to its category and a category to all: the inverse variance
        of the coefficient.

    Returns
    -------
    array of shape (n_tags, n_columns), float64
    """
    n_categories = int(rows.category_of_tag.max(initial=-1)) + 1
    if not len(rows.weight):
        return np.tile(prior, (len(rows.category_of_tag), 1))
    start = np.zeros(1, np.int64)
    overall = fit_segments(rows, start, prior[None], np.full(len(prior), _WEAK))
    by_category = np.tile(overall, (n_categories, 1))
    if len(rows.categories) > 1:
        centre = by_category[rows.categories]
        by_category[rows.categories] = fit_segments(rows, rows.category_start, centre, precision)
    by_tag = by_category[rows.category_of_tag]
    by_tag[rows.tags] = fit_segments(rows, rows.tag_start, by_tag[rows.tags], precision)
    return by_tag


def fit_segments(
    rows: TagRows, start: NDArray[np.int64], centre: Floats, precision: Floats
) -> Floats:
    """Return the penalised maximum-likelihood coefficients of each segment of rows.

    Parameters
    ----------
    rows : TagRows
    start : array of shape (n_segments,), int64
        First row of each segment; the last one ends with the rows.
    centre : array of shape (n_segments, n_columns), float64
        Mean of the Gaussian prior; also the starting point.
    precision : array of shape (n_columns,), float64

    Returns
    -------
    array of shape (n_segments, n_columns), float64
    """
    problem = _Problem(rows, start, centre, precision)
    theta = centre.copy()
    loss = problem.loss(theta)
    for _ in range(_MAX_STEPS):
        step = problem.newton_step(theta)
        theta, loss, moved = _halved_where_worse(problem, theta, loss, step)
        if moved < _TOLERANCE:
            break
    return theta


class _Problem:
    """Loss, gradient and Hessian of all segments."""

    def __init__(
        self, rows: TagRows, start: NDArray[np.int64], centre: Floats, precision: Floats
    ) -> None:
        self.rows, self.start, self.centre, self.precision = rows, start, centre, precision
        ends = np.append(start[1:], len(rows.weight))
        self.lengths = ends - start

    def loss(self, theta: Floats) -> Floats:
        logit = self._logit(theta)
        nll = self.rows.weight * (np.logaddexp(0.0, logit) - self.rows.true * logit)
        loss: Floats = self._sum(nll) + 0.5 * ((theta - self.centre) ** 2 * self.precision).sum(1)
        return loss

    def newton_step(self, theta: Floats) -> Floats:
        design, weight = self.rows.design, self.rows.weight
        proba = expit(self._logit(theta))
        residual, curvature = weight * (proba - self.rows.true), weight * proba * (1 - proba)
        n_columns = len(design)
        gradient: Floats = (theta - self.centre) * self.precision
        hessian: Floats = np.tile(np.diag(self.precision), (len(theta), 1, 1))
        for i in range(n_columns):
            gradient[:, i] += self._sum(design[i] * residual)
            scaled = design[i] * curvature
            for j in range(i + 1):
                hessian[:, i, j] += self._sum(scaled * design[j])
                hessian[:, j, i] = hessian[:, i, j]
        step = np.linalg.solve(hessian, gradient[:, :, None])[:, :, 0]
        return np.asarray(step, np.float64)

    def _logit(self, theta: Floats) -> Floats:
        logit = np.zeros(len(self.rows.weight))
        for column, coefficient in zip(self.rows.design, theta.T, strict=True):
            logit += column * np.repeat(coefficient, self.lengths)
        return logit

    def _sum(self, values: Floats) -> Floats:
        total: Floats = np.add.reduceat(values, self.start)
        return total


def _halved_where_worse(
    problem: _Problem, theta: Floats, loss: Floats, step: Floats
) -> tuple[Floats, Floats, float]:
    """Take the step; halve it in segments whose loss rose, at last leave them where they were."""
    step = step.copy()
    for _ in range(_MAX_HALVINGS):
        trial = theta - step
        trial_loss = problem.loss(trial)
        worse = trial_loss > loss + 1e-10 * (1 + np.abs(loss))
        if not worse.any():
            break
        step[worse] *= 0.5
    step[worse] = 0.0
    trial_loss = np.where(worse, loss, trial_loss)
    return theta - step, trial_loss, float(np.abs(step).max(initial=0.0))


def _starts(ids: NDArray[np.int64]) -> NDArray[np.int64]:
    if not len(ids):
        return np.zeros(0, np.int64)
    return np.flatnonzero(np.r_[True, ids[1:] != ids[:-1]])
