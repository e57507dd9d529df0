"""Labelled images, dense for a few tags at a time."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from tagstack.base_models.pairs import Level1Scores
from tagstack.meta.calibrators.calibration import MemberCalibration
from tagstack.meta.labels.truth import Evidence
from tagstack.meta.probe.heads import Examples, Singles
from tagstack.meta.probe.probe import prior_logits

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Blocks:
    """Images to learn from or to judge by, dense for a few tags at a time.

    Parameters
    ----------
    scores : Level1Scores
    images : array of shape (n_images, n_axes), float32
    listed, base : arrays of shape (n_pairs,) and (n_tags,), float64
        Logits that heads start from, of listed pairs and of the others.
    labels, unknown : csc_array of shape (n_images, n_tags), bool
    weight : array of shape (n_images,), float32, or None
        How much each image counts.
    """

    scores: Level1Scores
    images: Singles
    listed: Floats
    base: Floats
    labels: sparse.csc_array
    unknown: sparse.csc_array
    weight: Singles | None

    @classmethod
    def of(
        cls,
        scores: Level1Scores,
        evidence: Evidence,
        images: Singles,
        calibration: MemberCalibration,
        rate: Floats,
    ) -> "Blocks":
        """Return images, shape (n_images, n_axes), by what their taggers make of them.

        Parameters
        ----------
        scores : Level1Scores
        evidence : Evidence
        images : array of shape (n_images, n_axes), float32
        calibration : MemberCalibration
            What heads start from.
        rate : array of shape (n_tags,), float64
            Logit of tags that no tagger knows.
        """
        listed, base = prior_logits(scores, calibration, rate)
        labels, unknown = sparse.csc_array(evidence.labels), sparse.csc_array(evidence.unknown)
        weight = evidence.image_weight
        own = None if weight is None else weight.astype(np.float32)
        return cls(scores, images, listed, base, labels, unknown, own)

    def of_tags(self, tags: NDArray[np.int64]) -> Examples:
        """Return the examples of some tags."""
        pairs = self.scores.pairs
        prior = np.tile(self.base[tags].astype(np.float32), (pairs.n_images, 1))
        place = np.full(pairs.n_tags, -1)
        place[tags] = np.arange(len(tags))
        at = place[pairs.tag]
        own = np.flatnonzero(at >= 0)
        prior[pairs.image[own], at[own]] = self.listed[own]
        known = 1 - self.unknown[:, tags].toarray().astype(np.float32)
        return Examples(
            images=self.images,
            prior=prior,
            true=self.labels[:, tags].toarray().astype(np.float32),
            weight=known if self.weight is None else known * self.weight[:, None],
        )
