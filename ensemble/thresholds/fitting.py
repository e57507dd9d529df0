"""Thresholds fitted on out-of-fold probabilities, for what the decoder leaves.

Every threshold that is judged here is judged on images it was not fitted on. With a decoder the
fit goes in rounds: decode with the thresholds at hand, fit again on the pairs that a threshold
still has a say in, and keep the round whose decoded tags score best.
"""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from tagstack.base_models.pairs import PairProba
from tagstack.base_models.vocabulary import Vocabulary
from tagstack.configs.decisions import ThresholdSettings
from tagstack.configs.errors import TagstackError
from tagstack.ensemble.contradictions.decoder import Decoder
from tagstack.ensemble.thresholds.curves import Bools, Counts, Sorted
from tagstack.ensemble.thresholds.strategies import (
    PER_TAG,
    STRATEGIES,
    Sample,
    average_f,
    thresholds_from_logits,
)
from tagstack.ensemble.thresholds.survival import Survival, survival
from tagstack.ensemble.thresholds.table import State, Thresholds, read_overrides

__all__ = ["Thresholds", "fit_thresholds", "read_overrides"]

logger = logging.getLogger(__name__)

Values = NDArray[np.float32]


def fit_thresholds(
    proba: PairProba,
    labels: sparse.csr_array,
    vocabulary: Vocabulary,
    folds: NDArray[np.integer],
    settings: ThresholdSettings,
    decoder: Decoder | None = None,
) -> Thresholds:
    """Return one threshold per tag for the objective of ``settings``.

    Parameters
    ----------
    proba : PairProba
        Out-of-fold probabilities; those of images a model was fitted on give thresholds that
        are too high.
    labels : csr_array of shape (n_images, n_tags), bool
    vocabulary : Vocabulary
    folds : array of shape (n_images,), integer
        Fold of each image; images that resemble each other share one.
    settings : ThresholdSettings
    decoder : Decoder, optional
        Fit for the tags that this decoder leaves.

    Raises
    ------
    TagstackError
        If the shapes disagree, or all images are in one fold.
    """
    _check(proba, labels, vocabulary, folds)
    fit = _Fit(proba, labels, vocabulary, folds, settings, decoder)
    best = fit.round(None)
    latest = best
    for _ in range(settings.decoder_rounds if decoder is not None else 0):
        latest = fit.round(latest.survival)
        if latest.score > best.score:
            best = latest
    value = fit.propose(fit.pairs(best.fitted_on), np.ones(len(folds), bool))[best.candidate]
    return Thresholds(
        vocabulary=vocabulary,
        value=value,
        state=_states(fit.n_positives, settings),
        positives=fit.n_positives,
        estimate=best.counts.f_beta(settings.beta),
        objective=f"{settings.average} F{settings.beta:g}",
        calibration_hash=_digest(proba, labels, folds),
    )


@dataclass(frozen=True, kw_only=True)
class _Round:
    """One cross-validated pass: which candidate won, and what its tags score out of sample."""

    fitted_on: Survival | None
    candidate: int
    counts: Counts
    score: float
    survival: Survival | None


