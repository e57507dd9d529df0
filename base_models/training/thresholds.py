"""The threshold that a tagger is published with: the best F1 of each tag on left-out images."""

import numpy as np
from numpy.typing import NDArray


def best_thresholds(
    proba: NDArray[np.float32],
    labels: NDArray[np.bool_],
    known: NDArray[np.bool_] | None = None,
) -> NDArray[np.float32]:
    """Return the threshold with the best F1 for each tag, among 0.05, 0.06, ... 0.95.

    Parameters
    ----------
    proba : array of shape (n_images, n_tags), float32, in [0, 1]
    labels : array of shape (n_images, n_tags), bool
    known : array of shape (n_images, n_tags), bool, optional
        Pairs that count; all by default.

    Returns
    -------
    array of shape (n_tags,), float32
        The lowest of equally good thresholds.
    """
    grid = np.arange(5, 96, dtype=np.float32) / np.float32(100)
    scores = []
    for threshold in grid:
        tagged = proba >= threshold if known is None else (proba >= threshold) & known
        hits = (tagged & labels).sum(0)
        scores.append(2 * hits / np.maximum(tagged.sum(0) + labels.sum(0), 1))
    best: NDArray[np.float32] = grid[np.argmax(scores, axis=0)]
    return best
