"""Thresholds fitted on out-of-fold probabilities, for what the decoder leaves.

Every threshold that is judged here is judged on images it was not fitted on. With a decoder the
fit goes in rounds: decode with the thresholds at hand, fit again on the pairs that a threshold
still has a say in, and keep the round whose decoded tags score best.
"""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from tagstack.base_models.pairs import PairProba
from tagstack.base_models.vocabulary import Vocabulary
from tagstack.configs.decisions import ThresholdSettings
from tagstack.configs.errors import TagstackError
from tagstack.ensemble.contradictions import Decoder
from tagstack.ensemble.thresholds_curves import Bools, Counts, Curves, Sorted
from tagstack.ensemble.thresholds_strategies import (
    PER_TAG,
    STRATEGIES,
    Sample,
    average_f,
    thresholds_from_logits,
)
from tagstack.ensemble.thresholds_survival import Survival, survival
from tagstack.ensemble.thresholds_table import State, Thresholds, read_overrides

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
    value = fit.propose(np.ones(len(folds), bool), best.fitted_on)[best.candidate]
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
    """The sorted pairs of one calibration set, and the folds they are judged by."""

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
        self.sorted = Sorted.from_pairs(proba, labels)
        self.n_positives = self.sorted.curves.n_positives
        _, category = np.unique(vocabulary.categories, return_inverse=True)
        self.category = category.astype(np.intp)

    def propose(self, images: Bools, mask: Survival | None) -> Values:
        """Return the strategy's candidates from some images, shape (n_candidates, n_tags)."""
        needs_parts = self.settings.strategy == "scut"
        parts = [
            self._curves(images & (self.folds != name), mask)
            for name in (self.names if needs_parts else ())
            if (images & (self.folds == name)).any()
        ]
        curves = self._curves(images, mask)
        sample = Sample(
            curves=curves,
            parts=parts if len(parts) > 1 else [curves],
            n_images=int(images.sum()),
            category=self.category,
        )
        logits = STRATEGIES[self.settings.strategy](sample, self.settings)
        return thresholds_from_logits(logits, curves.floor)

    def round(self, mask: Survival | None) -> _Round:
        """Return one cross-validated pass, fitted on the pairs that ``mask`` leaves."""
        proposals = [self.propose(self.folds != name, mask) for name in self.names]
        scores = [
            float(average_f(self._crossed([rows[i] for rows in proposals], mask), self.settings))
            for i in range(len(proposals[0]))
        ]
        candidate = int(np.argmax(scores))
        chosen = [rows[candidate] for rows in proposals]
        if self.decoder is None:
            counts, left = self._crossed(chosen, mask), None
        else:
            counts, left = self._decoded(chosen, self.decoder)
        score = float(average_f(counts, self.settings))
        logger.debug("Thresholds: candidate %d of %d, %s", candidate, len(scores), score)
        return _Round(
            fitted_on=mask, candidate=candidate, counts=counts, score=score, survival=left
        )

    def _curves(self, images: Bools, mask: Survival | None) -> Curves:
        if mask is None:
            return self.sorted.select(images)
        pair = self.sorted.pair
        return self.sorted.select(images, mask.free[pair], mask.implied[pair])

    def _crossed(self, by_fold: Sequence[Values], mask: Survival | None) -> Counts:
        """Return the counts of each fold's images under the thresholds fitted without them."""
        counts = [
            self._curves(self.folds == name, mask).counts(value)
            for name, value in zip(self.names, by_fold, strict=True)
        ]
        total = counts[0]
        for other in counts[1:]:
            total = total + other
        return total

    def _decoded(self, by_fold: Sequence[Values], decoder: Decoder) -> tuple[Counts, Survival]:
        """Return the counts after decoding each fold's images, and what decoding left of them."""
        pairs = self.proba.pairs
        images = [np.flatnonzero(self.folds == name) for name in self.names]
        parts = [
            decoder.decode(self.proba.take(chosen), value)
            for chosen, value in zip(images, by_fold, strict=True)
        ]
        back = np.argsort(np.concatenate(images))
        decided = sparse.csr_array(sparse.vstack(parts, format="csr")[back])
        fold = np.searchsorted(self.names, self.folds)[pairs.image]
        passed = self.proba.proba >= np.stack(by_fold)[fold, pairs.tag]
        counts = Counts(
            hits=_column_sums(decided.multiply(self.labels)),
            predicted=_column_sums(decided),
            positives=self.n_positives,
        )
        return counts, survival(pairs, passed, decided, decoder.rules)


def _column_sums(matrix: sparse.csr_array) -> NDArray[np.int64]:
    return np.asarray(matrix.sum(axis=0, dtype=np.int64)).ravel()


def _states(n_positives: NDArray[np.int64], settings: ThresholdSettings) -> tuple[State, ...]:
    if settings.strategy == "fixed":
        return ("fixed",) * len(n_positives)
    enough = (n_positives >= settings.min_positives) & (settings.strategy in PER_TAG)
    return tuple("tuned" if own else "pooled" for own in enough)


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