class _Fit:
    """One calibration set and the folds it is judged by."""

    def __init__(
        self,
        proba: PairProba,
        labels: sparse.csr_array,
        vocabulary: Vocabulary,
        folds: NDArray[np.integer],
        settings: ThresholdSettings,
        decoder: Decoder | None,
    ) -> None:
        self.proba, self.labels, self.folds = proba, labels.astype(bool), folds
        self.settings, self.decoder = settings, decoder
        self.names = np.unique(folds)
        self.plain = Sorted.from_pairs(proba, labels)
        self.n_positives = self.plain.curves.n_positives
        _, category = np.unique(vocabulary.categories, return_inverse=True)
        self.category = category.astype(np.intp)

    def pairs(self, left: Survival | None) -> Sorted:
        """Return the sorted pairs, as the decoder treats them."""
        if left is None:
            return self.plain
        standing = replace(self.proba, proba=left.standing)
        return Sorted.from_pairs(standing, self.labels, left.implied)

    def propose(self, pairs: Sorted, images: Bools) -> Values:
        """Return the strategy's candidates from some images, shape (n_candidates, n_tags)."""
        inner = [name for name in self.names if (images & (self.folds == name)).any()]
        curves = pairs.select(images)
        parts = [curves]
        if self.settings.strategy == "scut" and len(inner) > 1:
            parts = [pairs.select(images & (self.folds != name)) for name in inner]
        sample = Sample(
            curves=curves, parts=parts, n_images=int(images.sum()), category=self.category
        )
        logits = STRATEGIES[self.settings.strategy](sample, self.settings)
        return thresholds_from_logits(logits, curves.floor)

    def round(self, fitted_on: Survival | None) -> _Round:
        """Return one cross-validated pass, fitted on what the decoder left in the last."""
        pairs = self.pairs(fitted_on)
        proposals = [self.propose(pairs, self.folds != name) for name in self.names]
        scores = [
            float(average_f(self._crossed(pairs, [rows[i] for rows in proposals]), self.settings))
            for i in range(len(proposals[0]))
        ]
        candidate = int(np.argmax(scores))
        chosen = [rows[candidate] for rows in proposals]
        if self.decoder is None:
            counts, left = self._crossed(pairs, chosen), None
        else:
            counts, left = self._decoded(chosen, self.decoder)
        score = float(average_f(counts, self.settings))
        logger.debug("thresholds: candidate %d of %d, score %.4f", candidate, len(scores), score)
        return _Round(
            fitted_on=fitted_on, candidate=candidate, counts=counts, score=score, survival=left
        )

    def _crossed(self, pairs: Sorted, by_fold: Sequence[Values]) -> Counts:
        """Return the counts of each fold's images under the thresholds fitted without them."""
        counts = [
            pairs.select(self.folds == name).counts(value)
            for name, value in zip(self.names, by_fold, strict=True)
        ]
        total = counts[0]
        for other in counts[1:]:
            total = total + other
        return total

    def _decoded(self, by_fold: Sequence[Values], decoder: Decoder) -> tuple[Counts, Survival]:
        """Return the counts after decoding each fold's images, and what decoding left of them."""
        images = [np.flatnonzero(self.folds == name) for name in self.names]
        parts = [
            decoder.decode(self.proba.take(chosen), value)
            for chosen, value in zip(images, by_fold, strict=True)
        ]
        back = np.argsort(np.concatenate(images))
        decided = sparse.csr_array(sparse.vstack(parts, format="csr")[back])
        fold = np.searchsorted(self.names, self.folds)[self.proba.pairs.image]
        threshold = np.stack(by_fold)[fold, self.proba.pairs.tag]
        counts = Counts(
            hits=_column_sums(decided.multiply(self.labels)),
            predicted=_column_sums(decided),
            positives=self.n_positives,
        )
        return counts, survival(self.proba, threshold, decided, decoder.rules)


def _column_sums(matrix: sparse.csr_array) -> NDArray[np.int64]:
    return np.asarray(matrix.sum(axis=0, dtype=np.int64)).ravel()


def _states(n_positives: NDArray[np.int64], settings: ThresholdSettings) -> tuple[State, ...]:
    def state(count: int) -> State:
        if settings.strategy == "fixed":
            return "fixed"
        own = settings.strategy in PER_TAG and count >= settings.min_positives
        return "tuned" if own else "pooled"

    return tuple(map(state, n_positives.tolist()))


def _digest(proba: PairProba, labels: sparse.csr_array, folds: NDArray[np.integer]) -> str:
    """Return the SHA-256 over everything that the thresholds were fitted on."""
    state = hashlib.sha256()
    truth = sparse.csr_array(labels.astype(bool))
    truth.sort_indices()
    for array in (proba.pairs.indptr, proba.pairs.tag, truth.indptr, truth.indices, folds):
        state.update(np.ascontiguousarray(array, np.int64).tobytes())
    for values in (proba.proba, proba.base):
        state.update(np.ascontiguousarray(values, np.float32).tobytes())
    return state.hexdigest()


def _check(
    proba: PairProba, labels: sparse.csr_array, vocabulary: Vocabulary, folds: NDArray[np.integer]
) -> None:
    due = (proba.pairs.n_images, proba.pairs.n_tags)
    if labels.shape != due or folds.shape != due[:1] or len(vocabulary) != due[1]:
        msg = (
            f"proba is about {due[0]} images and {due[1]} tags, but labels have shape "
            f"{labels.shape}, folds {folds.shape} and the vocabulary {len(vocabulary)} tags."
        )
        raise TagstackError(msg)
    if len(np.unique(folds)) < 2:
        msg = "Thresholds need two folds or more to be judged on; all images are in one fold."
        raise TagstackError(msg)
