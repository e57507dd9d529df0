"""The rungs of the ladder, from single members to the blend, and what each is computed from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from tagstack.base_models.pairs import Level1Scores, PairProba, Pairs
from tagstack.configs.errors import TagstackError
from tagstack.configs.stack import StackSettings
from tagstack.meta.groundwork import Ground
from tagstack.meta.learners.linear_svm import LinearSvms
from tagstack.meta.learners.mean import mean_logit, raw_members
from tagstack.meta.learners.meta_trees import MetaTrees
from tagstack.meta.learners.pair_trees import PairTrees
from tagstack.meta.learners.protocol import PairLearner

Floats = NDArray[np.float64]

SINGLE = "single:"
LEVEL_TWO = ("svm", "lightgbm")
# The gate prefers the earlier of two that are equally good. Singles and the level-2 learners
# alone are reported but not chosen: the selections contain them.
SIMPLEST_FIRST = (
    "mean",
    "calibrated_mean",
    "caruana",
    "shrunken_logistic",
    "blend",
    "xgboost",
)
BLENDED = ("calibrated_mean", "caruana", "shrunken_logistic", "svm", "lightgbm", "xgboost")


@dataclass(frozen=True, kw_only=True)
class RungLogits:
    """A rung's logits: listed pairs (n_pairs,) and unlisted ones (n_tags,), NaN = no opinion."""

    listed: Floats
    base: Floats

    def proba(self, pairs: Pairs) -> PairProba:
        """Return the logits as probabilities of ``pairs``."""
        return PairProba(
            pairs=pairs,
            proba=expit(self.listed).astype(np.float32),
            base=expit(self.base).astype(np.float32),
        )

    def calibrated(self, theta: Floats, pairs: Pairs) -> "RungLogits":
        """Return ``intercept + slope * logit`` with (n_tags, 2) coefficients."""
        return RungLogits(
            listed=theta[pairs.tag, 0] + theta[pairs.tag, 1] * self.listed,
            base=theta[:, 0] + theta[:, 1] * self.base,
        )


def rung_names(members: Sequence[str], settings: StackSettings) -> tuple[str, ...]:
    """Return the rungs in the order of the report: singles, averages, learners, blend."""
    learned = tuple(name for name in ("svm", "lightgbm", "xgboost") if name in settings.learners)
    singles = tuple(SINGLE + member for member in members)
    return (
        *singles,
        "mean",
        "calibrated_mean",
        "caruana",
        "shrunken_logistic",
        *learned,
        "blend",
    )


def plain_rung(name: str, scores: Level1Scores, ground: Ground) -> RungLogits:
    """Return a rung that needs no learner beyond the groundwork.

    Raises
    ------
    TagstackError
        If there is no such rung.
    """
    if name.startswith(SINGLE) and name.removeprefix(SINGLE) in scores.members:
        member = scores.members.index(name.removeprefix(SINGLE))
        return RungLogits(listed=ground.members.listed[member], base=ground.members.base[member])
    if name == "mean":
        raw = raw_members(scores)
        return RungLogits(listed=mean_logit(raw.listed), base=mean_logit(raw.base))
    if name == "calibrated_mean":
        members = ground.members
        return RungLogits(listed=mean_logit(members.listed), base=mean_logit(members.base))
    if name == "shrunken_logistic":
        return RungLogits(listed=ground.listed, base=ground.base)
    msg = f"Unknown rung {name!r}. Ask for one of the names in Stacker.rungs_."
    raise TagstackError(msg)


def weighted_members(ground: Ground, weights: Floats) -> RungLogits:
    """Return the weighted mean probability of the calibrated members, as logits."""
    members = ground.members
    return RungLogits(
        listed=mean_logit(members.listed, weights), base=mean_logit(members.base, weights)
    )


def spliced(ground: Ground, logit: Floats) -> RungLogits:
    """Return a learner's logits for the candidates, the shrunken logistic's for the others."""
    listed = ground.listed.copy()
    listed[ground.rows] = logit
    return RungLogits(listed=listed, base=ground.base)


def blended(rungs: Mapping[str, RungLogits], weights: Mapping[str, float]) -> RungLogits:
    """Return the weighted mean of the rungs' logits."""
    used = [(rungs[name], weight) for name, weight in weights.items() if weight > 0]
    listed = sum((weight * rung.listed for rung, weight in used), np.zeros(1))
    base = sum((weight * rung.base for rung, weight in used), np.zeros(1))
    return RungLogits(listed=np.asarray(listed), base=np.asarray(base))


def make_learner(name: str, settings: StackSettings, *, seed: int, threads: int) -> PairLearner:
    """Return a new, unfitted learner by its name in the settings."""
    if name == "svm":
        return LinearSvms(settings.svm, seed=seed, threads=threads)
    if name == "lightgbm":
        return PairTrees(settings.lightgbm, seed=seed, threads=threads)
    return MetaTrees(settings.xgboost, seed=seed, threads=threads)
