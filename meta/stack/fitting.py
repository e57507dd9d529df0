"""A stack's fit: every rung out of fold, the gate, and the final fit on all images.

Apart from `stacker`, because whoever tags with a fitted stack needs nothing of this.
"""

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from tagstack.base_models.pairs import Level1Scores, PairProba
from tagstack.base_models.spill import Spill
from tagstack.configs.errors import TagstackError
from tagstack.configs.stack import StackSettings
from tagstack.meta.features.pair_rows import recall
from tagstack.meta.labels.folds import stratified_group_folds
from tagstack.meta.labels.labelled import Labelled
from tagstack.meta.labels.relations import TagRelations
from tagstack.meta.labels.truth import Evidence
from tagstack.meta.learners.device import check_device
from tagstack.meta.learners.registry import check_libraries, packages
from tagstack.meta.probe.fitting import with_probe
from tagstack.meta.probe.probe import Probe
from tagstack.meta.progress import Progress
from tagstack.meta.stack.choice import banded, choose, ladder_rows
from tagstack.meta.stack.fitted_stack import FittedStack
from tagstack.meta.stack.foundation import lay_foundation
from tagstack.meta.stack.ladder import Ladder, climb, fitted, fitted_below
from tagstack.meta.stack.ladder_row import Band, LadderRow
from tagstack.meta.stack.member_worth import Diversity, MembersWorth, drawn_diversity, members_worth
from tagstack.meta.stack.rehearsal import Rehearsal, TuningResult, rehearse
from tagstack.meta.stack.rung_spec import RungSpec, rung_specs
from tagstack.meta.start.answer import StartAnswer

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class StackFit:
    """What a fit leaves; `Stacker` says of each attribute what it is."""

    stack: FittedStack
    specs: tuple[RungSpec, ...]
    chosen: str
    ladder: tuple[LadderRow, ...]
    bands: tuple[Band, ...]
    rehearsal: Rehearsal | None
    member_worth: MembersWorth | None
    diversity: Diversity
    candidate_recall: float
    rounds: Mapping[str, int]
    n_judged: int
    folds: NDArray[np.int64]
    out_of_fold: Mapping[str, PairProba]

    @property
    def tuning(self) -> TuningResult | None:
        """What the search for parameters found; None when none was made."""
        return None if self.rehearsal is None else self.rehearsal.tuning


