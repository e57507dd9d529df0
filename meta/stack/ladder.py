"""Every rung of one fit out of fold, and the stack that is fitted on all images for them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tagstack.base_models.pairs import PairProba
from tagstack.configs.stack import StackSettings, XgboostSettings
from tagstack.meta.learners.protocol import PairLearner, StagedLearner
from tagstack.meta.learners.registry import META
from tagstack.meta.metrics.leads import Judgement
from tagstack.meta.progress import Progress
from tagstack.meta.stack.fitted_stack import FittedStack
from tagstack.meta.stack.foundation import Foundation
from tagstack.meta.stack.groundwork import Groundwork
from tagstack.meta.stack.made_rungs import MadeRungs
from tagstack.meta.stack.rung_spec import BLEND, blended_rungs
from tagstack.meta.stack.rungs import RungLogits, spliced
from tagstack.meta.stack.selection import level_rungs

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Ladder:
    """All rungs out of fold.

    Parameters
    ----------
    foundation : Foundation
    settings : StackSettings
        Those that the rungs were made with: XGBoost's are the tuned ones, if given.
    rungs : MadeRungs
    rounds : mapping of learner to int
        After how many rounds each kind of trees did best.
    blend_weights : mapping of rung to float
    off : mapping of rung to str
        Rungs that may not be chosen, and why; the blend does without them.
    """

    foundation: Foundation
    settings: StackSettings
    rungs: MadeRungs
    rounds: Mapping[str, int]
    blend_weights: Mapping[str, float]
    off: Mapping[str, str]

    def proba(self, name: str) -> PairProba:
        """Return a rung's out-of-fold probabilities."""
        return self.rungs.proba(name)

    def judgement(self, name: str) -> Judgement:
        """Return a rung's scores on left-out folds."""
        return self.rungs.judgement(name)

    def weights(self, name: str) -> Mapping[str, float]:
        """Return what a rung averages and how much; empty for others."""
        members, weights = self.foundation.data.scores.members, self.foundation.member_weights
        averages = {"caruana": dict(zip(members, weights, strict=True)), BLEND: self.blend_weights}
        return averages.get(name, {})

    def with_rung(self, name: str, made: RungLogits) -> "Ladder":
        """Return the ladder with one rung more."""
        rungs = self.rungs.copy()
        rungs.keep(name, made)
        return replace(self, rungs=rungs)


def climb(
    foundation: Foundation,
    progress: Progress,
    *,
    xgboost: XgboostSettings | None = None,
    off: Mapping[str, str] | None = None,
) -> Ladder:
    """Return the ladder on a foundation: the meta-model and the blend on top of it.

    Parameters
    ----------
    foundation : Foundation
    progress : callable
        Is told (stage, done, total).
    xgboost : XgboostSettings, optional
        Of the meta-model, if they were tuned.
    off : mapping of rung to str, optional
        Rungs that may not be chosen, and why.
    """
    off, settings = off or {}, foundation.settings
    if xgboost is not None:
        settings = settings.model_copy(update={"xgboost": xgboost})
    rungs, rounds = foundation.rungs.copy(), dict(foundation.rounds)
    if META in settings.learners:
        progress(META, 0, 1)
        found = replace(foundation.fitter, settings=settings).left_out(META, foundation.table)
        rungs.add(META, spliced(foundation.ground, found.logit, foundation.data.spill))
        if found.rounds is not None:
            rounds[META] = found.rounds
    progress(BLEND, 0, 1)
    names = blended_rungs(foundation.specs, off)
    weights, blend = _blend(names, foundation, rungs)
    rungs.add(BLEND, blend)
    return Ladder(
        foundation=foundation,
        settings=settings,
        rungs=rungs,
        rounds=rounds,
        blend_weights=weights,
        off=off,
    )


def fitted_below(foundation: Foundation) -> tuple[Groundwork, dict[str, PairLearner]]:
    """Return groundwork and level-2 learners, fitted on all images."""
    names = [spec.name for spec in foundation.specs if spec.kind == "learner"]
    rounds = {name: foundation.rounds.get(name) for name in names}
    return foundation.groundwork, foundation.fitter.on_all(rounds, foundation.ground.table)


def fitted(
    ladder: Ladder,
    groundwork: Groundwork,
    learners: Mapping[str, PairLearner],
    tag_rungs: tuple[str, ...] = (),
    meta: StagedLearner | None = None,
) -> FittedStack:
    """Return the stack: what `fitted_below` returned, and the rest fitted on all images.

    Parameters
    ----------
    ladder : Ladder
    groundwork, learners
        As `fitted_below` returned them.
    tag_rungs : tuple of str, optional
        The rung of each tag, where bands have their own.
    meta : StagedLearner, optional
        The meta-model with the ladder's settings, if it is fitted on all images already.
    """
    foundation, settings = ladder.foundation, ladder.settings
    every = dict(learners)
    if meta is not None:
        every[META] = meta.stopped_at(ladder.rounds[META])
    elif META in settings.learners:
        fitter = replace(foundation.fitter, settings=settings)
        every |= fitter.on_all({META: ladder.rounds.get(META)}, foundation.table)
    return FittedStack(
        settings=settings,
        vocabulary=foundation.data.scores.vocabulary,
        members=foundation.data.scores.members,
        relations=foundation.data.relations,
        groundwork=groundwork,
        member_weights=foundation.member_weights,
        learners=every,
        calibrations=ladder.rungs.calibrations(),
        blend_weights=ladder.blend_weights,
        tag_rungs=tag_rungs,
        start=foundation.data.start,
    )


def _blend(
    names: tuple[str, ...], foundation: Foundation, rungs: MadeRungs
) -> tuple[dict[str, float], RungLogits]:
    """Return the rungs' weights by all folds, and the blend of each fold by the others' weights."""
    data, ground, settings = foundation.data, foundation.ground, foundation.settings
    pairs, parts = data.scores.pairs, [rungs.rung(name) for name in names]
    sampled = ground.rows[foundation.fitter.sample.table_rows]
    logit = np.stack([rung.listed[sampled].astype(np.float64) for rung in parts])
    found = foundation.fitter.sample.weights(logit, of_proba=False)
    equal, share = _equal_weights(names, rungs, settings), settings.blend_equal_share
    weights, by_fold = ((1 - share) * w + share * equal for w in found)
    # 0 times a missing logit would be missing.
    used = [(by_fold[:, r], rung) for r, rung in enumerate(parts) if by_fold[:, r].any()]
    listed, base = data.spill.empty(len(pairs), np.float32), np.zeros(pairs.n_tags)
    for _, rows in pairs.blocks():
        fold = data.folds[pairs.image[rows]]
        listed[rows] = sum(share[fold] * rung.listed[rows] for share, rung in used)
        data.spill.let_go()
    for share_of_fold, rung in used:
        base += share_of_fold.mean() * rung.base
    return dict(zip(names, map(float, weights), strict=True)), RungLogits(listed=listed, base=base)


def _equal_weights(names: Sequence[str], rungs: MadeRungs, settings: StackSettings) -> Floats:
    """Return weights that are the same for all rungs that none clearly leads, 0 for others."""
    # Judged on all folds, their own included: one yes or no for a rung tells no row anything.
    judgements = {name: rungs.judgement(name) for name in names}
    level = level_rungs(judgements, names, settings.gate_standard_errors)
    weights = np.array([name in level for name in names], np.float64)
    return np.asarray(weights / weights.sum(), np.float64)
