"""What the other tags of an image say about one of its tags: rivals, relatives, company.

Everything reads the logits of the image's own candidate pairs and tables fitted beforehand, so
the context of an image never depends on another image.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.special import expit

from tagstack.base_models.orders import falling_within
from tagstack.base_models.pairs import Pairs
from tagstack.meta.labels.relations import TagRelations
from tagstack.meta.labels.truth import Evidence

Floats = NDArray[np.float64]

_NEIGHBOURS = 20  # tags per tag in the co-occurrence table; more add noise, not signal
_PSEUDO_IMAGES = 10.0  # by which a lift is shrunk to "no relation"
_LEAST_LIFT = 0.1  # one shared image of tags that never meet by chance gives 0.095
_DENSE = 2**21  # numbers of an image-by-tag table that is held at once
_MET = 4_000_000  # pairs of tags that meet, counted at once: their number grows with both
_FEW = 4096  # pairs whose speakers are laid out at once: one picture's, as a service is asked
_LISTENING = 0.02  # probability below which a tag says nothing about its neighbours


def rival_logit(pairs: Pairs, logit: Floats, relations: TagRelations) -> Floats:
    """Return the highest logit among the other tags of each pair's exclusive groups.

    Parameters
    ----------
    pairs : Pairs
    logit : array of shape (n_pairs,), float64
    relations : TagRelations

    Returns
    -------
    array of shape (n_pairs,), float64
        NaN where the tag stands in no group or no other member of it is listed.
    """
    membership = relations.membership
    pair, number = _expanded(pairs.tag, membership)
    key = pairs.image[pair].astype(np.int64) * membership.shape[1] + number
    return _fold_max(pair, _highest_other(key, logit[pair]), len(pairs))


def relative_logit(pairs: Pairs, logit: Floats, relatives: sparse.csr_array) -> Floats:
    """Return the highest logit among the relatives (parents, or children) of each pair's tag.

    Parameters
    ----------
    pairs : Pairs
    logit : array of shape (n_pairs,), float64
    relatives : csr_array of shape (n_tags, n_tags), bool
        ``relatives[tag, other]``.

    Returns
    -------
    array of shape (n_pairs,), float64
        NaN where the tag has no relative or none of them is listed.
    """
    pair, other = _expanded(pairs.tag, relatives)
    position = positions(pairs, pairs.image[pair], other)
    value = np.where(position >= 0, logit[np.maximum(position, 0)], np.nan)
    return _fold_max(pair, value, len(pairs))


def log_lift(evidence: Evidence) -> sparse.csr_array:
    """Return how much one tag speaks for another: the shrunken log lift of their co-occurrence.

    Parameters
    ----------
    evidence : Evidence
        Two tags are compared on the images where both are known.

    Returns
    -------
    csr_array of shape (n_tags, n_tags), float64
        ``lift[speaker, tag]``; the strongest few speakers of each tag, the diagonal empty.
    """
    labels = evidence.labels.astype(np.float64)
    chance, by_tag = _Chance(evidence, labels), sparse.csc_array(labels)
    speakers = sparse.csr_array(labels.T)
    # Of each tag, with how many labels it stands on images: how often it meets others, at most.
    met = by_tag.T @ np.diff(labels.indptr)
    found = [
        _strongest(speakers @ by_tag[:, start:stop], start, chance)
        for start, stop in _within(met, _MET)
    ]
    lift, speaker, tag = (np.concatenate(part) for part in zip(*found, strict=True))
    n_tags = labels.shape[1]
    return sparse.csr_array((lift, (speaker, tag)), shape=(n_tags, n_tags))


def _strongest(
    met: sparse.csr_array, start: int, chance: "_Chance"
) -> tuple[Floats, NDArray[np.int64], NDArray[np.int64]]:
    """Return the lifts, speakers and tags of some tags' strongest speakers.

    Parameters
    ----------
    met : csr_array of shape (n_tags, n_some)
        On how many images each tag met these.
    start : int
        Number of the first of them.
    chance : _Chance
    """
    together = sparse.coo_array(met)
    speaker, tag = (axis.astype(np.int64) for axis in together.coords)
    tag += start
    expected = chance.together(speaker, tag)
    lift = np.log((together.data + _PSEUDO_IMAGES) / (expected + _PSEUDO_IMAGES))
    # Most pairs of tags met by chance once or twice: they need not be sorted.
    said = np.flatnonzero((np.abs(lift) >= _LEAST_LIFT) & (speaker != tag))
    order = said[np.lexsort((speaker[said], -np.abs(lift[said]), tag[said]))]
    first = np.searchsorted(tag[order], tag[order])  # where this tag's speakers begin
    order = order[np.arange(len(order)) - first < _NEIGHBOURS]
    return lift[order], speaker[order], tag[order]


def _within(sizes: Floats, most: float) -> Iterator[tuple[int, int]]:
    """Yield ranges of neighbours that together have at most ``most``, or are alone."""
    begin, total = 0, 0.0
    for end, size in enumerate(sizes):
        if total + size > most and end > begin:
            yield begin, end
            begin, total = end, 0.0
        total += size
    yield begin, len(sizes)


class _Chance:
    """On how many images two tags would meet by chance, where both are known."""

    def __init__(self, evidence: Evidence, labels: sparse.csr_array) -> None:
        self.single, self.n_images = np.asarray(labels.sum(axis=0)).ravel(), labels.shape[0]
        self.unknown = bool(evidence.unknown.nnz)
        if self.unknown:
            unknown = evidence.unknown.astype(np.float64)
            self.hidden = np.asarray(unknown.sum(axis=0)).ravel()
            self.lost = sparse.csr_array(labels.T @ unknown)
            self.both = sparse.csr_array(unknown.T @ unknown)

    def together(self, speaker: NDArray[np.int64], tag: NDArray[np.int64]) -> Floats:
        """Return the expected number of each two tags. Of the shape of ``tag``."""
        single = self.single
        if not self.unknown:
            return np.asarray(single[speaker] * single[tag] / max(self.n_images, 1))
        hidden, lost = self.hidden, self.lost
        n_known = self.n_images - hidden[speaker] - hidden[tag] + self.both[speaker, tag]
        of_speaker = single[speaker] - lost[speaker, tag]
        of_tag = single[tag] - lost[tag, speaker]
        return np.asarray(of_speaker * of_tag / np.maximum(n_known, 1.0))


def company(pairs: Pairs, logit: Floats, lift: sparse.csr_array | sparse.csc_array) -> Floats:
    """Return what the image's other tags say about each pair: their probabilities times lifts.

    Parameters
    ----------
    pairs : Pairs
    logit : array of shape (n_pairs,), float64
    lift : csr_array or csc_array
        As `log_lift` returns it; sorted by tag, it need not be sorted again.

    Returns
    -------
    array of shape (n_pairs,), float64
        0 where nothing speaks for or against.
    """
    proba = expit(logit)
    proba[proba < _LISTENING] = 0.0
    heard, said = sparse.csc_array(lift), np.zeros(len(pairs))
    # Only listed pairs are asked: the product of all images' tags with the lifts would say ten
    # times as much. A few images at a time are dense, so that a speaker is found where it stands.
    n_images = max(1, _DENSE // pairs.n_tags)
    dense = np.zeros(min(n_images, pairs.n_images) * pairs.n_tags)
    for start in range(0, pairs.n_images, n_images):
        stop = min(start + n_images, pairs.n_images)
        own = slice(pairs.indptr[start], pairs.indptr[stop])
        tag = pairs.tag[own]
        row = (pairs.image[own] - start).astype(np.int64) * pairs.n_tags
        dense[row + tag] = proba[own]
        said[own] = _heard(dense, row, tag, heard)
        dense[row + tag] = 0.0
    return said


def _heard(
    dense: Floats, row: NDArray[np.int64], tag: NDArray[np.int32], heard: sparse.csc_array
) -> Floats:
    """Return the probabilities of each pair's speakers times what they say, summed.

    Parameters
    ----------
    dense : array of shape (n_images * n_tags,), float64
    row : array of shape (n_pairs,), int64
        Where the pair's image begins in ``dense``.
    tag : array of shape (n_pairs,), int32
    heard : csc_array
        Each tag's speakers.
    """
    said, first = np.zeros(len(tag)), heard.indptr[tag]
    count = heard.indptr[tag + 1] - first
    if len(tag) <= _FEW:
        pair = np.repeat(np.arange(len(tag)), count)
        entry = np.arange(len(pair)) + np.repeat(first - (np.cumsum(count) - count), count)
        words = heard.data[entry] * dense[row[pair] + heard.indices[entry]]
        return np.asarray(np.bincount(pair, weights=words, minlength=len(tag)), np.float64)
    for k in range(int(count.max(initial=0))):
        asked = np.flatnonzero(count > k)
        entry = first[asked] + k
        said[asked] += heard.data[entry] * dense[row[asked] + heard.indices[entry]]
    return said


def positions(
    pairs: Pairs, image: NDArray[np.integer], tag: NDArray[np.integer]
) -> NDArray[np.int64]:
    """Return where each (image, tag) is listed in ``pairs``, -1 where it is not.

    Of the shape of ``image``.
    """
    keys = pairs.keys()
    wanted = image.astype(np.int64) * pairs.n_tags + tag
    position = np.searchsorted(keys, wanted)
    found = np.append(keys, -1)[position] == wanted
    return np.where(found, position, -1)


def _expanded(
    tag: NDArray[np.int32], table: sparse.csr_array
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return (row, column) of each entry of ``table`` in the row of each element of ``tag``."""
    counts = np.diff(table.indptr)[tag]
    row = np.repeat(np.arange(len(tag)), counts)
    offset = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
    return row, table.indices[table.indptr[tag][row] + offset].astype(np.int64)


def _highest_other(key: NDArray[np.int64], value: Floats) -> Floats:
    """Return for each row the highest value of another row with the same key, NaN if none."""
    if not len(key):
        return np.zeros(0)
    order = falling_within(key, value)
    first = np.r_[True, key[order][1:] != key[order][:-1]]
    starts = np.flatnonzero(first)
    ranked = np.append(value[order], np.nan)
    lengths = np.diff(np.append(starts, len(order)))
    second = np.where(lengths > 1, ranked[starts + 1], np.nan)
    run = np.cumsum(first) - 1
    result = np.empty(len(order))
    result[order] = np.where(first, second[run], ranked[starts][run])
    return result


def _fold_max(index: NDArray[np.int64], value: Floats, n: int) -> Floats:
    """Return the highest value of each index in ``[0, n)``, NaN where there is none."""
    highest = np.full(n, np.nan)
    np.fmax.at(highest, index, value)
    return highest
