"""Probes fitted on labelled images: without each fold for the stack, on all for new pictures.

What the stack learns of the probe is out of fold like every other column: no head that scores an
image was fitted on it. The axes of the features are those of all the images; no label is in them.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from tagstack.base_models.pairs import Level1Scores
from tagstack.configs.errors import TagstackError
from tagstack.configs.stack import StackSettings
from tagstack.meta.calibrators.calibration import MemberCalibration, member_how
from tagstack.meta.calibrators.folded_pairs import FoldedPairs
from tagstack.meta.labels.labelled import Labelled
from tagstack.meta.labels.truth import Evidence, positives_per_tag
from tagstack.meta.learners.workers import done_by_workers
from tagstack.meta.probe.columns import Columns, weights_on_grid
from tagstack.meta.probe.heads import (
    Basis,
    Examples,
    Heads,
    Penalty,
    Singles,
    fit_heads,
    log_losses,
    tag_blocks,
)
from tagstack.meta.probe.probe import PROBE, PairLogits, Probe, prior_logits, with_member
from tagstack.meta.progress import Progress

logger = logging.getLogger(__name__)

Floats = NDArray[np.float64]
Images = NDArray[np.int64]


# How often a tag comes is what the taggers' calibration has learnt: a bias of its own moved it to
# where the fit's images had it. A tag that no tagger knows needs one; an image's worth holds it.
_KNOWN_BIAS, _OWN_BIAS = 1e4, 1.0
_CHOOSING = 512  # tags that choose the strength, which all share
_SHARES = (1.0, 0.7, 0.5, 0.35, 0.25, 0.18)


class Strength(NamedTuple):
    """L2 on weights, a column: of tags that taggers know, and of tags that none knows."""

    known: float
    own: float


def is_probed(scores: Level1Scores, settings: StackSettings) -> bool:
    """Return whether a stack on these scores gets a probe."""
    return settings.probe.enabled and any(own.shape[1] for own in scores.features)


def with_probe(
    data: Labelled, settings: StackSettings, *, seed: int, threads: int, progress: Progress
) -> tuple[Labelled, Probe | None]:
    """Return the images with the probe's scores out of fold, and the probe fitted on all of them.

    Without features, or where the settings want none, the images stay as they are and there is no
    probe.

    Parameters
    ----------
    data : Labelled
        In two folds or more.
    settings : StackSettings
    seed : int
        Draws the images that are fitted on, where there are more than the settings allow.
    threads : int
        The result does not depend on it.
    progress : callable

    Raises
    ------
    TagstackError
        If a tagger has the probe's name.
    """
    if not is_probed(data.scores, settings):
        return replace(data, scores=replace(data.scores, features=())), None
    if PROBE in data.scores.members:
        msg = (
            f"A tagger is named {PROBE!r}, which is what the heads on features are called. Change "
            "`name` in its tagger.toml, or set stack.probe.enabled = false."
        )
        raise TagstackError(msg)
    n_steps = data.n_folds + 2
    progress(PROBE, 0, n_steps)
    work = _Work.of(data, settings, seed, threads)
    strength = work.chosen_strength(prepared := work.prepared(0), 0)
    parts = []
    for fold in range(data.n_folds):
        prepared = work.prepared(fold) if fold else prepared
        progress(PROBE, fold + 1, n_steps)
        held = np.flatnonzero(data.folds == fold)
        own = work.fitted(prepared, strength).pair_logits(data.scores.take(held))
        parts.append((held, own))
    progress(PROBE, n_steps - 1, n_steps)
    probe = work.fitted(work.prepared(None), strength)
    progress(PROBE, n_steps, n_steps)
    scores = with_member(data.scores, _joined(parts, data.scores.pairs.n_tags), probe.floor)
    start = None if data.start is None else data.start.with_silent_member()
    return replace(data, scores=scores, start=start), probe


def completed(data: Labelled, probe: Probe | None) -> Labelled:
    """Return other images under a fitted probe, as `with_probe` returned those it was fitted on."""
    if probe is None:
        return replace(data, scores=replace(data.scores, features=()))
    start = None if data.start is None else data.start.with_silent_member()
    return replace(data, scores=probe.apply(data.scores), start=start)


def _joined(parts: Sequence[tuple[Images, PairLogits]], n_tags: int) -> PairLogits:
    """Return the logits of several sets of images as one, by the images' own numbers."""
    key = np.concatenate(
        [images[own.key // n_tags] * n_tags + own.key % n_tags for images, own in parts]
    )
    order = np.argsort(key, kind="stable")
    return PairLogits(key=key[order], logit=np.concatenate([o.logit for _, o in parts])[order])


@dataclass(frozen=True)
class _Work:
    """What all fits share: the drawn images, and their columns in their principal axes.

    ``calibrations`` are those without each fold, and at last that of all images; heads learn what
    those of each tag miss. ``starts`` are of the categories alone: a score starts there, because a
    tag's own calibration without a fold tells, beside the one with it, how many labels the fold
    has: the stack would learn that, and no new picture has it.
    """

    data: Labelled
    settings: StackSettings
    columns: Columns
    basis: Basis
    calibrations: Sequence[MemberCalibration]
    starts: Sequence[MemberCalibration]
    threads: int

    @classmethod
    def of(cls, data: Labelled, settings: StackSettings, seed: int, threads: int) -> "_Work":
        from threadpoolctl import threadpool_limits

        columns, n_folds = Columns.of(data.scores.features), data.n_folds
        data = _drawn(data, settings.probe.max_images, seed)
        with threadpool_limits(limits=1, user_api="blas"):  # the same bits for any threads
            basis = Basis.of(columns.singles(data.scores.features), settings.probe.axes)
        data = replace(data, scores=replace(data.scores, features=()))
        strengths = sorted(settings.calibration_strengths)
        how = member_how(settings, strengths[len(strengths) // 2])
        calibrations, starts = FoldedPairs(
            data.scores, data.evidence, data.folds, data.spill
        ).calibrations([*range(n_folds), None], how, replace(how, pool="category"))
        return cls(data, settings, columns, basis, calibrations, starts, threads)

    def prepared(self, left_out: int | None) -> "_Prepared":
        """Return images to learn from, all but one fold, with what their taggers make of them."""
        at = -1 if left_out is None else left_out
        calibration = self.calibrations[at]
        images = np.flatnonzero(self.data.folds != at)
        scores, evidence = self._taken(images)
        positives = positives_per_tag(evidence.labels)
        rate = _rate(positives, evidence.n_known)
        some = positives > 0
        common = float(_rate(positives[some].sum(), evidence.n_known[some].sum()))
        columns = self.basis.images[images]
        blocks = _Blocks.of(scores, evidence, columns, calibration, rate)
        return _Prepared(calibration, self.starts[at], rate, common, positives, blocks)

    def fitted(self, prepared: "_Prepared", strength: Strength) -> Probe:
        """Return the probe of these images."""
        from threadpoolctl import threadpool_limits

        tags = np.arange(len(self.data.scores.vocabulary))
        heads = self._heads(prepared, tags, strength)
        with threadpool_limits(limits=1, user_api="blas"):
            weights = np.concatenate([self.basis.axes @ own.weights for own in heads], axis=1)
        bias = np.concatenate([own.bias for own in heads]).astype(np.float64)
        known = self.data.scores.knows.any(axis=0)
        floor = self.data.scores.floor.min()
        return Probe(
            columns=self.columns,
            calibration=prepared.start,
            rate=prepared.rate,
            weights=weights_on_grid(weights),
            bias=bias,
            shift=np.where(known, 0.0, prepared.common - prepared.rate - bias),
            floor=np.float32(floor),
            least=np.float32(logit_of(self.settings.probe.pair_proba)),
        )

    def chosen_strength(self, prepared: "_Prepared", fold: int) -> Strength:
        """Return the strengths with the least loss on images that were left out.

        The loss falls and rises again with the strength: from the middle it is followed down. Of
        known tags it is that of the best share of what the heads add: the stack weighs the probe
        against the taggers, so what it adds may be too loud, but should be in the right order.
        """
        held = np.flatnonzero(self.data.folds == fold)
        scores, evidence = self._taken(held)
        columns = self.basis.images[held]
        judging = _Blocks.of(scores, evidence, columns, prepared.calibration, prepared.rate)
        tags = _spread(prepared.positives, _CHOOSING)
        is_known = np.asarray(self.data.scores.knows.any(axis=0))[tags]

        @cache
        def losses(strength: float) -> tuple[float, float]:
            heads = self._heads(prepared, tags, Strength(strength, strength))
            of_tags = self._losses(judging, tags, heads)
            known = of_tags[is_known].sum(axis=0).min()
            return float(known), float(of_tags[~is_known, 0].sum())

        known, own = self.settings.probe.strengths, self.settings.probe.own_strengths
        return Strength(
            _lowest(known, lambda s: losses(s)[0]) if is_known.any() else max(known),
            _lowest(own, lambda s: losses(s)[1]) if not is_known.all() else max(own),
        )

    def _taken(self, images: Images) -> tuple[Level1Scores, Evidence]:
        data = self.data
        return data.scores.take(images), data.evidence.take(images, data.scores.pairs)

    def _heads(self, prepared: "_Prepared", tags: Images, strength: Strength) -> list[Heads]:
        known = self.data.scores.knows.any(axis=0)
        weights = np.where(known, strength.known, strength.own) * len(self.columns)
        bias = np.where(known, _KNOWN_BIAS, _OWN_BIAS)
        penalty = Penalty(weights=weights.astype(np.float32), bias=bias.astype(np.float32))
        square = self.basis.mean_square
        tasks = [(prepared.blocks, square, penalty, own) for own in self._blocks(tags)]
        return done_by_workers(_fitted_block, tasks, threads=self.threads, backend="")

    def _losses(self, judging: "_Blocks", tags: Images, heads: Sequence[Heads]) -> Floats:
        """Return each tag's log loss on images under heads that did not see them.

        Shape (n_tags, n_shares): at each of `_SHARES` of what the heads add.
        """
        tasks = [(judging, own, of) for own, of in zip(self._blocks(tags), heads, strict=True)]
        return np.concatenate(done_by_workers(_held_loss, tasks, threads=self.threads, backend=""))

    def _blocks(self, tags: Images) -> list[Images]:
        return [tags[block] for block in tag_blocks(len(tags), self.data.scores.n_images)]


@dataclass(frozen=True)
class _Blocks:
    """Images to learn from or to judge by, dense for a few tags at a time."""

    scores: Level1Scores
    images: Singles
    listed: Floats
    base: Floats
    labels: sparse.csc_array
    unknown: sparse.csc_array
    weight: Singles | None

    @classmethod
    def of(
        cls,
        scores: Level1Scores,
        evidence: Evidence,
        images: Singles,
        calibration: MemberCalibration,
        rate: Floats,
    ) -> "_Blocks":
        listed, base = prior_logits(scores, calibration, rate)
        labels, unknown = sparse.csc_array(evidence.labels), sparse.csc_array(evidence.unknown)
        weight = evidence.image_weight
        own = None if weight is None else weight.astype(np.float32)
        return cls(scores, images, listed, base, labels, unknown, own)

    def of_tags(self, tags: Images) -> Examples:
        pairs = self.scores.pairs
        prior = np.tile(self.base[tags].astype(np.float32), (pairs.n_images, 1))
        place = np.full(pairs.n_tags, -1)
        place[tags] = np.arange(len(tags))
        at = place[pairs.tag]
        own = np.flatnonzero(at >= 0)
        prior[pairs.image[own], at[own]] = self.listed[own]
        known = 1 - self.unknown[:, tags].toarray().astype(np.float32)
        return Examples(
            images=self.images,
            prior=prior,
            true=self.labels[:, tags].toarray().astype(np.float32),
            weight=known if self.weight is None else known * self.weight[:, None],
        )


def _drawn(data: Labelled, most: int, seed: int) -> Labelled:
    """Return the images to learn from, in the folds that they were in."""
    if data.scores.n_images <= most:
        return data
    drawn = np.sort(np.random.default_rng(seed).permutation(data.scores.n_images)[:most])
    return replace(data.take(drawn), folds=data.folds[drawn])


class _Prepared(NamedTuple):
    """Images to learn from: how often tags come, where they start from, and what they show.

    ``common`` is how often a tag comes that comes at all, as a logit: where the scores of tags that
    no tagger knows start.
    """

    calibration: MemberCalibration
    start: MemberCalibration
    rate: Floats
    common: float
    positives: Images
    blocks: _Blocks


def _spread(positives: Images, most: int) -> Images:
    """Return tags that some image has, evenly spread over how often they come; ascending."""
    order = np.argsort(-positives, kind="stable")[: max(1, np.count_nonzero(positives))]
    places = np.linspace(0, len(order) - 1, min(most, len(order))).astype(int)
    return np.sort(order[places])


def _lowest(candidates: Sequence[float], loss: Callable[[float], float]) -> float:
    """Return what has the least loss, of equals the largest, if only one valley is there."""
    tried = sorted(set(candidates), reverse=True)
    if len(tried) == 1:
        return tried[0]
    at = (len(tried) - 1) // 2
    step = 1 if loss(tried[at + 1]) < loss(tried[at]) else -1
    while 0 <= at + step < len(tried):
        ahead, here = loss(tried[at + step]), loss(tried[at])
        if ahead > here or (ahead == here and step > 0):
            break
        at += step
    return tried[at]


def _fitted_block(task: tuple[_Blocks, Singles, Penalty, Images]) -> Heads:
    blocks, mean_square, penalty, tags = task
    return fit_heads(blocks.of_tags(tags), mean_square, penalty.of_tags(tags))


def _held_loss(task: tuple[_Blocks, Images, Heads]) -> Floats:
    held, tags, heads = task
    examples = held.of_tags(tags)
    added = examples.images @ heads.weights + heads.bias
    found = [
        log_losses(examples.prior + np.float32(share) * added, examples.true, examples.weight)
        for share in _SHARES
    ]
    return np.stack(found, axis=1)


def _rate(positives: NDArray[Any], n_known: NDArray[Any]) -> Floats:
    """Return the logit of how often tags come, by which no tag comes never."""
    return np.asarray(np.log((positives + 0.5) / (n_known - positives + 0.5)), np.float64)


def logit_of(proba: float) -> float:
    """Return the logit of a probability."""
    return float(np.log(proba / (1 - proba)))
