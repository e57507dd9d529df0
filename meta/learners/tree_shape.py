"""Whether numbers from a file make a tree: a library that walks one checks nothing."""

import numpy as np
from numpy.typing import NDArray

MOST_NODES = 1 << 20
MOST_TREES = 100_000
MOST_COLUMNS = 100_000
# A logit beyond this is none of a fit's, and sums of thousands stay finite in single precision.
MOST_LOGIT = 1e6


def check_tree(left: NDArray[np.int64], right: NDArray[np.int64], inner: NDArray[np.bool_]) -> None:
    """Refuse a tree whose walk from the root could leave it, end nowhere or never end.

    Parameters
    ----------
    left, right : arrays of shape (n_nodes,), int64
        Children of each node; of leaves without meaning.
    inner : array of shape (n_nodes,), bool
        Which nodes have children.

    Raises
    ------
    ValueError
        Says what is wrong.
    """
    children = np.concatenate([left[inner], right[inner]])
    if children.size and (children.min() < 1 or children.max() >= len(left)):
        msg = f"a child is no node of its tree of {len(left)}"
        raise ValueError(msg)
    if len(np.unique(children)) < len(children):
        msg = "a node has two parents"
        raise ValueError(msg)
    # Each node but the root has one parent at most: only a circle apart from the root is left, and
    # no walk begins in one.


def check_numbers(name: str, values: NDArray[np.float64], most: float = np.inf) -> None:
    """Refuse numbers that are not finite, or further from 0 than ``most``.

    Raises
    ------
    ValueError
        Names the first.
    """
    bad = ~np.isfinite(values) | (np.abs(values) > most)
    if bad.any():
        msg = f"{name} holds {values[bad][0]!r}; expected finite numbers up to {most:g}"
        raise ValueError(msg)
