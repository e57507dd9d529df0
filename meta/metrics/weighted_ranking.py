"""Average precision under many weightings of the images at once, sorted only once.

A bootstrap asks for the same average precisions a thousand times with other image weights. The
order of the pairs never changes, so it is found once and kept as two sparse matrices; each
weighting is then one sparse product. Only the places of the positives are kept: between them
the average precision does not move. Where numba is installed, compiled code does the same sums.

Pairs that are left out of the judgement (see `left_out`) count neither as met nor as unlisted.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from tagstack.base_models.compilation import can_compile
from tagstack.base_models.pairs import PairProba
from tagstack.meta.metrics.counts import canonical
from tagstack.meta.metrics.left_out import is_left_out
from tagstack.meta.metrics.ranking import running

_BLOCK = 16  # weightings at a time without numba: enough for the sparse products, little memory


@dataclass(frozen=True, kw_only=True)
class RankedPositives:
    """The distinct probabilities at which positives stand, tag by tag, descending.

    Parameters
    ----------
    of : array of shape (n_steps,), int64
        Tag of each step; 0 throughout when all pairs are ranked together.
    passed : csr_array of shape (n_steps, n_images + 1), float32
        Pairs met from the previous step down to this one. The last column stands for the weight
        of all images, so that a tag's unlisted images are "all, less the listed".
    hits : csr_array of shape (n_steps, n_images), float32
        Positives at this very probability.
    n_tags : int
    """

    of: NDArray[np.int64]
    passed: sparse.csr_array
    hits: sparse.csr_array
    n_tags: int

    def average_precision(
        self, weights: NDArray[np.float32], *, compiled: bool | None = None
    ) -> NDArray[np.float64]:
        """Return the average precision of each tag under each weighting.

        Parameters
        ----------
        weights : array of shape (n_images, n_weightings), float32, whole numbers
            How often each image counts.
        compiled : bool, optional
            Whether compiled code does it (ten times as fast, needs numba; equal to 12 digits); by
            default wherever numba works.

        Returns
        -------
        array of shape (n_tags, n_weightings), float64
            NaN where no positive has weight.
        """
        if not len(self.of):
            return np.full((self.n_tags, weights.shape[1]), np.nan)
        everything = np.vstack([weights, weights.sum(0, keepdims=True, dtype=np.float32)])
        if can_compile() if compiled is None else compiled:
            from tagstack.meta.metrics.compiled_areas import areas

            return areas(self.of, self.passed, self.hits, everything, self.n_tags)
        blocks = [
            self._areas(weights[:, at : at + _BLOCK], everything[:, at : at + _BLOCK])
            for at in range(0, weights.shape[1], _BLOCK)
        ]
        return np.hstack(blocks)

    def _areas(
        self, weights: NDArray[np.float32], everything: NDArray[np.float32]
    ) -> NDArray[np.float64]:
        result = np.full((self.n_tags, weights.shape[1]), np.nan)
        begins = np.flatnonzero(np.diff(self.of, prepend=-1))
        hits = np.ascontiguousarray((self.hits @ weights).T)
        passed = np.ascontiguousarray((self.passed @ everything).T)
        # One weighting after the other: what is summed up then stays in the processor's cache.
        for number, (hit, met) in enumerate(zip(hits, passed, strict=True)):
            result[self.of[begins], number] = _areas(hit, met, begins)
        return result


def ranked_positives(
    proba: PairProba, labels: sparse.csr_array, *, together: bool = False
) -> RankedPositives:
    """Return the ranking of a rung's positives, ready for any weighting.

    Parameters
    ----------
    proba : PairProba
        Without NaN (see `without_abstentions`).
    labels : csr_array of shape (n_images, n_tags), bool
    together : bool
        Rank all pairs in one list (micro average precision) instead of tag by tag.
    """
    pairs = proba.pairs
    labels = canonical(labels, (pairs.n_images, pairs.n_tags))
    every = np.arange(pairs.n_tags)
    listed = _keys(pairs.tag, proba.proba, together)  # a value left out is never looked up
    blocks = _keys(every, proba.base, together)
    positives = _keys(labels.indices, _values_at(proba, labels), together)
    steps, step_of = np.unique(positives, return_inverse=True)
    image = np.repeat(np.arange(pairs.n_images), np.diff(labels.indptr))
    passed = _Entries(steps)
    judged = ~is_left_out(proba.proba)
    passed.add(listed[judged], pairs.image[judged], 1)
    unlisted = np.bincount(pairs.tag, minlength=pairs.n_tags) < pairs.n_images
    passed.add(blocks[unlisted], np.full(unlisted.sum(), pairs.n_images), 1)
    beside = unlisted[pairs.tag]
    passed.add(blocks[pairs.tag[beside]], pairs.image[beside], -1)
    return RankedPositives(
        of=(steps >> np.uint64(32)).astype(np.int64),
        passed=passed.matrix(pairs.n_images + 1),
        hits=_matrix(step_of, image, np.ones(len(image)), (len(steps), pairs.n_images)),
        n_tags=1 if together else pairs.n_tags,
    )


def without_abstentions(proba: PairProba) -> PairProba:
    """Return the probabilities with 0 for "no probability": an unknown tag ranks nothing.

    All images then tie, and the average precision of the tag is its share of positives.
    """
    return PairProba(
        pairs=proba.pairs,
        proba=np.nan_to_num(proba.proba, nan=0.0),
        base=np.nan_to_num(proba.base, nan=0.0),
    )


class _Entries:
    """Collects signed pairs and the step that each is met at; pairs below all steps are dropped."""

    def __init__(self, steps: NDArray[np.uint64]) -> None:
        self._steps = steps
        self._parts: list[tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]] = []

    def add(self, keys: NDArray[np.uint64], image: NDArray[np.integer], sign: int) -> None:
        """Add pairs by key and image, each with the weight ``sign``."""
        at = np.searchsorted(self._steps, keys)
        met = np.zeros(len(keys), bool)
        inside = at < len(self._steps)
        met[inside] = self._steps[at[inside]] >> np.uint64(32) == keys[inside] >> np.uint64(32)
        part = (at[met], image[met].astype(np.intp), np.full(met.sum(), sign, np.float32))
        self._parts.append(part)

    def matrix(self, n_columns: int) -> sparse.csr_array:
        """Return the sum of what was added, shape (n_steps, n_columns)."""
        at, image, sign = (np.concatenate(column) for column in zip(*self._parts, strict=True))
        return _matrix(at, image, sign, (len(self._steps), n_columns))


def _keys(
    tag: NDArray[np.integer], value: NDArray[np.float32], together: bool
) -> NDArray[np.uint64]:
    """Return integers that sort by tag, then by descending value.

    The bit patterns of non-negative floats sort like the floats; adding 0 turns -0 into 0.
    """
    bits = (value.astype(np.float32) + np.float32(0)).view(np.uint32).astype(np.uint64)
    descending = np.uint64(0xFFFFFFFF) - bits
    return descending if together else (tag.astype(np.uint64) << np.uint64(32)) | descending


def _values_at(proba: PairProba, labels: sparse.csr_array) -> NDArray[np.float32]:
    """Return the probability of each stored entry of ``labels``."""
    pairs = proba.pairs
    row = np.repeat(np.arange(pairs.n_images), np.diff(labels.indptr))
    wanted = row * np.int64(pairs.n_tags) + labels.indices
    keys = pairs.keys()
    if not len(keys):
        return np.asarray(proba.base[labels.indices])
    at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    value = np.where(keys[at] == wanted, proba.proba[at], proba.base[labels.indices])
    return np.asarray(value)


def _areas(
    hit: NDArray[np.float32], met: NDArray[np.float32], begins: NDArray[np.intp]
) -> NDArray[np.float64]:
    """Return each tag's average precision from positives and pairs met at each step."""
    hits = hit.astype(np.float64)
    gained, passed = running(hits, begins), running(met.astype(np.float64), begins)
    gained *= hits
    # Weights are whole numbers: where less than 1 is met, nothing was hit either.
    gained /= np.maximum(passed, 1.0, out=passed)
    positives = np.add.reduceat(hits, begins)
    total = np.add.reduceat(gained, begins)
    return np.divide(total, positives, out=np.full_like(total, np.nan), where=positives > 0)


def _matrix(
    row: NDArray[np.integer],
    column: NDArray[np.integer],
    value: NDArray[np.floating],
    shape: tuple[int, int],
) -> sparse.csr_array:
    entries = (value.astype(np.float32), (row, column))
    matrix = sparse.csr_array(sparse.coo_array(entries, shape=shape))
    matrix.eliminate_zeros()
    return matrix
