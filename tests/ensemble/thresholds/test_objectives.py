"""Objectives as text: every form, every mistake."""

from collections.abc import Callable
from typing import Any

import pytest

from tagstack.configs.errors import TagstackError
from tagstack.ensemble.thresholds.objectives import (
    forms,
    objective_text,
    parse_objective,
    parse_tag_objective,
)


@pytest.mark.parametrize(
    ("text", "changes"),
    [
        ("f1", {"strategy": "joint_f", "beta": 1.0}),
        ("F0.5", {"beta": 0.5}),
        ("macro-f2", {"beta": 2.0, "average": "macro", "macro_share": 1.0}),
        ("micro-f1", {"average": "micro", "macro_share": 0.0}),
        ("precision>=0.9", {"strategy": "precision_at_least", "precision": 0.9}),
        ("recall >= .75", {"strategy": "recall_at_least", "recall": 0.75}),
        ("p=r", {"strategy": "p_equals_r"}),
        ("fixed:0.35", {"strategy": "fixed", "value": 0.35}),
        ("mcut", {"strategy": "mcut"}),
        ("rcut:12", {"strategy": "rcut", "max_tags": 12}),
    ],
)
def test_a_text_changes_what_it_speaks_of(
    text: str, changes: dict[str, Any], settings_with: Callable[..., Any]
) -> None:
    found = parse_objective(text, settings_with())
    for field, value in changes.items():
        assert getattr(found, field) == value
    untouched = {"shrinkage", "max_rate", "confidence", "min_positives"}
    assert all(getattr(found, f) == getattr(settings_with(), f) for f in untouched)


def test_utility_keeps_the_parts_not_named(settings_with: Callable[..., Any]) -> None:
    found = parse_objective("utility:tp=2,fp=-0.5", settings_with())
    assert found.utility.model_dump() == {"tp": 2.0, "fp": -0.5, "fn": 0.0, "tn": 0.0}
    assert (found.strategy, found.objective) == ("expected_utility", "utility")


@pytest.mark.parametrize("strategy", ["scut", "plugin_f", "category", "one_threshold", "joint_f"])
def test_f_keeps_a_strategy_that_raises_it(
    strategy: str, settings_with: Callable[..., Any]
) -> None:
    assert parse_objective("f1", settings_with(strategy=strategy)).strategy == strategy
    assert parse_objective("f1", settings_with(strategy="mcut")).strategy == "joint_f"


@pytest.mark.parametrize("form", forms())
def test_every_form_names_itself_again(form: str, settings_with: Callable[..., Any]) -> None:
    once = parse_objective(form, settings_with())
    again = parse_objective(objective_text(once), settings_with())
    assert again == once


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("best", r"Unknown objective 'best'; expected one like f1, f0\.5"),
        ("precision>0.9", "Unknown objective"),
        ("f0", "Objective 'f0' will not do: beta = 0.*: expected above 0"),
        ("precision>=1.5", r"precision = '1\.5': expected below 1"),
        ("recall>=e", "recall = 'e': expected a number"),
        ("rcut:0", "max_tags = '0': expected at least 1"),
        ("fixed:1", "value = '1': expected below 1"),
        ("utility:tp=1,xp=2", r"A utility has the parts \['tp', 'fp', 'fn', 'tn'\], got 'xp'"),
        ("utility:tp=-1", "a hit must be worth more than a miss"),
    ],
)
def test_mistakes_are_named(text: str, message: str, settings_with: Callable[..., Any]) -> None:
    with pytest.raises(TagstackError, match=message):
        parse_objective(text, settings_with())


def test_patterns_are_split_at_the_first_sign() -> None:
    assert parse_tag_objective("*_hair=precision>=0.9") == ("*_hair", "precision>=0.9")
    assert parse_tag_objective("rating:* = p=r") == ("rating:*", "p=r")
    for text in ("f1", "=f1", "x="):
        with pytest.raises(TagstackError, match="is no PATTERN=OBJECTIVE"):
            parse_tag_objective(text)
