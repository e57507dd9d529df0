"""The stack: fits every rung out of fold, judges them honestly, keeps the simplest that suffices.

It may answer "the mean". What is reported of a rung comes from images that its models were not
fitted on.
"""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.special import expit

from tagstack.base_models.pairs import Level1Scores, PairProba
from tagstack.configs.errors import TagstackError
from tagstack.configs.stack import StackSettings
from tagstack.meta.labels.relations import TagRelations
from tagstack.meta.learners.parameters import Parameters
from tagstack.meta.progress import Progress
from tagstack.meta.stack.fitted_stack import FittedStack
from tagstack.meta.stack.ladder_row import Band, LadderRow
from tagstack.meta.stack.rung_spec import BY_BAND, START, RungSpec
from tagstack.meta.stack.stack_files import load_stack, save_stack
from tagstack.meta.start.answer import StartAnswer

if TYPE_CHECKING:  # what fits is imported by a fit alone
    from tagstack.meta.stack.member_worth import Diversity, MembersWorth
    from tagstack.meta.stack.rehearsal import Rehearsal, TuningResult


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

    stack_: FittedStack
    specs_: tuple[RungSpec, ...]
    chosen_: str
    ladder_: tuple[LadderRow, ...]
    bands_: tuple[Band, ...]
    rehearsal_: "Rehearsal | None"
    tuning_: "TuningResult | None"
    member_worth_: "MembersWorth | None"
    diversity_: "Diversity | None"
    candidate_recall_: float
    rounds_: dict[str, int]
    n_judged_: int
    folds_: NDArray[np.int64]

    def __init__(self, settings: StackSettings, *, seed: int, threads: int) -> None:
        self.settings, self.seed, self.threads = settings, seed, threads
        self._out_of_fold: dict[str, PairProba] | None = None  # of the fit images, after a fit

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
        from tagstack.meta.stack.fitting import StackFitter  # what tagging does without

        fitter = StackFitter(
            settings=self.settings,
            seed=self.seed,
            threads=self.threads,
            study_dir=study_dir,
            scratch_dir=scratch_dir,
            progress=progress,
        )
        done = fitter.fit(
            scores,
            labels,
            groups,
            relations,
            unknown=unknown,
            image_weight=image_weight,
            start=start,
        )
        self.stack_ = done.stack
        self.specs_, self.chosen_, self.ladder_ = done.specs, done.chosen, done.ladder
        self.bands_, self.rounds_ = done.bands, dict(done.rounds)
        self.rehearsal_, self.tuning_ = done.rehearsal, done.tuning
        self.member_worth_, self.diversity_ = done.member_worth, done.diversity
        self.candidate_recall_, self.n_judged_ = done.candidate_recall, done.n_judged
        self.folds_, self._out_of_fold = done.folds, dict(done.out_of_fold)
        return self

    def out_of_fold(self, rung: str) -> PairProba:
        """Return a rung's probabilities of the fit images, from models fitted on other folds.

        Raises
        ------
        TagstackError
            If the stack was loaded from a file, or there is no such rung.
        """
        self._known(rung)
        if self._out_of_fold is None:
            msg = (
                "A loaded stack holds no out-of-fold probabilities of the images it was fitted "
                "on. Fit again to get them."
            )
            raise TagstackError(msg)
        return self._out_of_fold[rung]

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

    def _check_fitted(self) -> None:
        if not hasattr(self, "specs_"):
            msg = "This stack is not fitted. Call fit, or load a fitted one."
            raise TagstackError(msg)

    def _known(self, rung: str) -> None:
        self._check_fitted()
        if rung not in self.rungs_:
            msg = f"Unknown rung {rung!r}. This stack has {list(self.rungs_)}."
            raise TagstackError(msg)
