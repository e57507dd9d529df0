"""The stack: fits every rung out of fold, judges them honestly, keeps the simplest that suffices.

It may answer "the mean". What is reported of a rung comes from images that its models were not
fitted on.
"""

import logging
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.special import expit

from tagstack.base_models.pairs import Level1Scores, PairProba
from tagstack.base_models.spill import Spill
from tagstack.configs.errors import TagstackError
from tagstack.configs.stack import StackSettings
from tagstack.meta.features.pair_features import recall
from tagstack.meta.labels.folds import stratified_group_folds
from tagstack.meta.labels.labelled import Labelled
from tagstack.meta.labels.relations import TagRelations
from tagstack.meta.labels.truth import Evidence
from tagstack.meta.learners.device import check_device
from tagstack.meta.learners.parameters import Parameters
from tagstack.meta.learners.registry import packages
from tagstack.meta.probe.fitting import with_probe
from tagstack.meta.probe.probe import Probe
from tagstack.meta.progress import Progress
from tagstack.meta.stack.choice import banded, choose, ladder_rows
from tagstack.meta.stack.fitted_stack import FittedStack
from tagstack.meta.stack.foundation import lay_foundation
from tagstack.meta.stack.ladder import Ladder, climb, fitted, fitted_below
from tagstack.meta.stack.member_worth import Diversity, MembersWorth, drawn_diversity, members_worth
from tagstack.meta.stack.rehearsal import Rehearsal, TuningResult, rehearse
from tagstack.meta.stack.rung_spec import BY_BAND, START, RungSpec, rung_specs
from tagstack.meta.stack.selection import Band, LadderRow
from tagstack.meta.stack.stack_files import load_stack, save_stack
from tagstack.meta.start.answer import StartAnswer

logger = logging.getLogger(__name__)


