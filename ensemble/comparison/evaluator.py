"""One rung against the labels, scored under any weighting of the images."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from tagstack.base_models.pairs import PairProba
from tagstack.meta.metrics.counts import (
    Counts,
    canonical,
    column_counts,
    count_by_image,
    ratio,
)
from tagstack.meta.metrics.weighted_ranking import (
    RankedPositives,
    ranked_positives,
    without_abstentions,
)


@dataclass(frozen=True, kw_only=True)
class Scope:
    """Some tags over which scores are summed or averaged.

    Parameters
    ----------
    key : str
        Unique name.
    kind : str
        ``vocabulary``, ``category`` or ``frequency``.
    title : str
        What a reader calls it.
    tags : array of shape (n_tags,), bool
    whole : bool
        Also score per image and rank all pairs together, which costs more than per-tag scores.
    """

    key: str
    kind: str
    title: str
    tags: NDArray[np.bool_]
    whole: bool = False


@dataclass(frozen=True, kw_only=True)
class Evaluated:
    """Scores of one rung under several weightings of the images.

    Parameters
    ----------
    scores : mapping of (scope key, score name) to array of shape (n_weightings,), float64
    tag_f : array of shape (n_labelled_tags, n_weightings), float64
        F-beta of the tags that have a positive; NaN where none has weight.
    tag_ap : array of shape (n_tags, n_weightings), float64, or None
        Average precision; NaN for a tag without a positive of weight above 0. None where it was
        not asked for.
    """

    scores: Mapping[tuple[str, str], NDArray[np.float64]]
    tag_f: NDArray[np.float64]
    tag_ap: NDArray[np.float64] | None


class Evaluator:
    """One rung against the labels, ready to be scored under any weighting of the images.

    Parameters
    ----------
    proba : PairProba
    decided, labels : csr_array of shape (n_images, n_tags), bool
    scopes : sequence of Scope
    beta : float
        Weight of recall in F-beta.
    ranked : bool
        Whether average precision is computed, by far the largest part of the work. Rungs with the
        same probabilities share it.
    """

    def __init__(
        self,
        proba: PairProba,
        decided: sparse.csr_array,
        labels: sparse.csr_array,
        scopes: tuple[Scope, ...],
        beta: float,
        *,
        ranked: bool = True,
    ) -> None:
        labels, decided = canonical(labels), canonical(decided, labels.shape)
        self._beta = beta
        self._scopes = scopes
        # Of a large vocabulary few tags are given or true here: no other has a row.
        n_true, n_decided = column_counts(labels), column_counts(decided)
        self._labelled, seen = np.flatnonzero(n_true), np.flatnonzero(n_true + n_decided)
        self._labelled_among_seen = np.searchsorted(seen, self._labelled)
        self._right = _by_tag(canonical(decided.multiply(labels)))[seen]
        self._decided = _by_tag(decided)[seen]
        self._true = _by_tag(labels)[seen]
        filled = without_abstentions(proba) if ranked else None
        self._ranks = None if filled is None else ranked_positives(filled, labels)
        self._whole = {
            scope.key: _Whole(filled, decided, labels, scope.tags, beta)
            for scope in scopes
            if scope.whole
        }
        members = np.array([scope.tags for scope in scopes], dtype=float)
        self._members = sparse.csr_array(members[:, seen])
        self._labelled_members = sparse.csr_array(members[:, self._labelled])

    def evaluate(self, weights: NDArray[np.float32]) -> "Evaluated":
        """Return every score under each weighting.

        Parameters
        ----------
        weights : array of shape (n_images, n_weightings), float32, whole numbers
            How often each image counts.
        """
        # Sums of up to 16 million images are exact in the sparse products' float32.
        right, decided, true = (
            (matrix @ weights).astype(np.float64)
            for matrix in (self._right, self._decided, self._true)
        )
        of_tag = Counts(hits=right, predicted=decided, positives=true)
        tag_f = of_tag.f_beta(self._beta)
        tag_ap = None if self._ranks is None else self._ranks.average_precision(weights)
        of_scope = Counts(
            hits=self._members @ right,
            predicted=self._members @ decided,
            positives=self._members @ true,
        )
        n_tags = self._members @ (true > 0).astype(float)
        columns = {
            "micro_f": of_scope.f_beta(self._beta),
            "macro_f": ratio(self._members @ np.nan_to_num(tag_f), n_tags),
        }
        if tag_ap is not None:
            of_labelled = np.nan_to_num(tag_ap[self._labelled])
            columns["macro_ap"] = ratio(self._labelled_members @ of_labelled, n_tags)
        scores = {
            (scope.key, name): values[row]
            for name, values in columns.items()
            for row, scope in enumerate(self._scopes)
        }
        for key, whole in self._whole.items():
            scores[key, "sample_f"] = whole.sample_f(weights)
            if whole.ranks is not None:
                scores[key, "micro_ap"] = whole.ranks.average_precision(weights)[0]
        return Evaluated(scores=scores, tag_f=tag_f[self._labelled_among_seen], tag_ap=tag_ap)


class _Whole:
    """What needs images or all pairs together: sample-F and micro average precision."""

    ranks: RankedPositives | None

    def __init__(
        self,
        proba: PairProba | None,
        decided: sparse.csr_array,
        labels: sparse.csr_array,
        tags: NDArray[np.bool_],
        beta: float,
    ) -> None:
        if not tags.all():
            decided, labels = decided[:, tags], labels[:, tags]
            proba = None if proba is None else only_tags(proba, tags)
        counts = count_by_image(decided, labels)
        self._labelled = (counts.positives > 0).astype(np.float64)
        self._f = np.nan_to_num(counts.f_beta(beta))
        self.ranks = None if proba is None else ranked_positives(proba, labels, together=True)

    def sample_f(self, weights: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the mean F-beta of the images with a label."""
        rows = sparse.csr_array(np.stack([self._f, self._labelled]))
        total, n_images = rows @ weights.astype(np.float64)
        return ratio(total, n_images)


def only_tags(proba: PairProba, tags: NDArray[np.bool_]) -> PairProba:
    """Return the probabilities of some tags, renumbered in their order."""
    kept = tags[proba.pairs.tag]
    number = np.cumsum(tags, dtype=np.int32) - 1
    counts = np.bincount(proba.pairs.image[kept], minlength=proba.pairs.n_images)
    pairs = type(proba.pairs)(
        indptr=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        tag=number[proba.pairs.tag[kept]].astype(np.int32),
        n_tags=int(tags.sum()),
    )
    return PairProba(pairs=pairs, proba=proba.proba[kept], base=proba.base[tags])


def _by_tag(matrix: sparse.csr_array) -> sparse.csr_array:
    return sparse.csr_array(matrix.T, dtype=np.float32)
