"""The search for architecture, size and rates: several trainings, of which the best is kept.

The first is the settings as they are. Each further one is proposed by a sampler of its own seed
from all that ended before it, and ends early where it is worse than half of them were: a search
that was killed goes on to the same tagger as one that ran through. All are judged on the same
left-out pictures, so the best one's score flatters a little more than that of a single training.
"""

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tagstack.base_models.atomic import write_text
from tagstack.base_models.path_lists import names_and_paths
from tagstack.configs.errors import TagstackError
from tagstack.configs.settings import Settings
from tagstack.configs.text_files import read_json
from tagstack.ensemble.progress import Progress
from tagstack.ensemble.training.preparing import label_rows, prepared
from tagstack.ensemble.training.request import Trained, TrainRequest, Trial
from tagstack.ensemble.training.run import Run

if TYPE_CHECKING:
    import optuna

    from tagstack.base_models.training.checkpoint import Position

TRIALS = "trials.json"
_STARTUP = 4  # trials at random, before the sampler learns from them
_LOSSES = ("bce", "focal", "asymmetric")
_RATES = 10.0  # rates are searched from a tenth of the settings' to three times as much
_LIMIT = 2**26


def searched(request: TrainRequest, settings: Settings, work: Path, progress: Progress) -> Trained:
    """Train as often as asked, and write the tagger of the best training.

    Raises
    ------
    TagstackError
        If pictures, labels or weights cannot be used, or the folder holds another search.
    """
    work.mkdir(parents=True, exist_ok=True)
    trials = _kept(work, request, settings)
    while len(trials) < request.search and not _is_spent(trials, settings):
        number = len(trials)
        progress.notice(f"training {number + 1} of {request.search}")
        trial = _tried(request, settings, trials, work, progress)
        trials = (*trials, trial)
        _keep(work, request, settings, trials)
        _forget(work, trials)
    best = max(trials, key=lambda trial: trial.score)
    asked, own = _asked(request, settings, asdict(best))
    folder = work / str(best.number)
    run = Run(prepared(asked, own, folder, progress))
    for notice in run.notices:
        progress.notice(notice)
    # It ended there before: whatever ended it early does so again at once.
    position = run.train(folder, progress.stage, lambda p: len(p.scores) >= len(best.scores))
    return run.write(position, progress.stage, trials)


def _tried(
    request: TrainRequest,
    settings: Settings,
    trials: tuple[Trial, ...],
    work: Path,
    progress: Progress,
) -> Trial:
    """Return the next trial, trained in a folder of its own."""
    import optuna

    number = len(trials)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    space = _space(request, settings)
    study = optuna.create_study(
        direction="maximize",
        sampler=optuna.samplers.TPESampler(seed=settings.seed + number, n_startup_trials=_STARTUP),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=2, n_warmup_steps=1),
    )
    for trial in trials:
        if not trial.fault:
            study.add_trial(_frozen(trial, space))
    if not trials:
        study.enqueue_trial(_as_set(request, settings))
    asked = study.ask(space)
    try:
        return _trained(request, settings, asked, number, work, progress)
    except (TagstackError, RuntimeError) as error:  # torch: no memory, or a size that does not fit
        if not number:  # as the settings say: nothing else would do better
            raise
        fault = str(error).splitlines()[0]
        progress.notice(f"this training failed: {fault}")
        return Trial(
            number=number, **asked.params, scores=(), seconds=0.0, ended_early=False, fault=fault
        )


def _trained(
    request: TrainRequest,
    settings: Settings,
    asked: "optuna.Trial",
    number: int,
    work: Path,
    progress: Progress,
) -> Trial:
    """Return a trial that was trained to its end, or to where others were better."""
    chosen, own = _asked(request, settings, asked.params)
    folder = work / str(number)
    run = Run(prepared(chosen, own, folder, progress))
    told: set[int] = set()
    ended: list[int] = []

    def stop(position: "Position") -> bool:
        for epoch in set(range(len(position.scores))) - told:
            asked.report(position.scores[epoch], epoch)
            told.add(epoch)
        if position.scores and asked.should_prune():
            ended.append(position.epoch)
        return bool(ended)

    position = run.train(folder, progress.stage, stop)
    return Trial(
        number=number,
        **asked.params,
        scores=tuple(position.scores),
        seconds=position.seconds,
        ended_early=bool(ended),
    )


