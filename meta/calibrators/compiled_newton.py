"""Newton's method on many small logistic regressions in compiled code; needs the extra ``fast``.

It does what `newton.fit_segments` does with numpy: one segment after the other, some rows at a
time, so that everything stays in the processor's cache. Exponential and logarithm are spelt out as
polynomials, good to the last digit or two, because compilers turn such loops into instructions on
several rows at once and calls of library functions not. Sums are taken in eight lanes, the same on
every processor. It takes the steps that numpy takes: coefficients agree to twelve digits.
"""

import numpy as np
from numpy.typing import NDArray

from tagstack.base_models.compilation import compiled, compiled_part

Floats = NDArray[np.float64]

_LANES = 8  # partial sums, a power of two: those that a vector instruction adds at once
_BLOCK = 512  # rows at a time, a multiple of the lanes: some buffers of them fit the first cache
_ROUNDING = 6755399441055744.0  # 1.5 * 2**52: adding it leaves a whole number in the lowest bits
_LOG2_E = 1.4426950408889634
_LN2_HIGH, _LN2_LOW = 0.6931471803691238, 1.9082149292705877e-10  # together ln 2, and then some
_FARTHEST = 700.0  # logit whose exponential is still a normal number


def fit_by_segment(
    design: Floats,
    true: Floats,
    weight: Floats,
    start: NDArray[np.int64],
    centre: Floats,
    precision: Floats,
    most: tuple[int, int, float],
) -> Floats:
    """Return the penalised maximum-likelihood coefficients of each segment of rows.

    Parameters
    ----------
    design, true, weight
        As in `tag_rows.TagRows`.
    start, centre, precision
        As in `newton.fit_segments`; the precision of every segment.
    most : tuple of int, int and float
        Steps, halvings of a step, and the change of a coefficient at which a fit has converged.

    Returns
    -------
    array of shape (n_segments, n_columns), float64
    """
    theta = np.array(centre, np.float64, order="C")
    end = np.append(start[1:], len(weight)).astype(np.int64)
    _fit(
        np.ascontiguousarray(design),
        true,
        weight,
        start.astype(np.int64),
        end,
        np.ascontiguousarray(centre),
        np.ascontiguousarray(precision),
        *most,
        theta,
    )
    return theta


@compiled
def _fit(  # type: ignore[no-untyped-def]  # numba infers the types, and mypy knows none of numba
    design, true, weight, start, end, centre, precision, max_steps, max_halvings, tolerance, theta
):
    n = centre.shape[1]
    step, trial = np.zeros(n), np.zeros(n)
    gradient, hessian = np.zeros(n), np.zeros((n, n))
    next_gradient, next_hessian = np.zeros(n), np.zeros((n, n))
    work = np.zeros((5, _BLOCK))
    for s in range(len(start)):
        at = (design, true, weight, start[s], end[s], centre[s], precision[s])
        loss = _evaluate(at, theta[s], gradient, hessian, work)
        for _ in range(max_steps):
            _solve(hessian, gradient, step)
            size, better, next_loss = 1.0, False, loss
            for _ in range(max_halvings):
                for i in range(n):
                    trial[i] = theta[s, i] - size * step[i]
                next_loss = _evaluate(at, trial, next_gradient, next_hessian, work)
                better = next_loss <= loss + 1e-10 * (1 + abs(loss))
                if better:
                    break
                size *= 0.5
            if not better:
                break
            largest = 0.0
            for i in range(n):
                theta[s, i] = trial[i]
                largest = max(largest, abs(size * step[i]))
            if largest < tolerance:
                break
            loss = next_loss
            gradient, next_gradient = next_gradient, gradient
            hessian, next_hessian = next_hessian, hessian


@compiled_part
def _evaluate(at, theta, gradient, hessian, work):  # type: ignore[no-untyped-def]  # as above
    """Return the loss at ``theta``; fill in its gradient and the Hessian's lower half."""
    design, true, weight, first, last, centre, precision = at
    n, loss = len(theta), 0.0
    hessian[:] = 0.0
    for i in range(n):
        away = theta[i] - centre[i]
        loss += 0.5 * precision[i] * away * away
        gradient[i] = precision[i] * away
        hessian[i, i] = precision[i]
    nll, residual, curvature, scaled = work[0], work[1], work[2], work[3]
    lane = np.zeros(_LANES)
    for begin in range(first, last, _BLOCK):
        size = min(_BLOCK, last - begin)
        _rows(design, true, weight, begin, size, theta, work)
        full = (size + _LANES - 1) // _LANES * _LANES
        work[:4, size:full] = 0.0
        loss += _total(nll, full, lane)
        gradient[0] += _total(residual, full, lane)
        hessian[0, 0] += _total(curvature, full, lane)
        for i in range(1, n):
            column = design[i, begin : begin + size]
            for row in range(size):
                scaled[row] = column[row] * residual[row]
            gradient[i] += _total(scaled, full, lane)
            for row in range(size):
                scaled[row] = column[row] * curvature[row]
            hessian[i, 0] += _total(scaled, full, lane)
            for j in range(1, i + 1):
                other, product = design[j, begin : begin + size], work[4]
                for row in range(size):
                    product[row] = scaled[row] * other[row]
                product[size:full] = 0.0
                hessian[i, j] += _total(product, full, lane)
    return loss


