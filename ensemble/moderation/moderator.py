"""Applies moderation policies to tagged images; what they mean is told in docs/service.md.

A policy with a probability looks at the stack's calibrated probability before the rules; one
without looks at the final set, so that thresholds with a promised recall carry over to it.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Any, Literal

from tagstack.base_models.vocabulary import Vocabulary
from tagstack.configs.errors import TagstackError
from tagstack.configs.serving import ModerationSettings, Policy
from tagstack.configs.settings import Settings
from tagstack.ensemble.bundle.decisions import TagEntry, TaggedImage

Answer = Literal["block", "review", "allow"]
NOT_VOUCHED = "no policy of moderation.allow holds"
UNREADABLE = "the picture could not be read"


@dataclass(frozen=True, kw_only=True)
class Reason:
    """What led to an answer.

    Parameters
    ----------
    policy : str
        As written in the settings; or in words, where what is missing is the reason.
    tag : str
        The most probable tag that the policy holds for; empty for none.
    proba : float or None
        Its calibrated probability, in [0, 1].
    """

    policy: str
    tag: str = ""
    proba: float | None = None


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """An answer with the reasons for it; an allowed picture may have none."""

    answer: Answer
    reasons: tuple[Reason, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        reasons = [asdict(reason) for reason in self.reasons]
        for reason in reasons:
            reason["proba"] = None if reason["proba"] is None else round(reason["proba"], 4)
        return {"answer": self.answer, "reasons": reasons}


class Moderator:
    """Judges tagged images by policies.

    Parameters
    ----------
    settings : ModerationSettings
    vocabulary : Vocabulary
        Tags that the stack knows. A policy about none of them is an error: it would never hold.
    floor : float
        From which probability on candidates are listed, in [0, 1].

    Raises
    ------
    TagstackError
        If a policy is about no tag, or asks for less than ``floor``.
    """

    def __init__(
        self, settings: ModerationSettings, vocabulary: Vocabulary, *, floor: float
    ) -> None:
        if settings.least_proba < floor:
            msg = (
                f"A policy of [moderation] asks for a probability of {settings.least_proba:g}, but "
                f"output.score_floor = {floor:g} lists none below. Lower output.score_floor."
            )
            raise TagstackError(msg)
        self._block, self._review, self._allow = (
            [(policy, policy_tags(policy, vocabulary)) for policy in map(Policy.of, texts)]
            for texts in (settings.block, settings.review, settings.allow)
        )

    def judged(self, tagged: TaggedImage) -> Verdict:
        """Return the answer to one image, with every policy that led to it."""
        if tagged.failure:
            return Verdict(answer="review", reasons=(Reason(policy=UNREADABLE),))
        if reasons := _held(self._block, tagged):
            return Verdict(answer="block", reasons=reasons)
        if reasons := _held(self._review, tagged):
            return Verdict(answer="review", reasons=reasons)
        reasons = _held(self._allow, tagged)
        if self._allow and not reasons:
            return Verdict(answer="review", reasons=(Reason(policy=NOT_VOUCHED),))
        return Verdict(answer="allow", reasons=reasons)


def moderator_of(settings: Settings, vocabulary: Vocabulary) -> Moderator | None:
    """Return what judges by the settings' policies; None where there are none."""
    if not settings.moderation.any:
        return None
    return Moderator(settings.moderation, vocabulary, floor=settings.output.score_floor)


def _held(
    policies: Sequence[tuple[Policy, frozenset[str]]], tagged: TaggedImage
) -> tuple[Reason, ...]:
    found = []
    for policy, tags in policies:
        entry = next((e for e in tagged.entries if e.tag in tags and _holds(policy, e)), None)
        if entry is not None:  # entries are most probable first
            found.append(Reason(policy=policy.text, tag=entry.tag, proba=entry.proba))
    return tuple(found)


def _holds(policy: Policy, entry: TagEntry) -> bool:
    return entry.tagged if policy.proba is None else entry.proba >= policy.proba


def policy_tags(policy: Policy, vocabulary: Vocabulary) -> frozenset[str]:
    """Return the tags that a policy is about: never none."""
    if policy.name in vocabulary.index:  # tags may hold a colon or a star themselves
        return frozenset((policy.name,))
    category, colon, pattern = policy.name.partition(":")
    pairs = list(zip(vocabulary.tags, vocabulary.categories, strict=True))
    if colon and category == "category":
        found = frozenset(tag for tag, own in pairs if own == pattern)
    elif colon and category in vocabulary.categories:
        found = frozenset(t for t, own in pairs if own == category and fnmatchcase(t, pattern))
    else:
        found = frozenset(tag for tag, _ in pairs if fnmatchcase(tag, policy.name))
    if not found:
        raise TagstackError(_unknown(policy, vocabulary))
    return found


def _unknown(policy: Policy, vocabulary: Vocabulary) -> str:
    name = policy.name.rpartition(":")[2]
    close = get_close_matches(name, vocabulary.tags, n=3) or sorted(set(vocabulary.categories))
    return (
        f"The policy {policy.text!r} of [moderation] is about no tag that the stack knows, so it "
        f"would never hold. Close to it: {', '.join(close)}."
    )
