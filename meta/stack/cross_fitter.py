"""Learners fitted on one set of labelled images: without each fold, and at last on all."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from tagstack.configs.stack import StackSettings
from tagstack.meta.features.pair_table import PairTable
from tagstack.meta.labels.labelled import Labelled
from tagstack.meta.labels.truth import PairTruth
from tagstack.meta.learners.protocol import PairLearner
from tagstack.meta.learners.registry import looked_at, make_learner, rounds_of, with_rounds
from tagstack.meta.learners.workers import done_apart, threads_apart
from tagstack.meta.stack.fold_fits import FoldFits
from tagstack.meta.stack.groundwork import Ground
from tagstack.meta.stack.selection_sample import SelectionSample

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """A learner's logits of images that it was not fitted on.

    Parameters
    ----------
    logit : array of shape (n_candidates,), floating
    rounds : int or None
        After how many rounds it did best; None for a learner that is not made of rounds.
    """

    logit: NDArray[np.floating]
    rounds: int | None


@dataclass(frozen=True, kw_only=True)
class CrossFitter:
    """Labelled images, their candidates and how learners are fitted on them.

    Parameters
    ----------
    data : Labelled
    ground : Ground
        Of the same images, out of fold.
    truth : PairTruth
        Of all listed pairs.
    sample : SelectionSample
        What the rounds of trees are chosen by.
    settings : StackSettings
    seed, threads : int
    """

    data: Labelled
    ground: Ground
    truth: PairTruth
    sample: SelectionSample
    settings: StackSettings
    seed: int
    threads: int

    @property
    def true(self) -> NDArray[np.bool_]:
        """Whether each candidate is true, shape (n_candidates,), bool."""
        return self.truth.listed[self.ground.rows]

    @property
    def weight(self) -> Floats:
        """How much each candidate counts in a fit, shape (n_candidates,), float64."""
        return self.truth.weight[self.ground.rows].astype(np.float64)

    def left_out(self, name: str, table: PairTable) -> LeftOut:
        """Return a learner's out-of-fold logits, from where it did best if it is made of rounds."""
        make = partial(
            make_learner, name, self.settings, seed=self.seed, threads=threads_apart(self.threads)
        )
        enough = looked_at(name, self.settings)
        fits = FoldFits.of(
            make, table, self.true, self.data.folds, self.weight, enough, self.data.spill
        )
        most = rounds_of(name, self.settings)
        if most is None:
            return LeftOut(logit=fits.logit(), rounds=None)
        rounds = self.sample.stopping_point(fits, most)
        return LeftOut(logit=fits.stopped_at(rounds).logit(), rounds=rounds)

    def on_all(self, rounds: Mapping[str, int | None], table: PairTable) -> dict[str, PairLearner]:
        """Return learners fitted on all images.

        Parameters
        ----------
        rounds : mapping of learner to int or None
            For how many rounds; None for a learner that is not made of rounds.
        table : PairTable
        """
        tasks = [
            (name, self.settings if n is None else with_rounds(self.settings, name, n))
            for name, n in rounds.items()
        ]
        shared = (table, self.true, self.weight, self.seed, threads_apart(self.threads))
        fitted = done_apart(_fitted_on_all, shared, tasks)
        self.data.spill.let_go()
        return dict(zip(rounds, fitted, strict=True))


def _fitted_on_all(
    table: PairTable,
    true: NDArray[np.bool_],
    weight: Floats,
    seed: int,
    threads: int,
    task: tuple[str, StackSettings],
) -> PairLearner:
    name, settings = task
    return make_learner(name, settings, seed=seed, threads=threads).fit(table, true, weight)
