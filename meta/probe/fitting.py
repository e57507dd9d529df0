"""Probes fitted on labelled images: without each fold for the stack, their mean for new pictures.

What the stack learns of the probe is out of fold like every other column: no head that scores an
image was fitted on it. The axes of the features are those of all the images; no label is in them.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, reduce
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tagstack.base_models.pairs import Level1Scores
from tagstack.configs.errors import TagstackError
from tagstack.configs.stack import StackSettings
from tagstack.meta.calibrators.calibration import MemberCalibration, member_how
from tagstack.meta.calibrators.folded_pairs import FoldedPairs
from tagstack.meta.labels.labelled import Labelled
from tagstack.meta.labels.truth import positives_per_tag
from tagstack.meta.learners.workers import done_by_workers
from tagstack.meta.probe.blocks import Blocks
from tagstack.meta.probe.columns import Columns, weights_on_grid
from tagstack.meta.probe.heads import (
    Basis,
    Heads,
    Penalty,
    Singles,
    fit_heads,
    log_losses,
    tag_blocks,
)
from tagstack.meta.probe.probe import (
    PROBE,
    Listing,
    PairLogits,
    Probe,
    with_member,
)
from tagstack.meta.progress import Progress

logger = logging.getLogger(__name__)

Floats = NDArray[np.float64]
Images = NDArray[np.int64]


# How often a tag comes is what the taggers' calibration has learnt: a bias of its own moved it to
# where the fit's images had it. A tag that no tagger knows needs one; an image's worth holds it.
_KNOWN_BIAS, _OWN_BIAS = 1e4, 1.0
_CHOOSING = 512  # tags that choose the strength, which all share
# Where taggers know a tag, more steps rank left-out images no better; else there is more to learn.
_KNOWN_STEPS, _OWN_STEPS = 2, 4
_SHARES = (1.0, 0.7, 0.5, 0.35, 0.25, 0.18)


_NOTHING = Heads(weights=np.zeros((1, 1), np.float32), bias=np.zeros(1, np.float32))


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
    progress(PROBE, 0, data.n_folds + 1)
    work, parts, total = _Work.of(data, settings, seed, threads), [], _NOTHING
    for fold, (side, heads) in enumerate(work.without_each_fold()):
        held = np.flatnonzero(data.folds == fold)
        parts.append((held, work.left_out(side, heads, data.scores.take(held), fold)))
        total = total.plus(heads)
        progress(PROBE, fold + 1, data.n_folds + 1)
    probe = work.probe(total)
    progress(PROBE, data.n_folds + 1, data.n_folds + 1)
    scores = with_member(data.scores, _joined(parts, data.scores.pairs.n_tags), probe.floor)
    start = None if data.start is None else data.start.with_silent_member()
    return replace(data, scores=scores, start=start), probe


def fit_probe(data: Labelled, settings: StackSettings, *, seed: int, threads: int) -> Probe:
    """Return the probe of `with_probe`, without scores of these images.

    Parameters
    ----------
    data : Labelled
        With features, in two folds or more.
    settings : StackSettings
    seed, threads : int
    """
    work = _Work.of(data, settings, seed, threads)
    return work.probe(reduce(Heads.plus, (own for _, own in work.without_each_fold()), _NOTHING))


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
    is_whole: bool

    @classmethod
    def of(cls, data: Labelled, settings: StackSettings, seed: int, threads: int) -> "_Work":
        from threadpoolctl import threadpool_limits

        columns, n_folds = Columns.of(data.scores.features), data.n_folds
        is_whole = data.scores.n_images <= settings.probe.max_images
        data = _drawn(data, settings.probe.max_images, seed)
        with threadpool_limits(limits=1, user_api="blas"):  # the same bits for any threads
            basis = Basis.of(columns.singles(data.scores.features), settings.probe.axes)
        data = replace(data, scores=replace(data.scores, features=()))
        strengths = sorted(settings.calibration_strengths)
        how = member_how(settings, strengths[len(strengths) // 2])
        calibrations, starts = FoldedPairs(
            data.scores, data.evidence, data.folds, data.spill
        ).calibrations([*range(n_folds), None], how, replace(how, pool="category"))
        return cls(data, settings, columns, basis, calibrations, starts, threads, is_whole)

    @property
    def known(self) -> NDArray[np.bool_]:
        """Whether any tagger knows a tag, shape (n_tags,)."""
        return np.asarray(self.data.scores.knows.any(axis=0), bool)

    def without_each_fold(self) -> Iterator[tuple["_Side", Heads]]:
        """Yield for each fold what is known without it, and the heads that the others teach."""
        strength: Strength | None = None
        for fold in range(self.data.n_folds):
            side = self.side(fold)
            taught = self.blocks(side, np.flatnonzero(self.data.folds != fold))
            if strength is None:
                strength = self.chosen_strength(side, taught, fold)
            yield side, self.heads(taught, strength)

    def side(self, left_out: int | None) -> "_Side":
        """Return what is known without a fold, or of all images."""
        at = -1 if left_out is None else left_out
        images = np.flatnonzero(self.data.folds != at)
        evidence = self.data.evidence.take(images, self.data.scores.pairs)
        positives = positives_per_tag(evidence.labels)
        some = positives > 0
        return _Side(
            calibration=self.calibrations[at],
            start=self.starts[at],
            rate=_rate(positives, evidence.n_known),
            common=float(_rate(positives[some].sum(), evidence.n_known[some].sum())),
            positives=positives,
        )

    def blocks(self, side: "_Side", images: Images) -> Blocks:
        """Return images to learn from or to judge by, as a side sees them."""
        pairs = self.data.scores.pairs
        return Blocks.of(
            self.data.scores.take(images),
            self.data.evidence.take(images, pairs),
            self.basis.images[images],
            side.calibration,
            side.rate,
        )

    def heads(self, taught: Blocks, strength: Strength) -> Heads:
        """Return the heads of all tags."""
        parts = self._heads(taught, np.arange(len(self.data.scores.vocabulary)), strength)
        return Heads(
            weights=np.concatenate([own.weights for own in parts], axis=1),
            bias=np.concatenate([own.bias for own in parts]),
        )

    def probe(self, total: Heads) -> Probe:
        """Return the probe of new pictures: the mean of the heads without each fold, of their sum.

        Heads fitted on all images ranked new pictures no better, and were up to two fifths louder
        there than those without a fold on theirs, which the stack has learnt to weigh.
        """
        from threadpoolctl import threadpool_limits

        share = 1 / self.data.n_folds
        bias = share * total.bias.astype(np.float64)
        with threadpool_limits(limits=1, user_api="blas"):
            of_columns = self.basis.axes @ (np.float32(share) * total.weights)
        return Probe(
            columns=self.columns,
            weights=weights_on_grid(of_columns),
            **vars(self._listing(self.side(None), bias)),
        )

    def left_out(self, side: "_Side", heads: Heads, scores: Level1Scores, fold: int) -> PairLogits:
        """Return the logits of a fold's images by heads that others taught.

        By single floats in the principal axes, which differ from a probe's in the last digits: a
        probe's are exact, at eight times the cost.
        """
        from threadpoolctl import threadpool_limits

        listing = self._listing(side, heads.bias.astype(np.float64))
        with threadpool_limits(limits=1, user_api="blas"):
            images = self._in_axes(scores, fold)
            return listing.logits(scores, lambda rows, _: images[rows] @ heads.weights)

    def _in_axes(self, scores: Level1Scores, fold: int) -> Singles:
        """Return a fold's images in the principal axes, drawn ones or not."""
        if self.is_whole:
            return np.asarray(self.basis.images[self.data.folds == fold], np.float32)
        return np.asarray(self.columns.singles(scores.features) @ self.basis.axes, np.float32)

    def _listing(self, side: "_Side", bias: Floats) -> Listing:
        known = self.known
        return Listing(
            calibration=side.start,
            rate=side.rate,
            bias=bias,
            shift=np.where(known, 0.0, side.common - side.rate - bias),
            floor=np.float32(self.data.scores.floor.min()),
            least=np.float32(logit_of(self.settings.probe.pair_proba)),
        )

    def chosen_strength(self, side: "_Side", taught: Blocks, fold: int) -> Strength:
        """Return the strengths with the least loss on images that were left out.

        The loss falls and rises again with the strength: from the middle it is followed down. Of
        known tags it is that of the best share of what the heads add: the stack weighs the probe
        against the taggers, so what it adds may be too loud, but should be in the right order.
        """
        judging = self.blocks(side, np.flatnonzero(self.data.folds == fold))
        tags = _spread(side.positives, _CHOOSING)
        is_known = self.known[tags]

        @cache
        def losses(strength: float) -> tuple[float, float]:
            heads = self._heads(taught, tags, Strength(strength, strength))
            of_tags = self._losses(judging, tags, heads)
            known = of_tags[is_known].sum(axis=0).min()
            return float(known), float(of_tags[~is_known, 0].sum())

        known, own = self.settings.probe.strengths, self.settings.probe.own_strengths
        return Strength(
            _lowest(known, lambda s: losses(s)[0]) if is_known.any() else max(known),
            _lowest(own, lambda s: losses(s)[1]) if not is_known.all() else max(own),
        )

    def _heads(self, taught: Blocks, tags: Images, strength: Strength) -> list[Heads]:
        known = self.known
        weights = np.where(known, strength.known, strength.own) * len(self.columns)
        bias = np.where(known, _KNOWN_BIAS, _OWN_BIAS)
        penalty = Penalty(weights=weights.astype(np.float32), bias=bias.astype(np.float32))
        square = self.basis.mean_square
        tasks = [
            (taught, square, penalty, own, _KNOWN_STEPS if known[own[0]] else _OWN_STEPS)
            for own in self._blocks(tags)
        ]
        return done_by_workers(_fitted_block, tasks, threads=self.threads, backend="")

    def _losses(self, judging: Blocks, tags: Images, heads: Sequence[Heads]) -> Floats:
        """Return each tag's log loss on images under heads that did not see them.

        Shape (n_tags, n_shares): at each of `_SHARES` of what the heads add.
        """
        tasks = [(judging, own, of) for own, of in zip(self._blocks(tags), heads, strict=True)]
        return np.concatenate(done_by_workers(_held_loss, tasks, threads=self.threads, backend=""))

    def _blocks(self, tags: Images) -> list[Images]:
        """Return tags a few at a time, in their order: all known to a tagger, or none of them."""
        known = self.known[tags]
        parts = np.split(tags, np.flatnonzero(known[1:] != known[:-1]) + 1)
        n_images = self.data.scores.n_images
        return [part[block] for part in parts for block in tag_blocks(len(part), n_images)]


def _drawn(data: Labelled, most: int, seed: int) -> Labelled:
    """Return the images to learn from, in the folds that they were in."""
    if data.scores.n_images <= most:
        return data
    drawn = np.sort(np.random.default_rng(seed).permutation(data.scores.n_images)[:most])
    return replace(data.take(drawn), folds=data.folds[drawn])


class _Side(NamedTuple):
    """What is known without a fold, or of all images: where tags start from, how often they come.

    ``common`` is how often a tag comes that comes at all, as a logit: where the scores of tags that
    no tagger knows start.
    """

    calibration: MemberCalibration
    start: MemberCalibration
    rate: Floats
    common: float
    positives: Images


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


def _fitted_block(task: tuple[Blocks, Singles, Penalty, Images, int]) -> Heads:
    blocks, mean_square, penalty, tags, steps = task
    return fit_heads(blocks.of_tags(tags), mean_square, penalty.of_tags(tags), steps)


def _held_loss(task: tuple[Blocks, Images, Heads]) -> Floats:
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
