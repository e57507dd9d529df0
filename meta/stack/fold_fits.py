"""One learner fitted several times, each time without some folds, for the values of those.

Trees are also asked how many rounds they would best have stopped at: the left-out folds know, and
the answer differs by far. Half the rounds won on a set of few drawings, all of them on one of
thousands of photographs.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
from numpy.typing import NDArray

from tagstack.base_models.orders import distinct
from tagstack.base_models.pairs import BLOCK_PAIRS
from tagstack.base_models.spill import IN_MEMORY, Spill
from tagstack.meta.features.pair_table import PairTable
from tagstack.meta.learners.protocol import PairLearner, StagedLearner, StageTeller
from tagstack.meta.learners.workers import done_apart

Floats = NDArray[np.float64]
Logits = NDArray[np.floating]


@dataclass(frozen=True, kw_only=True)
class FoldFits:
    """Fitted learners, and the images that each of them did not see.

    Parameters
    ----------
    table : PairTable
        Of all images.
    held : tuple of arrays of shape (n_held,), int64
        Together every image once.
    learners : tuple of PairLearner
    spill : Spill
        Where the table lies; what was read of it is let go.
    """

    table: PairTable
    held: tuple[NDArray[np.int64], ...]
    learners: tuple[PairLearner, ...]
    spill: Spill = IN_MEMORY

    @classmethod
    def of(
        cls,
        make: Callable[[], PairLearner],
        table: PairTable,
        true: NDArray[np.bool_],
        folds: NDArray[np.int64],
        weight: Floats,
        enough: int | None = None,
        spill: Spill = IN_MEMORY,
    ) -> "FoldFits":
        """Fit the learner without each fold.

        Parameters
        ----------
        make : callable
            Returns a new, unfitted learner.
        table : PairTable
        true : array of shape (n_candidates,), bool
        folds : array of shape (n_images,), int64
        weight : array of shape (n_candidates,), float64
            How much a pair counts in the fits; 0 leaves it out.
        enough : int, optional
            Pairs that the learner looks at in one fit: folds are held out several at a time as
            long as so many remain, since further fits would see no more.
        spill : Spill, optional
            Where the table lies.
        """
        if enough is not None:
            folds = held_together(folds, np.diff(table.pairs.indptr), enough)
        names = np.unique(folds)
        shared = (table, true, folds, weight, make)
        learners = tuple(done_apart(_without_fold, shared, names.tolist()))
        held = tuple(np.flatnonzero(folds == fold) for fold in names)
        spill.let_go()
        return cls(table=table, held=held, learners=learners, spill=spill)

    def logit(self) -> Logits:
        """Return each pair's logit from the learner that did not see its image.

        Shape (n_pairs,).
        """
        return self.logit_of(np.arange(self.table.pairs.n_images))

    def logit_of(self, images: NDArray[np.int64]) -> Logits:
        """Return the logits of these images' pairs; the images are ascending.

        Shape (n_pairs_of_images,).
        """
        return self._spread(images, 1, lambda learner, table: [learner.predict_logit(table)])[0]

    def stage_logits(self, images: NDArray[np.int64], stages: Sequence[int]) -> list[Logits]:
        """Return, for each number of rounds, the logits of these images' pairs.

        Each of shape (n_pairs_of_images,). The images are ascending, and so are the stages.
        """
        return self._spread(images, len(stages), lambda own, table: _told(own, table, stages))

    def stopped_at(self, rounds: int) -> "FoldFits":
        """Return the same fits, as they were after so many rounds; they must be staged."""
        learners = (cast("StagedLearner", learner) for learner in self.learners)
        stopped = tuple(learner.stopped_at(rounds) for learner in learners)
        return replace(self, learners=stopped)

    def _spread(
        self,
        images: NDArray[np.int64],
        n_answers: int,
        ask: Callable[[PairLearner, PairTable], Iterable[Floats]],
    ) -> list[Logits]:
        """Return what each learner answers of those of the images that it did not see."""
        place = np.full(self.table.pairs.n_images, -1)
        place[images] = np.arange(len(images))
        chosen = self.table.pairs.take(images)
        found = [np.empty(len(chosen), np.float32) for _ in range(n_answers)]
        for held, learner in zip(self.held, self.learners, strict=True):
            asked = held[place[held] >= 0]
            for some in _few(asked, np.diff(self.table.pairs.indptr)):
                rows = chosen.rows(place[some])
                answers = ask(learner, self.table.take(some))
                for logit, answer in zip(found, answers, strict=True):
                    logit[rows] = answer
                self.spill.let_go()
        return found


def _without_fold(
    table: PairTable,
    true: NDArray[np.bool_],
    folds: NDArray[np.int64],
    weight: Floats,
    make: Callable[[], PairLearner],
    fold: int,
) -> PairLearner:
    fit = np.flatnonzero(folds != fold)
    rows = table.pairs.rows(fit)
    return make().fit(table.take(fit), true[rows], weight[rows])


def best_stage(
    fits: FoldFits,
    stages: Sequence[int],
    images: NDArray[np.int64],
    metric: Callable[[Logits], float],
) -> int:
    """Return the number of rounds with the highest metric on left-out folds; of equals the least.

    Parameters
    ----------
    fits : FoldFits
        Of a staged learner.
    stages : sequence of int
        Numbers of rounds, rising, none beyond those that were fitted.
    images : array of shape (n_images,), int64
        Those that are looked at, ascending.
    metric : callable
        Takes the logits of these images' pairs; may return NaN where nothing can be told.
    """
    if len(stages) == 1:
        return stages[0]
    found = [metric(logit) for logit in fits.stage_logits(images, stages)]
    if np.isnan(found).all():
        return stages[-1]
    return stages[int(np.nanargmax(found))]


def _few(images: NDArray[np.int64], n_pairs: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Yield the images in parts with so many pairs as are worth looking at together."""
    number = np.cumsum(n_pairs[images]) // BLOCK_PAIRS
    for part in distinct(number):
        yield images[number == part]


def _told(learner: PairLearner, table: PairTable, stages: Sequence[int]) -> Iterator[Floats]:
    """Yield what a staged learner says after each number of rounds."""
    if isinstance(learner, StageTeller):
        yield from learner.stage_logits(table, stages)
        return
    for rounds in stages:
        yield cast("StagedLearner", learner).stopped_at(rounds).predict_logit(table)


def held_together(
    folds: NDArray[np.int64], n_pairs: NDArray[np.int64], enough: int
) -> NDArray[np.int64]:
    """Return the fewest unions of folds that leave ``enough`` pairs to fit on, at least two.

    What looks at no more pairs than these need not be fitted without each fold.

    Parameters
    ----------
    folds : array of shape (n_images,), int64
    n_pairs : array of shape (n_images,), int64
    enough : int

    Returns
    -------
    array of shape (n_images,), int64
        The union of each image; the folds themselves where no union leaves enough.
    """
    n_folds = len(np.unique(folds))
    number = np.unique(folds, return_inverse=True)[1]
    of_fold = np.bincount(number, weights=n_pairs)
    for n_unions in range(2, n_folds):
        union = np.arange(n_folds) * n_unions // n_folds
        held = np.bincount(union, weights=of_fold)
        if held.sum() - held.max() >= enough:
            return np.asarray(union[number], np.int64)
    return folds
