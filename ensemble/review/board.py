"""The board: what is known of each tag, from calibrated probabilities and what people answered."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from tagstack.ensemble.review.desk import Desk


def board_columns(desk: Desk) -> Mapping[str, NDArray[np.float64]]:
    """Return the board's columns, shape (n_tags,) each; a share of nothing is 0.

    ``wrong`` and ``missing`` are expected numbers of images, over the pairs that nobody answered.
    """
    with desk.lock:
        done, table = desk.decided(), desk.queue.table
    n_tags = len(table.wrong)
    rows = np.flatnonzero(done)
    tag, has, proba = table.tag[rows], table.has[rows], table.proba[rows].astype(np.float64)
    settled_wrong = np.bincount(tag, np.where(has, 1 - proba, 0), n_tags)
    settled_missing = np.bincount(tag, np.where(has, 0, proba), n_tags)
    verified = np.bincount(tag[has], minlength=n_tags)
    decided, asked, overturned, looked = (np.zeros(n_tags) for _ in range(4))
    index = desk.ground.bundle.vocabulary.index
    for name, count in desk.store.by_tag().items():
        if (at := index.get(name)) is not None:
            decided[at] = count.n_yes + count.n_no
            asked[at], overturned[at] = count.n_asked, count.n_overturned
            looked[at] = count.last_s
    certified = np.array([own == "certified" for own in desk.ground.bundle.thresholds.state])
    return {
        "wrong": np.maximum(table.wrong - settled_wrong, 0),
        "missing": np.maximum(table.missing - settled_missing, 0),
        "has": table.n_has.astype(np.float64),
        "verified": verified / np.maximum(table.n_has, 1),
        "near": table.n_near / np.maximum(table.n_pairs, 1),
        "decided": decided,
        "overturned": overturned / np.maximum(asked, 1),
        "looked": looked,
        "pairs": table.n_pairs.astype(np.float64),
        "certified": certified.astype(np.float64),
    }
