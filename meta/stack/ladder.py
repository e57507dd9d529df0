"""One fit's work in progress: every rung out of fold, their scores, and the final fits.

What is out of fold is so for the row's own labels: no model that predicts a row was fitted on it.
Features of the other rows come from models that were; what little this lets through is measured
by the rehearsal (`tagstack.meta.stack.rehearsal`), where the held-out images take no part at all.
"""

import logging
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property, partial

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from tagstack.base_models.pairs import PairProba
from tagstack.configs.stack import StackSettings, XgboostSettings
from tagstack.meta.calibrators.calibration import category_numbers, rung_how
from tagstack.meta.features.pair_features import PairTable
from tagstack.meta.labels.labelled import Labelled
from tagstack.meta.labels.missing_labels import labelled_rates, pair_weights
from tagstack.meta.labels.truth import positives_per_tag
from tagstack.meta.learners.mean import mean_logit
from tagstack.meta.learners.protocol import PairLearner
from tagstack.meta.learners.registry import (
    META,
    level_two,
    looked_at,
    make_learner,
    rounds_of,
    with_rounds,
)
from tagstack.meta.learners.shrunken_logistic import filled_in
from tagstack.meta.metrics.fold_scores import DrawnScorer, FoldScore, FoldScorer, Judgement
from tagstack.meta.progress import Progress
from tagstack.meta.stack.fitted_stack import FittedStack
from tagstack.meta.stack.fold_fits import FoldFits
from tagstack.meta.stack.groundwork import Ground, Groundwork, fit_groundwork
from tagstack.meta.stack.out_of_fold import (
    cross_fitted_ground,
    cross_fitted_monotone,
    drawn_monotone,
)
from tagstack.meta.stack.rungs import (
    BY_BAND,
    RungLogits,
    blended_rungs,
    by_band,
    plain_rung,
    simplest_first,
    spliced,
)
from tagstack.meta.stack.selection import (
    Band,
    LadderRow,
    choose_bands,
    choose_rung,
    ladder_row,
    level_rungs,
)
from tagstack.meta.stack.selection_sample import SelectionSample
from tagstack.meta.stack.strengths import choose_strengths

logger = logging.getLogger(__name__)

Floats = NDArray[np.float64]


