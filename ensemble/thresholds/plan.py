"""Which objective each tag's threshold is fitted for, and the limits a person sets."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from tagstack.base_models.tag_names import did_you_mean
from tagstack.base_models.vocabulary import Vocabulary
from tagstack.configs.decisions import ThresholdSettings, UtilitySettings
from tagstack.configs.errors import TagstackError
from tagstack.ensemble.thresholds.curves import Bools, Ints
from tagstack.ensemble.thresholds.strategies.strategy import Strategy, strategy_of
from tagstack.meta.metrics.utility import OUTCOMES, utility_of

Values = NDArray[np.float32]

_MOST_WORTHS = 1000  # objectives that one fit takes: each goes through every fold


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """The tags that one objective is for.

    Parameters
    ----------
    settings : ThresholdSettings
    tags : array of shape (n_tags,), bool
    """

    settings: ThresholdSettings
    tags: Bools

    @cached_property
    def strategy(self) -> Strategy:
        """What chooses the thresholds; an unknown or broken one is a TagstackError."""
        return strategy_of(self.settings.strategy)

    @property
    def raises(self) -> bool:
        """Whether the objective is a score to raise, not a target to hold."""
        return self.strategy.aim == "raise"

    @property
    def worth(self) -> float | None:
        """What a step of probability of one of its tags is worth among rivals; None for no say."""
        return self.strategy.worth(self.settings)

    @property
    def certifies(self) -> bool:
        """Whether a guarantee is asked for."""
        return self.strategy.guarantee is not None and self.settings.guarantee != "none"


def assignments(
    vocabulary: Vocabulary,
    settings: ThresholdSettings,
    by_tag: Sequence[tuple[str, ThresholdSettings]],
) -> tuple[Assignment, ...]:
    """Return who is fitted for what; the last pattern that matches a tag wins.

    Parameters
    ----------
    vocabulary : Vocabulary
    settings : ThresholdSettings
        For the tags that no pattern matches.
    by_tag : sequence of (pattern, ThresholdSettings)
        Shell patterns of tags, such as ``*_hair``; ``category:NAME`` for a whole category.

    Raises
    ------
    TagstackError
        If a strategy is unknown or broken, a pattern matches no tag or asks for a cut of each
        image's list, or two strategies cannot share a fit.
    """
    chosen = np.zeros(len(vocabulary), np.intp)
    for number, (pattern, own) in enumerate(by_tag, start=1):
        if strategy_of(own.strategy).image_cut(own):
            msg = f"{pattern}={own.strategy}: a cut of an image's list is for all tags or none."
            raise TagstackError(msg)
        chosen[matching_some(pattern, vocabulary)] = number
    every = (settings, *(own for _, own in by_tag))
    plan = tuple(
        part
        for number, own in enumerate(every)
        if (chosen == number).any()
        for part in _by_worth(own, chosen == number, vocabulary)
    )
    _check(plan)
    return plan


def worths_of(settings: ThresholdSettings, vocabulary: Vocabulary) -> NDArray[np.float64] | None:
    """Return what decisions are worth by the table that thresholds are fitted for, if there is one.

    As `utility.utility_of`, an array of shape (4, n_tags), float64; None where the strategy reads
    no table.
    """
    reads = strategy_of(settings.strategy).reads
    return utility_of(settings.utility_table if "utility_table" in reads else "", vocabulary)


def _by_worth(
    settings: ThresholdSettings, tags: Bools, vocabulary: Vocabulary
) -> Iterator[Assignment]:
    """Yield an objective's tags; apart by what their decisions are worth, where a table says so.

    Raises
    ------
    TagstackError
        If the table cannot be used, or hardly two of its rows are alike.
    """
    worth = worths_of(settings, vocabulary)
    if worth is None:
        yield Assignment(settings=settings, tags=tags)
        return
    rows, kind = np.unique(worth[:, tags].T, axis=0, return_inverse=True)
    if len(rows) > _MOST_WORTHS:
        msg = (
            f"{settings.utility_table} has {len(rows)} different rows; expected at most "
            f"{_MOST_WORTHS}. Round the values."
        )
        raise TagstackError(msg)
    for number, row in enumerate(rows.tolist()):
        own = tags.copy()
        own[tags] = kind.ravel() == number
        utility = UtilitySettings(**dict(zip(OUTCOMES, row, strict=True)))
        changes = {"utility": utility, "utility_table": ""}
        yield Assignment(settings=settings.model_copy(update=changes), tags=own)


def _check(plan: Sequence[Assignment]) -> None:
    """Look every strategy up, and refuse two that would each decide for all tags together."""
    together = sorted({a.strategy.name for a in plan if a.strategy.needs_decoder})
    if len(together) > 1:
        msg = (
            f"The strategies {' and '.join(together)} each choose the thresholds of all their "
            "tags together with the rules; one fit can have one of them."
        )
        raise TagstackError(msg)


def matching(pattern: str, vocabulary: Vocabulary) -> Bools:
    """Return which tags a pattern means, shape (n_tags,)."""
    prefix, _, name = pattern.partition(":")
    if prefix == "category" and name in vocabulary.categories:
        return np.array([own == name for own in vocabulary.categories], bool)
    return np.array([fnmatchcase(tag, pattern) for tag in vocabulary.tags], bool)


def matching_some(pattern: str, vocabulary: Vocabulary) -> Bools:
    """Return what `matching` does, shape (n_tags,).

    Raises
    ------
    TagstackError
        If no tag matches; the message names what is written like the pattern.
    """
    matched = matching(pattern, vocabulary)
    if not matched.any():
        names = (*vocabulary.tags, *(f"category:{name}" for name in set(vocabulary.categories)))
        like = f"Tags are written like {list(vocabulary.tags[:3])}."
        msg = f"No tag matches {pattern!r}. {did_you_mean(pattern, names) or like}"
        raise TagstackError(msg)
    return matched


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What no fitted threshold may undercut.

    Parameters
    ----------
    least : array of shape (n_tags,), float32
        0 where nothing is asked; infinite for tags that are too rare.
    """

    least: Values

    def applied(self, value: Values) -> Values:
        """Return thresholds raised to the limits; the last axis is the tags.

        Of the shape of ``value``.
        """
        return np.maximum(value, self.least)

    def binding(self, value: Values) -> Bools:
        """Return where a limit, not the fit, decides. Of the shape of ``value``."""
        return np.asarray((self.least > 0) & (value <= self.least))


def limits(vocabulary: Vocabulary, n_positives: Ints, settings: ThresholdSettings) -> Limits:
    """Return the floors and the frequency filter of some settings as limits."""
    least = np.zeros(len(vocabulary), np.float32)
    for floors, means in ((settings.category_floors, "category:"), (settings.tag_floors, "")):
        _raise(least, floors, means, vocabulary)
    least[n_positives < settings.min_frequency] = np.inf
    return Limits(least=least)


def _raise(least: Values, floors: Mapping[str, float], means: str, vocabulary: Vocabulary) -> None:
    for name, floor in floors.items():
        matched = matching(f"{means}{name}", vocabulary)
        least[matched] = np.maximum(least[matched], np.float32(floor))
