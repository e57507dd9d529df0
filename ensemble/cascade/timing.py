"""How long each tagger takes for a picture: what a cascade weighs."""

import time
from collections.abc import Mapping, Sequence

import numpy as np

from tagstack.base_models.scores.member_info import MemberInfo
from tagstack.base_models.taggers.registry import load_taggers
from tagstack.base_models.taggers.tagger import Tagger
from tagstack.base_models.threads import thread_count
from tagstack.configs.cascade import CascadeSettings
from tagstack.configs.errors import TagstackError
from tagstack.configs.settings import Settings


def member_seconds(members: Sequence[MemberInfo], settings: Settings) -> dict[str, float]:
    """Return each tagger's seconds for one picture: as told in the settings, else measured.

    Measured are the networks alone, on noise, in batches as large as a trial. Reading and decoding
    a picture is done whoever looks.

    Raises
    ------
    TagstackError
        If a tagger cannot be opened; the message says how to tell its seconds instead.
    """
    own = settings.cascade
    _check_names(own.seconds, members)
    found = dict(own.seconds)
    for member in members:
        if member.name not in found:
            found[member.name] = _measured(member, settings)
    return {member.name: found[member.name] for member in members}


def _check_names(seconds: Mapping[str, float], members: Sequence[MemberInfo]) -> None:
    names = [member.name for member in members]
    if unknown := sorted(set(seconds) - set(names)):
        msg = (
            f"cascade.seconds names {unknown[0]!r}, which is none of the taggers {names}. Name "
            "some of these."
        )
        raise TagstackError(msg)


def _measured(member: MemberInfo, settings: Settings) -> float:
    said = f'cascade.seconds = {{ "{member.name}" = 0.02 }} tells its seconds for a picture instead'
    if member.is_imported:
        msg = f"The scores of {member.name!r} were imported, so it cannot be timed; {said}."
        raise TagstackError(msg)
    try:
        (tagger,) = load_taggers([member.source], settings.score, threads=_threads(settings))
    except TagstackError as error:
        msg = f"{member.name!r} cannot be timed: {error} Or {said}."
        raise TagstackError(msg) from error
    try:
        return seconds_of(tagger, settings.cascade)
    finally:
        tagger.close()


def seconds_of(tagger: Tagger, settings: CascadeSettings) -> float:
    """Return the median of a few rounds, after one that does not count."""
    shape = (settings.trial_images, tagger.framing.height, tagger.framing.width, 3)
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    tagger.outputs(pixels)
    rounds = []
    for _ in range(settings.trial_rounds):
        began = time.perf_counter()
        tagger.outputs(pixels)
        rounds.append((time.perf_counter() - began) / len(pixels))
    return float(np.median(rounds))


def _threads(settings: Settings) -> int:
    return thread_count(settings.threads)