def _space(
    request: TrainRequest, settings: Settings
) -> "dict[str, optuna.distributions.BaseDistribution]":
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    train = settings.train
    rate, decay = train.learning_rate, max(train.weight_decay, 1e-4)
    return {
        "start": CategoricalDistribution(_starts(request)),
        "size": CategoricalDistribution(train.search_sizes or [train.size]),
        "loss": CategoricalDistribution(sorted({*_LOSSES, train.loss})),
        "learning_rate": FloatDistribution(rate / _RATES, 3 * rate, log=True),
        "weight_decay": FloatDistribution(decay / _RATES, 3 * decay, log=True),
    }


def _starts(request: TrainRequest) -> list[str]:
    return [name for name in names_and_paths(request.start) if name]


def _as_set(request: TrainRequest, settings: Settings) -> dict[str, Any]:
    train = settings.train
    sizes = train.search_sizes or [train.size]
    return {
        "start": _starts(request)[0],
        "size": train.size if train.size in sizes else sizes[0],
        "loss": train.loss,
        "learning_rate": train.learning_rate,
        "weight_decay": max(train.weight_decay, 1e-4),
    }


def _asked(
    request: TrainRequest, settings: Settings, chosen: dict[str, Any]
) -> tuple[TrainRequest, Settings]:
    """Return request and settings of one trial."""
    names = ("size", "loss", "learning_rate", "weight_decay")
    train = settings.train.model_copy(update={name: chosen[name] for name in names})
    own = settings.model_copy(update={"train": train})
    return replace(request, start=chosen["start"], search=0), own


def _frozen(trial: Trial, space: "dict[str, Any]") -> "optuna.trial.FrozenTrial":
    from optuna.trial import create_trial

    values = asdict(trial)
    return create_trial(
        params={name: values[name] for name in space},
        distributions=space,
        value=trial.score,
        intermediate_values=dict(enumerate(trial.scores)),
    )


def _is_spent(trials: tuple[Trial, ...], settings: Settings) -> bool:
    hours = settings.train.search_hours
    return bool(trials) and 0 < hours <= sum(trial.seconds for trial in trials) / 3600


def _digest(request: TrainRequest, settings: Settings) -> list[object]:
    from tagstack.base_models.training.export import digest_of

    train = settings.train.model_dump(mode="json", exclude={"checkpoint_seconds", "search_hours"})
    rows = digest_of(label_rows(request, settings).rows)
    columns = [request.left_out, request.group, request.against]
    return [_starts(request), rows, columns, settings.seed, train]


def _keep(work: Path, request: TrainRequest, settings: Settings, trials: tuple[Trial, ...]) -> None:
    content = {"of": _digest(request, settings), "trials": [asdict(trial) for trial in trials]}
    write_text(work / TRIALS, json.dumps(content) + "\n")


def _kept(work: Path, request: TrainRequest, settings: Settings) -> tuple[Trial, ...]:
    """Return the trials that ended before this run was begun."""
    path = work / TRIALS
    if not path.is_file():
        return ()
    try:
        content = read_json(path, limit=_LIMIT)
        of, rows = content["of"], content["trials"]
        trials = tuple(Trial(**{**row, "scores": tuple(row["scores"])}) for row in rows)
    except (TypeError, KeyError, ValueError) as error:
        raise TagstackError(f"{path} is damaged: {error}. Start anew with --overwrite.") from error
    if of != _digest(request, settings):
        msg = (
            f"{work} holds a search of other starts or settings; expected the same to go on. Start "
            "anew with --overwrite, or train into another folder."
        )
        raise TagstackError(msg)
    return trials


def _forget(work: Path, trials: tuple[Trial, ...]) -> None:
    """Delete the pixels of all trials, and all that is left of those that are not the best."""
    from tagstack.base_models.training.pixels import PIXELS_FILE

    best = max(trials, key=lambda trial: trial.score).number
    for trial in trials:
        folder = work / str(trial.number)
        if trial.number != best:
            shutil.rmtree(folder, ignore_errors=True)
        else:
            (folder / PIXELS_FILE).unlink(missing_ok=True)
