"""One fit's work in progress: every rung out of fold, their scores, and the final fits."""

from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from tagstack.base_models.pairs import Level1Scores
from tagstack.configs.stack import StackSettings
from tagstack.meta.calibration import category_numbers, fit_monotone
from tagstack.meta.features import PairTable
from tagstack.meta.fitted_stack import FittedStack
from tagstack.meta.groundwork import Ground, fit_groundwork
from tagstack.meta.learners.caruana import GreedySelection
from tagstack.meta.learners.protocol import PairLearner
from tagstack.meta.learners.shrunken_logistic import filled_in
from tagstack.meta.out_of_fold import (
    cross_fitted_ground,
    cross_fitted_logit,
    cross_fitted_monotone,
)
from tagstack.meta.progress import Progress
from tagstack.meta.relations import TagRelations
from tagstack.meta.rungs import (
    BLENDED,
    LEVEL_TWO,
    SIMPLEST_FIRST,
    RungLogits,
    blended,
    make_learner,
    plain_rung,
    spliced,
    weighted_members,
)
from tagstack.meta.selection import FoldScorer, LadderRow, choose_rung, ladder_row
from tagstack.meta.strengths import choose_strengths
from tagstack.meta.truth import Evidence
from tagstack.meta.tuning import Tuner, TuningResult

Floats = NDArray[np.float64]


