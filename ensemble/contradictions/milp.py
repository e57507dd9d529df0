"""The same search as a mixed-integer program, for components too large for branch and bound."""

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from tagstack.ensemble.contradictions.search import (
    UNMET,
    Component,
    Limit,
    Solution,
    bits,
    greedy,
)

Row = dict[int, float]
"""One linear form: coefficient of each variable."""


def solve_milp(component: Component, budget: int) -> Solution:
    """Return the best legal tags of a component, found by HiGHS through scipy.

    Parameters
    ----------
    component : Component
    budget : int
        Nodes of the solver's tree; past it the greedy answer comes back with ``exact=False``.

    References
    ----------
    Huangfu & Hall (2018), "Parallelizing the dual revised simplex method" (HiGHS).
    """
    from scipy.optimize import Bounds, LinearConstraint, milp

    rows, cost = _program(component)
    matrix, upper = _matrix(rows, len(cost))
    binary = np.arange(len(cost)) < len(component)
    result = milp(
        cost,
        integrality=binary.astype(int),
        bounds=Bounds(0, np.where(binary, 1, np.inf)),
        constraints=LinearConstraint(matrix, -np.inf, upper) if rows else (),
        options={"mip_rel_gap": 0.0, "node_limit": budget},
    )
    if result.status != 0:
        return greedy(component)
    kept = sum(1 << int(tag) for tag in np.flatnonzero(result.x[binary] > 0.5))
    return Solution(kept, component.value(kept), exact=True)


def _program(component: Component) -> tuple[list[tuple[Row, float]], list[float]]:
    """Return the rows ``form <= bound`` and each variable's cost: tags, then excesses."""
    rows = [*_implied(component), *_supported(component)]
    cost = [-weight for weight in component.weight]
    for limit in component.limits:
        if math.isinf(limit.penalty):
            rows.append(_at_most_one(limit, None))
        else:
            rows.append(_at_most_one(limit, len(cost)))
            cost.append(limit.penalty)
        if limit.least:
            rows.append(_at_least_one(limit, len(cost)))
            cost.append(min(limit.penalty, UNMET))
    return rows, cost


def _implied(component: Component) -> Iterable[tuple[Row, float]]:
    for tag, above in enumerate(component.above):
        for parent in bits(above & ~(1 << tag)):
            yield {tag: 1.0, parent: -1.0}, 0.0


def _supported(component: Component) -> Iterable[tuple[Row, float]]:
    for tag, below in enumerate(component.below()):
        if not component.choices >> tag & 1:
            children = bits(below & component.choices)
            yield {tag: 1.0} | dict.fromkeys(children, -1.0), 0.0


def _at_most_one(limit: Limit, excess: int | None) -> tuple[Row, float]:
    """Return ``members - excess <= 1``, slack wherever a guard does not hold."""
    slack = float(limit.members.bit_count())
    row = dict.fromkeys(bits(limit.members), 1.0)
    bound = 1.0 + _guard(row, limit, slack)
    if excess is not None:
        row[excess] = -1.0
    return row, bound


def _at_least_one(limit: Limit, shortfall: int) -> tuple[Row, float]:
    """Return ``members + shortfall >= 1``, slack wherever a guard does not hold."""
    row = dict.fromkeys(bits(limit.members), -1.0)
    bound = -1.0 + _guard(row, limit, 1.0)
    row[shortfall] = -1.0
    return row, bound


def _guard(row: Row, limit: Limit, slack: float) -> float:
    """Relax a row by ``slack`` for each guard that fails; return what that adds to its bound."""
    for tag in bits(limit.when):
        row[tag] = row.get(tag, 0.0) + slack
    for tag in bits(limit.unless):
        row[tag] = row.get(tag, 0.0) - slack
    return slack * limit.when.bit_count()


def _matrix(
    rows: list[tuple[Row, float]], n_variables: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    matrix = np.zeros((len(rows), n_variables))
    for i, (row, _) in enumerate(rows):
        matrix[i, list(row)] = list(row.values())
    return matrix, np.array([bound for _, bound in rows])
