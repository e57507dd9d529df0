"""Pictures that look alike: copies at another size, recompressed, slightly cropped.

Two pictures are near-duplicates when few of the 64 bits of their hashes differ and their
thumbnails differ by a small part of their contrast; groups are what a chain of such pairs links.
Pictures with hardly any contrast have hashes made of noise and are never near-duplicates: as
copies they are still found by content.

The search looks at a vanishing part of all pairs: among `k` slices of the 64 bits, two pictures
that differ in fewer than `2 k` bits differ in at most one bit of one slice, so it is enough to
compare pictures that agree in a slice but for one bit.

References
----------
Norouzi, Punjani & Fleet (2012), "Fast search in Hamming space with multi-index hashing".
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from tagstack.base_models.pictures.picture_hash import PictureHashes
from tagstack.configs.level1 import NearDuplicateSettings

_BITS = 64
_THUMBNAIL_PIXELS = 64
# A contrast below it counts as this much: the share of nearly nothing would be noise.
_LEAST_CONTRAST = 8.0
_BLOCK_PAIRS = 1_000_000  # candidates that are compared at a time; bounds the memory


def near_duplicate_groups(
    hashes: PictureHashes, settings: NearDuplicateSettings
) -> NDArray[np.int64]:
    """Return a number for each image, equal for those that a chain of near-duplicates links.

    Parameters
    ----------
    hashes : PictureHashes
        Images without a hash are alone.
    settings : NearDuplicateSettings

    Returns
    -------
    array of shape (n_images,), int64
        The smallest index of the group.
    """
    from scipy import sparse
    from scipy.sparse.csgraph import connected_components

    n_images = len(hashes.bits)
    left, right = near_duplicate_pairs(hashes, settings).T
    link = sparse.coo_array((np.ones(len(left), bool), (left, right)), shape=(n_images, n_images))
    label = connected_components(link, directed=False)[1]
    _, first, group = np.unique(label, return_index=True, return_inverse=True)
    return np.asarray(first[group], np.int64)


def near_duplicate_pairs(
    hashes: PictureHashes, settings: NearDuplicateSettings
) -> NDArray[np.int64]:
    """Return enough pairs of near-duplicates to link every group, shape (n_pairs, 2), int64.

    Of pictures with one and the same hash only the first is compared with others.

    Parameters
    ----------
    hashes : PictureHashes
    settings : NearDuplicateSettings
    """
    contrast = _contrast(hashes.thumbnails)
    usable = np.flatnonzero(hashes.known & (contrast >= settings.contrast) & settings.enabled)
    rows = np.concatenate(
        [hashes.bits[usable, None].view(np.uint8), hashes.thumbnails[usable]], axis=1
    )
    _, first, same = np.unique(rows, axis=0, return_index=True, return_inverse=True)
    chosen = np.sort(usable[first])
    found = [np.stack([usable[first][same.ravel()], usable], axis=1)]
    for pairs in _close(hashes.bits[chosen], settings.bits):
        left, right = chosen[pairs].T
        near = _difference(hashes.thumbnails, contrast, left, right) <= settings.difference
        found.append(np.stack([left[near], right[near]], axis=1))
    pairs = np.concatenate(found)
    return np.unique(pairs[pairs[:, 0] != pairs[:, 1]], axis=0)


def _contrast(thumbnails: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return each thumbnail's standard deviation around its mean colour, in grey levels."""
    pixels = thumbnails.reshape(len(thumbnails), _THUMBNAIL_PIXELS, 3)
    return np.asarray(np.sqrt(pixels.var(axis=1, dtype=np.float32).mean(axis=1)), np.float32)


def _difference(
    thumbnails: NDArray[np.uint8],
    contrast: NDArray[np.float32],
    left: NDArray[np.int64],
    right: NDArray[np.int64],
) -> NDArray[np.float32]:
    """Return the root mean square difference of pairs as a share of the smaller contrast."""
    change = thumbnails[left].astype(np.int16) - thumbnails[right]
    level = np.sqrt(np.square(change, dtype=np.int32).mean(axis=1, dtype=np.float32))
    scale = np.minimum(contrast[left], contrast[right]).clip(min=_LEAST_CONTRAST)
    return np.asarray(level / scale, np.float32)


def _close(bits: NDArray[np.uint64], limit: int) -> Iterator[NDArray[np.int64]]:
    """Yield pairs that differ in at most ``limit`` bits, some of them more than once."""
    n_slices = limit // 2 + 1
    ones = np.unpackbits(bits[:, None].view(np.uint8), axis=1)
    for start in range(n_slices):
        own = ones[:, start::n_slices]  # neighbouring bits are alike: every slice has some of all
        key = own @ (1 << np.arange(own.shape[1], dtype=np.int64))
        order = np.argsort(key, kind="stable")
        for mask in (0, *(1 << np.arange(own.shape[1], dtype=np.int64))):
            for left, right in _agreeing(key[order], order, int(mask)):
                near = np.bitwise_count(bits[left] ^ bits[right]) <= limit
                yield np.stack([left[near], right[near]], axis=1)


def _agreeing(
    key: NDArray[np.int64], order: NDArray[np.intp], mask: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield blocks of pairs, left index below right, whose keys differ in exactly the mask."""
    low = np.searchsorted(key, key ^ mask)
    high = np.searchsorted(key, key ^ mask, side="right")
    start, counts = low, high - low
    if mask == 0:  # a picture is paired with those behind it in the order alone
        start = np.arange(1, len(key) + 1)
        counts = high - start
    else:  # and one of two keys finds the other
        counts = np.where(key < (key ^ mask), counts, 0)
    ends = np.cumsum(counts)
    row = 0
    while row < len(key):
        last = int(np.searchsorted(ends, ends[row] - counts[row] + _BLOCK_PAIRS, side="right"))
        last = max(last, row + 1)
        n = counts[row:last]
        here = np.repeat(np.arange(row, last), n)
        inside = np.arange(n.sum()) - np.repeat(np.cumsum(n) - n, n)
        left, right = order[here], order[start[here] + inside]
        yield np.minimum(left, right), np.maximum(left, right)
        row = last