@dataclass(frozen=True, kw_only=True)
class StackFitter:
    """How a stack is fitted; see `Stacker` for its settings and for what `fit` takes."""

    settings: StackSettings
    seed: int
    threads: int
    study_dir: Path | None
    scratch_dir: Path | None
    progress: Progress | None

    def fit(
        self,
        scores: Level1Scores,
        labels: sparse.csr_array,
        groups: NDArray[np.int64],
        relations: TagRelations,
        *,
        unknown: sparse.csr_array | None,
        image_weight: NDArray[np.float64] | None,
        start: StartAnswer | None,
    ) -> StackFit:
        """Fit every rung and choose one."""
        began, told = time.perf_counter(), self.progress or _silent
        evidence = Evidence.of(labels, unknown, image_weight)
        _check(scores, evidence.labels, groups, relations, self.settings.folds)
        _check_weight(image_weight, scores.n_images)
        self._check_machine()
        data = self._in_folds(scores, evidence, groups, relations, start)
        folds, labels = data.folds, evidence.labels
        rehearsal = self._rehearsed(data, told)
        ladder, probe = self._climbed(data, rehearsal, told)
        foundation, choice = ladder.foundation, choose(ladder)
        scores = foundation.data.scores
        ladder = banded(ladder, choice)
        specs = rung_specs(
            scores.members, self.settings, banded=bool(choice.tag_rungs), started=start is not None
        )
        rungs = tuple(spec.name for spec in specs)
        ground, truth = foundation.ground, foundation.fitter.truth
        found = recall(ground.rows, truth.listed, int(labels.count_nonzero()))
        out_of_fold = {rung: ladder.proba(rung) for rung in rungs}
        foundation.data.spill.let_go()
        diversity = drawn_diversity(foundation)
        worth = members_worth(ladder, choice, told)
        told("final fit", 0, 1)
        stack = fitted(ladder, *fitted_below(foundation), choice.tag_rungs)
        logger.info(
            "stack: %d images, %d tags, chose %s in %.1f s",
            scores.n_images,
            len(scores.vocabulary),
            choice.chosen,
            time.perf_counter() - began,
        )
        return StackFit(
            stack=replace(stack, probe=probe),
            specs=specs,
            chosen=choice.chosen,
            ladder=ladder_rows(ladder, rungs, choice.why),
            bands=choice.bands,
            rehearsal=rehearsal,
            member_worth=worth,
            diversity=diversity,
            candidate_recall=found,
            rounds=dict(ladder.rounds),
            n_judged=len(foundation.judges.images),
            folds=folds,
            out_of_fold=out_of_fold,
        )

    def _check_machine(self) -> None:
        """Find out before any work whether every learner is installed, and the device there."""
        packages(self.settings.learners)
        check_libraries(self.settings.learners)
        check_device(self.settings.device)

    def _in_folds(
        self,
        scores: Level1Scores,
        evidence: Evidence,
        groups: NDArray[np.int64],
        relations: TagRelations,
        start: StartAnswer | None,
    ) -> Labelled:
        """Return the images in folds, their scores where the disk may take them."""
        spill = Spill(self.scratch_dir)
        spill.adopt(scores.logit)
        n_folds = self.settings.folds
        return Labelled(
            scores=scores,
            evidence=evidence,
            folds=stratified_group_folds(evidence.labels, groups, n_folds, self.seed),
            groups=groups,
            relations=relations,
            start=start,
            spill=spill,
        )

    def _rehearsed(self, data: Labelled, told: Progress) -> Rehearsal | None:
        """Fit without one fold and judge that on the fold, if asked to."""
        if not self.settings.outer_fold or self.settings.folds <= 2:
            return None
        return rehearse(
            data,
            self.settings,
            seed=self.seed,
            threads=self.threads,
            study_dir=self.study_dir,
            progress=told,
        )

    def _climbed(
        self, data: Labelled, rehearsal: Rehearsal | None, told: Progress
    ) -> tuple[Ladder, Probe | None]:
        """Make every rung out of fold; with the probe of all images."""
        off, tuned = ({}, None) if rehearsal is None else (dict(rehearsal.off), rehearsal.tuning)
        data, probe = with_probe(
            data, self.settings, seed=self.seed, threads=self.threads, progress=told
        )
        foundation = lay_foundation(
            data,
            self.settings,
            seed=self.seed,
            threads=self.threads,
            progress=told,
            strengths=None if rehearsal is None else rehearsal.strengths,
        )
        ladder = climb(foundation, told, xgboost=tuned.settings if tuned else None, off=off)
        return ladder, probe


def _check(
    scores: Level1Scores,
    labels: sparse.csr_array,
    groups: NDArray[np.int64],
    relations: TagRelations,
    n_folds: int,
) -> None:
    n_images, n_tags = scores.n_images, len(scores.vocabulary)
    if n_images < 2 * n_folds:
        msg = (
            f"A stack needs at least {2 * n_folds} labelled images for {n_folds} folds, got "
            f"{n_images}. Label more images."
        )
        raise TagstackError(msg)
    if labels.shape != (n_images, n_tags) or groups.shape != (n_images,):
        msg = (
            f"Expected labels of shape {(n_images, n_tags)} and groups of shape {(n_images,)} to "
            f"match the scores, got {labels.shape} and {groups.shape}."
        )
        raise TagstackError(msg)
    if relations.n_tags != n_tags:
        msg = f"The relations are over {relations.n_tags} tags, the scores over {n_tags}."
        raise TagstackError(msg)


def _check_weight(weight: NDArray[np.float64] | None, n_images: int) -> None:
    if weight is None:
        return
    if weight.shape != (n_images,) or not (np.isfinite(weight) & (weight > 0)).all():
        msg = (
            f"Expected {n_images} weights of images above 0, got shape {weight.shape}, the least "
            f"{np.min(weight, initial=np.inf)}."
        )
        raise TagstackError(msg)


def _silent(stage: str, done: int, total: int) -> None:
    """Tell nobody."""
