"""A fit in memory: the stack, what holds it against the start, its thresholds, and the bundle."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from tagstack.base_models.pairs import PairProba
from tagstack.base_models.threads import thread_count
from tagstack.configs.json_values import plain
from tagstack.configs.settings import Settings
from tagstack.ensemble.bundle.bundle import Bundle, BundleMember
from tagstack.ensemble.bundle.dataset import Dataset
from tagstack.ensemble.bundle.fitted_images import FittedImages
from tagstack.ensemble.bundle.fitted_labels import FittedLabels
from tagstack.ensemble.bundle.out_of_fold import OutOfFold
from tagstack.ensemble.bundle.overlaps import overlaps_of
from tagstack.ensemble.bundle.start import rival_worth, scored_alike
from tagstack.ensemble.contradictions.decoder import Decoder
from tagstack.ensemble.fitting.fit_evidence import fit_evidence, saw_of
from tagstack.ensemble.fitting.fit_stages import FitStages, fit_stages
from tagstack.ensemble.fitting.floor import Floor, held_against_start, start_thresholds
from tagstack.ensemble.fitting.threshold_fit import ThresholdFit
from tagstack.ensemble.progress import Progress
from tagstack.ensemble.rules.bound_rules import BoundRules
from tagstack.ensemble.rules.rule_set import Rules
from tagstack.ensemble.thresholds.frontier import Frontier
from tagstack.ensemble.thresholds.plan import assignments, worths_of
from tagstack.ensemble.thresholds.rung_tables import RungTables, rung_tables
from tagstack.ensemble.thresholds.table import Thresholds
from tagstack.meta.labels.balance import Balance
from tagstack.meta.labels.training_range import TrainingOverlap
from tagstack.meta.metrics.utility import utility_of
from tagstack.meta.stack.rung_spec import START
from tagstack.meta.stack.stacker import Stacker
from tagstack.meta.start.answer import StartAnswer
from tagstack.meta.start.published import Published
from tagstack.meta.start.unlabelled import adapted_answer


def fit_dataset(
    dataset: Dataset,
    rules: Rules,
    settings: Settings,
    workspace: Path | None,
    progress: Progress,
    *,
    cascade: bool = False,
) -> Bundle:
    """Return a bundle fitted on a dataset, in memory.

    Parameters
    ----------
    dataset : Dataset
    rules : Rules
    settings : Settings
    workspace : Path or None
        Folder that keeps what a resumed fit can reuse; nothing is written without it.
    progress : Progress
    cascade : bool
        Whether to learn which tagger is needed for which picture as well.
    """
    settings = scored_alike(dataset.members, settings)
    utility_worths(dataset, settings)  # a misspelt tag is found before the work
    fit = _Fit.of(dataset, rules, settings)
    stages = fit_stages(settings, dataset.scores.n_images, rules=len(rules) > 0)
    progress = FitStages(progress, stages, len(dataset.scores.pairs))
    for notice in fit.notices():
        progress.notice(notice)
    stacker = fit.stacked(workspace, progress)
    bundle = fit.bundle(stacker, _decisions(fit, stacker, progress))
    return _with_cascade(bundle, fit, progress) if cascade else bundle


@dataclass(frozen=True, kw_only=True)
class _Fit:
    """A dataset, and what is made of rules and settings before the work begins."""

    dataset: Dataset
    settings: Settings
    rules: Rules
    bound: BoundRules
    balance: Balance | None
    overlaps: tuple[TrainingOverlap, ...]
    published: Published
    start: StartAnswer

    @classmethod
    def of(cls, dataset: Dataset, rules: Rules, settings: Settings) -> Self:
        """Return a fit that can begin."""
        vocabulary = dataset.scores.vocabulary
        kept = rules.within(vocabulary)  # a booru's dump is mostly about other tags
        published = Published.of(dataset.members, vocabulary)
        return cls(
            dataset=dataset,
            settings=settings,
            rules=kept,
            bound=kept.bind(vocabulary),
            balance=dataset.balance(settings.stack),
            overlaps=overlaps_of(dataset, settings.seed),
            published=published,
            start=adapted_answer(published, dataset.scores, settings.start).answer,
        )

    @property
    def weight(self) -> NDArray[np.float64] | None:
        """How much each image counts, shape (n_images,); None where all count alike."""
        return None if self.balance is None else self.balance.weight

    def notices(self) -> list[str]:
        """Return what is worth knowing before the work."""
        said = [overlap.notice for overlap in self.overlaps]
        broken = broken_exclusions(self.bound, self.dataset.labels)
        return [*said, broken] if broken else said

    def stacked(self, workspace: Path | None, progress: Progress) -> Stacker:
        """Return the fitted stack."""
        own = self.settings
        return Stacker(own.stack, seed=own.seed, threads=thread_count(own.threads)).fit(
            self.dataset.scores,
            self.dataset.labels,
            self.dataset.groups,
            self.bound.relations(),
            unknown=self.dataset.unknown,
            image_weight=self.weight,
            start=self.start,
            study_dir=workspace,
            scratch_dir=workspace,
            progress=progress.stage,
        )

    def thresholds(self, stacker: Stacker) -> ThresholdFit:
        """Return what fits thresholds of any rung of the stack."""
        return ThresholdFit(
            dataset=self.dataset,
            folds=stacker.folds_,
            settings=self.settings.thresholds,
            stacker=stacker,
            start=stacker.out_of_fold(START),
            anchor_positives=self.settings.start.anchor_positives,
            image_weight=self.weight,
        )

    def bundle(self, stacker: Stacker, found: "_Decisions") -> Bundle:
        """Return the bundle of a fitted stack and its thresholds."""
        dataset, settings = self.dataset, self.settings
        return Bundle(
            members=tuple(
                BundleMember(name=own.name, fingerprint=own.fingerprint, source=own.source)
                for own in dataset.members
            ),
            vocabulary=dataset.scores.vocabulary,
            stacker=stacker,
            rules=self.rules,
            thresholds=found.thresholds,
            rung_thresholds=found.rungs,
            rung_image_cut=found.thresholds.image_cut,
            out_of_fold=_kept(dataset, stacker.chosen_, found.probas)
            if settings.thresholds.keep_out_of_fold
            else None,
            settings=settings,
            fitted_images=FittedImages.of(dataset, settings.score.near_duplicates),
            evidence={
                **fit_evidence(dataset, self.overlaps, stacker, settings),
                "balance": None if self.balance is None else plain(self.balance.facts()),
                "floor": None if found.floor is None else asdict(found.floor),
                "frontier": None if found.frontier is None else asdict(found.frontier),
                "saw": saw_of(dataset, found.thresholds, found.n_given),
            },
        )


def _kept(dataset: Dataset, chosen: str, probas: dict[str, PairProba]) -> OutOfFold:
    labels = FittedLabels(labels=dataset.labels, unknown=dataset.unknown, groups=dataset.groups)
    return OutOfFold.of(dataset.contents, chosen, probas, labels)


@dataclass(frozen=True, kw_only=True)
class _Decisions:
    """What a fit decides by, from probabilities out of fold.

    ``floor`` is how the stack held against the start, where that was looked at; ``n_given`` how
    many tags the images get out of fold.
    """

    probas: dict[str, PairProba]
    thresholds: Thresholds
    rungs: RungTables
    floor: Floor | None
    frontier: Frontier | None
    n_given: int


def _decisions(fit: _Fit, stacker: Stacker, progress: Progress) -> _Decisions:
    """Return the thresholds of every rung, after the stack was held against the start."""
    fitted, decoder = fit.thresholds(stacker), Decoder(fit.bound, fit.settings.decoder)
    floor = _held(fit, fitted, stacker, progress)
    probas = {rung: stacker.out_of_fold(rung) for rung in stacker.rungs_}
    of_chosen = fitted.of(stacker.chosen_, probas[stacker.chosen_])
    rungs = rung_tables(
        stacker.rungs_,
        stacker.chosen_,
        fitted.each(probas, {stacker.chosen_: of_chosen}),
        decoder if len(fit.rules) else None,
        lambda done, total: progress.stage("thresholds of every rung", done, total),
    )
    fell_back, drawn = floor is not None and not floor.holds, None
    if not fell_back:
        drawn = of_chosen.frontier(
            decoder, lambda done, total: progress.stage("macro against micro", done, total)
        )
    thresholds = of_chosen(decoder)
    if fell_back:
        worth = rival_worth(fit.published, fit.settings.start)
        thresholds = start_thresholds(thresholds, stacker, worth)
        rungs[START] = thresholds.value
    return _Decisions(
        probas=probas,
        thresholds=thresholds,
        rungs=rungs,
        floor=floor,
        frontier=drawn,
        n_given=thresholds.cutting.decoded(probas[stacker.chosen_], decoder).nnz,
    )


def _held(fit: _Fit, fitted: ThresholdFit, stacker: Stacker, progress: Progress) -> Floor | None:
    """Let the stack fall back on the start where it is not ahead; None where images are many."""
    if fit.dataset.scores.n_images > fit.settings.start.floor_images:
        return None
    progress.stage("holding against the start")
    floor = held_against_start(fitted, stacker)
    if not floor.holds:
        stacker.fall_back(f"what was fitted is not ahead of it on left-out images ({floor.text})")
    return floor


def _with_cascade(bundle: Bundle, fit: _Fit, progress: Progress) -> Bundle:
    """Return the bundle with what was learnt of which tagger a picture needs."""
    from tagstack.ensemble.fitting.cascade_fit import fit_cascade

    found = fit_cascade(bundle, fit.dataset, fit.start, fit.settings, progress)
    learnt = None if found.cascade is None else found.cascade.facts()
    return replace(found, evidence={**found.evidence, "cascade": plain(learnt)})


def broken_exclusions(rules: BoundRules, labels: sparse.csr_array) -> str:
    """Return how many images' labels hold tags that exclude each other; nothing for none.

    Parameters
    ----------
    rules : BoundRules
    labels : sparse array of shape (n_images, n_tags), bool
    """
    found = rules.violations(labels)
    exclusions = {rule.id for rule in rules.exclusives}
    columns = [i for i, rule in enumerate(found.rules) if rule in exclusions]
    counts = sparse.csc_array(found.counts)[:, columns]
    n_images = len(np.unique(counts.nonzero()[0]))
    if not n_images:
        return ""
    totals = np.asarray(counts.sum(axis=0)).ravel()
    worst = np.argsort(-totals, kind="stable")[:3]
    names = [f"{found.rules[columns[i]]} ({totals[i]})" for i in worst if totals[i]]
    return (
        f"{n_images} of {labels.shape[0]} images have labels that exclude each other by the rules, "
        f"most of them by {', '.join(names)}. No tags of ours will ever hold both, so these labels "
        f"count as missed: correct them, or leave the rule out (`tagstack rules audit` has them "
        f"all)."
    )


def utility_worths(dataset: Dataset, settings: Settings) -> tuple[NDArray[np.float64] | None, ...]:
    """Return what decisions are worth to the gate and to the thresholds, if tables say so.

    Arrays of shape (4, n_tags), float64.

    Raises
    ------
    TagstackError
        If a table cannot be used for these tags.
    """
    vocabulary = dataset.scores.vocabulary
    assignments(vocabulary, settings.thresholds, ())
    return (
        utility_of(settings.stack.utility_table, vocabulary),
        worths_of(settings.thresholds, vocabulary),
    )
