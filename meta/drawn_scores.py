"""Scores on whole images drawn by a seed, where all of them would cost more than they tell."""

import numpy as np
from numpy.typing import NDArray

from tagstack.base_models.pairs import PairProba
from tagstack.configs.stack import Objective
from tagstack.meta.drawn_images import drawn_images
from tagstack.meta.fold_scores import FoldScore, FoldScorer, Judgement
from tagstack.meta.labelled import Labelled


class DrawnScorer:
    """A scorer of drawn images that is asked with the probabilities of all.

    Standard errors are those of the drawn images: wider than all of them would give.

    Parameters
    ----------
    data : Labelled
    counts : array of shape (n_images,), integer
        Pairs of each image that a score has to look at.
    max_pairs : int
        About so many are looked at. All images are if they hold no more, or if the draw has none of
        some fold.
    seed : int

    Attributes
    ----------
    images : array of shape (n_drawn,), int64
        Ascending.
    scorer : FoldScorer
        Of the drawn images alone, renumbered.
    """

    def __init__(
        self, data: Labelled, counts: NDArray[np.integer], max_pairs: int, seed: int
    ) -> None:
        images = drawn_images(counts, max_pairs, seed)
        self.whole = len(images) == len(counts) or len(np.unique(data.folds[images])) < data.n_folds
        self.images = np.arange(len(counts)) if self.whole else images
        drawn = data if self.whole else data.take(images)
        pairs = drawn.scores.pairs
        truth = drawn.evidence.truth(pairs)
        self.scorer = FoldScorer(pairs, truth, drawn.evidence, drawn.folds, drawn.groups)

    def score(
        self, proba: PairProba, objective: Objective, tags: NDArray[np.bool_] | None = None
    ) -> FoldScore:
        """Return the drawn images' score; see `FoldScorer.score`."""
        return self.scorer.score(self._drawn(proba), objective, tags)

    def judgement(self, proba: PairProba, objective: Objective) -> Judgement:
        """Return the drawn images' scores; see `FoldScorer.judgement`."""
        return self.scorer.judgement(self._drawn(proba), objective)

    def _drawn(self, proba: PairProba) -> PairProba:
        return proba if self.whole else proba.take(self.images)
