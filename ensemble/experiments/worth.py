"""What answers are worth to somebody, as an outcome between 0 and 1 that no later look changes."""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from tagstack.base_models.vocabulary import Vocabulary
from tagstack.meta.metrics.utility import OUTCOMES

ALL = "*"
Worths = Mapping[str, Sequence[float]]
"""What each of `OUTCOMES` is worth, by tag; for other tags under `ALL`."""


def worths_from(worth: NDArray[np.float64], vocabulary: Vocabulary) -> dict[str, tuple[float, ...]]:
    """Return worths by tag, those that most tags have under `ALL`.

    Parameters
    ----------
    worth : array of shape (4, n_tags), float64
        As of `utility.utility_of`.
    vocabulary : Vocabulary
    """
    rows = [tuple(row) for row in worth.T.tolist()]
    usual = Counter(rows).most_common(1)[0][0]
    own = {tag: row for tag, row in zip(vocabulary.tags, rows, strict=True) if row != usual}
    return {ALL: usual, **own}


def range_of(worths: Worths) -> tuple[float, float]:
    """Return the lowest and the highest value of all: outcomes 0 and 1."""
    values = [value for row in worths.values() for value in row]
    return min(values), max(values)


def outcome_of(worths: Worths, answers: Mapping[str, bool], given: set[str]) -> float:
    """Return what tags are worth by answers about a picture, on average, in [0, 1].

    Parameters
    ----------
    worths : mapping of tag to (tp, fp, fn, tn)
    answers : mapping of tag to bool
        At least one: whether the tag holds.
    given : set of str
        The picture's tags.
    """
    low, high = range_of(worths)
    total = 0.0
    for tag, holds in answers.items():
        row = dict(zip(OUTCOMES, worths.get(tag, worths[ALL]), strict=True))
        right, wrong = ("tp", "fn") if holds else ("fp", "tn")
        total += row[right if tag in given else wrong] - low
    return min(1.0, max(0.0, total / len(answers) / (high - low)))
