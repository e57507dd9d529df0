"""What the meta-model and the blend build on, out of fold: groundwork, members, level 2.

What is out of fold is so for the row's own labels: no model that predicts a row was fitted on it.
Features of the other rows come from models that were; what little this lets through is measured
by the rehearsal (`tagstack.meta.stack.rehearsal`), where the held-out images take no part at all.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from tagstack.base_models.pairs import Pairs
from tagstack.configs.stack import StackSettings
from tagstack.meta.calibrators.calibration import category_numbers
from tagstack.meta.features.pair_table import PairTable
from tagstack.meta.labels.labelled import Labelled
from tagstack.meta.labels.missing_labels import labelled_rates, pair_weights
from tagstack.meta.learners.mean import mean_logit
from tagstack.meta.learners.shrunken_logistic import filled_in
from tagstack.meta.metrics.count_metrics import metric_of
from tagstack.meta.metrics.fold_scores import DrawnScorer
from tagstack.meta.metrics.utility import utility_of
from tagstack.meta.progress import Progress
from tagstack.meta.stack.cross_fitter import CrossFitter
from tagstack.meta.stack.groundwork import Ground, Groundwork, Strengths
from tagstack.meta.stack.made_rungs import MadeRungs
from tagstack.meta.stack.out_of_fold import cross_fitted_ground
from tagstack.meta.stack.rung_spec import START, RungSpec, rung_specs
from tagstack.meta.stack.rungs import RungLogits, spliced
from tagstack.meta.stack.selection_sample import SelectionSample
from tagstack.meta.stack.strengths import choose_strengths

logger = logging.getLogger(__name__)

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Foundation:
    """Labelled images and everything below the meta-model, out of fold.

    Parameters
    ----------
    specs : tuple of RungSpec
        Every rung of the stack.
    fitter : CrossFitter
    judges : DrawnScorer
    strengths : Strengths
    groundwork : Groundwork
        Fitted on all the images.
    member_weights : array of shape (n_members,), float64
        Of the Caruana selection.
    rungs : MadeRungs
        The plain rungs, the selection and level 2.
    table : PairTable
        Of the candidates, with the level-2 columns.
    rounds : mapping of learner to int
        After how many rounds each kind of trees of level 2 did best.
    """

    specs: tuple[RungSpec, ...]
    fitter: CrossFitter
    judges: DrawnScorer
    strengths: Strengths
    groundwork: Groundwork
    member_weights: Floats
    rungs: MadeRungs
    table: PairTable
    rounds: Mapping[str, int]

    @property
    def data(self) -> Labelled:
        """The images; labels weigh less than 1 where some were forgotten."""
        return self.fitter.data

    @property
    def pairs(self) -> Pairs:
        """The listed pairs."""
        return self.data.scores.pairs

    @property
    def ground(self) -> Ground:
        """The images seen through the groundwork, out of fold."""
        return self.fitter.ground

    @property
    def settings(self) -> StackSettings:
        """The settings that it was laid with."""
        return self.fitter.settings


def lay_foundation(
    data: Labelled,
    settings: StackSettings,
    *,
    seed: int,
    threads: int,
    progress: Progress,
    strengths: Strengths | None = None,
) -> Foundation:
    """Return the foundation of a stack on these images.

    Parameters
    ----------
    data : Labelled
    settings : StackSettings
    seed, threads : int
    progress : callable
        Is told (stage, done, total).
    strengths : Strengths, optional
        If they are chosen already.
    """
    progress("calibration", 0, 1)
    counts = np.diff(data.scores.pairs.indptr)
    worth = utility_of(settings.utility_table, data.scores.vocabulary)
    metric = metric_of(settings.metric)
    judges = DrawnScorer(data, counts, settings.gate_pairs, seed, worth, metric)
    if strengths is None:
        strengths = choose_strengths(data.scores, data.evidence, data.folds, settings, seed)
    groundwork, ground = cross_fitted_ground(data, strengths, settings)
    if settings.missing_labels == "reweighted":
        data = _reweighted(data, ground)
        groundwork, ground = cross_fitted_ground(data, strengths, settings)
    fitter = CrossFitter(
        data=data,
        ground=ground,
        truth=data.evidence.truth(data.scores.pairs),
        sample=SelectionSample(data, ground, settings, seed),
        settings=settings,
        seed=seed,
        threads=threads,
    )
    specs = rung_specs(data.scores.members, settings, started=data.start is not None)
    rungs = MadeRungs({spec.name: spec for spec in specs}, data, ground, judges, settings)
    member_weights, selected = _selected_members(fitter)
    rungs.add("caruana", selected)
    if data.start is not None:
        listed, base = data.start.apply(data.scores, data.spill)
        rungs.add(START, RungLogits(listed=listed, base=base))
    table, rounds = _level_two(specs, fitter, rungs, progress)
    return Foundation(
        specs=specs,
        fitter=fitter,
        judges=judges,
        strengths=strengths,
        groundwork=groundwork,
        member_weights=member_weights,
        rungs=rungs,
        table=table,
        rounds=rounds,
    )


def _reweighted(data: Labelled, ground: Ground) -> Labelled:
    """Return the images with each pair counted by its label's worth where some were forgotten."""
    pairs = data.scores.pairs
    labelled, truth = expit(ground.listed), data.evidence.truth(pairs)
    rates = labelled_rates(labelled, truth, pairs.tag, category_numbers(data.scores.vocabulary))
    logger.info("labels: a true pair is labelled in %.0f %% of cases", 100 * rates.mean())
    weight = pair_weights(labelled, truth, pairs.tag, rates)
    return replace(data, evidence=data.evidence.weighted(weight))


def _selected_members(fitter: CrossFitter) -> tuple[Floats, RungLogits]:
    """Return the members' weights by all folds, and the rung of each fold by the others'."""
    data, members = fitter.data, fitter.ground.members
    pairs, sampled = data.scores.pairs, fitter.ground.rows[fitter.sample.table_rows]
    proba = expit(filled_in(members.listed[:, sampled]))
    weights, by_fold = fitter.sample.weights(proba, of_proba=True)
    listed = data.spill.empty(len(pairs), np.float32)
    for images, rows in pairs.blocks():
        fold = data.folds[pairs.image[rows]]
        for f in np.unique(data.folds[images]):
            own = rows.start + np.flatnonzero(fold == f)
            listed[own] = mean_logit(members.listed[:, own], by_fold[f])
        data.spill.let_go()
    bases = [mean_logit(members.base, own) for own in by_fold]
    return weights, RungLogits(listed=listed, base=np.mean(bases, axis=0))


def _level_two(
    specs: tuple[RungSpec, ...], fitter: CrossFitter, rungs: MadeRungs, progress: Progress
) -> tuple[PairTable, dict[str, int]]:
    """Make the learners' rungs; return the table with their columns, and the rounds of trees."""
    ground, rounds = fitter.ground, {}
    columns: dict[str, NDArray[np.floating]] = {}
    spill = fitter.data.spill
    learners = [spec for spec in specs if spec.kind == "learner"]
    for i, spec in enumerate(learners):
        progress(spec.name, i, len(learners))
        found = fitter.left_out(spec.name, ground.table)
        rungs.add(spec.name, spliced(ground, found.logit, spill))
        columns[spec.column] = found.logit
        spill.let_go()
        if found.rounds is not None:
            rounds[spec.name] = found.rounds
    rising = [spec.column for spec in learners if spec.monotone]
    return ground.table.with_columns(columns, rising, spill), rounds
