"""Thresholds of any rung on labelled images: what `fit` and `calibrate` both do.

A rare tag's threshold is drawn to what the start gave before any label, whoever fits it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from tagstack.base_models.pairs import PairProba, Pairs
from tagstack.base_models.vocabulary import Vocabulary
from tagstack.configs.decisions import ThresholdSettings
from tagstack.ensemble.bundle.dataset import Dataset
from tagstack.ensemble.contradictions.decoder import Decoder
from tagstack.ensemble.thresholds.anchoring import Anchor, start_rates
from tagstack.ensemble.thresholds.curves import Sorted
from tagstack.ensemble.thresholds.deciding import Cutting
from tagstack.ensemble.thresholds.fitting import (
    ByTag,
    Thresholds,
    fit_thresholds,
    settle_thresholds,
)
from tagstack.ensemble.thresholds.frontier import Frontier, frontier
from tagstack.meta.labels.truth import KnownPairs, pair_labels
from tagstack.meta.stack.rung_spec import START
from tagstack.meta.stack.stacker import Stacker
from tagstack.meta.stack.start_stack import StartStack


@dataclass(frozen=True, kw_only=True)
class ThresholdFit:
    """One set of labelled images and what thresholds are to be fitted for on them.

    Parameters
    ----------
    dataset : Dataset
    folds : array of shape (n_images,), int64
    settings : ThresholdSettings
    by_tag : sequence of (pattern, ThresholdSettings)
    stacker : Stacker or StartStack
        Its start is what rare tags are drawn to.
    start : PairProba or None
        The start's probabilities of these images; None: nothing is drawn anywhere.
    anchor_positives : float
        As ``start.anchor_positives`` of the settings.
    image_weight : array of shape (n_images,), float64, or None
        What each image counts where thresholds are chosen; 1 each for None.
    """

    dataset: Dataset
    folds: NDArray[np.int64]
    settings: ThresholdSettings
    by_tag: ByTag = ()
    stacker: Stacker | StartStack
    start: PairProba | None
    anchor_positives: float
    image_weight: NDArray[np.float64] | None = None

    def of(self, rung: str, proba: PairProba) -> "RungFit":
        """Return the fit of one rung.

        Parameters
        ----------
        rung : str
        proba : PairProba
            Of these images, from models that had not seen them.
        """
        shared = self._shared(proba.pairs)
        return RungFit(
            fit=self,
            known=shared.known.of_proba(proba),
            true=shared.true,
            anchor=self._anchor(rung),
        )

    def each(
        self, probas: Mapping[str, PairProba], made: Mapping[str, "RungFit"]
    ) -> "Callable[[str], RungFit]":
        """Return what gives a rung's fit: one that is made already, or a new one."""
        return lambda rung: made[rung] if rung in made else self.of(rung, probas[rung])

    def __call__(self, rung: str, proba: PairProba, decoder: Decoder | None) -> Thresholds:
        """Return a rung's thresholds for what a decoder leaves; without rules for None."""
        return self.of(rung, proba)(decoder)

    def take(self, images: NDArray[np.int64]) -> "ThresholdFit":
        """Return the same on some of the images."""
        return replace(
            self,
            dataset=self.dataset.take(images),
            folds=_two_or_more(self.folds[images], self.dataset.groups[images]),
            start=None if self.start is None else self.start.take(images),
            image_weight=None if self.image_weight is None else self.image_weight[images],
        )

    def _shared(self, pairs: Pairs) -> "_SharedPairs":
        """Return what all rungs over the same pairs share; the last is kept."""
        held = self._kept
        if not held or not held[0].known.are(pairs):
            held[:] = [_SharedPairs(known=KnownPairs.of(pairs, self.dataset.unknown), fit=self)]
        return held[0]

    @cached_property
    def _kept(self) -> "list[_SharedPairs]":
        return []

    @cached_property
    def _rates(self) -> NDArray[np.int64] | None:
        if self.start is None:
            return None
        known = self._shared(self.start.pairs).known.of_proba(self.start)
        return start_rates(known, self.stacker.start_cuts())

    def _anchor(self, rung: str) -> Anchor | None:
        if self._rates is None:
            return None
        cuts = own_cuts(self.stacker, rung)
        return Anchor(rates=self._rates, own_cuts=cuts, positives=self.anchor_positives)


@dataclass(frozen=True, kw_only=True)
class _SharedPairs:
    """Pairs with what labels say of them."""

    known: KnownPairs
    fit: ThresholdFit

    @cached_property
    def true(self) -> NDArray[np.bool_]:
        return pair_labels(self.known.pairs, self.fit.dataset.labels)


@dataclass(frozen=True, kw_only=True)
class RungFit:
    """The fit of one rung, whose pairs are sorted once.

    Parameters
    ----------
    fit : ThresholdFit
    known : PairProba
        Pairs of which labels say nothing have no probability.
    true : array of shape (n_pairs,), bool
        Which of its pairs are labelled.
    anchor : Anchor or None
        What rare tags are drawn to.
    """

    fit: ThresholdFit
    known: PairProba
    true: NDArray[np.bool_]
    anchor: Anchor | None

    def __call__(self, decoder: Decoder | None) -> Thresholds:
        """Return thresholds for what a decoder leaves; without rules for None."""
        return fit_thresholds(*self._what, decoder, **self._how)

    def cutting(self, decoder: Decoder | None) -> Cutting:
        """Return the same thresholds, without what is told of them in a table."""
        return settle_thresholds(*self._what, decoder, **self._how).cutting

    def frontier(
        self, decoder: Decoder | None, told: Callable[[int, int], None]
    ) -> Frontier | None:
        """Return what each share of macro F-beta costs; see `frontier`."""
        alike = replace(self._ordered, image_weight=None)  # what is told counts images alike
        return frontier(*self._what, decoder, told=told, ordered=alike)

    @property
    def _how(self) -> "_How":
        fit = self.fit
        return {
            "by_tag": fit.by_tag,
            "groups": fit.dataset.groups,
            "anchor": self.anchor,
            "image_weight": fit.image_weight,
            "ordered": self._ordered,
        }

    @property
    def _what(
        self,
    ) -> tuple[PairProba, sparse.csr_array, Vocabulary, NDArray[np.int64], ThresholdSettings]:
        fit, dataset = self.fit, self.fit.dataset
        return self.known, dataset.labels, dataset.scores.vocabulary, fit.folds, fit.settings

    @cached_property
    def _ordered(self) -> Sorted:
        weight = self.fit.image_weight
        return Sorted.from_pairs(
            self.known, self.fit.dataset.labels, image_weight=weight, true=self.true
        )


class _How(TypedDict):
    """What fits of a rung's thresholds have in common, by the name of the parameter."""

    by_tag: ByTag
    groups: NDArray[np.int64]
    anchor: Anchor | None
    image_weight: NDArray[np.float64] | None
    ordered: Sorted


def own_cuts(stacker: Stacker | StartStack, rung: str) -> NDArray[np.float64]:
    """Return the start's cuts of tags that it serves in a rung, shape (n_tags,), NaN elsewhere."""
    cuts = stacker.start_cuts()
    if rung == START:
        return cuts
    served = np.array([name == START for name in stacker.tag_rungs_of(rung)], bool)
    return np.where(served, cuts, np.nan) if len(served) else np.full(len(cuts), np.nan)


def _two_or_more(folds: NDArray[np.int64], groups: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return folds, shape (n_images,); where all are of one, two made of their groups."""
    if len(np.unique(folds)) > 1:
        return folds
    return np.unique(groups, return_inverse=True)[1].astype(np.int64) % 2