class Ladder:
    """Rungs of one set of labelled images.

    Parameters
    ----------
    scores, evidence, folds, relations, settings, seed, threads
        As in `tagstack.meta.stacker.Stacker`.
    """

    tuning: TuningResult | None

    def __init__(
        self,
        scores: Level1Scores,
        evidence: Evidence,
        folds: NDArray[np.int64],
        relations: TagRelations,
        settings: StackSettings,
        seed: int,
        threads: int,
    ) -> None:
        self.scores, self.evidence, self.folds = scores, evidence, folds
        self.relations, self.settings = relations, settings
        self.seed, self.threads = seed, threads
        self.category = category_numbers(scores.vocabulary)
        self.truth = evidence.truth(scores.pairs)
        self.scorer = FoldScorer(scores.pairs, self.truth, evidence, folds)
        self.level_two: dict[str, Floats] = {}
        self._raw: dict[str, RungLogits] = {}
        self._rungs: dict[str, RungLogits] = {}
        self.tuning = None

    def climb(self, study_dir: Path | None, progress: Progress) -> None:
        """Make every rung out of fold, the simplest first."""
        progress("calibration", 0, 1)
        self.strengths = choose_strengths(
            self.scores, self.evidence, self.folds, self.settings, self.seed
        )
        self.ground: Ground = cross_fitted_ground(
            self.scores, self.evidence, self.folds, self.relations, self.strengths, self.settings
        )
        self.true = self.truth.listed[self.ground.rows]
        self.weight = self.truth.weight[self.ground.rows]
        self._select_members()
        learned = [name for name in LEVEL_TWO if name in self.settings.learners]
        for i, name in enumerate(learned):
            progress(name, i, len(learned))
            self.level_two[name] = self._cross_fitted(name, self.ground.table)
            self._add(name, spliced(self.ground, self.level_two[name]))
        self.table = self._with_level_two()
        if "xgboost" in self.settings.learners:
            self._tune(study_dir, progress)
            progress("xgboost", 0, 1)
            self._add("xgboost", spliced(self.ground, self._cross_fitted("xgboost", self.table)))
        progress("blend", 0, 1)
        self._blend()

    def rung(self, name: str) -> RungLogits:
        """Return a rung's out-of-fold logits."""
        if name not in self._rungs:
            self._rungs[name] = plain_rung(name, self.scores, self.ground)
        return self._rungs[name]

    def judged(self, names: tuple[str, ...]) -> tuple[str, tuple[LadderRow, ...]]:
        """Return the chosen rung and the ladder of all ``names``."""
        objective = self.settings.objective
        scores = {}
        for name in names:
            rung = self.rung(name)
            scores[name] = self.scorer.score(rung.listed, rung.base)
        order = [name for name in SIMPLEST_FIRST if name in scores]
        chosen, why = choose_rung(scores, order, objective, self.settings.gate_standard_errors)
        weights = {
            "caruana": dict(zip(self.scores.members, self.member_weights, strict=True)),
            "blend": self.blend_weights,
        }
        rows = (
            ladder_row(n, scores[n], objective, weights.get(n, {}), why.get(n, "not up for choice"))
            for n in names
        )
        return chosen, tuple(rows)

    def final_fit(self, progress: Progress) -> FittedStack:
        """Fit every part on all images."""
        progress("final fit", 0, 1)
        learners: dict[str, PairLearner] = {}
        for name in self.settings.learners:
            table = self.table if name == "xgboost" else self.ground.table
            learners[name] = self._make(name).fit(table, self.true, self.weight)
        pairs, strength = self.scores.pairs, self.settings.rung_strength
        calibrations = {
            name: fit_monotone(raw.listed, raw.base, pairs, self.truth, self.category, strength)
            for name, raw in self._raw.items()
        }
        return FittedStack(
            settings=self.settings,
            vocabulary=self.scores.vocabulary,
            members=self.scores.members,
            relations=self.relations,
            groundwork=fit_groundwork(self.scores, self.evidence, self.strengths),
            member_weights=self.member_weights,
            learners=learners,
            calibrations=calibrations,
            blend_weights=self.blend_weights,
        )

    def _make(self, name: str) -> PairLearner:
        return make_learner(name, self.settings, seed=self.seed, threads=self.threads)

    def _cross_fitted(self, name: str, table: PairTable) -> Floats:
        make = partial(self._make, name)
        return cross_fitted_logit(make, table, self.true, self.folds, self.weight)

    def _with_level_two(self) -> PairTable:
        columns = {f"level2:{name}": logit for name, logit in self.level_two.items()}
        return self.ground.table.with_columns(columns)

    def _add(self, name: str, raw: RungLogits) -> None:
        """Keep a learned rung, calibrated by the other folds."""
        self._raw[name] = raw
        listed, base = cross_fitted_monotone(
            raw.listed,
            raw.base,
            self.scores.pairs,
            self.evidence,
            self.folds,
            self.category,
            self.settings.rung_strength,
        )
        self._rungs[name] = RungLogits(listed=listed, base=base)

    def _select_members(self) -> None:
        """Choose the members' weights: for each fold by the others, at last by all."""
        ground, rows = self.ground, self.ground.rows
        proba = expit(filled_in(ground.members.listed[:, rows]))
        selection = self._selection(proba, of_proba=True)
        self.member_weights = selection.weights(np.ones(self.scorer.n_folds, bool))
        parts = [
            weighted_members(ground, selection.weights(np.arange(self.scorer.n_folds) != fold))
            for fold in range(self.scorer.n_folds)
        ]
        self._add("caruana", self._by_fold(parts))

    def _blend(self) -> None:
        """Choose the rungs' weights the same way."""
        plain = ("calibrated_mean", "caruana", "shrunken_logistic")
        names = [n for n in BLENDED if n in self.settings.learners or n in plain]
        rungs = {name: self.rung(name) for name in names}
        logit = np.stack([rung.listed[self.ground.rows] for rung in rungs.values()])
        selection = self._selection(logit, of_proba=False)
        everything = np.ones(self.scorer.n_folds, bool)
        self.blend_weights = dict(
            zip(names, map(float, selection.weights(everything)), strict=True)
        )
        parts = []
        for fold in range(self.scorer.n_folds):
            weights = selection.weights(np.arange(self.scorer.n_folds) != fold)
            parts.append(blended(rungs, dict(zip(names, map(float, weights), strict=True))))
        self._add("blend", self._by_fold(parts))

    def _selection(self, values: Floats, *, of_proba: bool) -> GreedySelection:
        rows, objective = self.ground.rows, self.settings.objective

        def metric(average: Floats) -> Floats:
            proba = average if of_proba else expit(average)
            return self.scorer.score_rows(rows, proba).objective(objective)

        return GreedySelection(values, metric, self.settings.selection_rounds)

    def _by_fold(self, parts: list[RungLogits]) -> RungLogits:
        """Return each fold's own logits; ``parts[fold]`` covers all images."""
        fold = self.folds[self.scores.pairs.image]
        listed = np.choose(fold, [part.listed for part in parts])
        base = np.mean([part.base for part in parts], axis=0)
        return RungLogits(listed=listed, base=base)

    def _tune(self, study_dir: Path | None, progress: Progress) -> None:
        rows, objective = self.ground.rows, self.settings.objective

        def score(logit: Floats, at: NDArray[np.int64]) -> float:
            values = self.scorer.score_rows(rows[at], expit(logit)).objective(objective)
            fold = int(self.folds[self.scores.pairs.image[rows[at[0]]]]) if len(at) else 0
            return float(np.nan_to_num(values[fold]))

        tuner = Tuner(
            self.table,
            self.true,
            self.weight,
            self.folds,
            score,
            settings=self.settings.tuning,
            defaults=self.settings.xgboost,
            seed=self.seed,
            threads=self.threads,
        )
        self.tuning = tuner.run(study_dir, progress)
        self.settings = self.settings.model_copy(update={"xgboost": self.tuning.settings})
