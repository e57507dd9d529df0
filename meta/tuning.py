"""Optuna's search for better XGBoost parameters, on inner folds and resumable.

One fold takes no part in the search; it decides at the end whether the found parameters are
kept. The first trial is the defaults. Each trial draws from a sampler of its own seed, so that a
search that was killed and resumed ends like one that ran through.
"""

import hashlib
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tagstack.configs.errors import TagstackError
from tagstack.configs.stack import TuningSettings, XgboostSettings
from tagstack.meta.features import PairTable
from tagstack.meta.learners.meta_trees import MetaTrees
from tagstack.meta.progress import Progress

if TYPE_CHECKING:
    from optuna import Study, Trial

logger = logging.getLogger(__name__)

Floats = NDArray[np.float64]
Score = Callable[[Floats, NDArray[np.int64]], float]

_WHOLE = ("rounds", "depth")
_SEARCHED = ("rounds", "learning_rate", "depth", "min_weight", "l2", "column_share", "row_share")
_SHARES = ("column_share", "row_share")  # searched evenly; the others on a logarithmic scale


@dataclass(frozen=True, kw_only=True)
class TuningResult:
    """What the search found and whether it was worth keeping.

    Parameters
    ----------
    settings : XgboostSettings
        To be used: the tuned ones, or the defaults where those did as well.
    n_trials : int
    default_score, tuned_score : float
        On the fold that the search never saw.
    kept : bool
    history : tuple of float
        Value of each finished trial, in order; a pruned trial's is its first fold's.
    """

    settings: XgboostSettings
    n_trials: int
    default_score: float
    tuned_score: float
    kept: bool
    history: tuple[float, ...]


