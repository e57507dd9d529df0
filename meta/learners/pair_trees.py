"""LightGBM on candidate pairs: one model for all tags that corrects the shrunken logistic.

The trees start from the shrunken logistic's logit. Tags are told apart by their statistics and
not by their number: with a category per tag the trees learned rare tags by heart.
"""

import re
from collections.abc import Iterator, Sequence
from copy import copy
from itertools import pairwise
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from tagstack.base_models.atomic import write_text
from tagstack.base_models.libraries import library
from tagstack.configs.stack import LightgbmSettings, StackSettings
from tagstack.configs.text_files import read_text
from tagstack.meta.features.pair_table import PairTable
from tagstack.meta.learners.counted_rows import CountedRows, counted_rows
from tagstack.meta.learners.estimator import PairEstimator
from tagstack.meta.learners.lightgbm_text import checked_text
from tagstack.meta.learners.predicting import predicting

_FILE = "lightgbm.txt"
_THREADS = re.compile(r"^\[num_threads: \d+\]$", re.MULTILINE)
_DECIMALS = 6  # of a logit; a millionth changes no decision


class PairTrees(PairEstimator):
    """Gradient-boosted trees over all (image, tag) pairs.

    Parameters
    ----------
    settings : LightgbmSettings
    seed : int
    threads : int
        Positive. The model does not depend on it.
    """

    title = "LightGBM on pairs"
    needs = "lightgbm"

    def __init__(self, settings: LightgbmSettings, *, seed: int, threads: int) -> None:
        self.settings, self.seed, self.threads = settings, seed, threads

    @classmethod
    def of_settings(cls, settings: StackSettings, *, seed: int, threads: int) -> Self:
        """Return an unfitted learner with its section of the stack's settings."""
        return cls(settings.lightgbm, seed=seed, threads=threads)

    def fit(
        self,
        table: PairTable,
        true: NDArray[np.bool_],
        weight: NDArray[np.float64] | None = None,
    ) -> Self:
        """Fit on candidate pairs and their labels; see the protocol."""
        lightgbm = library("lightgbm")

        rows = counted_rows(table, true, weight, max_rows=self.settings.max_rows, seed=self.seed)
        data = lightgbm.Dataset(
            rows.values,
            label=rows.true.astype(np.float32),
            weight=rows.weight,
            init_score=rows.logit,
            feature_name=[f"f{i}" for i in range(len(table.names))],
            free_raw_data=True,
        )
        self.booster_ = lightgbm.train(self._parameters(rows), data, self.settings.rounds)
        return self

    def predict_logit(self, table: PairTable) -> NDArray[np.float64]:
        """Return the logit of each pair, shape (n_pairs,), float64."""
        self.check_fitted()
        if not len(table.pairs):
            return np.zeros(0)
        correction = self.booster_.predict(table.values, raw_score=True, num_threads=self.threads)
        # Sums over leaves differ in the sixteenth digit with the number of threads.
        return table.logit + np.round(np.asarray(correction, np.float64), _DECIMALS)

    def stopped_at(self, rounds: int) -> Self:
        """Return a copy with the first ``rounds`` trees alone."""
        self.check_fitted()
        stopped = copy(self)
        text = self.booster_.model_to_string(num_iteration=rounds)
        stopped.booster_ = type(self.booster_)(model_str=text)
        return stopped

    def stage_logits(
        self, table: PairTable, stages: Sequence[int]
    ) -> Iterator[NDArray[np.float64]]:
        """Yield the logits after each number of rounds, shape (n_pairs,); trees are asked once."""
        self.check_fitted()
        total = np.zeros(len(table.pairs))
        for begin, end in pairwise((0, *stages)):
            if len(total):
                total += self.booster_.predict(
                    table.values,
                    start_iteration=begin,
                    num_iteration=end - begin,
                    raw_score=True,
                    num_threads=self.threads,
                )
            yield table.logit + np.round(total, _DECIMALS)

    def save(self, directory: Path) -> None:
        """Write LightGBM's own text format, the same whatever machine fitted it."""
        text = _THREADS.sub("[num_threads: 0]", self.booster_.model_to_string())
        write_text(directory / _FILE, text)

    def restore(self, directory: Path) -> Self:
        """Read what `save` wrote.

        Raises
        ------
        ValueError
            If the library could not be trusted with it.
        """
        package = predicting("lightgbm")
        text = read_text(directory / _FILE)
        try:
            self.booster_ = package.Booster(model_str=checked_text(text))
        except (ValueError, package.basic.LightGBMError) as error:
            msg = f"{_FILE}: {error}"
            raise ValueError(msg) from error
        return self

    def _parameters(self, rows: CountedRows) -> dict[str, object]:
        s = self.settings
        return {
            "objective": "binary",
            "learning_rate": s.learning_rate,
            "num_leaves": s.leaves,
            # Of thinned rows, so many stand for min_rows.
            "min_data_in_leaf": max(1, round(s.min_rows * rows.share)),
            "lambda_l2": s.l2,
            "feature_fraction": s.column_share,
            "bagging_fraction": s.row_share,
            # A share of very few rows may be none, which the library refuses.
            "bagging_freq": int(len(rows.true) * s.row_share >= 1),
            "max_bin": s.bins,
            "seed": self.seed,
            "num_threads": self.threads,
            "deterministic": True,
            # One thread sums a histogram: by rows several would share it, and sum in another order.
            "force_col_wise": True,
            "verbosity": -1,
        }
