"""Fitting a cascade: the order of the taggers, a head for each beginning, and when to end."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.metrics import average_precision_score

from tagstack.base_models.pairs import PairProba
from tagstack.configs.errors import TagstackError
from tagstack.configs.quick import QUICK
from tagstack.configs.settings import Settings, changed_settings
from tagstack.ensemble.bundle.bundle import Bundle
from tagstack.ensemble.bundle.cascade import Cascade, Head
from tagstack.ensemble.bundle.dataset import Dataset
from tagstack.ensemble.bundle.doubt import Doubt, Margins, linear_worth
from tagstack.ensemble.bundle.start import rival_worth
from tagstack.ensemble.cascade.frontier import Staged, frontier
from tagstack.ensemble.cascade.order import best_order
from tagstack.ensemble.cascade.timing import member_seconds
from tagstack.ensemble.contradictions.decoder import Decoder
from tagstack.ensemble.fitting.floor import start_thresholds
from tagstack.ensemble.fitting.threshold_fit import ThresholdFit
from tagstack.ensemble.progress import Progress
from tagstack.ensemble.thresholds.cuts import logits_of
from tagstack.meta.labels.truth import known_labels
from tagstack.meta.metrics.counts import count_by_image, f_beta
from tagstack.meta.stack.prefixes import prefix_scores
from tagstack.meta.stack.rung_spec import START, single_spec
from tagstack.meta.stack.stacker import Stacker
from tagstack.meta.start.answer import StartAnswer
from tagstack.meta.start.published import Published

Floats = NDArray[np.float64]
_UNKNOWN = -15.0  # log-odds of a tag that none of some members knows


def fit_cascade(
    bundle: Bundle,
    dataset: Dataset,
    start: StartAnswer,
    settings: Settings,
    progress: Progress,
) -> Bundle:
    """Return a bundle that was just fitted on a dataset, with a cascade.

    Parameters
    ----------
    bundle : Bundle
        Not loaded: its stack has probabilities out of fold.
    dataset : Dataset
        That it was fitted on.
    start : StartAnswer
        That it was fitted with.
    settings : Settings
    progress : Progress

    Raises
    ------
    TagstackError
        If there is one tagger, or a tagger cannot be timed.
    """
    stacker = bundle.stacker
    if len(bundle.members) < 2:
        msg = "A cascade needs at least two taggers, the bundle has one. Fit without --cascade."
        raise TagstackError(msg)
    if not isinstance(stacker, Stacker):
        raise TypeError(stacker)  # `fit` makes no other
    progress.stage("timing taggers")
    seconds = member_seconds(dataset.members, settings)
    order = _order(stacker, dataset, [seconds[name] for name in bundle.member_names])
    decoder = Decoder(bundle.rules.bind(bundle.vocabulary), bundle.settings.decoder)
    fits = []
    stages = _stages(order, settings.cascade.heads)
    for number, chosen in enumerate(stages):
        progress.stage("heads of the cascade", number, len(stages))
        fits.append(_fitted(chosen, dataset, start, bundle, settings, decoder))
    whole = stacker.out_of_fold(stacker.chosen_)
    margins = [
        *(head.margins(proba) for head, proba in fits),
        Margins.of(whole, bundle.thresholds.value),
    ]
    decided = [
        *(head.thresholds.cutting.decoded(proba, decoder) for head, proba in fits),
        bundle.thresholds.cutting.decoded(whole, decoder),
    ]
    cascade = Cascade(heads=tuple(head for head, _ in fits), seconds=seconds, rows=())
    heads, promise = _ending(cascade, margins, _gains(decided, dataset), stacker.folds_)
    cascade = replace(cascade, heads=heads)
    staged = Staged(
        decided=tuple(decided),
        promise=promise,
        seconds=np.array(cascade.stage_seconds),
        labels=dataset.labels,
        unknown=dataset.unknown,
        groups=dataset.groups,
    )
    progress.stage("cost against F1")
    own = settings.cascade
    rows = frontier(staged, points=own.points, resamples=own.resamples, seed=settings.seed)
    return replace(bundle, cascade=replace(cascade, rows=rows))


def _order(stacker: Stacker, dataset: Dataset, seconds: Sequence[float]) -> tuple[int, ...]:
    """Return the order of the taggers, by the calibrated mean of those that have looked."""
    scores = dataset.scores
    n_taggers = len(seconds)
    singles = [stacker.out_of_fold(single_spec(name).name) for name in scores.members[:n_taggers]]
    pairs = singles[0].pairs
    known = np.array([~np.isnan(proba.proba) for proba in singles])
    logits = np.array([logits_of(np.nan_to_num(proba.proba, nan=0.5)) for proba in singles])
    true = _listed(dataset, pairs.image, pairs.tag)

    def score(chosen: tuple[int, ...]) -> float:
        rows = list(chosen)
        count = known[rows].sum(axis=0)
        total = np.where(known[rows], logits[rows], 0.0).sum(axis=0)
        mean = np.where(count > 0, total / np.maximum(count, 1), _UNKNOWN)
        return float(average_precision_score(true, mean))

    return best_order(seconds, score)


def _listed(
    dataset: Dataset, image: NDArray[np.int32], tag: NDArray[np.int32]
) -> NDArray[np.bool_]:
    """Return whether listed pairs are true, shape (n_pairs,)."""
    n_tags = dataset.labels.shape[1]
    rows, columns = dataset.labels.nonzero()
    true = rows.astype(np.int64) * n_tags + columns
    return np.isin(image.astype(np.int64) * n_tags + tag, true)


def _stages(order: tuple[int, ...], most: int) -> list[tuple[int, ...]]:
    """Return the members that have looked at each stage that has a head, ascending."""
    return [tuple(sorted(order[:n])) for n in range(1, min(len(order) - 1, most) + 1)]


def _fitted(
    chosen: tuple[int, ...],
    dataset: Dataset,
    start: StartAnswer,
    bundle: Bundle,
    settings: Settings,
    decoder: Decoder,
) -> tuple[Head, PairProba]:
    """Return a head without its end, and its probabilities of the images, out of fold."""
    names = tuple(bundle.member_names[m] for m in chosen)
    own = replace(
        dataset,
        scores=prefix_scores(dataset.scores, names, bundle.vocabulary),
        members=tuple(dataset.members[m] for m in chosen),
    )
    answer = start
    for absent in sorted(set(range(len(bundle.members))) - set(chosen), reverse=True):
        answer = answer.without_member(absent)
    balance = own.balance(settings.stack)
    weight = None if balance is None else balance.weight
    quick = changed_settings(settings, QUICK).stack
    stacker = Stacker(quick, seed=settings.seed, threads=_threads_of(bundle.stacker))
    stacker.fit(
        own.scores,
        own.labels,
        own.groups,
        decoder.rules.relations(),
        unknown=own.unknown,
        image_weight=weight,
        start=answer,
    )
    fallen = bundle.stacker.chosen_ == START
    if fallen:
        stacker.fall_back("the whole stack answers with the start")
    proba = stacker.out_of_fold(stacker.chosen_)
    thresholds = ThresholdFit(
        dataset=own,
        folds=stacker.folds_,
        settings=settings.thresholds,
        stacker=stacker,
        start=stacker.out_of_fold(START),
        anchor_positives=settings.start.anchor_positives,
        image_weight=weight,
    )(stacker.chosen_, proba, decoder)
    if fallen:
        published = Published.of(own.members, bundle.vocabulary)
        thresholds = start_thresholds(thresholds, stacker, rival_worth(published, settings.start))
    unsure = Doubt(variance=1.0, disagreement=0.0)
    head = Head(
        members=names, stacker=stacker, thresholds=thresholds, doubt=unsure, worth=np.zeros((0, 0))
    )
    return head, proba


def _threads_of(stacker: object) -> int:
    return stacker.threads if isinstance(stacker, Stacker) else 1


def _ending(
    cascade: Cascade, margins: Sequence[Margins], gains: Floats, folds: NDArray[np.int64]
) -> tuple[tuple[Head, ...], Floats]:
    """Return the heads with what is expected of the taggers that are left, and each promise.

    Parameters
    ----------
    cascade : Cascade
    margins : sequence of n_stages Margins
    gains : array of shape (n_stages, n_images), float64
        What each image adds to micro-F1 at each stage.
    folds : array of shape (n_images,), int64

    Returns
    -------
    heads : tuple of Head
    promise : array of shape (n_heads, n_images), float64
        Told by weights that were fitted without the image's fold.
    """
    seconds, heads = np.array(cascade.stage_seconds), []
    promise = np.empty((len(cascade.heads), len(folds)))
    for stage, head in enumerate(cascade.heads):
        before = margins[stage - 1] if stage else None
        doubt = Doubt.fitted(margins[stage], before, margins[-1])
        signs, gain = doubt.signs(margins[stage], before), gains[stage + 1 :] - gains[stage]
        later = seconds[stage + 1 :] - seconds[stage]
        for fold in np.unique(folds):
            own, others = folds == fold, folds != fold
            worth = np.array([linear_worth(signs[others], of_stage[others]) for of_stage in gain])
            promise[stage, own] = (signs[own] @ worth.T / later).max(axis=1)
        worth = np.array([linear_worth(signs, of_stage) for of_stage in gain])
        heads.append(replace(head, doubt=doubt, worth=worth))
    return tuple(heads), promise


def _gains(decided: Sequence[sparse.csr_array], dataset: Dataset) -> Floats:
    """Return what each image adds to micro-F1 at each stage, up to a constant factor.

    With F1 = 2 TP / (PP + P), a further hit adds 2 and a further tag costs F1, both over PP + P.
    Shape (n_stages, n_images), float64.
    """
    known = (known_labels(own, dataset.unknown) for own in decided)
    counts = [count_by_image(own, dataset.labels) for own in known]
    whole = float(np.nan_to_num(f_beta(counts[-1].total(), 1.0)))
    return np.array([2.0 * own.hits - whole * own.predicted for own in counts])
