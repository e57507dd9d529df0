"""Moderation policies with a promised recall: a probability for each, written as settings."""

from dataclasses import dataclass
from pathlib import Path

import tomli_w

from tagstack.base_models.atomic import write_text
from tagstack.configs.errors import TagstackError
from tagstack.configs.serving import ModerationSettings, Policy
from tagstack.configs.settings import Settings
from tagstack.ensemble.bundle.dataset import DatasetSource
from tagstack.ensemble.bundle.files import load_bundle
from tagstack.ensemble.bundle.honest_ground import ground_of
from tagstack.ensemble.moderation.moderator import policy_tags
from tagstack.ensemble.moderation.promises import Promise, promised
from tagstack.ensemble.progress import Progress
from tagstack.ensemble.thresholds.objectives import parse_objective

_RECALL = "recall_at_least"


@dataclass(frozen=True, kw_only=True)
class PoliciesRequest:
    """Which policies' probabilities are sought, and where they go.

    Parameters
    ----------
    bundle : Path
    source : DatasetSource
    objective : str or None
        ``recall>=NUMBER``; there is no default, because it is what is promised.
    target : Path
        Settings file to write.
    """

    bundle: Path
    source: DatasetSource
    objective: str | None
    target: Path


@dataclass(frozen=True, kw_only=True)
class PromisedPolicies:
    """What was written.

    Parameters
    ----------
    policies : tuple of Promise
    recall, confidence : float
    n_images, n_groups, n_out_of_fold : int
        Images used, their groups, and those of them that the stack was fitted on.
    target : Path
    notices : tuple of str
    """

    policies: tuple[Promise, ...]
    recall: float
    confidence: float
    n_images: int
    n_groups: int
    n_out_of_fold: int
    target: Path
    notices: tuple[str, ...]


def promise_policies(
    request: PoliciesRequest, settings: Settings, progress: Progress
) -> PromisedPolicies:
    """Write the policies of ``[moderation]`` with probabilities that keep a recall.

    The bundle stays as it is. Policies of which nothing can be promised, and those of ``allow``,
    are written as they were.

    Raises
    ------
    TagstackError
        If there is no policy, the objective is no recall, the file exists, or bundle, scores or
        labels cannot be used.
    """
    recall = _recall(request.objective, settings)
    own = settings.moderation
    if not (own.block or own.review):
        msg = "No policies: give --config FILE with [moderation] block or review."
        raise TagstackError(msg)
    if request.target.exists():
        raise TagstackError(f"{request.target} exists. Choose another name for --policies.")
    bundle = load_bundle(request.bundle)
    for text in (*own.block, *own.review):  # a typo is found before the work
        policy_tags(Policy.of(text), bundle.vocabulary)
    ground = ground_of(request.bundle, request.source, bundle, progress)
    found = promised(
        own, ground.proba, ground.dataset.labels, ground.dataset.groups, bundle.vocabulary,
        recall=recall, confidence=settings.thresholds.confidence,
    )  # fmt: skip
    write_text(request.target, _text(own, found))
    return PromisedPolicies(
        policies=found,
        recall=recall,
        confidence=settings.thresholds.confidence,
        n_images=ground.dataset.scores.n_images,
        n_groups=len(set(ground.dataset.groups.tolist())),
        n_out_of_fold=ground.n_out_of_fold,
        target=request.target,
        notices=ground.notices,
    )


def _recall(objective: str | None, settings: Settings) -> float:
    """Return the recall that an objective asks for, in (0, 1)."""
    asked = None if objective is None else parse_objective(objective, settings.thresholds)
    if asked is None or asked.strategy != _RECALL or not 0 < asked.recall < 1:
        msg = (
            f"--policies promises a recall, but the objective is {objective or 'not given'}; "
            "expected --objective 'recall>=0.95' or the like."
        )
        raise TagstackError(msg)
    return asked.recall


def _text(settings: ModerationSettings, found: tuple[Promise, ...]) -> str:
    written = {promise.policy: promise.written for promise in found}
    lists = {
        "block": [written[text] for text in settings.block],
        "review": [written[text] for text in settings.review],
        "allow": list(settings.allow),
    }
    return tomli_w.dumps({"moderation": lists})
