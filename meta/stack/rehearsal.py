"""The whole fit rehearsed without one fold, to be judged on images that it never saw.

Out-of-fold columns let a little of every row through: those of other rows come from models that
were fitted on it. What is stacked on them can overfit without any cross-validation noticing. Here
the held-out images take no part in anything, so their verdict is clean. It decides

- whether tuned parameters are kept: tuned against default, a paired difference with its interval;
- whether XGBoost and the blend stay: one that is clearly worse than level 2 is switched off.

References
----------
Erickson et al. (2020), "AutoGluon-Tabular" (stacking, and what was later found of its overfitting).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tagstack.base_models.pairs import PairProba
from tagstack.configs.stack import StackSettings, XgboostSettings
from tagstack.meta.features.pair_table import PairTable
from tagstack.meta.labels.drawn_images import drawn_images
from tagstack.meta.labels.labelled import Labelled
from tagstack.meta.learners.meta_trees import MetaTrees
from tagstack.meta.learners.protocol import PairLearner
from tagstack.meta.learners.registry import META
from tagstack.meta.metrics.fold_scores import FoldScorer
from tagstack.meta.metrics.leads import FoldScore, Lead
from tagstack.meta.probe.fitting import completed, with_probe
from tagstack.meta.progress import Progress
from tagstack.meta.stack.fold_fits import held_together
from tagstack.meta.stack.foundation import Foundation, lay_foundation
from tagstack.meta.stack.groundwork import Ground, Groundwork, Strengths
from tagstack.meta.stack.ladder import Ladder, climb, fitted, fitted_below
from tagstack.meta.stack.rung_spec import BLEND, RungSpec
from tagstack.meta.stack.rungs import spliced
from tagstack.meta.stack.strengths import choose_strengths
from tagstack.meta.stack.trials import TrialRecord
from tagstack.meta.stack.tuning import InnerData, Search, Tuner

# Listed pairs that inner fits are left with where folds are held out together. What is decided are
# a few yes and no; the fits whose values are used leave out each fold by itself.
_ENOUGH = 300_000


@dataclass(frozen=True, kw_only=True)
class TuningWorth:
    """Default against tuned XGBoost on images that no trial saw.

    Parameters
    ----------
    default, tuned : float
        The objective.
    difference, low, high : float
        Tuned minus default with its 95 % interval over groups of images.
    n_images : int
    """

    default: float
    tuned: float
    difference: float
    low: float
    high: float
    n_images: int


@dataclass(frozen=True, kw_only=True)
class TuningResult:
    """What the search found and whether it was worth keeping.

    Parameters
    ----------
    settings : XgboostSettings
        To be used: the tuned ones, or the defaults where those did as well.
    kept : bool
    n_trials : int
    default_score, tuned_score : float
        On the withheld images.
    history : tuple of float
        Value of each finished trial, in order.
    trials : tuple of TrialRecord
    importances : mapping of parameter to share
    worth : TuningWorth
    workers : int
        With more than one the search is not reproducible.
    """

    settings: XgboostSettings
    kept: bool
    n_trials: int
    default_score: float
    tuned_score: float
    history: tuple[float, ...]
    trials: tuple[TrialRecord, ...]
    importances: Mapping[str, float]
    worth: TuningWorth
    workers: int


@dataclass(frozen=True, kw_only=True)
class OuterScore:
    """A rung's average precision on the images held out of the rehearsal."""

    rung: str
    macro_ap: float
    micro_ap: float


@dataclass(frozen=True, kw_only=True)
class Rehearsal:
    """What was learned by holding a fold out of everything.

    Parameters
    ----------
    n_images : int
        Held out.
    scores : tuple of OuterScore
    off : mapping of rung to str
        Rungs that are switched off, and why.
    tuning : TuningResult or None
    strengths : Strengths
        Chosen without the fold; a choice looks at drawn images, of all folds as of all but one.
    """

    n_images: int
    scores: tuple[OuterScore, ...]
    off: Mapping[str, str]
    tuning: TuningResult | None
    strengths: Strengths


def rehearse(
    data: Labelled,
    settings: StackSettings,
    *,
    seed: int,
    threads: int,
    study_dir: Path | None,
    progress: Progress,
) -> Rehearsal:
    """Fit on all folds but the last, tuning included, and judge on the last.

    Parameters
    ----------
    data : Labelled
        In three folds or more.
    settings : StackSettings
    seed, threads : int
    study_dir : Path, optional
        Where the trials are kept.
    progress : callable
    """

    def told(stage: str, done: int, total: int) -> None:
        progress(stage if stage == "tuning" else f"rehearsal: {stage}", done, total)

    last = data.n_folds - 1
    fit, held = np.flatnonzero(data.folds != last), _judged_on(data, last, settings, seed)
    inner, probe = with_probe(data.take(fit), settings, seed=seed, threads=threads, progress=told)
    strengths = choose_strengths(inner.scores, inner.evidence, inner.folds, settings, seed)
    counts = np.diff(inner.scores.pairs.indptr)
    foundation = lay_foundation(
        replace(inner, folds=held_together(inner.folds, counts, _ENOUGH)),
        settings,
        seed=seed,
        threads=threads,
        progress=told,
        strengths=strengths,
    )
    groundwork, learners = fitted_below(foundation)
    outer = _Outer(completed(data.take(held), probe), foundation, groundwork, learners)
    tuning, meta = _tuned(foundation, outer, study_dir, told)
    ladder = climb(foundation, told, xgboost=tuning.settings if tuning else None)
    stack = fitted(ladder, groundwork, learners, meta=meta)
    names = [spec.name for spec in stack.specs]
    probas = stack.predict(outer.data.scores, names)
    return Rehearsal(
        n_images=len(held),
        scores=tuple(outer.both(name, probas[name]) for name in names),
        off=_switched_off(ladder, outer, probas),
        tuning=tuning,
        strengths=strengths,
    )


