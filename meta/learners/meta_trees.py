"""XGBoost, the meta-model: the pair features and the level-2 learners' out-of-fold columns.

Monotone where the meaning is: a higher logit of a member or a learner never lowers the outcome.
"""

import os
from collections.abc import Iterator, Sequence
from copy import copy
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from tagstack.base_models.atomic import written_whole
from tagstack.base_models.libraries import library
from tagstack.configs.stack import StackSettings, XgboostSettings
from tagstack.configs.text_files import read_bytes
from tagstack.meta.features.pair_table import PairTable
from tagstack.meta.learners.counted_rows import counted_rows
from tagstack.meta.learners.device import Device
from tagstack.meta.learners.estimator import PairEstimator
from tagstack.meta.learners.predicting import predicting
from tagstack.meta.learners.xgboost_model import check_model

_FILE = "xgboost.ubj"


class MetaTrees(PairEstimator):
    """Gradient-boosted trees over all (image, tag) pairs, level-2 columns included.

    Parameters
    ----------
    settings : XgboostSettings
    seed : int
    threads : int
        Positive. The model does not depend on it.
    device : {"cpu", "cuda"}
        Where it trains; it predicts on the CPU, so that a bundle says the same everywhere.
    """

    title = "XGBoost meta-model"
    needs = "xgboost"

    def __init__(
        self, settings: XgboostSettings, *, seed: int, threads: int, device: Device = "cpu"
    ) -> None:
        self.settings, self.seed, self.threads, self.device = settings, seed, threads, device

    @classmethod
    def of_settings(cls, settings: StackSettings, *, seed: int, threads: int) -> Self:
        """Return an unfitted learner with its section of the stack's settings."""
        return cls(settings.xgboost, seed=seed, threads=threads, device=settings.device)

    def fit(
        self,
        table: PairTable,
        true: NDArray[np.bool_],
        weight: NDArray[np.float64] | None = None,
    ) -> Self:
        """Fit on candidate pairs and their labels; see the protocol."""
        return self.fit_matrix(self.matrix(table, true, weight), table)

    def matrix(
        self,
        table: PairTable,
        true: NDArray[np.bool_],
        weight: NDArray[np.float64] | None = None,
    ) -> Any:
        """Return the binned training data, which fits with other parameters can share."""
        xgboost = library("xgboost")

        rows = counted_rows(table, true, weight, max_rows=self.settings.max_rows, seed=self.seed)
        return xgboost.QuantileDMatrix(
            rows.values,
            label=rows.true.astype(np.float32),
            weight=rows.weight,
            max_bin=self.settings.bins,
            nthread=self.threads,
        )

    def fit_matrix(self, matrix: Any, table: PairTable) -> Self:
        """Fit on what `matrix` returned for a table with the columns of ``table``."""
        xgboost = library("xgboost")

        self.booster_ = xgboost.train(
            self.parameters(table.names, table.rising), matrix, self.settings.rounds
        )
        self.booster_.set_param({"device": "cpu"})
        return self

    def predict_logit(self, table: PairTable) -> NDArray[np.float64]:
        """Return the logit of each pair, shape (n_pairs,), float64."""
        self.check_fitted()
        if not len(table.pairs):
            return np.zeros(0)
        margin = self.booster_.inplace_predict(table.values, predict_type="margin")
        return np.asarray(margin, np.float64)

    def stopped_at(self, rounds: int) -> Self:
        """Return a copy with the first ``rounds`` trees alone."""
        self.check_fitted()
        stopped = copy(self)
        stopped.booster_ = self.booster_[:rounds]
        return stopped

    def stage_logits(
        self, table: PairTable, stages: Sequence[int]
    ) -> Iterator[NDArray[np.float64]]:
        """Yield the logits after each number of rounds, shape (n_pairs,); trees are asked once."""
        self.check_fitted()
        total = np.zeros(len(table.pairs))
        nothing = np.zeros(len(total), np.float32)
        for begin, end in pairwise((0, *stages)):
            if len(total):
                total += self.booster_.inplace_predict(
                    table.values,
                    iteration_range=(begin, end),
                    predict_type="margin",
                    # What all trees start from counts once.
                    base_margin=nothing if begin else None,
                )
            yield total.copy()

    def save(self, directory: Path) -> None:
        """Write XGBoost's UBJSON."""
        with written_whole(directory / _FILE) as temporary:
            self.booster_.save_model(os.fspath(temporary))

    def restore(self, directory: Path) -> Self:
        """Read what `save` wrote.

        Raises
        ------
        ValueError
            If the library could not be trusted with it.
        """
        data = read_bytes(directory / _FILE)
        self.booster_ = predicting("xgboost").Booster({"nthread": self.threads})
        try:
            check_model(data)
            self.booster_.load_model(bytearray(data))
        except ValueError as error:  # XGBoost's own is one, too
            msg = f"{_FILE}: {' '.join(str(error).split())[:200]}"
            raise ValueError(msg) from error
        return self

    def parameters(self, names: tuple[str, ...], rising: frozenset[str]) -> dict[str, object]:
        """Return what XGBoost is told for a table with these columns, some of them rising."""
        s = self.settings
        constraints = ",".join(str(int(name in rising)) for name in names)
        return {
            "objective": "binary:logistic",
            "tree_method": "hist",
            "device": self.device,
            "eta": s.learning_rate,
            "max_depth": s.depth,
            "min_child_weight": s.min_weight,
            "lambda": s.l2,
            "colsample_bytree": s.column_share,
            "subsample": s.row_share,
            "max_bin": s.bins,
            "monotone_constraints": f"({constraints})",
            "seed": self.seed,
            "nthread": self.threads,
            "verbosity": 0,
        }
