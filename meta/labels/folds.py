"""Folds for multi-label data: a tag's positives are spread, a group is never split.

Iterative stratification (Sechidis et al.), which serves the rarest tag first, on groups instead
of rows and on sparse labels: a heap holds the tags by what they still have to place, so the cost
is O(n_labels log n_tags), not n_images x n_tags squared.
"""

import heapq

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from tagstack.configs.errors import TagstackError


def stratified_group_folds(
    labels: sparse.csr_array, groups: NDArray[np.int64], n_folds: int, seed: int
) -> NDArray[np.int64]:
    """Return the fold of each image.

    Parameters
    ----------
    labels : csr_array of shape (n_images, n_tags), bool
    groups : array of shape (n_images,), integer
        Images with the same number land in the same fold.
    n_folds : int
    seed : int
        Order in which equal groups are served and equal folds are chosen.

    Returns
    -------
    array of shape (n_images,), int64, in [0, n_folds)

    Raises
    ------
    TagstackError
        If there are fewer groups than folds.

    References
    ----------
    Sechidis, Tsoumakas & Vlahavas (2011), "On the stratification of multi-label data".
    """
    names, member = np.unique(groups, return_inverse=True)
    if len(names) < n_folds:
        msg = (
            f"{n_folds} folds need at least {n_folds} groups of labelled images, got "
            f"{len(names)} ({labels.shape[0]} images). Label more images or lower stack.folds."
        )
        raise TagstackError(msg)
    # Groups in a seeded order, so that ties are broken by the seed and not by file names.
    order = np.random.default_rng(seed).permutation(len(names))
    rank = np.empty_like(order)
    rank[order] = np.arange(len(names))
    table = _positives_per_group(labels, rank[member], len(names))
    sizes = np.bincount(rank[member], minlength=len(names))
    fold_of_group = _Assignment(table, sizes, n_folds).run()
    return fold_of_group[rank[member]]


def _positives_per_group(
    labels: sparse.csr_array, member: NDArray[np.int64], n_groups: int
) -> sparse.csr_array:
    """Return how many images of each group carry each tag, shape (n_groups, n_tags)."""
    n_images = labels.shape[0]
    ones = np.ones(n_images, np.int64)
    gather = sparse.csr_array((ones, (member, np.arange(n_images))), shape=(n_groups, n_images))
    return sparse.csr_array(gather @ labels.astype(np.int64))


class _Assignment:
    """The state of one run: what each fold still wants of each tag, and who is placed."""

    def __init__(self, table: sparse.csr_array, sizes: NDArray[np.int64], n_folds: int) -> None:
        table.eliminate_zeros()
        self.table = table
        self.by_tag = sparse.csc_array(table)
        self.by_tag.sort_indices()
        self.sizes = sizes
        self.fold = np.full(len(sizes), -1, np.int64)
        self.remaining = np.asarray(table.sum(axis=0), np.int64).ravel()
        self.wanted = np.tile(self.remaining / n_folds, (n_folds, 1)).T.copy()
        self.room = np.full(n_folds, sizes.sum() / n_folds)

    def run(self) -> NDArray[np.int64]:
        """Place every group: those with labels by their rarest tag, the rest by room."""
        heap = [(int(count), tag) for tag, count in enumerate(self.remaining) if count]
        heapq.heapify(heap)
        while heap:
            count, tag = heapq.heappop(heap)
            now = int(self.remaining[tag])
            if now and now != count:  # the entry is stale: others took some of its positives
                heapq.heappush(heap, (now, tag))
            elif now:
                self._place_tag(tag)
        # Large groups first, or a last large one would overfill a fold.
        unplaced = np.flatnonzero(self.fold < 0)
        for group in unplaced[np.argsort(-self.sizes[unplaced], kind="stable")]:
            self._place(int(group), int(np.argmax(self.room)))
        return self.fold

    def _place_tag(self, tag: int) -> None:
        """Place every group that carries ``tag``, those with most of it first."""
        start, end = self.by_tag.indptr[tag], self.by_tag.indptr[tag + 1]
        groups, counts = self.by_tag.indices[start:end], self.by_tag.data[start:end]
        for group in groups[np.argsort(-counts, kind="stable")]:
            if self.fold[group] < 0:
                self._place(int(group), self._neediest_fold(tag))

    def _neediest_fold(self, tag: int) -> int:
        """Return the fold that wants ``tag`` most; among equals the one with most room."""
        wanted = self.wanted[tag]
        best = np.flatnonzero(wanted >= wanted.max() - 1e-9)
        return int(best[np.argmax(self.room[best])])

    def _place(self, group: int, fold: int) -> None:
        start, end = self.table.indptr[group], self.table.indptr[group + 1]
        tags, counts = self.table.indices[start:end], self.table.data[start:end]
        self.fold[group] = fold
        self.remaining[tags] -= counts
        self.wanted[tags, fold] -= counts
        self.room[fold] -= self.sizes[group]
