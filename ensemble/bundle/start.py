"""A start bundle: what a user with taggers and without labels tags with."""

import hashlib
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tagstack.base_models.pairs import Level1Scores
from tagstack.base_models.taggers.fingerprint import floor_logit
from tagstack.base_models.vocabulary import Vocabulary
from tagstack.configs.json_values import plain
from tagstack.configs.settings import Settings
from tagstack.configs.start import StartSettings
from tagstack.ensemble.bundle.bundle import Bundle, BundleMember, Fingerprinted
from tagstack.ensemble.bundle.fitted_images import FittedImages
from tagstack.ensemble.rules.rule_set import Rules
from tagstack.ensemble.thresholds.table import State, Thresholds
from tagstack.meta.stack.rung_spec import START
from tagstack.meta.stack.start_stack import StartStack, answer_arrays
from tagstack.meta.start.answer import StartAnswer, published_answer
from tagstack.meta.start.published import Published, PublishedMember
from tagstack.meta.start.unlabelled import Adapted, adapted_answer

_HALF = np.float32(0.5)


class StartMember(Fingerprinted, PublishedMember, Protocol):
    """A loaded tagger, or what a score store keeps of one."""

    @property
    def source(self) -> str:
        """Registry name or folder that it was asked for by."""

    @property
    def floor(self) -> float:
        """Probabilities below this are not stored."""

    @property
    def n_features(self) -> int:
        """Numbers that are kept of each image beside its scores."""


def scored_alike(members: Sequence[StartMember], settings: Settings) -> Settings:
    """Return the settings that score other pictures as these members were: with whose features."""
    names = tuple(member.name for member in members if member.n_features)
    score = settings.score.model_copy(update={"features": names})
    return settings.model_copy(update={"score": score})


def start_bundle(
    members: Sequence[StartMember],
    rules: Rules,
    settings: Settings,
    scores: Level1Scores | None = None,
) -> Bundle:
    """Return a bundle made of what the taggers' own files say.

    Parameters
    ----------
    members : sequence of StartMember
        At least one.
    rules : Rules
    settings : Settings
    scores : Level1Scores, optional
        The members' scores of unlabelled images like those that will be tagged; what they show is
        part of the bundle, and tagging looks at one image at a time.
    """
    settings = scored_alike(members, settings)
    vocabulary = Vocabulary.union(member.vocabulary for member in members)
    published = Published.of(members, vocabulary)
    floor = np.array([floor_logit(member.floor) for member in members], np.float32)
    adapted = None if scores is None else adapted_answer(published, scores, settings.start)
    answer = (
        published_answer(published, floor, settings.start) if adapted is None else adapted.answer
    )
    stack = StartStack(
        members=tuple(member.name for member in members), vocabulary=vocabulary, answer=answer
    )
    thresholds = _thresholds(vocabulary, rival_worth(published, settings.start))
    return Bundle(
        members=tuple(
            BundleMember(name=member.name, fingerprint=member.fingerprint, source=member.source)
            for member in members
        ),
        vocabulary=vocabulary,
        stacker=stack,
        rules=rules.within(vocabulary),
        thresholds=thresholds,
        rung_thresholds={START: thresholds.value},
        settings=settings,
        fitted_images=FittedImages.none(settings.score.near_duplicates),
        evidence=_evidence(published, answer, adapted, settings),
    )


def start_facts(bundle: Bundle) -> str:
    """Return a hash of what decides in a start bundle that was not written to a folder.

    Parameters
    ----------
    bundle : Bundle
        As `start_bundle` returned it.
    """
    facts = hashlib.sha256(bundle.rules.to_toml().encode())
    facts.update("\0".join(bundle.vocabulary.tags).encode("utf-8", "surrogateescape"))
    facts.update("".join(member.fingerprint for member in bundle.members).encode())
    facts.update(bundle.settings.model_dump_json().encode())
    if isinstance(bundle.stacker, StartStack):
        for array in answer_arrays(bundle.stacker.answer).values():
            facts.update(array.tobytes())
    return facts.hexdigest()


def rival_worth(published: Published, settings: StartSettings) -> NDArray[np.float32]:
    """Return what each tag is worth where rules make tags compete, shape (n_tags,), float32."""
    rarity = np.nan_to_num(published.rarity, nan=0.0)
    return np.exp(settings.rival_rarity * rarity).astype(np.float32)


def _thresholds(vocabulary: Vocabulary, worth: NDArray[np.float32]) -> Thresholds:
    """Return a half for every tag."""
    n_tags = len(vocabulary)
    nothing = np.full(n_tags, np.nan)
    fixed: State = "fixed"
    return Thresholds(
        vocabulary=vocabulary,
        value=np.full(n_tags, _HALF),
        state=(fixed,) * n_tags,
        positives=np.zeros(n_tags, np.int64),
        estimate=nothing,
        low=nothing,
        high=nothing,
        objective=("published",) * n_tags,
        calibration_hash="",
        worth=worth,
    )


def _evidence(
    published: Published, answer: StartAnswer, adapted: Adapted | None, settings: Settings
) -> dict[str, Any]:
    """Return what the bundle rests on, with what a fitted one would say of labels at nothing."""
    start: dict[str, Any] = {
        "counted_tags": published.n_counted,
        "weights": answer.weight.tolist(),
        "n_images": 0,
    }
    if adapted is not None:
        start |= {
            "n_images": adapted.n_images,
            "tags_per_image": adapted.tags_per_image,
            "count_share": adapted.count_share,
            "rate_spread": adapted.rate_spread,
            "copies": adapted.copies,
        }
    content = {
        "n_images": 0,
        "n_groups": 0,
        "n_labels": 0,
        "n_unknown": 0,
        "labels_sha256": "",
        "seed": settings.seed,
        "chosen": START,
        "ladder": [],
        "start": start,
        "notices": [],
    }
    return {key: plain(value) for key, value in content.items()}
