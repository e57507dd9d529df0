"""Which tags some thresholds give each image, before and after the rules."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.special import expit

from tagstack.base_models.pairs import PairProba
from tagstack.ensemble.contradictions.decoder import Decoder
from tagstack.ensemble.contradictions.explanations import Change, explain
from tagstack.ensemble.thresholds.cuts import logits_of
from tagstack.ensemble.thresholds.image_cuts import image_cuts

Values = NDArray[np.float32]
_HALF = np.float32(0.5)
_ROOM = np.float32(0.5)  # of a threshold: what it may fall by until pairs are looked through again


def decided_by(proba: PairProba, thresholds: Values) -> sparse.csr_array:
    """Return the pairs with ``proba >= threshold``, shape (n_images, n_tags), bool.

    A threshold always lies above the tag's `base`, so an unlisted pair is never tagged.
    """
    return _matrix(proba, proba.proba >= thresholds[proba.pairs.tag])  # NaN: no vote, no tag


@dataclass(frozen=True, kw_only=True)
class Cutting:
    """Thresholds as they are applied.

    Parameters
    ----------
    value : array of shape (n_tags,), float32
        ``proba >= value`` means tagged; with an image cut, both must be reached.
    worth : array of shape (n_tags,), float32, optional
        Where rules make tags compete, a tag stands for ``worth * (proba - value)``; for the
        difference of the log-odds without it.
    image_cut : str
        ``"mcut"`` or ``"rcut:N"``; empty for none.
    """

    value: Values
    worth: Values | None = None
    image_cut: str = ""

    def decided(self, proba: PairProba) -> sparse.csr_array:
        """Return the tags of each image before the rules, shape (n_images, n_tags), bool."""
        if not self.image_cut:
            return decided_by(proba, self.value)
        cuts = image_cuts(self.image_cut, proba)
        least = np.maximum(cuts[proba.pairs.image], self.value[proba.pairs.tag])
        return _matrix(proba, proba.proba >= least)

    def decoded(self, proba: PairProba, decoder: Decoder) -> sparse.csr_array:
        """Return the tags that the rules leave, shape (n_images, n_tags), bool."""
        if not self.image_cut:
            return decoder.decode(proba, self.value, self.worth)
        return decoder.decode(*self._centred(proba))

    def explained(
        self, one: PairProba, decoder: Decoder, *, margins: bool = True
    ) -> tuple[Change, ...]:
        """Return what the rules change on one image, and why; margins take another search each."""
        return explain(decoder, one, self.of_image(one), self.worth, margins=margins)

    def of_image(self, one: PairProba) -> Values:
        """Return what each tag of one image must reach, shape (n_tags,)."""
        if not self.image_cut:
            return self.value
        return np.asarray(np.maximum(self.value, image_cuts(self.image_cut, one)[0]))

    def images(self, proba: PairProba) -> Iterator[Values]:
        """Yield what each tag must reach, image by image. Each of shape (n_tags,)."""
        if not self.image_cut:
            for _ in range(proba.pairs.n_images):
                yield self.value
            return
        for cut in image_cuts(self.image_cut, proba):
            yield np.maximum(self.value, cut)

    def _centred(self, proba: PairProba) -> tuple[PairProba, Values]:
        """Return log-odds less each image's own cut, and thresholds of a half to match.

        The decoder knows one threshold per tag; moved so, the images share it.
        """
        pairs, cuts = proba.pairs, image_cuts(self.image_cut, proba)
        least = np.maximum(cuts[pairs.image], self.value[pairs.tag])
        margin = logits_of(proba.proba) - logits_of(least)
        moved = expit(margin).astype(np.float32)
        # Rounding must not turn "reached" into "missed".
        moved = np.where(proba.proba >= least, np.maximum(moved, _HALF), moved)
        moved = np.where(proba.proba < least, np.minimum(moved, np.nextafter(_HALF, 0)), moved)
        moved = np.where(np.isnan(proba.proba), np.float32(np.nan), moved)
        value = np.where(np.isinf(self.value), self.value, _HALF).astype(np.float32)
        base = np.minimum(proba.base, np.nextafter(_HALF, np.float32(0)))
        return replace(proba, proba=moved.astype(np.float32), base=base), value


class Nearby:
    """The pairs that thresholds could give, found once for many thresholds that lie close.

    Of 200 listed pairs an image some ten do: whoever decides again and again looks at those. They
    are found anew where a threshold falls below what they were found for.

    Parameters
    ----------
    proba : PairProba
    always : array of shape (n_tags,), bool
        Tags of which every pair counts, whatever its threshold.
    """

    def __init__(self, proba: PairProba, always: NDArray[np.bool_]) -> None:
        self._proba, self._always = proba, always
        self._least = np.full(len(always), np.inf, np.float32)
        self._near: PairProba | None = None

    def under(self, value: Values) -> PairProba:
        """Return the pairs that decide alike under thresholds of shape (n_tags,), or lower ones."""
        if self._near is None or (value < self._least).any():
            self._least = np.minimum(self._least, value * _ROOM)
            every = self._always | (self._proba.base >= self._least)
            tag = self._proba.pairs.tag
            self._near = self._proba.only(every[tag] | (self._proba.proba >= self._least[tag]))
        return self._near


def _matrix(proba: PairProba, kept: NDArray[np.bool_]) -> sparse.csr_array:
    counts = np.bincount(proba.pairs.image[kept], minlength=proba.pairs.n_images)
    indptr = np.concatenate([[0], np.cumsum(counts)])
    shape = (proba.pairs.n_images, proba.pairs.n_tags)
    return sparse.csr_array((np.ones(kept.sum(), bool), proba.pairs.tag[kept], indptr), shape=shape)
