"""What the service answers, as plain values; the classes describe it to OpenAPI."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any, Literal

from pydantic import BaseModel, Field

from tagstack import __version__
from tagstack.ensemble.bundle.decisions import TagEntry, TaggedImage
from tagstack.ensemble.bundle.in_use import Versions
from tagstack.ensemble.outputs.records import candidate
from tagstack.ensemble.serving.live import JudgedPicture, LiveStack
from tagstack.ensemble.serving.preferences import Preferences
from tagstack.ensemble.tasks.explain import Explanation

RATING = "rating"
# Danbooru's own names of its ratings; taggers spell them out.
_RATINGS = ("general", "sensitive", "questionable", "explicit")


class ErrorAnswer(BaseModel):
    """What went wrong, in one line."""

    error: str


class Candidate(BaseModel):
    """The decision on one tag, as in tagstack's JSON files."""

    tag: str
    category: str
    proba: float = Field(ge=0, le=1, description="Calibrated, before rules.")
    threshold: float | None = Field(description="Tagged from here on; null is never.")
    tagged: bool
    state: Literal["confirmed", "unconfirmed", "rejected"]
    rule: str = Field(description="Id of the rule that added or removed the tag, or empty.")
    votes: dict[str, float | None]


class ReasonAnswer(BaseModel):
    """A policy that held, and for which tag."""

    policy: str
    tag: str
    proba: float | None


class VerdictAnswer(BaseModel):
    """What the moderation policies say."""

    answer: Literal["block", "review", "allow"]
    reasons: list[ReasonAnswer]


class PictureAnswer(BaseModel):
    """One picture's tags."""

    image: str = Field(description="The name that the sender gave.")
    error: str = Field(description="Why it has no tags; empty for a picture that could be read.")
    tags: list[str] = Field(description="The final set, without what is hidden.")
    hidden: int = Field(description="How many tags of the final set `hide` left out.")
    candidates: list[Candidate]
    moderation: VerdictAnswer | None = Field(description="null where no policy is set.")


class TagsAnswer(BaseModel):
    """Pictures in the order in which they came, and what decided."""

    bundle: str
    thresholds: str
    images: list[PictureAnswer]


class EvaluatedPicture(BaseModel):
    """One picture as danbooru's autotagger answers."""

    filename: str
    tags: dict[str, float]


class BundleAnswer(BaseModel):
    """What is in use."""

    bundle: str
    thresholds: str
    tagstack: str
    rung: str = Field(description="The rung of the ladder that gives the probabilities.")
    taggers: dict[str, str] = Field(description="Names, with the fingerprint of each.")
    tags: dict[str, int] = Field(description="How many, by category.")
    rules: int
    moderation: dict[str, list[str]]


class ReloadAnswer(BaseModel):
    """What is in use now, and whether that is new."""

    bundle: str
    thresholds: str
    changed: bool


def picture_answer(
    name: str, judged: JudgedPicture, preferences: Preferences, *, floor: float, share: float
) -> dict[str, Any]:
    """Return one picture's answer.

    Parameters
    ----------
    name : str
    judged : JudgedPicture
    preferences : Preferences
    floor : float
        Candidates that are not tagged are listed from this probability on, in [0, 1].
    share : float
        As in `tagstack.ensemble.outputs.records.state`.
    """
    tagged = judged.tagged
    listed = [entry for entry in tagged.entries if entry.tagged or entry.proba >= floor]
    seen = preferences.seen(listed)
    return {
        "image": name,
        "error": tagged.failure,
        "tags": [entry.tag for entry in seen if entry.tagged],
        "hidden": sum(entry.tagged and preferences.hides(entry) for entry in listed),
        "candidates": [candidate(entry, share) for entry in seen],
        "moderation": None if judged.verdict is None else judged.verdict.as_dict(),
    }


def evaluated(tagged: TaggedImage, threshold: float, limit: int) -> dict[str, float]:
    """Return the most probable tags as danbooru's autotagger answers them.

    Every tag with at least ``threshold``, tagged or not, most probable first; ratings are called
    as danbooru calls them, ``rating:g`` and so on.
    """
    entries = [entry for entry in tagged.entries if entry.proba >= threshold]
    return {_danbooru_name(entry): entry.proba for entry in entries[:limit]}


def explanation_answer(found: Explanation, versions: Versions) -> dict[str, Any]:
    """Return what led to a picture's tags; ``entries`` and ``changes`` as `explain --json`."""
    return {"bundle": versions.bundle, **_plain({**asdict(found), "image": ""})}


def bundle_answer(live: LiveStack) -> dict[str, Any]:
    """Return what is in use."""
    bundle, moderation = live.stack.bundle, live.stack.settings.moderation
    categories = bundle.vocabulary.categories
    return {
        **vars(live.versions),
        "tagstack": __version__,
        "rung": bundle.stacker.chosen_,
        "taggers": {member.name: member.fingerprint for member in bundle.members},
        "tags": {name: categories.count(name) for name in sorted(set(categories))},
        "rules": len(bundle.rules),
        "moderation": moderation.model_dump(mode="json"),
    }


def failures(names: Sequence[str], judged: Sequence[JudgedPicture]) -> Iterator[str]:
    """Yield why pictures have no tags, each with its name."""
    for name, one in zip(names, judged, strict=True):
        if one.tagged.failure:
            yield f"{name or 'the picture'}: {one.tagged.failure}"


def _danbooru_name(entry: TagEntry) -> str:
    if entry.category != RATING or entry.tag.startswith(f"{RATING}:"):
        return entry.tag
    return f"{RATING}:{entry.tag[0] if entry.tag in _RATINGS else entry.tag}"


def _plain(value: Any) -> Any:
    """Return a value as JSON can hold it: there is no infinity in it."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): _plain(own) for key, own in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(own) for own in value]
    return value
