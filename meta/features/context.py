"""What the other tags of an image say about one of its tags: rivals, relatives, company.

Everything reads the logits of the image's own candidate pairs and tables fitted beforehand, so
the context of an image never depends on another image.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.special import expit

from tagstack.base_models.pairs import Pairs
from tagstack.meta.labels.relations import TagRelations
from tagstack.meta.labels.truth import Evidence

Floats = NDArray[np.float64]

_NEIGHBOURS = 20  # tags per tag in the co-occurrence table; more add noise, not signal
_PSEUDO_IMAGES = 10.0  # by which a lift is shrunk to "no relation"
_LEAST_LIFT = 0.1  # one shared image of tags that never meet by chance gives 0.095
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
    counts = evidence.labels.astype(np.float64)
    together = sparse.coo_array(counts.T @ counts)
    speaker, tag = together.coords
    expected = _expected_together(evidence, speaker, tag)
    lift = np.log((together.data + _PSEUDO_IMAGES) / (expected + _PSEUDO_IMAGES))
    # Most pairs of tags met by chance once or twice: they need not be sorted.
    said = np.flatnonzero((np.abs(lift) >= _LEAST_LIFT) & (speaker != tag))
    order = said[np.lexsort((speaker[said], -np.abs(lift[said]), tag[said]))]
    first = np.searchsorted(tag[order], tag[order])  # where this tag's speakers begin
    order = order[np.arange(len(order)) - first < _NEIGHBOURS]
    return sparse.csr_array((lift[order], (speaker[order], tag[order])), shape=together.shape)


def _expected_together(
    evidence: Evidence, speaker: NDArray[np.integer], tag: NDArray[np.integer]
) -> Floats:
    """Return on how many images two tags would meet by chance, where both are known."""
    labels = evidence.labels.astype(np.float64)
    single = np.asarray(labels.sum(axis=0)).ravel()
    n_images = labels.shape[0]
    if not evidence.unknown.nnz:
        return np.asarray(single[speaker] * single[tag] / max(n_images, 1))
    unknown = evidence.unknown.astype(np.float64)
    hidden = np.asarray(unknown.sum(axis=0)).ravel()
    lost, both = sparse.csr_array(labels.T @ unknown), sparse.csr_array(unknown.T @ unknown)
    n_known = n_images - hidden[speaker] - hidden[tag] + both[speaker, tag]
    of_speaker = single[speaker] - lost[speaker, tag]
    of_tag = single[tag] - lost[tag, speaker]
    return np.asarray(of_speaker * of_tag / np.maximum(n_known, 1.0))


def company(pairs: Pairs, logit: Floats, lift: sparse.csr_array) -> Floats:
    """Return what the image's other tags say about each pair: their probabilities times lifts.

    Parameters
    ----------
    pairs : Pairs
    logit : array of shape (n_pairs,), float64
    lift : csr_array
        As `log_lift` returns it.

    Returns
    -------
    array of shape (n_pairs,), float64
        0 where nothing speaks for or against.
    """
    proba = expit(logit)
    proba[proba < _LISTENING] = 0.0
    shape = (pairs.n_images, pairs.n_tags)
    said: sparse.csr_array = sparse.csr_array((proba, pairs.tag, pairs.indptr), shape) @ lift
    said.sort_indices()
    heard = Pairs(
        indptr=said.indptr.astype(np.int64), tag=said.indices.astype(np.int32), n_tags=pairs.n_tags
    )
    position = positions(heard, pairs.image, pairs.tag)
    data = np.append(said.data, 0.0)
    return data[position]  # position -1, nothing said, is the appended 0


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
    order = np.lexsort((-value, key))
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
