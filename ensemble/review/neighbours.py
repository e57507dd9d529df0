"""The pictures most like one, as the stack sees them: with a tag and without it.

Alike are pictures whose tags are as probable: the cosine of their probabilities, pair by pair. No
picture is looked at, so it costs a few milliseconds among a hundred thousand.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from tagstack.ensemble.review.pairs import ReviewPairs


class Neighbours:
    """Looks for pictures like another one.

    Parameters
    ----------
    table : ReviewPairs
    """

    def __init__(self, table: ReviewPairs) -> None:
        self.table = table
        n_images = int(table.image[-1]) + 1 if len(table.image) else 0
        n_tags = len(table.n_pairs)
        pairs = (table.proba.astype(np.float32), (table.image, table.tag))
        seen = sparse.csr_array(sparse.coo_array(pairs, shape=(n_images, n_tags)))
        length = np.sqrt(np.asarray(seen.multiply(seen).sum(axis=1)).ravel())
        self._length = np.maximum(length, 1e-12)
        self._seen = seen

    def of(self, image: int, tag: int, n_each: int) -> tuple[list[int], list[int]]:
        """Return the pictures most like one: so many with a tag, and so many without it.

        Most alike first; never the picture itself.
        """
        if image >= self._seen.shape[0]:
            return [], []
        own = np.zeros(self._seen.shape[1], np.float32)
        first, last = self._seen.indptr[image : image + 2]
        own[self._seen.indices[first:last]] = self._seen.data[first:last]
        likeness = np.asarray(self._seen @ own) / self._length
        likeness[image] = -1.0
        has = np.zeros(len(likeness), bool)
        has[self.table.image[(self.table.tag == tag) & self.table.has]] = True
        return _most(likeness, has, n_each), _most(likeness, ~has, n_each)


def _most(likeness: NDArray[np.floating], chosen: NDArray[np.bool_], n: int) -> list[int]:
    rows = np.flatnonzero(chosen & (likeness > 0))
    if len(rows) > n:
        rows = rows[np.argpartition(-likeness[rows], n)[:n]]
    return [int(row) for row in rows[np.argsort(-likeness[rows], kind="stable")]]