class Ladder:
    """Rungs of one set of labelled images.

    Parameters
    ----------
    data : Labelled
    settings : StackSettings
    seed, threads : int
    off : mapping of rung to str, optional
        Rungs that may not be chosen, and why; the blend does without them.
    """

    def __init__(
        self,
        data: Labelled,
        settings: StackSettings,
        *,
        seed: int,
        threads: int,
        off: Mapping[str, str] | None = None,
    ) -> None:
        self.data, self.settings, self.seed, self.threads = data, settings, seed, threads
        self.off = off or {}
        self.pairs = data.scores.pairs
        self.category = category_numbers(data.scores.vocabulary)
        self.truth = data.evidence.truth(self.pairs)
        counts = np.diff(self.pairs.indptr)
        self.judges = DrawnScorer(data, counts, settings.gate_pairs, seed)
        self.level_two: dict[str, Floats] = {}
        self.rounds: dict[str, int] = {}
        self.bands: tuple[Band, ...] = ()
        self.tag_rungs: tuple[str, ...] = ()
        self._raw: dict[str, RungLogits] = {}
        self._rungs: dict[str, RungLogits] = {}
        self._judged: dict[str, Judgement] = {}

    def prepare(self, progress: Progress) -> None:
        """Make what the meta-model and the blend build on: groundwork, members, level 2."""
        data, settings = self.data, self.settings
        progress("calibration", 0, 1)
        self.strengths = choose_strengths(
            data.scores, data.evidence, data.folds, settings, self.seed
        )
        self.ground: Ground = self._cross_fitted_ground()
        if settings.missing_labels == "reweighted":
            self._reweigh()
        self.true = self.truth.listed[self.ground.rows]
        self.weight = self.truth.weight[self.ground.rows]
        self._select_members()
        learned = level_two(settings.learners)
        for i, name in enumerate(learned):
            progress(name, i, len(learned))
            self.level_two[name] = self._cross_fitted(name, self.ground.table)
            self._add(name, spliced(self.ground, self.level_two[name]))
        columns = {f"level2:{name}": logit for name, logit in self.level_two.items()}
        self.table: PairTable = self.ground.table.with_columns(columns)

    def _reweigh(self) -> None:
        """Count each pair by what its label is worth where some were forgotten, and start anew."""
        data, tag = self.data, self.pairs.tag
        labelled = expit(self.ground.listed)
        rates = labelled_rates(labelled, self.truth, tag, self.category)
        logger.info("labels: a true pair is labelled in %.0f %% of cases", 100 * rates.mean())
        weight = pair_weights(labelled, self.truth, tag, rates)
        self.data = data = replace(data, evidence=data.evidence.weighted(weight))
        self.truth = data.evidence.truth(self.pairs)
        self.ground = self._cross_fitted_ground()

    def _cross_fitted_ground(self) -> Ground:
        data = self.data
        ground = cross_fitted_ground(
            data.scores, data.evidence, data.folds, data.relations, self.strengths, self.settings
        )
        return replace(ground, table=replace(ground.table, groups=data.groups))

    def climb(self, progress: Progress, xgboost: XgboostSettings | None = None) -> None:
        """Make the rungs above: the meta-model, with its tuned settings if given, and the blend."""
        if xgboost is not None:
            self.settings = self.settings.model_copy(update={"xgboost": xgboost})
        if META in self.settings.learners:
            progress(META, 0, 1)
            self._add(META, spliced(self.ground, self._cross_fitted(META, self.table)))
        progress("blend", 0, 1)
        self._blend()

    @cached_property
    def scorer(self) -> FoldScorer:
        """The scorer of all images, made when a search for parameters asks for it."""
        if self.judges.whole:
            return self.judges.scorer
        data = self.data
        return FoldScorer(self.pairs, self.truth, data.evidence, data.folds, data.groups)

    def rung(self, name: str) -> RungLogits:
        """Return a rung's out-of-fold logits."""
        if name == BY_BAND:
            parts = {rung: self.rung(rung) for rung in set(self.tag_rungs)}
            return by_band(parts, self.tag_rungs, self.pairs)
        if name not in self._rungs:
            self._rungs[name] = plain_rung(name, self.data.scores, self.ground)
        return self._rungs[name]

    def proba(self, name: str) -> PairProba:
        """Return a rung's out-of-fold probabilities."""
        return self.rung(name).proba(self.pairs)

    def choose(self) -> tuple[str, dict[str, str]]:
        """Return the rung that the gate keeps, bands of tags included, and why each fared so."""
        settings = self.settings
        order = simplest_first(settings, self.off)
        judgements = {name: self._judgement(name) for name in order}
        within = {"shrunken_logistic": "blend"}
        chosen, why = choose_rung(judgements, order, settings.gate_standard_errors, within)
        why |= {name: f"switched off: {reason}" for name, reason in self.off.items()}

        def score(name: str, tags: NDArray[np.bool_]) -> FoldScore:
            return self.judges.score(self.proba(name), settings.objective, tags)

        # The plain mean has no calibrated probabilities to be ranked with those of other tags.
        simpler = [name for name in order[: order.index(chosen)] if name != "mean"]
        if simpler and settings.gate_bands:
            positives = positives_per_tag(self.data.evidence.labels)
            self.bands = choose_bands(
                score,
                simpler,
                chosen,
                positives,
                settings.gate_bands,
                settings.band_standard_errors,
            )
        if all(band.rung == chosen for band in self.bands):
            return chosen, why
        self.tag_rungs = self._tag_rungs()
        own = [f"{b.title} positives: {b.rung}" for b in self.bands if b.rung != chosen]
        why[BY_BAND] = f"chosen: {chosen}, but {'; '.join(own)}"
        return BY_BAND, why

    def judged(self, names: tuple[str, ...], why: Mapping[str, str]) -> tuple[LadderRow, ...]:
        """Return the ladder of all ``names``."""
        weights = {
            "caruana": dict(zip(self.data.scores.members, self.member_weights, strict=True)),
            "blend": self.blend_weights,
        }
        rows = []
        for name in names:
            reason = why.get(name, "not up for choice")
            rows.append(ladder_row(name, self._judgement(name), weights.get(name, {}), reason))
        return tuple(rows)

    def fitted_below(self) -> tuple[Groundwork, dict[str, PairLearner]]:
        """Return groundwork and level-2 learners, fitted on all images."""
        learners = {
            name: self._make(name).fit(self.ground.table, self.true, self.weight)
            for name in level_two(self.settings.learners)
        }
        return (
            fit_groundwork(self.data.scores, self.data.evidence, self.strengths, self.settings),
            learners,
        )

    def fitted(self, groundwork: Groundwork, learners: Mapping[str, PairLearner]) -> FittedStack:
        """Return the stack: what `fitted_below` returned, and the rest fitted on all images."""
        every = dict(learners)
        if META in self.settings.learners:
            every[META] = self._make(META).fit(self.table, self.true, self.weight)
        how, scores = rung_how(self.settings), self.data.scores
        evidence, images = self.data.evidence, np.arange(scores.n_images)
        limit = self.settings.rung_pairs
        calibrations = {
            name: drawn_monotone(
                raw.listed, raw.base, self.pairs, evidence, images, self.category, how, limit
            )
            for name, raw in self._raw.items()
        }
        return FittedStack(
            settings=self.settings,
            vocabulary=scores.vocabulary,
            members=scores.members,
            relations=self.data.relations,
            groundwork=groundwork,
            member_weights=self.member_weights,
            learners=every,
            calibrations=calibrations,
            blend_weights=self.blend_weights,
            tag_rungs=self.tag_rungs,
        )

    def _judgement(self, name: str) -> Judgement:
        if name not in self._judged:
            found = self.judges.judgement(self.proba(name), self.settings.objective)
            self._judged[name] = found
        return self._judged[name]

    def _make(self, name: str) -> PairLearner:
        settings = self.settings
        if name in self.rounds:
            settings = with_rounds(settings, name, self.rounds[name])
        return make_learner(name, settings, seed=self.seed, threads=self.threads)

    def _cross_fitted(self, name: str, table: PairTable) -> Floats:
        """Return a learner's out-of-fold logits; fits that follow stop where these did best."""
        self.rounds.pop(name, None)
        make, enough = partial(self._make, name), looked_at(name, self.settings)
        fits = FoldFits.of(make, table, self.true, self.data.folds, self.weight, enough)
        rounds = rounds_of(name, self.settings)
        if rounds is not None:
            self.rounds[name] = self._sample.stopping_point(fits, rounds)
            fits = fits.stopped_at(self.rounds[name])
        return fits.logit()

    def _add(self, name: str, raw: RungLogits) -> None:
        """Keep a learned rung, calibrated by the other folds."""
        self._raw[name] = raw
        listed, base = cross_fitted_monotone(
            raw.listed,
            raw.base,
            self.pairs,
            self.data.evidence,
            self.data.folds,
            self.category,
            rung_how(self.settings),
            self.settings.rung_pairs,
        )
        self._rungs[name] = RungLogits(listed=listed, base=base)

    def _select_members(self) -> None:
        """Choose the members' weights: for each fold by the others, at last by all."""
        members = self.ground.members
        proba = expit(filled_in(members.listed[:, self.ground.rows]))
        self.member_weights, by_fold = self._sample.weights(proba, of_proba=True)
        listed, fold = np.empty(len(self.pairs)), self._fold_of_pair()
        for f, weights in enumerate(by_fold):
            listed[fold == f] = mean_logit(members.listed[:, fold == f], weights)
        bases = [mean_logit(members.base, weights) for weights in by_fold]
        self._add("caruana", RungLogits(listed=listed, base=np.mean(bases, axis=0)))

    def _blend(self) -> None:
        """Choose the rungs' weights the same way."""
        names = blended_rungs(self.settings, self.off)
        rungs = [self.rung(name) for name in names]
        logit = np.stack([rung.listed[self.ground.rows] for rung in rungs])
        weights, by_fold = self._sample.weights(logit, of_proba=False)
        equal = self._equal_weights(names)
        share = self.settings.blend_equal_share
        weights, by_fold = ((1 - share) * w + share * equal for w in (weights, by_fold))
        self.blend_weights = dict(zip(names, map(float, weights), strict=True))
        fold = self._fold_of_pair()
        listed, base = np.zeros(len(self.pairs)), np.zeros(self.pairs.n_tags)
        for r, rung in enumerate(rungs):
            if by_fold[:, r].any():  # 0 times a missing logit would be missing
                listed += by_fold[fold, r] * rung.listed
                base += by_fold[:, r].mean() * rung.base
        self._add("blend", RungLogits(listed=listed, base=base))

    def _equal_weights(self, names: tuple[str, ...]) -> Floats:
        """Return weights that are the same for all rungs that none clearly leads, 0 for others."""
        # Judged on all folds, their own included: one yes or no for a rung tells no row anything.
        judgements = {name: self._judgement(name) for name in names}
        level = level_rungs(judgements, names, self.settings.gate_standard_errors)
        weights = np.array([name in level for name in names], np.float64)
        return np.asarray(weights / weights.sum(), np.float64)

    @cached_property
    def _sample(self) -> SelectionSample:
        return SelectionSample(self.data, self.ground, self.settings, self.seed)

    def _fold_of_pair(self) -> NDArray[np.int64]:
        return self.data.folds[self.pairs.image]

    def _tag_rungs(self) -> tuple[str, ...]:
        positives = positives_per_tag(self.data.evidence.labels)
        lows = np.array([band.low for band in self.bands])
        number = np.searchsorted(lows, positives, side="right") - 1
        return tuple(self.bands[n].rung for n in number)
