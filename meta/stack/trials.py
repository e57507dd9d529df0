"""Optuna's study on disk: opened, resumed, searched by one process or several, summed up."""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tagstack.base_models.atomic import written_whole
from tagstack.base_models.locks import waited_for
from tagstack.configs.errors import TagstackError
from tagstack.configs.stack import TuningSettings

if TYPE_CHECKING:
    from optuna import Study
    from optuna.pruners import BasePruner
    from optuna.storages import BaseStorage
    from optuna.storages.journal import JournalFileSymlinkLock
    from optuna.trial import FrozenTrial

_STARTUP_TRIALS = 5
_FEWEST_FOR_IMPORTANCE = 4
# A journal is locked for as long as a line takes to write. Who holds it longer was killed, and
# its lock outlives it: the lock is a link, the one kind that old network drives keep to.
_LONGEST_WRITE_S = 5


@dataclass(frozen=True, kw_only=True)
class TrialRecord:
    """One finished trial.

    Parameters
    ----------
    number : int
    value : float
        The objective; a pruned trial's is that of its splits so far.
    state : str
        ``complete`` or ``pruned``.
    params : mapping of str to float
    """

    number: int
    value: float
    state: str
    params: dict[str, float]


class StudyPlace:
    """Where a study lies and how it is run.

    Parameters
    ----------
    folder : Path or None
        None keeps the study in memory: nothing to resume, and one worker alone.
    name : str
        Of the study; equal inputs have equal names.
    settings : TuningSettings
    seed : int
    """

    def __init__(self, folder: Path | None, name: str, settings: TuningSettings, seed: int) -> None:
        self.folder, self.name, self.settings, self.seed = folder, name, settings, seed
        self._place: BaseStorage | None = None
        self._storage: BaseStorage | None = None

    def __getstate__(self) -> dict[str, object]:
        # Connections belong to their process.
        return self.__dict__ | {"_place": None, "_storage": None}

    def open(self, n_done: int) -> "Study":
        """Return the study, made if it is not there, with the sampler of the next trial.

        Each trial draws from a sampler of its own seed, so that a search that was killed and
        resumed goes on like one that ran through.
        """
        import optuna

        if self._storage is None:  # kept: to open the file anew costs as much as a small trial
            self._place = self._opened()
            self._storage = optuna.storages.get_storage(self._place)
        return optuna.create_study(
            storage=self._storage,
            study_name=self.name,
            direction="maximize",
            sampler=optuna.samplers.TPESampler(
                seed=self.seed + n_done, n_startup_trials=_STARTUP_TRIALS
            ),
            pruner=self._pruner(),
            load_if_exists=True,
        )

    def close(self) -> None:
        """Let go of a study's file; `open` opens it again. One in memory stays."""
        if self._place is None or self.folder is None:
            return
        from optuna.storages import RDBStorage

        if isinstance(self._place, RDBStorage):
            self._place.remove_session()
            self._place.engine.dispose()
        self._place = self._storage = None

    def _opened(self) -> "BaseStorage":
        from optuna.storages import InMemoryStorage, JournalStorage, RDBStorage
        from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock

        if self.folder is None:
            return InMemoryStorage()
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.settings.storage == "journal":
            journal = self.folder / "tuning.journal"
            lock = JournalFileSymlinkLock(str(journal), grace_period=_LONGEST_WRITE_S)
            _without_torn_end(journal, lock)
            return JournalStorage(JournalFileBackend(str(journal), lock))
        return RDBStorage(_sqlite(self.folder.absolute() / "tuning.sqlite"))

    def _pruner(self) -> "BasePruner":
        from optuna import pruners

        if self.settings.pruner == "hyperband":
            return pruners.HyperbandPruner(min_resource=1, max_resource=self.settings.splits)
        if self.settings.pruner == "none":
            return pruners.NopPruner()
        # Two startup trials, then a trial whose first fold is below the median stops there.
        return pruners.MedianPruner(n_startup_trials=2, n_warmup_steps=0)


def finished(study: "Study") -> "list[FrozenTrial]":
    """Return complete and pruned trials; one that a kill left running does not count."""
    from optuna.trial import TrialState

    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))


def forget_running(study: "Study") -> None:
    """Fail what a killed run left running: it would count as under way and sway the sampler."""
    from optuna.trial import TrialState

    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)


def seconds_spent(study: "Study") -> float:
    """Return how long the finished trials took, added up over runs and workers."""
    durations = (trial.duration for trial in finished(study))
    return sum(duration.total_seconds() for duration in durations if duration is not None)


def is_waiting(study: "Study") -> bool:
    """Return whether a trial was put into the study and not begun."""
    from optuna.trial import TrialState

    return bool(study.get_trials(deepcopy=False, states=(TrialState.WAITING,)))


def records(study: "Study") -> tuple[TrialRecord, ...]:
    """Return the finished trials in their order, numbered anew: a kill leaves a gap in theirs."""
    from optuna.trial import TrialState

    return tuple(
        TrialRecord(
            number=number,
            value=float(trial.value if trial.value is not None else "nan"),
            state="complete" if trial.state == TrialState.COMPLETE else "pruned",
            params=dict(trial.params),
        )
        for number, trial in enumerate(sorted(finished(study), key=lambda trial: trial.number))
    )


