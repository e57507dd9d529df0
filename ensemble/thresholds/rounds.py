"""Cross-validated fits, round after round, on what the decoder leaves.

With a decoder the fit goes in rounds: decode with the thresholds at hand, fit again on the pairs
that a threshold still has a say in, and keep the round whose decoded tags score best (the last,
where targets are held and nothing is raised). A strategy that decodes in rounds of its own, as
``JointF`` does, reads no label there and needs neither.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.special import expit

from tagstack.base_models.pairs import PairProba
from tagstack.base_models.vocabulary import Vocabulary
from tagstack.ensemble.contradictions.decoder import Decoder
from tagstack.ensemble.thresholds.curves import Bools, Curves, Sorted
from tagstack.ensemble.thresholds.cuts import CutSample, Proposal, capped, thresholds_from_logits
from tagstack.ensemble.thresholds.deciding import Cutting, Nearby
from tagstack.ensemble.thresholds.measures import Measured
from tagstack.ensemble.thresholds.plan import Assignment, limits
from tagstack.ensemble.thresholds.strategies.strategy import proposed
from tagstack.ensemble.thresholds.survival import Survival, survival
from tagstack.ensemble.thresholds.together import Together
from tagstack.meta.metrics.counts import Counts, count_by_tag

logger = logging.getLogger(__name__)

Values = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class _Round:
    """One pass: which candidates won; what is decided out of sample is found where it is asked for.

    ``by_fold`` holds the thresholds fitted without each fold.
    """

    rounds: "Rounds"
    fitted_on: Survival | None
    candidates: tuple[int, ...]
    joint: Cutting | None
    by_fold: tuple[Cutting, ...]

    @cached_property
    def decided(self) -> sparse.csr_array:
        """What each fold's images get, shape (n_images, n_tags), bool."""
        return self.rounds.crossed(self.by_fold)

    @cached_property
    def counts(self) -> Counts:
        """Hits, predictions and positives of what is decided."""
        return count_by_tag(self.decided, self.rounds.labels)

    @cached_property
    def score(self) -> float:
        """The mean goal of the tags that have one to raise."""
        found = self.rounds.score(self.decided, self.counts)
        logger.debug("thresholds: candidates %s, score %.4f", self.candidates, found)
        return found

    @cached_property
    def survival(self) -> Survival | None:
        """What the decoder left; None without one."""
        return self.rounds.left(self.by_fold, self.decided)


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """Thresholds, which of them rest on the tag's own images, and the pass that chose them."""

    cutting: Cutting
    own: Bools
    best: _Round

    @property
    def counts(self) -> Counts:
        """What the thresholds did on folds that they were not fitted on."""
        return self.best.counts


