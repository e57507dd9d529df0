"""Probes fitted on labelled images: without each fold for the stack, on all for new pictures.

What the stack learns of the probe is out of fold like every other column: no head that scores an
image was fitted on it. The axes of the features are those of all the images; no label is in them.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from tagstack.base_models.pairs import Level1Scores
from tagstack.configs.errors import TagstackError
from tagstack.configs.stack import StackSettings
from tagstack.meta.calibrators.calibration import (
    MemberCalibration,
    fit_members,
    member_how,
)
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
    parted = [(np.flatnonzero(data.folds != f), np.flatnonzero(data.folds == f))
              for f in range(data.n_folds)]  # fmt: skip
    strength = work.chosen_strength(*parted[0])
    logger.info("probe: L2 a column %g, %g for tags that no tagger knows", *strength)
    parts = []
    for done, (fit, held) in enumerate(parted, 1):
        progress(PROBE, done, n_steps)
        own = work.fitted(fit, strength).pair_logits(data.scores.take(held))
        parts.append((held, own))
    progress(PROBE, n_steps - 1, n_steps)
    probe = work.fitted(np.arange(data.scores.n_images), strength)
    progress(PROBE, n_steps, n_steps)
    scores = with_member(data.scores, _joined(parts, data.scores.pairs.n_tags), probe.floor)
    start = None if data.start is None else data.start.with_silent_member()
    return replace(data, scores=scores, start=start), probe


def fit_probe(data: Labelled, settings: StackSettings, *, seed: int, threads: int) -> Probe:
    """Return the probe of all images; the first fold chooses its strength.

    Parameters
    ----------
    data : Labelled
        With features, in two folds or more.
    settings : StackSettings
    seed, threads : int
    """
    work = _Work.of(data, settings, seed, threads)
    first = data.folds == 0
    strength = work.chosen_strength(np.flatnonzero(~first), np.flatnonzero(first))
    return work.fitted(np.arange(data.scores.n_images), strength)


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
    """What all fits share: the drawn images' columns in their principal axes.

    ``place`` is where an image stands among the drawn ones, -1 for the others.
    """

    data: Labelled
    settings: StackSettings
    columns: Columns
    basis: Basis
    place: Images
    threads: int

    @classmethod
    def of(cls, data: Labelled, settings: StackSettings, seed: int, threads: int) -> "_Work":
        from threadpoolctl import threadpool_limits

        columns, n_images = Columns.of(data.scores.features), data.scores.n_images
        drawn = np.arange(n_images)
        if n_images > settings.probe.max_images:
            order = np.random.default_rng(seed).permutation(n_images)
            drawn = np.sort(order[: settings.probe.max_images])
        place = np.full(n_images, -1)
        place[drawn] = np.arange(len(drawn))
        with threadpool_limits(limits=1, user_api="blas"):  # the same bits for any threads
            basis = Basis.of(columns.singles([own[drawn] for own in data.scores.features]))
        return cls(data, settings, columns, basis, place, threads)

    def fitted(self, images: Images, strength: Strength) -> Probe:
        """Return the probe of these images."""
        from threadpoolctl import threadpool_limits

        images = images[self.place[images] >= 0]
        calibration, rate = self._calibrated(images)
        heads = self._heads(images, calibration, rate, strength)
        with threadpool_limits(limits=1, user_api="blas"):
            weights = np.concatenate([self.basis.axes @ own.weights for own in heads], axis=1)
        floor = self.data.scores.floor.min()
        return Probe(
            columns=self.columns,
            calibration=calibration,
            rate=rate,
            weights=weights_on_grid(weights),
            bias=np.concatenate([own.bias for own in heads]).astype(np.float64),
            floor=np.float32(floor),
            least=np.float32(logit_of(self.settings.probe.pair_proba)),
        )

    def chosen_strength(self, images: Images, held: Images) -> Strength:
        """Return the strengths with the least loss on images that were left out."""
        known, own = self.settings.probe.strengths, self.settings.probe.own_strengths
        images, held = (own[self.place[own] >= 0] for own in (images, held))
        calibration, rate = self._calibrated(images)
        is_known = self.data.scores.knows.any(axis=0)
        tried = sorted({*known, *own}, reverse=True)
        loss = {}
        for strength in tried if len(known) + len(own) > 2 else ():
            heads = self._heads(images, calibration, rate, Strength(strength, strength))
            of_tags = self._losses(held, calibration, rate, heads)
            loss[strength] = of_tags[is_known].sum(), of_tags[~is_known].sum()
        # Of equals, as where a kind of tags is missing, the strongest.
        return Strength(
            min(sorted(known, reverse=True), key=lambda s: loss.get(s, (0, 0))[0]),
            min(sorted(own, reverse=True), key=lambda s: loss.get(s, (0, 0))[1]),
        )

    def _calibrated(self, images: Images) -> tuple[MemberCalibration, Floats]:
        scores, evidence = self._taken(images)
        strengths = self.settings.calibration_strengths
        how = member_how(self.settings, sorted(strengths)[len(strengths) // 2])
        calibration = fit_members(scores, evidence.truth(scores.pairs), how)
        positives = positives_per_tag(evidence.labels)
        rate = np.log((positives + 0.5) / (evidence.n_known - positives + 0.5))
        return calibration, rate

    def _taken(self, images: Images) -> tuple[Level1Scores, Evidence]:
        data = self.data
        scores = replace(data.scores, features=()).take(images)
        return scores, data.evidence.take(images, data.scores.pairs)

    def _dense(self, images: Images, calibration: MemberCalibration, rate: Floats) -> "_Blocks":
        columns = self.basis.images[self.place[images]]
        return _Blocks.of(*self._taken(images), columns, calibration, rate)

    def _heads(
        self, images: Images, calibration: MemberCalibration, rate: Floats, strength: Strength
    ) -> list[Heads]:
        known = self.data.scores.knows.any(axis=0)
        weights = np.where(known, strength.known, strength.own) * len(self.columns)
        bias = np.where(known, _KNOWN_BIAS, _OWN_BIAS)
        penalty = Penalty(weights=weights.astype(np.float32), bias=bias.astype(np.float32))
        examples, square = self._dense(images, calibration, rate), self.basis.mean_square
        tasks = [(examples, square, penalty, block) for block in self._blocks]
        return done_by_workers(_fitted_block, tasks, threads=self.threads, backend="")

    def _losses(
        self, images: Images, calibration: MemberCalibration, rate: Floats, heads: Sequence[Heads]
    ) -> Floats:
        """Return each tag's log loss on images under heads that did not see them."""
        held = self._dense(images, calibration, rate)
        tasks = [(held, block, own) for block, own in zip(self._blocks, heads, strict=True)]
        return np.concatenate(done_by_workers(_held_loss, tasks, threads=self.threads, backend=""))

    @property
    def _blocks(self) -> tuple[slice, ...]:
        return tuple(tag_blocks(len(self.data.scores.vocabulary), self.data.scores.n_images))


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

    def of_tags(self, block: slice) -> Examples:
        pairs = self.scores.pairs
        prior = np.tile(self.base[block].astype(np.float32), (pairs.n_images, 1))
        own = np.flatnonzero((pairs.tag >= block.start) & (pairs.tag < block.stop))
        prior[pairs.image[own], pairs.tag[own] - block.start] = self.listed[own]
        known = 1 - self.unknown[:, block].toarray().astype(np.float32)
        return Examples(
            images=self.images,
            prior=prior,
            true=self.labels[:, block].toarray().astype(np.float32),
            weight=known if self.weight is None else known * self.weight[:, None],
        )


def _fitted_block(task: tuple[_Blocks, Singles, Penalty, slice]) -> Heads:
    blocks, mean_square, penalty, block = task
    return fit_heads(blocks.of_tags(block), mean_square, penalty.of_tags(block))


def _held_loss(task: tuple[_Blocks, slice, Heads]) -> Floats:
    held, block, heads = task
    examples = held.of_tags(block)
    logit = examples.prior + examples.images @ heads.weights + heads.bias
    return log_losses(logit, examples.true, examples.weight)


def logit_of(proba: float) -> float:
    """Return the logit of a probability."""
    return float(np.log(proba / (1 - proba)))