def importances(study: "Study") -> dict[str, float]:
    """Return each parameter's share in what separates the best trials from all.

    Empty where too few trials ran to their end, or all came out alike.

    References
    ----------
    Watanabe, Bansal & Hutter (2023), "PED-ANOVA: efficiently quantifying hyperparameter
    importance in arbitrary subspaces".
    """
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
    from optuna.trial import TrialState

    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    values = {trial.value for trial in complete}
    if len(complete) < _FEWEST_FOR_IMPORTANCE or len(values) < 2:
        return {}
    evaluator = PedAnovaImportanceEvaluator(target_quantile=0.25)
    return get_param_importances(study, evaluator=evaluator)


def run_trials(
    place: StudyPlace,
    one_trial: Callable[[StudyPlace, int], None],
    workers: int,
    told: Callable[[int], None],
) -> None:
    """Run trials until the settings' number or time is reached.

    Parameters
    ----------
    place : StudyPlace
    one_trial : callable
        Runs one trial in the study, given how many are done. For several workers it is sent to
        other processes, each of which opens the study anew.
    workers : int
    told : callable
        Is told the number of finished trials.
    """
    n_done = len(finished(place.open(0)))
    left = range(n_done, place.settings.trials)
    if workers == 1 or place.folder is None:
        for n in left:
            if _time_is_up(place, 1):
                return
            one_trial(place, n)
            told(n + 1)
        return
    _run_beside(place, one_trial, left, workers, told)


def _run_beside(
    place: StudyPlace,
    one_trial: Callable[[StudyPlace, int], None],
    left: range,
    workers: int,
    told: Callable[[int], None],
) -> None:
    from joblib import Parallel, delayed
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    pool = Parallel(
        n_jobs=workers, backend="loky", return_as="generator_unordered", pre_dispatch=workers
    )
    tasks = (
        delayed(_one_elsewhere)(one_trial, place, n)
        for n in left
        if not _time_is_up(place, workers)
    )
    try:
        for n, _ in enumerate(pool(tasks), start=left.start + 1):
            told(n)
    except TerminatedWorkerError as error:
        msg = (
            f"One of {workers} tuning workers was killed, perhaps for lack of memory. Lower "
            "stack.tuning.workers and run the same command again; finished trials are kept."
        )
        raise TagstackError(msg) from error


def _one_elsewhere(
    one_trial: Callable[[StudyPlace, int], None], place: StudyPlace, n_done: int
) -> None:
    """Run a trial in a process that has its own copy of the place."""
    with closing(place):
        one_trial(place, n_done)


def _time_is_up(place: StudyPlace, workers: int) -> bool:
    limit_s = place.settings.seconds
    if not limit_s:
        return False
    study = place.open(0)
    return bool(finished(study)) and seconds_spent(study) / workers >= limit_s


def _sqlite(path: Path) -> str:
    """Return the address of a database of trials, which is there whole or not at all.

    Its tables and the indexes that keep names unique are made one by one: killed between them, a
    database takes two studies of one name, and can never be read again.
    """
    from optuna.storages import RDBStorage

    with waited_for(path.with_name(".tuning.lock")):
        if not path.exists():
            with written_whole(path) as temporary:
                made = RDBStorage(f"sqlite:///{temporary}")
                made.remove_session()
                made.engine.dispose()
        _check_database(path)
    return f"sqlite:///{path}"


def _check_database(path: Path) -> None:
    """Refuse what is no database: Optuna would fail on it with its connections open."""
    import sqlite3

    from optuna.exceptions import StorageInternalError

    with closing(sqlite3.connect(path)) as connection:
        try:
            connection.execute("select count(*) from sqlite_master")
        except sqlite3.Error as error:
            raise StorageInternalError(str(error)) from error


def _without_torn_end(journal: Path, lock: "JournalFileSymlinkLock") -> None:
    """Drop what a kill or a full disk left of a last line: the next would be written into it.

    No other process writes while this one holds the journal's ``lock``.

    Raises
    ------
    StorageInternalError
        If any other line is none of a journal's: with what follows it, the file says nothing.
    """
    from optuna.exceptions import StorageInternalError

    if not journal.exists():
        return
    lock.acquire()
    try:
        whole, newline, end = journal.read_bytes().rpartition(b"\n")
        if not all(map(_is_entry, whole.splitlines())) or (end and not end.startswith(b"{")):
            msg = f"{journal.name} is no journal of trials"
            raise StorageInternalError(msg)
        if end:
            os.truncate(journal, len(whole + newline))
    finally:
        lock.release()


def _is_entry(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:  # no JSON, or no text
        return False


@contextmanager
def storage_faults(folder: Path | None) -> Iterator[None]:
    """Turn what the storage raises into one line that says what to do."""
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (StorageInternalError, SQLAlchemyError) as error:
        reason = str(error.__cause__ or error).splitlines()[0]
        msg = (
            f"Cannot keep the tuning trials in {folder}: {reason}. Free some space, or delete "
            "that folder if it is damaged, and run the same command again."
        )
        raise TagstackError(msg) from error


@contextmanager
def quiet_optuna() -> Iterator[None]:
    """Keep Optuna's own log lines out while our progress is shown."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)
