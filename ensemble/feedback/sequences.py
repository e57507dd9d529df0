"""Confidence sequences for counts, from draws with known probabilities: right at any time.

A population has an unknown number of members that count. Each draw takes a member with a
probability that was known beforehand and may depend on everything that was answered before; a
member that counts then stands for one over its probability, all others for nothing. Given the past
the expectation of a draw is at most the number sought: less where some members could not be drawn
or were drawn before. Against a number that is too large nobody can say "at least so many" on such
draws for long; betting makes this exact. Whoever bets the same share of a capital each time on
"more than ``total``" multiplies it by ``1 + share * (draw / total - 1)``; if there are no more
than ``total`` the capital is a supermartingale, and by Ville's inequality it ever passes
``1 / alpha`` with probability at most ``alpha``: however long one looks, whenever one stops,
whichever way the draws are chosen meanwhile, and however large the weights are. Half a dozen shares
bet side by side, each with its part of the capital.

References
----------
Waudby-Smith, Wu, Ramdas, Karampatziakis & Mineiro (2022), "Anytime-valid off-policy inference for
contextual bandits", arXiv 2210.10768.
Waudby-Smith & Ramdas (2024), "Estimating means of bounded random variables by betting".
Ville (1939), "Etude critique de la notion de collectif".
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
_SHARES = 0.5 ** np.arange(1.0, 15.0)
_STEPS = 30  # halvings of the interval's logarithm: to a millionth


def log_capital(total: float, weights: Floats, at: NDArray[np.int64]) -> float:
    """Return the logarithm of the largest capital that bets on "more than ``total``" ever had.

    Parameters
    ----------
    total : float, above 0
    weights : array of shape (n_hits,), float64
        One over the probability of each draw that counts.
    at : array of shape (n_hits,), int64, ascending
        How many draws came before each of them, in all.
    """
    if not len(weights):
        return 0.0
    missed = at - np.arange(len(at))  # draws before it that did not count
    shares = _SHARES[:, None]
    won = np.cumsum(np.log1p(shares * (weights[None, :] / total - 1.0)), axis=1)
    own = won + missed[None, :] * np.log1p(-shares)
    most = own.max(axis=0)
    capital = most + np.log(np.exp(own - most).mean(axis=0))
    return max(0.0, float(capital.max()))


def at_least(weights: Floats, at: NDArray[np.int64], alpha: float) -> float:
    """Return how many members count at least, wrong with probability ``alpha`` at most, ever.

    Parameters
    ----------
    weights, at : arrays of shape (n_hits,)
        As in `log_capital`.
    alpha : float, in (0, 1)
    """
    wanted = -np.log(alpha)
    high = float(weights.sum())
    if not len(weights) or log_capital(high * 1e-9, weights, at) < wanted:
        return 0.0
    low = high * 1e-9
    for _ in range(_STEPS):
        middle = np.sqrt(low * high)
        if log_capital(middle, weights, at) >= wanted:
            low = middle
        else:
            high = middle
    return low