class Rounds:
    """One calibration set and the folds it is judged by.

    Parameters
    ----------
    proba, labels, vocabulary, folds, decoder
        As for `fitting.fit_thresholds`.
    plan : sequence of Assignment
    image_weight : array of shape (n_images,), float64, optional
        What each image counts where thresholds are chosen; what is told of them counts all alike.
    ordered : Sorted, optional
        Of the same probabilities, labels and weights: several fits can share one.
    """

    def __init__(
        self,
        proba: PairProba,
        labels: sparse.csr_array,
        vocabulary: Vocabulary,
        folds: NDArray[np.integer],
        plan: Sequence[Assignment],
        decoder: Decoder | None,
        image_weight: NDArray[np.float64] | None = None,
        ordered: Sorted | None = None,
    ) -> None:
        self.image_weight = image_weight
        self.proba, self.labels, self.vocabulary = proba, labels.astype(bool), vocabulary
        self.folds, self.plan, self.decoder = folds, tuple(plan), decoder
        self.names = np.unique(folds)
        self.plain = ordered or Sorted.from_pairs(proba, labels, image_weight=image_weight)
        self.n_positives = self.plain.curves.n_positives
        self.limits = limits(vocabulary, self.n_positives, plan[0].settings)
        _, category = np.unique(vocabulary.categories, return_inverse=True)
        self.category = category.astype(np.intp)
        joint = [a for a in self.plan if a.strategy.needs_decoder]
        self.joint = self._together(joint[0]) if joint else None
        self.rarest = self._least_for_rate()
        self.image_cut = plan[0].strategy.image_cut(plan[0].settings)
        self.worth = self._worth()

    def take(self, images: NDArray[np.intp]) -> "Rounds":
        """Return the same fit on some of the images, which count alike: a guarantee is of them."""
        proba, labels = self.proba.take(images), sparse.csr_array(self.labels[images])
        folds = self.folds[images]
        return Rounds(proba, labels, self.vocabulary, folds, self.plan, self.decoder)

    def fit(self) -> Fitted:
        """Return the thresholds of the best round, fitted on all images."""
        best = self._best_round()
        pairs = self._pairs(best.fitted_on)
        every = np.ones(len(self.folds), bool)
        cutting, own = self._cutting(pairs, every, best)
        if best.joint is not None:
            assert self.joint is not None
            cutting = self.joint.placed([cutting], best.joint, [every])[0]
        return Fitted(cutting=cutting, own=own, best=best)

    def left_out_counts(self) -> Counts:
        """Return what the best round decides on folds that its thresholds were not fitted on."""
        return self._best_round().counts

    def left_out_decided(self) -> sparse.csr_array:
        """Return what the best round decides on such folds, shape (n_images, n_tags), bool."""
        return self._best_round().decided

    def estimates(self, counts: Counts, n_images: int) -> Measured:
        """Return what each objective speaks of, with interval, each of shape (n_tags,)."""
        columns = tuple(np.full(len(self.vocabulary), np.nan) for _ in range(3))
        for assignment in self.plan:
            found = assignment.strategy.measured(counts, n_images, assignment.settings)
            for column, values in zip(columns, found, strict=True):
                column[assignment.tags] = values[assignment.tags]
        estimate, low, high = columns
        return estimate, low, high

    def decide(self, proba: PairProba, cutting: Cutting) -> sparse.csr_array:
        """Return the tags after the rules, or before them where there are none.

        Shape (n_images, n_tags), bool.
        """
        if self.decoder is None:
            return cutting.decided(proba)
        return cutting.decoded(proba, self.decoder)

    def _best_round(self) -> _Round:
        simple = any(a.strategy.refits for a in self.plan) and not self.image_cut
        again = self.plan[0].settings.decoder_rounds if self.decoder is not None and simple else 0
        best = latest = self._round(None)
        raises = any(a.raises for a in self.plan)
        for _ in range(again):
            latest = self._round(latest.survival)
            if not raises or latest.score > best.score:
                best = latest
        return best

    def _round(self, fitted_on: Survival | None) -> _Round:
        """Return one cross-validated pass, fitted on what the decoder left in the last."""
        pairs = self._pairs(fitted_on)
        contested = fitted_on is not None
        if self._label_free:
            rows = [self._of_all[0]] * len(self.names)
        else:
            rows = [self._proposed(pairs, self.folds != name, contested)[0] for name in self.names]
        candidates = self._candidates(pairs, rows)
        chosen = [self._composed(row, candidates) for row in rows]
        cuttings = [Cutting(value=v, worth=self.worth, image_cut=self.image_cut) for v in chosen]
        joint = None
        if self.joint is not None:
            joint = self.joint.chosen(chosen)
            others = [self.folds != own for own in self.names]
            cuttings = self.joint.placed(cuttings, joint, others)
        return _Round(
            rounds=self,
            fitted_on=fitted_on,
            candidates=candidates,
            joint=joint,
            by_fold=tuple(cuttings),
        )

    def _pairs(self, left: Survival | None) -> Sorted:
        """Return the sorted pairs, as the decoder treats them."""
        if left is None:
            return self.plain
        standing = replace(self.proba, proba=left.standing)
        return Sorted.from_pairs(
            standing, self.labels, left.implied, self.proba.proba, self.image_weight
        )

    def _sample(self, pairs: Sorted, images: Bools, contested: bool) -> CutSample:
        folds = [self.folds == name for name in self.names if (images & (self.folds == name)).any()]
        parted = len(folds) > 1 and any(a.strategy.needs_parts for a in self.plan)
        curves = pairs.select(images)
        parts: list[Curves] = [curves]
        held: list[Curves] = []
        if parted:
            parts = [pairs.select(images & ~fold) for fold in folds]
            held = [pairs.select(images & fold) for fold in folds]
        return CutSample(
            curves=curves,
            parts=tuple(parts),
            held=tuple(held),
            n_images=int(images.sum()),
            category=self.category,
            contested=contested,
        )

    def _proposed(
        self, pairs: Sorted, images: Bools, contested: bool
    ) -> tuple[list[Values], Bools]:
        """Return each assignment's candidates, and which tags rest on their own images."""
        sample = self._sample(pairs, images, contested)
        rows, own = [], np.zeros(len(self.vocabulary), bool)
        for assignment in self.plan:
            proposal = self._proposal(assignment, pairs, sample)
            values = thresholds_from_logits(proposal.logits, sample.curves.floor)
            rows.append(self.limits.applied(values))
            own[assignment.tags] = proposal.own[assignment.tags]
        return rows, own

    def _proposal(self, assignment: Assignment, pairs: Sorted, sample: CutSample) -> Proposal:
        """Return a strategy's candidates; without labels, those of the same pairs are kept."""
        strategy, settings = assignment.strategy, assignment.settings
        if not self._label_free:
            return proposed(strategy, sample, settings)
        fields = strategy.reads if strategy.proposes_by is None else strategy.proposes_by
        key = (strategy.name, *(repr(getattr(settings, name)) for name in fields))
        if key not in pairs.prepared:
            pairs.prepared[key] = proposed(strategy, sample, settings)
        found: Proposal = pairs.prepared[key]
        return found

    @property
    def _label_free(self) -> bool:
        return all(assignment.strategy.label_free for assignment in self.plan)

    @cached_property
    def _of_all(self) -> tuple[list[Values], Bools]:
        """What is proposed by all images."""
        return self._proposed(self.plain, np.ones(len(self.folds), bool), contested=False)

    def _candidates(self, pairs: Sorted, rows: Sequence[Sequence[Values]]) -> tuple[int, ...]:
        """Return each assignment's best candidate on the folds that it was not fitted on."""
        best = []
        for number, assignment in enumerate(self.plan):
            by_fold = [row[number] for row in rows]
            if len(by_fold[0]) == 1:
                best.append(0)
                continue
            scores = []
            for candidate in range(len(by_fold[0])):
                counts = self._cut_counts(pairs, [own[candidate] for own in by_fold])
                scores.append(self._achieved(assignment, counts))
            best.append(int(np.argmax(scores)))
        return tuple(best)

    def _cut_counts(self, pairs: Sorted, by_fold: Sequence[Values]) -> Counts:
        counts = [
            pairs.select(self.folds == name).counts(value)
            for name, value in zip(self.names, by_fold, strict=True)
        ]
        total = counts[0]
        for other in counts[1:]:
            total = total + other
        return total

    def _composed(self, rows: Sequence[Values], candidates: Sequence[int]) -> Values:
        """Return one threshold per tag from each assignment's chosen candidate."""
        value = np.empty(len(self.vocabulary), np.float32)
        for assignment, row, candidate in zip(self.plan, rows, candidates, strict=True):
            value[assignment.tags] = row[candidate][assignment.tags]
        return value

    def _cutting(self, pairs: Sorted, images: Bools, best: _Round) -> tuple[Cutting, Bools]:
        if self._label_free:
            rows, own = self._of_all
        else:
            rows, own = self._proposed(pairs, images, best.fitted_on is not None)
        value = self._composed(rows, best.candidates)
        return Cutting(value=value, worth=self.worth, image_cut=self.image_cut), own

    def _worth(self) -> Values | None:
        """Return what each tag stands for among rivals, where all objectives say so and differ.

        Of one worth for all, the decoder's own objective says what tags stand for.
        """
        own = [assignment.worth for assignment in self.plan]
        if None in own or len(set(own)) < 2:
            return None
        found = np.zeros(len(self.vocabulary), np.float32)
        for assignment, worth in zip(self.plan, own, strict=True):
            found[assignment.tags] = worth
        return found

    def limited(self, cutting: Cutting) -> Cutting:
        """Return thresholds raised to the floors and limits of the settings."""
        return replace(cutting, value=self.limits.applied(np.maximum(cutting.value, self.rarest)))

    def _least_for_rate(self) -> Values:
        """Return what keeps jointly chosen tags from being predicted far too often.

        It expects what the probabilities say, and a plain mean's are not calibrated.
        With rules there is no such limit: what they take away was never predicted.
        """
        least = np.zeros(len(self.vocabulary), np.float32)
        if self.joint is not None and self.decoder is None:
            none = np.full(len(least), -np.inf)
            own = self.joint.assignment
            often = expit(capped(none, self.plain.curves, own.settings))
            least[own.tags] = often[own.tags]
        return least

    def _together(self, assignment: Assignment) -> Together:
        return Together(
            assignment=assignment,
            proba=self.proba,
            labels=self.labels,
            n_positives=self.n_positives,
            scored=np.diff(self.plain.curves.starts) > 0,
            image_weight=self.image_weight,
            limited=self.limited,
            decide=lambda cutting: self.decide(self._near(cutting), cutting),
        )

    def _near(self, *cuttings: Cutting) -> PairProba:
        """Return the pairs of all images that some thresholds need to decide."""
        if any(cutting.image_cut for cutting in cuttings):
            return self.proba
        return self._nearby.under(np.minimum.reduce([cutting.value for cutting in cuttings]))

    @cached_property
    def _nearby(self) -> Nearby:
        none = np.zeros(len(self.vocabulary), bool)
        return Nearby(self.proba, none if self.decoder is None else self.decoder.wanted)

    def crossed(self, by_fold: Sequence[Cutting]) -> sparse.csr_array:
        """Return what each fold's images get from the thresholds fitted without them.

        Shape (n_images, n_tags), bool.
        """
        images = [np.flatnonzero(self.folds == name) for name in self.names]
        near = self._near(*by_fold)
        parts = [
            self.decide(near.take(chosen), cutting)
            for chosen, cutting in zip(images, by_fold, strict=True)
        ]
        back = np.argsort(np.concatenate(images))
        return sparse.csr_array(sparse.vstack(parts, format="csr")[back])

    def left(self, by_fold: Sequence[Cutting], decided: sparse.csr_array) -> Survival | None:
        """Return how the decoder treated each pair; None without one."""
        if self.decoder is None:
            return None
        fold = np.searchsorted(self.names, self.folds)[self.proba.pairs.image]
        threshold = np.stack([c.value for c in by_fold])[fold, self.proba.pairs.tag]
        return survival(self.proba, threshold, decided, self.decoder.rules, by_fold[0].worth)

    def _weighed(self, decided: sparse.csr_array, counts: Counts) -> Counts:
        """Return counts of decided tags in which images count what they weigh."""
        if self.image_weight is None:
            return counts
        of = [decided.multiply(self.labels), decided, self.labels]
        hits, predicted, positives = (self.image_weight @ own.astype(np.float64) for own in of)
        return Counts(hits=hits, predicted=predicted, positives=positives)

    def _achieved(self, assignment: Assignment, counts: Counts) -> float:
        own = counts.take(assignment.tags)
        return assignment.strategy.achieved(own, len(self.folds), assignment.settings)

    def score(self, decided: sparse.csr_array, counts: Counts) -> float:
        """Return the mean goal of the tags that have one to raise."""
        counts = self._weighed(decided, counts)
        raised = [a for a in self.plan if a.raises]
        total = sum(self._achieved(a, counts) for a in raised)
        return total / max(len(raised), 1)
