"""The search for better XGBoost parameters, on inner folds alone and resumable.

The images it is judged on take no part (`tagstack.meta.stack.rehearsal`). The first trial is the
defaults. With one worker the same inputs give the same search, also when it was killed and
resumed; several workers learn from each other's trials in the order in which those happen to end.
"""

import hashlib
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from tagstack.configs.stack import Objective, TuningSettings, XgboostSettings
from tagstack.meta.features.pair_table import PairTable
from tagstack.meta.learners.device import Device
from tagstack.meta.learners.meta_trees import MetaTrees
from tagstack.meta.learners.workers import done_apart, is_handed, threads_apart
from tagstack.meta.metrics.fold_scores import FoldScorer
from tagstack.meta.progress import Progress
from tagstack.meta.stack.trials import (
    StudyPlace,
    TrialRecord,
    finished,
    forget_running,
    importances,
    is_waiting,
    quiet_optuna,
    records,
    run_trials,
    storage_faults,
)

if TYPE_CHECKING:
    from optuna import Trial

Floats = NDArray[np.float64]

_WHOLE = ("rounds", "depth")
_SEARCHED = ("rounds", "learning_rate", "depth", "min_weight", "l2", "column_share", "row_share")
_SHARES = ("column_share", "row_share")  # searched evenly; the others on a logarithmic scale

# Binned matrices by search and fold: a worker process keeps them from trial to trial.
_MATRICES: dict[tuple[str, int], Any] = {}


@dataclass(frozen=True, kw_only=True)
class Search:
    """What a search came to.

    Parameters
    ----------
    settings : XgboostSettings
        Of the best trial.
    trials : tuple of TrialRecord
    importances : mapping of str to float
    """

    settings: XgboostSettings
    trials: tuple[TrialRecord, ...]
    importances: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class InnerData:
    """What trials are fitted and judged on.

    Parameters
    ----------
    table : PairTable
        Features with the level-2 columns.
    judged : array of shape (n_judged,), int64
        The images that the scorer is of, ascending.
    rows : array of shape (n_judged_candidates,), int64
        Where their rows of the table lie among the scorer's listed pairs.
    true : array of shape (n_candidates,), bool
    weight : array of shape (n_candidates,), float64
        How much a pair counts in the fits; 0 leaves it out.
    folds : array of shape (n_images,), int64
    scorer : FoldScorer
    objective : str
    """

    table: PairTable
    judged: NDArray[np.int64]
    rows: NDArray[np.int64]
    true: NDArray[np.bool_]
    weight: Floats
    folds: NDArray[np.int64]
    scorer: FoldScorer
    objective: Objective