@compiled_part
def _rows(design, true, weight, begin, size, theta, work):  # type: ignore[no-untyped-def]
    """Fill in each row's loss, weighted residual and weighted curvature."""
    # Each loop touches few arrays: with many, compilers fear that some are the same memory.
    nll, residual, curvature, logit, scaled = work[0], work[1], work[2], work[3], work[4]
    bits = scaled.view(np.int64)
    holds, counts = true[begin : begin + size], weight[begin : begin + size]
    for row in range(size):
        logit[row] = theta[0]
    for i in range(1, len(theta)):
        column, slope = design[i, begin : begin + size], theta[i]
        for row in range(size):
            logit[row] += slope * column[row]
    for row in range(size):
        far = min(abs(logit[row]), _FARTHEST)
        scaled[row] = _ROUNDING - far * _LOG2_E
        # exp(-far) is 2 to a whole number times the exponential of a rest below ln 2 / 2.
        whole = scaled[row] - _ROUNDING
        x = -far - whole * _LN2_HIGH - whole * _LN2_LOW
        y = 1 / 6227020800
        y = y * x + 1 / 479001600
        y = y * x + 1 / 39916800
        y = y * x + 1 / 3628800
        y = y * x + 1 / 362880
        y = y * x + 1 / 40320
        y = y * x + 1 / 5040
        y = y * x + 1 / 720
        y = y * x + 1 / 120
        y = y * x + 1 / 24
        y = y * x + 1 / 6
        y = y * x + 0.5
        y = y * x + 1.0
        nll[row] = y * x + 1.0
    for row in range(size):
        bits[row] = (bits[row] << 52) + (1023 << 52)
    for row in range(size):
        small = nll[row] * scaled[row]
        share = 1.0 / (1.0 + small)
        scaled[row] = share if logit[row] >= 0 else small * share
        # log(1 + small) is twice the inverse hyperbolic tangent of z.
        z = small / (2.0 + small)
        q = z * z
        y = 1 / 35
        y = y * q + 1 / 33
        y = y * q + 1 / 31
        y = y * q + 1 / 29
        y = y * q + 1 / 27
        y = y * q + 1 / 25
        y = y * q + 1 / 23
        y = y * q + 1 / 21
        y = y * q + 1 / 19
        y = y * q + 1 / 17
        y = y * q + 1 / 15
        y = y * q + 1 / 13
        y = y * q + 1 / 11
        y = y * q + 1 / 9
        y = y * q + 1 / 7
        y = y * q + 1 / 5
        y = y * q + 1 / 3
        y = y * q + 1.0
        nll[row] = 2.0 * z * y + max(logit[row], 0.0)
    for row in range(size):
        residual[row] = counts[row] * (scaled[row] - holds[row])
    for row in range(size):
        curvature[row] = counts[row] * scaled[row] * (1.0 - scaled[row])
    for row in range(size):
        scaled[row] = holds[row] * logit[row]
    for row in range(size):
        nll[row] = counts[row] * (nll[row] - scaled[row])


@compiled_part
def _total(values, size, lane):  # type: ignore[no-untyped-def]  # as above
    """Return the sum of the first values; ``size`` is a multiple of the lanes."""
    lane[:] = 0.0
    for row in range(0, size, _LANES):
        for i in range(_LANES):
            lane[i] += values[row + i]
    return ((lane[0] + lane[4]) + (lane[2] + lane[6])) + ((lane[1] + lane[5]) + (lane[3] + lane[7]))


@compiled_part
def _solve(hessian, gradient, step):  # type: ignore[no-untyped-def]  # as above
    """Fill in what Newton's method takes off, by Cholesky's factors in place of the lower half."""
    n = len(step)
    for i in range(n):
        for j in range(i + 1):
            total = hessian[i, j]
            for k in range(j):
                total -= hessian[i, k] * hessian[j, k]
            hessian[i, j] = np.sqrt(total) if i == j else total / hessian[j, j]
    for i in range(n):
        total = gradient[i]
        for k in range(i):
            total -= hessian[i, k] * step[k]
        step[i] = total / hessian[i, i]
    for i in range(n - 1, -1, -1):
        total = step[i]
        for k in range(i + 1, n):
            total -= hessian[k, i] * step[k]
        step[i] = total / hessian[i, i]
