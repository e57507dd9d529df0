"""Greedy selection with replacement: weights that raise the user's metric, not a surrogate.

Fits on log loss favour frequent tags; this looks at the metric itself. The same search picks the
members' weights and, as the last step, the blend of all rungs.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Counts = tuple[int, ...]

_LEAST_GAIN = 1e-5
_PATIENCE = 5  # picks without a gain after which a path ends


class GreedySelection:
    """Greedy selection on a metric that is known fold by fold.

    Paths that leave different folds out share their evaluations, so that weights for every fold
    cost little more than weights for all.

    Parameters
    ----------
    values : array of shape (n_rungs, n_rows), float64
        What is averaged.
    metric : callable
        Takes an average of shape (n_rows,), returns the metric in each fold, (n_folds,).
    rounds : int
        Most picks of one path.

    References
    ----------
    Caruana, Niculescu-Mizil, Crew & Ksikes (2004), "Ensemble selection from libraries of models".
    """

    def __init__(self, values: Floats, metric: Callable[[Floats], Floats], rounds: int) -> None:
        self.values, self.metric, self.rounds = values, metric, rounds
        self._known: dict[Counts, Floats] = {}

    def weights(self, folds: NDArray[np.bool_]) -> Floats:
        """Return the weights of the rungs, summing to 1, chosen on these folds alone.

        Parameters
        ----------
        folds : array of shape (n_folds,), bool
            Which folds may be looked at.
        """
        counts = (0,) * len(self.values)
        kept, best, in_vain = (1,) * len(self.values), -np.inf, 0
        for _ in range(self.rounds):
            options = [_with_one_more(counts, r) for r in range(len(counts))]
            scores = [self._score(option, folds) for option in options]
            pick = int(np.argmax(scores))
            # A pick that does not help yet is made all the same: each later one weighs less.
            counts = options[pick]
            in_vain += 1
            if scores[pick] > best + _LEAST_GAIN:
                kept, best, in_vain = counts, scores[pick], 0
            if in_vain == _PATIENCE:
                break
        return np.array(kept) / sum(kept)

    def _score(self, counts: Counts, folds: NDArray[np.bool_]) -> float:
        divisor = np.gcd.reduce(counts)
        reduced = tuple(int(count // divisor) for count in counts)
        if reduced not in self._known:
            weights = np.array(reduced) / sum(reduced)
            self._known[reduced] = self.metric(weights @ self.values)
        seen = self._known[reduced][folds]
        seen = seen[~np.isnan(seen)]
        return float(seen.mean()) if len(seen) else -np.inf


def _with_one_more(counts: Counts, rung: int) -> Counts:
    return tuple(count + (r == rung) for r, count in enumerate(counts))
