"""Thresholds that a strategy chooses for all its tags together, and their place among the others.

No label is read: what is judged on left-out folds is what is used at last. Labels say only which
tags are hopeless, and those differ between sets of images.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse

from tagstack.base_models.pairs import PairProba
from tagstack.ensemble.thresholds.curves import Bools, Floats, Ints
from tagstack.ensemble.thresholds.deciding import Cutting, Values
from tagstack.ensemble.thresholds.plan import Assignment
from tagstack.ensemble.thresholds.strategies.strategy import chosen_jointly
from tagstack.meta.metrics.counts import count_by_tag


@dataclass(frozen=True, kw_only=True)
class Together:
    """The tags of one such strategy, and what it chooses on.

    Parameters
    ----------
    assignment : Assignment
    proba : PairProba
    labels : csr_array of shape (n_images, n_tags), bool
    n_positives : array of shape (n_tags,), int64
    scored : array of shape (n_tags,), bool
        Tags with a listed pair.
    image_weight : array of shape (n_images,), float64, or None
    limited : callable
        Returns thresholds raised to floors and limits.
    decide : callable
        Returns the tags of all images under some thresholds, after the rules.
    """

    assignment: Assignment
    proba: PairProba
    labels: sparse.csr_array
    n_positives: Ints
    scored: Bools
    image_weight: Floats | None
    limited: Callable[[Cutting], Cutting]
    decide: Callable[[Cutting], sparse.csr_array]

    def chosen(self, by_fold: Sequence[Values]) -> Cutting:
        """Return what is chosen from the middle of the folds' thresholds, each (n_tags,)."""
        first = by_fold[0]
        alike = all(own is first for own in by_fold)
        middle = first if alike else np.median(np.stack(by_fold), axis=0)
        tags = self.assignment.tags
        return self.limited(
            chosen_jointly(
                self.assignment.strategy,
                self.proba,
                np.asarray(middle, np.float32),
                tags,
                int((tags & (self.n_positives > 0)).sum()),
                self.assignment.settings,
                lambda trial: self.decide(self.limited(trial)),
                self.image_weight,
            )
        )

    def placed(
        self, cuttings: Sequence[Cutting], found: Cutting, images: Sequence[Bools]
    ) -> list[Cutting]:
        """Return thresholds with those found in their place, for each set of images.

        Tags that are hopeless on a set's images are given up there.
        """
        of_images = [found] * len(images)
        if self._gives_up:
            decided = sparse.csr_array(self.decide(found))
            of_images = [self._without_hopeless(found, decided, own) for own in images]
        tags = self.assignment.tags
        return [
            replace(own, value=np.where(tags, joint.value, own.value), worth=joint.worth)
            for own, joint in zip(cuttings, of_images, strict=True)
        ]

    @property
    def _gives_up(self) -> bool:
        if "fbr" not in self.assignment.strategy.reads:
            return False
        # Where macro F-beta alone counts, a wrong tag costs nothing that a hopeless tag has.
        settings = self.assignment.settings
        return bool(settings.fbr) and settings.macro_share != 1

    def _without_hopeless(
        self, found: Cutting, decided: sparse.csr_array, images: Bools
    ) -> Cutting:
        """Return thresholds out of reach for tags whose F-beta on some images is hopeless."""
        settings = self.assignment.settings
        counts = count_by_tag(decided[images], sparse.csr_array(self.labels[images]))
        # What is too rare, or was never scored, shows nothing.
        judged = self.scored & (counts.positives >= settings.min_positives)
        hopeless = self.assignment.tags & judged & (counts.f_beta(settings.beta) < settings.fbr)
        return replace(found, value=np.where(hopeless, np.float32(np.inf), found.value))