def _judged_on(data: Labelled, fold: int, settings: StackSettings, seed: int) -> NDArray[np.int64]:
    """Return the fold's images, drawn ones of very many: what these cannot tell apart is alike."""
    held = np.flatnonzero(data.folds == fold)
    counts = np.diff(data.scores.pairs.indptr)[held]
    return held[drawn_images(counts, settings.gate_pairs, seed)]


class _Outer:
    """The held-out images under what was fitted without them."""

    def __init__(
        self,
        data: Labelled,
        foundation: Foundation,
        groundwork: Groundwork,
        learners: Mapping[str, PairLearner],
    ) -> None:
        settings = foundation.settings
        self.data, self.settings = data, settings
        pairs = data.scores.pairs
        truth = data.evidence.truth(pairs)
        judge = foundation.judges.scorer
        self.scorer = FoldScorer(
            pairs, truth, data.evidence, data.folds, data.groups, judge.worth, judge.metric
        )
        self.ground: Ground = groundwork.apply(data.scores, data.relations, settings)
        columns = {
            spec.column: learners[spec.name].predict_logit(self.ground.table)
            for spec in _learned(foundation)
        }
        self.table: PairTable = self.ground.table.with_columns(columns)

    def score(self, proba: PairProba) -> FoldScore:
        return self.scorer.score(proba, self.settings.objective)

    def both(self, name: str, proba: PairProba) -> OuterScore:
        found = self.scorer.judgement(proba, "balanced_ap")
        return OuterScore(rung=name, macro_ap=found.macro_ap.mean, micro_ap=found.micro_ap.mean)

    def score_of(self, learner: MetaTrees) -> FoldScore:
        logits = spliced(self.ground, learner.predict_logit(self.table))
        return self.score(logits.proba(self.data.scores.pairs))


def _learned(foundation: Foundation) -> tuple[RungSpec, ...]:
    """Return the learners of level 2."""
    return tuple(spec for spec in foundation.specs if spec.kind == "learner")


def _tuned(
    foundation: Foundation, outer: _Outer, study_dir: Path | None, progress: Progress
) -> tuple[TuningResult | None, MetaTrees | None]:
    """Search on the inner folds, and compare the best with the defaults on the outer one.

    With the better of the two, fitted on all inner folds.
    """
    settings, fitter = foundation.settings, foundation.fitter
    if settings.tuning.trials < 2 or META not in settings.learners:
        return None, None
    inner = InnerData(
        table=foundation.table,
        judged=fitter.sample.images,
        rows=fitter.sample.rows,
        true=fitter.true,
        weight=fitter.weight,
        folds=foundation.data.folds,
        scorer=fitter.sample.scorer,
        objective=settings.objective,
    )
    tuner = Tuner(
        data=inner,
        settings=settings.tuning,
        defaults=settings.xgboost,
        seed=fitter.seed,
        threads=fitter.threads,
        device=settings.device,
    )
    return _judged(tuner.run(study_dir, progress), tuner.workers, foundation, outer)


def _judged(
    search: Search, workers: int, foundation: Foundation, outer: _Outer
) -> tuple[TuningResult, MetaTrees]:
    fitter, defaults = foundation.fitter, foundation.settings.xgboost
    device = foundation.settings.device
    of_defaults, of_search = (
        MetaTrees(settings, seed=fitter.seed, threads=fitter.threads, device=device)
        for settings in (defaults, search.settings)
    )
    matrix = of_defaults.matrix(foundation.table, fitter.true, fitter.weight)
    default = tuned = outer.score_of(of_defaults.fit_matrix(matrix, foundation.table))
    if search.settings == defaults:
        of_search = of_defaults
    else:
        tuned = outer.score_of(of_search.fit_matrix(matrix, foundation.table))
    lead = Lead.of(tuned, default)
    kept = lead.value > 0
    result = TuningResult(
        settings=search.settings if kept else defaults,
        kept=kept,
        n_trials=len(search.trials),
        default_score=default.mean,
        tuned_score=tuned.mean,
        history=tuple(trial.value for trial in search.trials),
        trials=search.trials,
        importances=search.importances,
        worth=TuningWorth(
            default=default.mean,
            tuned=tuned.mean,
            difference=lead.value,
            low=lead.interval[0],
            high=lead.interval[1],
            n_images=outer.data.scores.n_images,
        ),
        workers=workers,
    )
    return result, of_search if kept else of_defaults


def _switched_off(ladder: Ladder, outer: _Outer, probas: Mapping[str, PairProba]) -> dict[str, str]:
    """Return which of XGBoost and the blend are clearly worse than level 2, and by how much.

    Level 2 is its best rung by the inner folds, so that nothing is picked on the outer images.
    """
    settings, learned = ladder.settings, _learned(ladder.foundation)
    below = ("shrunken_logistic", *(spec.name for spec in learned))
    inner = {name: ladder.rungs.score(name).mean for name in below}
    if all(np.isnan(value) for value in inner.values()):
        return {}
    best = max(below, key=lambda name: np.nan_to_num(inner[name], nan=-1.0))
    reference, off = outer.score(probas[best]), {}
    for name in (BLEND, META):
        if name in probas:
            lead = Lead.of(reference, outer.score(probas[name]))
            if lead.clear(settings.overrule_standard_errors):
                off[name] = (
                    f"{lead.value:+.4f} behind {best} on {outer.data.scores.n_images} images that "
                    f"took no part, standard error {lead.error:.4f}"
                )
    return off
