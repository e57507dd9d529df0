"""Objectives as people write them: ``f1``, ``precision>=0.9``, ``utility:tp=1,fp=-0.5``.

A text changes only the settings that it speaks of; the others stay as they are given.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import ValidationError

from tagstack.configs.decisions import Strategy, ThresholdSettings
from tagstack.configs.errors import TagstackError
from tagstack.configs.settings import validation_summary

FORMS = (
    "f1", "f0.5", "macro-f1", "micro-f1", "precision>=0.9", "recall>=0.8", "p=r",
    "utility:tp=1,fp=-0.5", "fixed:0.35", "mcut", "rcut:10",
)  # fmt: skip
RAISE_F: frozenset[Strategy] = frozenset(
    {"one_threshold", "category", "scut", "plugin_f", "joint_f"}
)

Changes = Mapping[str, Any]


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
    for pattern, read in _READERS:
        if found := re.fullmatch(pattern, wanted):
            return _changed(settings, read(found, settings), text)
    msg = f"Unknown objective {text!r}; expected one like {', '.join(FORMS)}."
    raise TagstackError(msg)


def objective_text(settings: ThresholdSettings) -> str:
    """Return the objective of some settings, as the table of thresholds names it."""
    strategy = settings.strategy
    plain = {
        "fixed": f"fixed:{settings.value:g}",
        "expected_utility": _utility_text(settings),
        "precision_at_least": f"precision>={settings.precision:g}",
        "recall_at_least": f"recall>={settings.recall:g}",
        "p_equals_r": "p=r",
        "mcut": "mcut",
        "rcut": f"rcut:{settings.max_tags}",
    }
    if strategy in plain:
        return plain[strategy]
    if strategy == "joint_f" and 0 < settings.macro_share < 1:
        return f"F{settings.beta:g}"
    if settings.objective == "utility" and strategy not in ("plugin_f", "joint_f"):
        return _utility_text(settings)
    average = settings.average
    if strategy == "joint_f":
        average = "macro" if settings.macro_share else "micro"
    return f"{average} F{settings.beta:g}"


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
    changes: dict[str, Any] = {"beta": float(found["beta"]), "objective": "f_beta"}
    if settings.strategy not in RAISE_F:
        changes["strategy"] = "joint_f"
    if found["average"]:
        changes["average"] = found["average"]
        changes["macro_share"] = float(found["average"] == "macro")
    return changes


def _utility(found: "re.Match[str]", settings: ThresholdSettings) -> Changes:
    worth = settings.utility.model_dump()
    for part in found["worth"].split(","):
        name, _, number = part.partition("=")
        if name not in worth:
            msg = f"A utility has the parts {list(worth)}, got {name!r} in {found.string!r}."
            raise TagstackError(msg)
        worth[name] = number
    return {"strategy": "expected_utility", "objective": "utility", "utility": worth}


def _number(strategy: Strategy, field: str) -> Callable[["re.Match[str]", object], Changes]:
    return lambda found, _: {"strategy": strategy, field: found["number"]}


_NUMBER = r"(?P<number>[-+.\de]+)"
_READERS: tuple[tuple[str, Callable[["re.Match[str]", ThresholdSettings], Changes]], ...] = (
    (r"(?:(?P<average>macro|micro)-?)?f(?P<beta>\d+(?:\.\d+)?)", _f_beta),
    (r"precision>=" + _NUMBER, _number("precision_at_least", "precision")),
    (r"recall>=" + _NUMBER, _number("recall_at_least", "recall")),
    (r"p=r", lambda *_: {"strategy": "p_equals_r"}),
    (r"utility:(?P<worth>.+)", _utility),
    (r"fixed:" + _NUMBER, _number("fixed", "value")),
    (r"mcut", lambda *_: {"strategy": "mcut"}),
    (r"rcut:" + _NUMBER, _number("rcut", "max_tags")),
)


def _changed(settings: ThresholdSettings, changes: Changes, text: str) -> ThresholdSettings:
    try:
        return ThresholdSettings.model_validate(settings.model_dump() | dict(changes))
    except ValidationError as error:
        msg = f"Objective {text!r} will not do: {validation_summary(error)}."
        raise TagstackError(msg) from error


def _utility_text(settings: ThresholdSettings) -> str:
    worth = settings.utility.model_dump()
    return "utility:" + ",".join(f"{name}={value:g}" for name, value in worth.items())
