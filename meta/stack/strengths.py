"""How strongly tags are held to their category, chosen by cross-validated log loss."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tagstack.base_models.pairs import Level1Scores, Pairs
from tagstack.configs.stack import StackSettings
from tagstack.meta.calibrators.calibration import (
    MemberCalibration,
    MemberLogits,
    category_numbers,
    member_how,
    member_samples,
)
from tagstack.meta.calibrators.registry import fit_maps
from tagstack.meta.calibrators.tag_rows import TagRows
from tagstack.meta.labels.drawn_images import drawn_images
from tagstack.meta.labels.truth import Evidence, PairTruth
from tagstack.meta.learners.shrunken_logistic import fit_on_rows, logistic_rows
from tagstack.meta.stack.groundwork import Strengths

Floats = NDArray[np.float64]


def choose_strengths(
    scores: Level1Scores,
    evidence: Evidence,
    folds: NDArray[np.int64],
    settings: StackSettings,
    seed: int,
) -> Strengths:
    """Return the strongest precisions that held-out log loss over all pairs does not refute.

    The calibration's is chosen first, by the sum over members, the logistic's given that one.
    What cannot be told apart from the lowest loss, by one standard error over the folds, gives way
    to the stronger: freedom that one draw of folds rewards by chance costs on other images.

    Parameters
    ----------
    scores : Level1Scores
    evidence : Evidence
    folds : array of shape (n_images,), int64
    settings : StackSettings
    seed : int
        Draws the images that are looked at, if there are more than the settings allow.
    """
    if len(settings.calibration_strengths) == len(settings.logistic_strengths) == 1:
        return Strengths(
            calibration=settings.calibration_strengths[0], logistic=settings.logistic_strengths[0]
        )
    drawn = drawn_images(np.diff(scores.pairs.indptr), settings.strength_pairs, seed)
    evidence = evidence.take(drawn, scores.pairs)
    scores, folds = scores.take(drawn), folds[drawn]
    names = np.unique(folds)[: settings.strength_splits]
    splits = [_Split(scores, evidence, folds == fold, settings) for fold in names]
    candidates = settings.calibration_strengths
    if settings.calibrator == "none" or settings.calibration_pool != "hierarchical":
        candidates = candidates[:1]  # no pool, no strength: the first stands for all
    calibration = _best(candidates, [split.calibration_loss for split in splits])
    logistics = [split.logistic(calibration) for split in splits]
    logistic = _best(settings.logistic_strengths, [one.loss for one in logistics])
    return Strengths(calibration=calibration, logistic=logistic)


def log_loss(listed: Floats, base: Floats, truth: PairTruth) -> float:
    """Return the summed negative log likelihood in nats; pairs without a logit count nothing."""
    held, known = ~np.isnan(listed), ~np.isnan(base)
    of_pair = np.logaddexp(0.0, np.where(truth.listed, -listed, listed)[held])
    loss = (truth.weight[held] * of_pair).sum()
    true, false, at = truth.n_true[known], truth.n_false[known], base[known]
    unlisted = true * np.logaddexp(0.0, -at) + false * np.logaddexp(0.0, at)
    return float(loss + unlisted.sum())


def _best(strengths: tuple[float, ...], losses: list[Callable[[float], float]]) -> float:
    if len(strengths) == 1:
        return strengths[0]
    table = np.array([[loss(strength) for loss in losses] for strength in strengths])
    behind = table - table[np.argmin(table.sum(axis=1))]
    error = behind.std(axis=1, ddof=min(1, len(losses) - 1)) * np.sqrt(len(losses))
    return max(s for s, b, e in zip(strengths, behind.sum(axis=1), error, strict=True) if b <= e)


class _Split:
    """One fold held out: fits on the rest, losses on the fold."""

    def __init__(
        self,
        scores: Level1Scores,
        evidence: Evidence,
        held: NDArray[np.bool_],
        settings: StackSettings,
    ) -> None:
        self.settings = settings
        fit, test = np.flatnonzero(~held), np.flatnonzero(held)
        self.fit, self.test = scores.take(fit), scores.take(test)
        self.fit_truth = evidence.take(fit, scores.pairs).truth(self.fit.pairs)
        self.samples = tuple(member_samples(self.fit, self.fit_truth))
        self.calibrations: dict[float, MemberCalibration] = {}
        self.test_truth = evidence.take(test, scores.pairs).truth(self.test.pairs)

    def calibration_loss(self, strength: float) -> float:
        members = self._fitted(strength).apply(self.test)
        rows = zip(members.listed, members.base, strict=True)
        return sum(log_loss(listed, base, self.test_truth) for listed, base in rows)

    def logistic(self, strength: float) -> "_Logistic":
        """Return what the logistic is fitted and judged on, given the calibration's strength."""
        fitted, self.samples = self._fitted(strength), ()
        members, category = fitted.apply(self.fit), category_numbers(self.fit.vocabulary)
        return _Logistic(
            rows=logistic_rows(members, self.fit.pairs, self.fit_truth, category),
            test_members=fitted.apply(self.test),
            test_pairs=self.test.pairs,
            test_truth=self.test_truth,
        )

    def _fitted(self, strength: float) -> MemberCalibration:
        if strength not in self.calibrations:
            how = member_how(self.settings, strength)
            maps = tuple(fit_maps(sample, how) for sample in self.samples)
            self.calibrations[strength] = MemberCalibration(maps=maps)
        return self.calibrations[strength]


@dataclass(frozen=True, kw_only=True)
class _Logistic:
    """One fold held out, its members calibrated."""

    rows: TagRows
    test_members: MemberLogits
    test_pairs: Pairs
    test_truth: PairTruth

    def loss(self, strength: float) -> float:
        """Return the held-out loss of a logistic that is held to its category so strongly."""
        listed, base = fit_on_rows(self.rows, strength).apply(self.test_members, self.test_pairs)
        return log_loss(listed, base, self.test_truth)
