"""Scored images with everything that a fit is told about them."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tagstack.base_models.pairs import Level1Scores
from tagstack.base_models.spill import IN_MEMORY, Spill
from tagstack.meta.labels.relations import TagRelations
from tagstack.meta.labels.truth import Evidence
from tagstack.meta.start.answer import StartAnswer


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """Labelled images.

    Parameters
    ----------
    scores : Level1Scores
    evidence : Evidence
    folds : array of shape (n_images,), int64, in [0, n_folds)
    groups : array of shape (n_images,), integer
        Images with the same number are in the same fold and no independent evidence.
    relations : TagRelations
    start : StartAnswer, optional
        What the members' files answer without labels: the lowest rung that may be chosen.
    spill : Spill
        Where columns as long as all pairs lie.
    """

    scores: Level1Scores
    evidence: Evidence
    folds: NDArray[np.int64]
    groups: NDArray[np.int64]
    relations: TagRelations
    start: StartAnswer | None = None
    spill: Spill = IN_MEMORY

    @property
    def n_folds(self) -> int:
        """Number of folds."""
        return int(self.folds.max()) + 1

    def take(self, images: NDArray[np.intp]) -> "Labelled":
        """Return the images at these indices, in that order, their folds numbered anew."""
        return Labelled(
            scores=self.scores.take(images, self.spill),
            evidence=self.evidence.take(images, self.scores.pairs),
            folds=np.unique(self.folds[images], return_inverse=True)[1].astype(np.int64),
            groups=self.groups[images],
            relations=self.relations,
            start=self.start,
            spill=self.spill,
        )

    def without_member(self, member: int) -> "Labelled":
        """Return the same images without the scores of the member at this position.

        A tag that no other member knows keeps its place: it is at the floor for every image, so
        that the loss of the member is not hidden by the loss of its tags.
        """
        kept = np.arange(len(self.scores.members)) != member
        knows, logit = self.scores.knows[kept].copy(), self.scores.logit[kept].copy()
        floor = self.scores.floor[kept]
        orphaned = ~knows.any(axis=0)
        knows[0, orphaned] = True
        logit[0, orphaned[self.scores.pairs.tag]] = floor[0]
        members = tuple(np.array(self.scores.members, dtype=object)[kept])
        scores = replace(self.scores, members=members, knows=knows, floor=floor, logit=logit)
        start = None if self.start is None else self.start.without_member(member)
        return replace(self, scores=scores, start=start)