@dataclass(frozen=True, kw_only=True)
class Tuner:
    """One search.

    Parameters
    ----------
    data : InnerData
    settings : TuningSettings
    defaults : XgboostSettings
    seed, threads : int
        The threads are shared by the workers.
    device : {"cpu", "cuda"}
        Where the trials train.
    """

    data: InnerData
    settings: TuningSettings
    defaults: XgboostSettings
    seed: int
    threads: int
    device: Device = "cpu"
    name: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", f"xgboost-{self._fingerprint()}")

    @property
    def workers(self) -> int:
        """Processes that search; never more than there are threads to share."""
        return min(self.settings.workers, self.threads)

    def run(self, study_dir: Path | None, progress: Progress) -> Search:
        """Search, and return the best trial's parameters and the study's history.

        Raises
        ------
        TagstackError
            If the trials cannot be stored, or a worker was killed.
        """
        place = StudyPlace(study_dir, self.name, self.settings, self.seed)
        with quiet_optuna(), storage_faults(study_dir), closing(place):
            study = place.open(0)
            forget_running(study)
            # Asked to skip what exists, Optuna skips the defaults that a killed run did not finish.
            if not (finished(study) or is_waiting(study)):
                study.enqueue_trial(self._default_parameters())
            n = self.settings.trials
            try:
                run_trials(
                    place, self.one_trial, self.workers, lambda done: progress("tuning", done, n)
                )
            finally:
                _MATRICES.clear()
            return Search(
                settings=self._settings(study.best_trial.params),
                trials=records(study),
                importances=importances(study),
            )

    def one_trial(self, place: StudyPlace, n_done: int) -> None:
        """Run one more trial of the study."""
        with quiet_optuna():
            place.open(n_done).optimize(self._objective, n_trials=1)

    def _fingerprint(self) -> str:
        """Return a hash of everything a trial's value depends on: another study is never mixed."""
        digest, data = hashlib.sha256(), self.data
        for _, rows in data.table.pairs.blocks():
            digest.update(np.ascontiguousarray(data.table.values_at(rows)).data)
            data.table.spill.let_go()
        for array in (data.table.pairs.tag, data.true, data.weight, data.folds, data.judged):
            digest.update(np.ascontiguousarray(array).data)
        how_long = {"trials", "seconds", "workers", "storage"}
        settings = self.settings.model_dump(exclude=how_long)
        state = (settings, self.defaults.model_dump(), data.objective, self.seed)
        digest.update(repr(state).encode())
        if data.scorer.worth is not None:
            digest.update(np.ascontiguousarray(data.scorer.worth).tobytes())
        if data.scorer.metric is not None:
            digest.update(data.scorer.metric.name.encode())
        return digest.hexdigest()[:16]

    def _objective(self, trial: "Trial") -> float:
        from optuna import TrialPruned

        suggested = self._suggested(trial)
        settings, is_default = self._settings(suggested), suggested == self._default_parameters()
        splits = np.unique(self.data.folds)[: self.settings.splits].tolist()
        threads = threads_apart(self.threads // self.workers)
        tasks = ((settings, fold, threads) for fold in splits)
        # Elsewhere all at once, though the first may end the trial: that takes no longer.
        found = done_apart(_split_score, (self,), tasks) if is_handed() else None
        scores = iter(found or (_split_score(self, task) for task in tasks))
        values: list[float] = []
        for step, score in enumerate(scores):
            values.append(score)
            trial.report(float(np.mean(values)), step)
            # Other workers may be ahead of the trial of the defaults: it runs to its end.
            if not is_default and step + 1 < len(splits) and trial.should_prune():
                raise TrialPruned
        return float(np.mean(values))

    def _suggested(self, trial: "Trial") -> dict[str, float]:
        chosen: dict[str, float] = {}
        for name in _SEARCHED:
            low, high = getattr(self.settings, name)
            if name in _WHOLE:
                chosen[name] = trial.suggest_int(name, int(low), int(high))
            else:
                chosen[name] = trial.suggest_float(name, low, high, log=name not in _SHARES)
        return chosen

    def _default_parameters(self) -> dict[str, float]:
        """Return the defaults, moved to the nearest bound where they lie outside the space."""
        limits = {name: getattr(self.settings, name) for name in _SEARCHED}
        defaults = {name: getattr(self.defaults, name) for name in _SEARCHED}
        return {n: type(v)(min(max(v, limits[n][0]), limits[n][1])) for n, v in defaults.items()}

    def _settings(self, parameters: dict[str, Any]) -> XgboostSettings:
        return self.defaults.model_copy(update=parameters)

    def fold_score(self, settings: XgboostSettings, fold: int, threads: int) -> float:
        """Return the score on one fold of a model fitted on the others."""
        data = self.data
        most = min(settings.max_rows, self.settings.max_rows)
        fewer = settings.model_copy(update={"max_rows": most})
        learner = MetaTrees(fewer, seed=self.seed, threads=threads, device=self.device)
        key = (self.name, fold)
        if key not in _MATRICES:
            images = np.flatnonzero(data.folds != fold)
            rows = data.table.pairs.rows(images)
            table = data.table.take(images)
            _MATRICES[key] = learner.matrix(table, data.true[rows], data.weight[rows])
        learner.fit_matrix(_MATRICES[key], data.table)
        own = np.flatnonzero(data.folds[data.judged] == fold)
        proba = expit(learner.predict_logit(data.table.take(data.judged[own])))
        at = data.rows[data.table.pairs.take(data.judged).rows(own)]
        return float(np.nan_to_num(data.scorer.values_at(at, proba, data.objective)[fold]))


def _split_score(tuner: Tuner, task: tuple[XgboostSettings, int, int]) -> float:
    return tuner.fold_score(*task)