class Stacker(Parameters):
    """Learns, on labelled images, whom of several taggers to believe for which tag.

    Parameters
    ----------
    settings : StackSettings
    seed : int
        The same seed and data give the same stack.
    threads : int
        Positive; the result does not depend on it.

    Attributes
    ----------
    specs_ : tuple of RungSpec
        Every rung, from single members to the blend.
    chosen_ : str
        The rung that the gate kept.
    ladder_ : tuple of LadderRow
        Every rung's score on held-out folds and what the gate said of it.
    bands_ : tuple of Band
        Tags by their positives, and the rung that serves each band; empty where the gate saw no
        reason to look, and in a loaded stack.
    rehearsal_ : Rehearsal or None
        What a fit without one fold showed on that fold; None without one, or in a loaded stack.
    tuning_ : TuningResult or None
        None when no search was made or the stack was loaded.
    member_worth_ : MembersWorth or None
        What each member adds; None in a loaded stack.
    diversity_ : Diversity or None
        How far the members err together; None in a loaded stack.
    candidate_recall_ : float
        Share of the true pairs of the fit images that the trees get to see.
    rounds_ : dict of str to int
        After how many rounds each kind of trees stops; empty in a loaded stack.
    n_judged_ : int
        Images that the ladder's scores are of; 0 in a loaded stack.
    folds_ : array of shape (n_images,), int64
        Fold of each fit image; held only after `fit`.
    """

    specs_: tuple[RungSpec, ...]
    chosen_: str
    ladder_: tuple[LadderRow, ...]
    bands_: tuple[Band, ...]
    rehearsal_: Rehearsal | None
    tuning_: TuningResult | None
    member_worth_: MembersWorth | None
    diversity_: Diversity | None
    candidate_recall_: float
    rounds_: dict[str, int]
    n_judged_: int
    folds_: NDArray[np.int64]

    def __init__(self, settings: StackSettings, *, seed: int, threads: int) -> None:
        self.settings, self.seed, self.threads = settings, seed, threads

    @property
    def rungs_(self) -> tuple[str, ...]:
        """Names of the rungs."""
        return tuple(spec.name for spec in self.specs_)

    def fit(
        self,
        scores: Level1Scores,
        labels: sparse.csr_array,
        groups: NDArray[np.int64],
        relations: TagRelations,
        *,
        unknown: sparse.csr_array | None = None,
        image_weight: NDArray[np.float64] | None = None,
        start: StartAnswer | None = None,
        study_dir: Path | None = None,
        scratch_dir: Path | None = None,
        progress: Progress | None = None,
    ) -> Self:
        """Fit every rung and choose one.

        Parameters
        ----------
        scores : Level1Scores
        labels : csr_array of shape (n_images, n_tags), bool
        groups : array of shape (n_images,), integer
            Images with the same number are never in different folds.
        relations : TagRelations
        unknown : csr_array of shape (n_images, n_tags), bool, optional
            Pairs of which nothing is known: they are neither positive nor negative in any fit,
            whatever ``labels`` hold there.
        image_weight : array of shape (n_images,), float64, above 0, optional
            How much each image counts in calibrations, learners and heads, 1 each by default. What
            is judged (the gate, rounds, blends) counts images alike.
        start : StartAnswer, optional
            What the members' files answer without labels: a rung of its own, which tags without a
            positive keep.
        study_dir : Path, optional
            Where the search for parameters keeps its trials, to resume after an interruption.
        scratch_dir : Path, optional
            Where columns of all listed pairs lie while the fit works on them, in files without a
            name: the memory that they take is then the system's to give. Memory alone by default.
        progress : callable, optional
            Is told (stage, done, total).

        Raises
        ------
        TagstackError
            If there are too few groups of images for the folds, shapes differ, or the disk is full.
        """
        began, told = time.perf_counter(), progress or _silent
        evidence = Evidence.of(labels, unknown, image_weight)
        labels = evidence.labels
        _check(scores, labels, groups, relations, self.settings.folds)
        _check_weight(image_weight, scores.n_images)
        # Before any work: is every learner installed, and the device there?
        packages(self.settings.learners)
        check_device(self.settings.device)
        self.folds_ = stratified_group_folds(labels, groups, self.settings.folds, self.seed)
        data = Labelled(
            scores=scores,
            evidence=evidence,
            folds=self.folds_,
            groups=groups,
            relations=relations,
            start=start,
            spill=Spill(scratch_dir),
        )
        ladder, probe = self._climbed(data, study_dir, told)
        foundation, choice = ladder.foundation, choose(ladder)
        scores = foundation.data.scores
        ladder = banded(ladder, choice)
        self.chosen_, self.bands_ = choice.chosen, choice.bands
        self.specs_ = rung_specs(
            scores.members, self.settings, banded=bool(choice.tag_rungs), started=start is not None
        )
        self.ladder_ = ladder_rows(ladder, self.rungs_, choice.why)
        self.rounds_, self.n_judged_ = dict(ladder.rounds), len(foundation.judges.images)
        ground, truth = foundation.ground, foundation.fitter.truth
        self.candidate_recall_ = recall(ground.rows, truth.listed, int(labels.count_nonzero()))
        self._out_of_fold = {rung: ladder.proba(rung) for rung in self.rungs_}
        foundation.data.spill.let_go()
        self.diversity_ = drawn_diversity(foundation)
        self.member_worth_ = members_worth(ladder, choice, told)
        told("final fit", 0, 1)
        stack = fitted(ladder, *fitted_below(foundation), choice.tag_rungs)
        self.stack_: FittedStack = replace(stack, probe=probe)
        logger.info(
            "stack: %d images, %d tags, chose %s in %.1f s",
            scores.n_images,
            len(scores.vocabulary),
            self.chosen_,
            time.perf_counter() - began,
        )
        return self

    def out_of_fold(self, rung: str) -> PairProba:
        """Return a rung's probabilities of the fit images, from models fitted on other folds.

        Raises
        ------
        TagstackError
            If the stack was loaded from a file, or there is no such rung.
        """
        self._known(rung)
        held: dict[str, PairProba] | None = getattr(self, "_out_of_fold", None)
        if held is None:
            msg = (
                "A loaded stack holds no out-of-fold probabilities of the images it was fitted "
                "on. Fit again to get them."
            )
            raise TagstackError(msg)
        return held[rung]

    def fall_back(self, why: str) -> None:
        """Answer with the start from now on: what was fitted did worse on left-out images."""
        self._known(START)
        said = {self.chosen_: "chosen by the gate, but see the start", START: f"chosen: {why}"}
        self.ladder_ = tuple(replace(row, why=said.get(row.rung, row.why)) for row in self.ladder_)
        self.chosen_ = START

    def start_cuts(self) -> NDArray[np.float64]:
        """Return the calibrated probability at which the start gives each tag, shape (n_tags,).

        Raises
        ------
        TagstackError
            If the stack has no start.
        """
        self._known(START)
        n_tags = len(self.stack_.vocabulary)
        maps = self.stack_.calibrations[START]
        return np.asarray(expit(maps.apply(np.arange(n_tags), np.zeros(n_tags))), np.float64)

    def start_slopes(self) -> NDArray[np.float64]:
        """Return how much a tag's calibrated logit rises with the start's own, shape (n_tags,)."""
        tags = np.arange(len(self.stack_.vocabulary))
        maps = self.stack_.calibrations[START]
        above, below = (maps.apply(tags, np.full(len(tags), step)) for step in (0.5, -0.5))
        return np.asarray(above - below, np.float64)

    def tag_rungs_of(self, rung: str) -> tuple[str, ...]:
        """Return the rung that serves each tag in ``rung``; empty where it serves all itself."""
        return self.stack_.tag_rungs if rung == BY_BAND else ()

    @property
    def needs_features(self) -> bool:
        """Whether `completed` wants the taggers' features."""
        return self.stack_.probe is not None

    def completed(self, scores: Level1Scores) -> Level1Scores:
        """Return taggers' scores as they are predicted from; see `FittedStack.completed`."""
        return self.stack_.completed(scores)

    def predict_proba(self, scores: Level1Scores, rung: str | None = None) -> PairProba:
        """Return calibrated probabilities of new images.

        Parameters
        ----------
        scores : Level1Scores
            From the same members over the same vocabulary.
        rung : str, optional
            One of `rungs_`; the chosen one when not given.

        Raises
        ------
        TagstackError
            If members, tags or rung are not the stack's.
        """
        self._check_fitted()
        name = self.chosen_ if rung is None else rung
        return self.predict_rungs(scores, [name])[name]

    def predict_rungs(self, scores: Level1Scores, rungs: Iterable[str]) -> dict[str, PairProba]:
        """Return the probabilities of several rungs, computing shared work once.

        Raises
        ------
        TagstackError
            If members, tags or a rung are not the stack's.
        """
        names = list(rungs)
        for name in names:
            self._known(name)
        return self.stack_.predict(scores, names)

    def save(self, directory: Path) -> None:
        """Write the fitted stack into ``directory``: JSON, safetensors and the trees' formats."""
        save_stack(
            directory,
            self.stack_,
            seed=self.seed,
            chosen=self.chosen_,
            ladder=self.ladder_,
            candidate_recall=self.candidate_recall_,
        )

    @classmethod
    def load(cls, directory: Path, *, threads: int = 1) -> Self:
        """Return the stack that `save` wrote; it predicts the same, bit for bit.

        Raises
        ------
        TagstackError
            If a file is missing, damaged or of another version.
        """
        loaded = load_stack(directory, threads)
        stacker = cls(loaded.stack.settings, seed=loaded.seed, threads=threads)
        stacker.stack_, stacker.chosen_, stacker.ladder_ = (
            loaded.stack,
            loaded.chosen,
            loaded.ladder,
        )
        stacker.specs_ = loaded.stack.specs
        stacker.tuning_ = stacker.rehearsal_ = stacker.member_worth_ = stacker.diversity_ = None
        stacker.bands_, stacker.candidate_recall_ = (), loaded.candidate_recall
        stacker.rounds_, stacker.n_judged_ = {}, 0
        return stacker

    def _climbed(
        self, data: Labelled, study_dir: Path | None, told: Progress
    ) -> tuple[Ladder, Probe | None]:
        """Rehearse if asked to, then make every rung out of fold; with the probe of all images."""
        self.rehearsal_, off, tuned = None, {}, None
        if self.settings.outer_fold and self.settings.folds > 2:
            self.rehearsal_ = rehearse(
                data,
                self.settings,
                seed=self.seed,
                threads=self.threads,
                study_dir=study_dir,
                progress=told,
            )
            off, tuned = dict(self.rehearsal_.off), self.rehearsal_.tuning
        self.tuning_ = tuned
        data, probe = with_probe(
            data, self.settings, seed=self.seed, threads=self.threads, progress=told
        )
        foundation = lay_foundation(
            data, self.settings, seed=self.seed, threads=self.threads, progress=told
        )
        ladder = climb(foundation, told, xgboost=tuned.settings if tuned else None, off=off)
        return ladder, probe

    def _check_fitted(self) -> None:
        if not hasattr(self, "specs_"):
            msg = "This stack is not fitted. Call fit, or load a fitted one."
            raise TagstackError(msg)

    def _known(self, rung: str) -> None:
        self._check_fitted()
        if rung not in self.rungs_:
            msg = f"Unknown rung {rung!r}. This stack has {list(self.rungs_)}."
            raise TagstackError(msg)


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
