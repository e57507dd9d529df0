"""The probability from which on a moderation policy misses hardly any picture that it is about.

A policy is about a picture that has one of its tags. Probabilities are tried in an order fixed
beforehand, lax to strict, and the first that fails ends the row, so that trying many costs nothing
(fixed-sequence testing); the test is exact, and one picture of a group counts. They are those
before the rules, as a policy ``TAG>=P`` looks at them: no rule or threshold can break the promise.
"""

from dataclasses import dataclass
from math import nan

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from tagstack.base_models.pairs import PairProba
from tagstack.base_models.vocabulary import Vocabulary
from tagstack.configs.serving import ModerationSettings, Policy
from tagstack.ensemble.moderation.moderator import policy_tags
from tagstack.ensemble.thresholds.fitting import one_of_each
from tagstack.meta.metrics.intervals import least_trials, share_interval, too_good_for

# Fixed before any picture is seen, and short to write.
LADDER = (0.001, 0.002, 0.005, *(round(0.01 * step, 2) for step in range(1, 100)))


@dataclass(frozen=True, kw_only=True)
class Promise:
    """What is promised of one policy.

    Parameters
    ----------
    policy : str
        As written in the settings.
    written : str
        With the probability that keeps the promise; as it was, where none does.
    proba : float or None
        The strictest probability that keeps it, in (0, 1); None where none can be shown to.
    n_groups : int
        Groups with a picture that the policy is about.
    n_caught : int or None
        Of one picture of each, those that the policy holds for: at ``proba``, else as it was
        written; None where it was a tag alone, whose threshold is the bundle's affair.
    recall, low, high : float
        Their share with its interval, at the settings' confidence; NaN without such a picture.
    held : float
        Share of all pictures that it holds for there, in [0, 1]; NaN where ``n_caught`` is None.
    needed : int
        Groups that it takes for a promise if not one is missed.
    """

    policy: str
    written: str
    proba: float | None
    n_groups: int
    n_caught: int | None
    recall: float
    low: float
    high: float
    held: float
    needed: int


def promised(
    settings: ModerationSettings,
    proba: PairProba,
    labels: sparse.csr_array,
    groups: NDArray[np.integer],
    vocabulary: Vocabulary,
    *,
    recall: float,
    confidence: float,
) -> tuple[Promise, ...]:
    """Return a promise for each policy of ``block`` and ``review``, each by itself.

    Parameters
    ----------
    settings : ModerationSettings
    proba : PairProba
        Of pictures that the stack had not seen.
    labels : sparse array of shape (n_images, n_tags), bool
    groups : array of shape (n_images,), integer
    vocabulary : Vocabulary
    recall : float, in (0, 1)
        Of the pictures that a policy is about, so many are caught at least.
    confidence : float, in (0.5, 1)
        Of each promise.

    Raises
    ------
    TagstackError
        If a policy is about no tag of the vocabulary.
    """
    found = []
    for policy in map(Policy.of, dict.fromkeys((*settings.block, *settings.review))):
        own = policy_tags(policy, vocabulary)
        tags = np.array([tag in own for tag in vocabulary.tags], bool)
        about = np.asarray(labels[:, np.flatnonzero(tags)].sum(axis=1)).ravel() > 0
        score = _highest(proba, tags)
        drawn = score[about][one_of_each(groups[about], int(about.sum()))]
        found.append(_promise(policy, score, drawn, recall, confidence))
    return tuple(found)


def _highest(proba: PairProba, tags: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the highest probability of the tags in each picture, -inf where none is listed.

    Shape (n_images,). What is not listed is no candidate, and no policy holds for it.
    """
    own = tags[proba.pairs.tag] & ~np.isnan(proba.proba)
    found = np.full(proba.pairs.n_images, -np.inf)
    np.maximum.at(found, proba.pairs.image[own], proba.proba[own].astype(np.float64))
    return found


def _promise(
    policy: Policy,
    score: NDArray[np.float64],
    drawn: NDArray[np.float64],
    recall: float,
    confidence: float,
) -> Promise:
    steps = np.array(LADDER)
    caught = (drawn >= steps[:, None]).sum(axis=1)
    trials = np.full(len(steps), len(drawn))
    kept = too_good_for(caught, trials, recall) <= 1 - confidence
    n_kept = int(np.cumprod(kept).sum())  # up to the first that fails
    least = LADDER[n_kept - 1] if n_kept else None
    at = policy.proba if least is None else least
    n_caught = None if at is None else int((drawn >= at).sum())
    low, high = nan, nan
    if n_caught is not None:
        ends = share_interval(np.array([n_caught]), trials[:1], confidence)
        low, high = (float(end[0]) for end in ends)
    return Promise(
        policy=policy.text,
        written=policy.text if least is None else f"{policy.name}>={least:g}",
        proba=least,
        n_groups=len(drawn),
        n_caught=n_caught,
        recall=nan if n_caught is None or not len(drawn) else n_caught / len(drawn),
        low=low,
        high=high,
        held=nan if at is None else float((score >= at).mean()),
        needed=least_trials(recall, confidence),
    )
