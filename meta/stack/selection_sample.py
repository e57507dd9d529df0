"""Images enough to choose a few numbers by: the weights of an average, the rounds of trees."""

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from tagstack.configs.stack import StackSettings
from tagstack.meta.labels.labelled import Labelled
from tagstack.meta.learners.caruana import GreedySelection
from tagstack.meta.metrics.count_metrics import metric_of
from tagstack.meta.metrics.fold_scores import DrawnScorer
from tagstack.meta.metrics.utility import utility_of
from tagstack.meta.stack.fold_fits import FoldFits, best_stage
from tagstack.meta.stack.groundwork import Ground

Floats = NDArray[np.float64]


class SelectionSample:
    """Drawn images, scored by the objective on their candidate pairs alone.

    Parameters
    ----------
    data : Labelled
    ground : Ground
        Of the same images.
    settings : StackSettings
    seed : int
    """

    def __init__(self, data: Labelled, ground: Ground, settings: StackSettings, seed: int) -> None:
        self.settings = settings
        counts = np.diff(ground.table.pairs.indptr)
        worth = utility_of(settings.utility_table, data.scores.vocabulary)
        metric = metric_of(settings.metric)
        drawn = DrawnScorer(data, counts, settings.selection_pairs, seed, worth, metric)
        self.images, self.scorer = drawn.images, drawn.scorer
        # The sample's candidates twice: among the scorer's pairs, and in the ground's table.
        self.rows = drawn.places(ground.rows)
        self.table_rows = ground.table.pairs.rows(self.images)
        self._values = self.scorer.among(self.rows)

    def values(self, proba: NDArray[np.floating]) -> Floats:
        """Return the objective in each fold, by probabilities of the sample's candidates.

        Shape (n_folds,).
        """
        return self._values(proba, self.settings.objective)

    def weights(self, values: Floats, *, of_proba: bool) -> tuple[Floats, Floats]:
        """Return weights chosen on all folds, and for each fold those chosen on the others.

        Parameters
        ----------
        values : array of shape (n_rungs, n_candidates), float64
            Of the sample's candidates: probabilities if ``of_proba``, else logits.
        of_proba : bool
        """

        def metric(average: Floats) -> Floats:
            return self.values(average if of_proba else expit(average))

        rounds = self.settings.selection_rounds
        selection = GreedySelection(values, metric, rounds)
        folds = np.arange(self.scorer.n_folds)
        by_fold = np.stack([selection.weights(folds != fold) for fold in folds])
        return selection.weights(np.ones(len(folds), bool)), by_fold

    def stopping_point(self, fits: FoldFits, rounds: int) -> int:
        """Return after how many of its ``rounds`` a staged learner did best on left-out folds."""
        n_stages = min(self.settings.stopping_points, rounds)
        stages = [round(rounds * (i + 1) / n_stages) for i in range(n_stages)]

        def metric(logit: NDArray[np.floating]) -> float:
            values = self.values(expit(logit))
            known = values[~np.isnan(values)]
            return float(known.mean()) if len(known) else float("nan")

        return best_stage(fits, stages, self.images, metric)