class Tuner:
    """One search.

    Parameters
    ----------
    table : PairTable
        Features with the level-2 columns.
    true : array of shape (n_pairs,), bool
    weight : array of shape (n_pairs,), float64
        How much a pair counts in the fits; 0 leaves it out.
    folds : array of shape (n_images,), int64
        The highest fold is withheld from the search.
    score : callable
        Takes logits and the rows of ``table`` they belong to; returns the objective.
    settings, defaults, seed, threads
    """

    def __init__(
        self,
        table: PairTable,
        true: NDArray[np.bool_],
        weight: Floats,
        folds: NDArray[np.int64],
        score: Score,
        *,
        settings: TuningSettings,
        defaults: XgboostSettings,
        seed: int,
        threads: int,
    ) -> None:
        self.table, self.true, self.weight = table, true, weight
        self.folds, self.score = folds, score
        self.settings, self.defaults = settings, defaults
        self.seed, self.threads = seed, threads
        self.inner = np.unique(folds)[:-1]
        self.withheld = int(folds.max())
        self._matrices: dict[int, Any] = {}

    def run(self, study_dir: Path | None, progress: Progress) -> TuningResult:
        """Search, then compare the best with the defaults on the withheld fold."""
        if self.settings.trials < 2 or len(self.inner) < 2:
            return _not_searched(self.defaults)
        with _quiet_optuna(), _storage_faults(study_dir):
            study = self._study(study_dir)
            self._search(study, progress)
            found = self._settings(study.best_trial.params)
            history = tuple(float(t.value) for t in _finished(study) if t.value is not None)
        default, tuned = self._withheld_score(self.defaults), self._withheld_score(found)
        kept = tuned > default
        logger.info("tuning: withheld %.4f tuned, %.4f default", tuned, default)
        return TuningResult(
            settings=found if kept else self.defaults,
            n_trials=len(history),
            default_score=default,
            tuned_score=tuned,
            kept=kept,
            history=history,
        )

    def _search(self, study: "Study", progress: Progress) -> None:
        from optuna.samplers import TPESampler

        began = time.perf_counter()
        while len(_finished(study)) < self.settings.trials:
            n_done = len(_finished(study))
            spent = time.perf_counter() - began
            if n_done and 0 < self.settings.seconds <= spent:
                break
            if n_done == 0:
                study.enqueue_trial(self._default_parameters(), skip_if_exists=True)
            study.sampler = TPESampler(seed=self.seed + n_done, n_startup_trials=5)
            study.optimize(self._objective, n_trials=1)
            progress("tuning", n_done + 1, self.settings.trials)

    def _study(self, study_dir: Path | None) -> "Study":
        import optuna

        storage = None
        if study_dir is not None:
            study_dir.mkdir(parents=True, exist_ok=True)
            storage = f"sqlite:///{(study_dir / 'tuning.sqlite').absolute()}"
        # Two startup trials, then a trial whose first fold is below the median stops there.
        pruner = optuna.pruners.MedianPruner(n_startup_trials=2, n_warmup_steps=0)
        study = optuna.create_study(
            storage=storage,
            study_name=f"xgboost-{self._fingerprint()}",
            direction="maximize",
            pruner=pruner,
            load_if_exists=True,
        )
        # What a killed run left running would count as under way and sway the sampler.
        for trial in study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,)):
            study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
        return study

    def _fingerprint(self) -> str:
        """Return a hash of everything a trial's value depends on: another study is never mixed."""
        digest = hashlib.sha256()
        for array in (self.table.values, self.table.pairs.tag, self.true, self.weight, self.folds):
            digest.update(np.ascontiguousarray(array).tobytes())
        settings = self.settings.model_dump(exclude={"trials", "seconds"})
        digest.update(repr((settings, self.defaults.model_dump(), self.seed)).encode())
        return digest.hexdigest()[:16]

    def _objective(self, trial: "Trial") -> float:
        from optuna import TrialPruned

        settings = self._settings(self._suggested(trial))
        values: list[float] = []
        splits = self.inner[: self.settings.splits]
        for step, fold in enumerate(splits):
            values.append(self._fold_score(settings, int(fold)))
            trial.report(float(np.mean(values)), step)
            if step + 1 < len(splits) and trial.should_prune():
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

    def _fold_score(self, settings: XgboostSettings, fold: int) -> float:
        """Return the score on one inner fold of a model fitted on the other inner folds."""
        learner = MetaTrees(settings, seed=self.seed, threads=self.threads)
        if fold not in self._matrices:
            images = np.flatnonzero((self.folds != fold) & (self.folds != self.withheld))
            self._matrices[fold] = self._matrix(learner, self._drawn(images))
        learner.fit_matrix(self._matrices[fold], self.table.names)
        return self._score_of(learner, np.flatnonzero(self.folds == fold))

    def _withheld_score(self, settings: XgboostSettings) -> float:
        learner = MetaTrees(settings, seed=self.seed, threads=self.threads)
        if self.withheld not in self._matrices:
            images = np.flatnonzero(self.folds != self.withheld)
            self._matrices[self.withheld] = self._matrix(learner, images)
        learner.fit_matrix(self._matrices[self.withheld], self.table.names)
        return self._score_of(learner, np.flatnonzero(self.folds == self.withheld))

    def _matrix(self, learner: MetaTrees, images: NDArray[np.intp]) -> Any:
        rows = self.table.pairs.rows(images)
        return learner.matrix(self.table.take(images), self.true[rows], self.weight[rows])

    def _drawn(self, images: NDArray[np.intp]) -> NDArray[np.intp]:
        """Return so many of the images, drawn by the seed, that the pairs stay within bounds."""
        counts = np.diff(self.table.pairs.indptr)[images]
        if counts.sum() <= self.settings.max_rows:
            return images
        order = np.random.default_rng(self.seed).permutation(len(images))
        n = max(1, int(np.searchsorted(np.cumsum(counts[order]), self.settings.max_rows)))
        return np.sort(images[order[:n]])

    def _score_of(self, learner: MetaTrees, images: NDArray[np.intp]) -> float:
        rows = self.table.pairs.rows(images)
        return self.score(learner.predict_logit(self.table.take(images)), rows)


def _not_searched(defaults: XgboostSettings) -> TuningResult:
    nan = float("nan")
    return TuningResult(
        settings=defaults, n_trials=0, default_score=nan, tuned_score=nan, kept=False, history=()
    )


def _finished(study: "Study") -> list[Any]:
    """Return complete and pruned trials; one that a kill left running does not count."""
    from optuna.trial import TrialState

    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))


@contextmanager
def _storage_faults(study_dir: Path | None) -> Iterator[None]:
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (StorageInternalError, SQLAlchemyError) as error:
        reason = str(error.__cause__ or error).splitlines()[0]
        msg = (
            f"Cannot keep the tuning trials in {study_dir}: {reason}. Free some space, or delete "
            "that folder if it is damaged, and run the same command again."
        )
        raise TagstackError(msg) from error


@contextmanager
def _quiet_optuna() -> Iterator[None]:
    """Keep Optuna's own log lines out while our progress is shown."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)
