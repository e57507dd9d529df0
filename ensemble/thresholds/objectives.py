"""Objectives as people write them: ``f1``, ``precision>=0.9``, ``utility:tp=1,fp=-0.5``.

A text changes only the settings that it speaks of; the others stay as they are given. F-beta is
many strategies' objective; each of the others is read and written by its strategy, whose name is
one too.
"""

import re
from itertools import chain

from pydantic import ValidationError

from tagstack.configs.decisions import ThresholdSettings
from tagstack.configs.errors import TagstackError
from tagstack.configs.section import validation_summary
from tagstack.ensemble.thresholds.strategies.strategy import (
    Changes,
    built_in,
    plug_ins,
    strategy_of,
)

_F = re.compile(r"(?:(?P<average>macro|micro)-?)?f(?P<beta>\d+(?:\.\d+)?)")
_F_FORMS = ("f1", "f0.5", "macro-f1", "micro-f1")
_RAISES_F = "joint_f"  # where the strategy at hand raises nothing


def forms() -> tuple[str, ...]:
    """Return an example of each objective that a text can name, those of packages included."""
    own = (form for strategy in built_in() for form in strategy.forms)
    added = (form for strategy in plug_ins() for form in strategy.forms or (strategy.name,))
    return (*_F_FORMS, *own, *added)


def parse_objective(text: str, settings: ThresholdSettings) -> ThresholdSettings:
    """Return ``settings`` with the objective that a text names.

    ``f1`` keeps the strategy if that raises F-beta at all, and takes ``joint_f`` otherwise;
    ``macro-f1`` and ``micro-f1`` raise that average alone.

    Raises
    ------
    TagstackError
        If the text has no known form, or a number is out of range.
    """
    wanted = text.strip().lower().replace(" ", "")
    if found := _F.fullmatch(wanted):
        return _changed(settings, _f_beta(found, settings), text)
    for strategy in chain(built_in(), plug_ins()):
        changes = {} if wanted == strategy.name else strategy.read(wanted, settings)
        if changes is not None:
            return _changed(settings, {"strategy": strategy.name, **changes}, text)
    msg = f"Unknown objective {text!r}; expected one like {', '.join(forms())}."
    raise TagstackError(msg)


def objective_text(settings: ThresholdSettings) -> str:
    """Return the objective of some settings, as the table of thresholds names it."""
    return strategy_of(settings.strategy).written(settings)


def parse_tag_objective(text: str) -> tuple[str, str]:
    """Return pattern and objective of ``PATTERN=OBJECTIVE``.

    Raises
    ------
    TagstackError
        If there is no ``=`` with something on both sides.
    """
    pattern, sign, objective = text.partition("=")
    if not (pattern.strip() and sign and objective.strip()):
        msg = f"{text!r} is no PATTERN=OBJECTIVE, such as '*_hair=f1' or 'rating:*=precision>=0.9'."
        raise TagstackError(msg)
    return pattern.strip(), objective.strip()


def _f_beta(found: "re.Match[str]", settings: ThresholdSettings) -> Changes:
    changes: dict[str, object] = {"beta": float(found["beta"]), "objective": "f_beta"}
    if strategy_of(settings.strategy).aim != "raise":
        changes["strategy"] = _RAISES_F
    if found["average"]:
        changes["average"] = found["average"]
        changes["macro_share"] = float(found["average"] == "macro")
    return changes


def _changed(settings: ThresholdSettings, changes: Changes, text: str) -> ThresholdSettings:
    try:
        return ThresholdSettings.model_validate(settings.model_dump() | dict(changes))
    except ValidationError as error:
        msg = f"Objective {text!r} will not do: {validation_summary(error)}."
        raise TagstackError(msg) from error
