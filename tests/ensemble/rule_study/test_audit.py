import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tagstack.configs.settings import load_settings
from tagstack.ensemble.rule_study.audit import RuleAudit, audit_rules
from tagstack.ensemble.rules.rule import Exclusive, Implication
from tagstack.ensemble.rules.rule_set import Rules

SETTINGS = load_settings().rules


def implies(child: str, *parents: str, **more: Any) -> Implication:
    return Implication(id=child, tags=(child,), implies=parents, source="me", **more)


def exclusive(*tags: str, **more: Any) -> Exclusive:
    return Exclusive(id=".".join(tags), tags=tags, source="me", **more)


def audited(rules: Rules, labelled: Any) -> dict[str, RuleAudit]:
    return {audit.rule: audit for audit in audit_rules(rules, labelled, SETTINGS)}


def counts(audit: RuleAudit) -> tuple[int, int]:
    return audit.applies, audit.broken


def test_an_implication_applies_where_its_child_is(label: Any) -> None:
    images = ["a b", "a", "b", "a ?b", "a b c", "c"]
    rules = Rules(implications=(implies("a", "b"), implies("c", "a", "b")))
    found = audited(rules, label("a b c", images))
    assert counts(found["a"]) == (3, 1)
    assert counts(found["c"]) == (2, 1)  # an image that lacks both parents is broken once


def test_an_exclusion_applies_where_its_guards_hold_and_a_tag_is(label: Any) -> None:
    rule = exclusive("a", "b", when=("solo",), unless=("mixed",))
    images = ["a b solo", "a b", "a solo", "solo", "a b solo mixed", "a b solo ?mixed", "b solo"]
    found = audited(Rules(exclusives=(rule,)), label("a b solo mixed", images))
    assert counts(found["a.b"]) == (3, 1)


def test_at_least_one_is_broken_where_none_is_and_none_is_unknown(label: Any) -> None:
    rule = exclusive("a", "b", at_least_one=True)
    found = audited(Rules(exclusives=(rule,)), label("a b c", ["a", "a b", "c", "?a", "b ?a"]))
    assert counts(found["a.b"]) == (4, 2)


def test_a_soft_implication_is_counted_like_a_hard_one(label: Any) -> None:
    labelled = label("a b", ["a b", "a", "a ?b", "b"])
    soft = audited(Rules(implications=(implies("a", "b", penalty=1.5),)), labelled)["a"]
    hard = audited(Rules(implications=(implies("a", "b"),)), labelled)["a"]
    assert (soft.applies, soft.broken, soft.rate) == (hard.applies, hard.broken, hard.rate)
    assert (soft.penalty, soft.advice) == (1.5, "keep")


@pytest.mark.parametrize(
    ("n_broken", "advice"), [(0, "keep"), (1, "keep"), (9, "more labels"), (40, "soft")]
)
def test_advice_follows_the_interval(dense_labels: Any, n_broken: int, advice: str) -> None:
    tags = np.ones((1000, 2), bool)
    tags[:n_broken, 1] = False
    audit = audited(Rules(implications=(implies("t0", "t1"),)), dense_labels(tags))["t0"]
    assert audit.advice == advice
    assert audit.low <= n_broken / 1000 <= audit.high
    if advice == "soft":
        assert audit.soft_penalty == pytest.approx(math.log(960.5 / 40.5))
    else:
        assert math.isnan(audit.soft_penalty)


def test_a_rule_that_never_applies_has_no_evidence(label: Any) -> None:
    audit = audited(Rules(implications=(implies("a", "b"),)), label("a b", ["b", ""]))["a"]
    assert (audit.applies, audit.advice) == (0, "no evidence")
    assert math.isnan(audit.rate)
    assert math.isnan(audit.low)


def test_the_surest_offender_comes_first(dense_labels: Any) -> None:
    rng = np.random.default_rng(0)
    tags = rng.random((400, 4)) < 0.5
    tags[:, 3] = tags[:, 2]
    rules = Rules(implications=(implies("t2", "t3"), implies("t0", "t1")))
    names = [audit.rule for audit in audit_rules(rules, dense_labels(tags), SETTINGS)]
    assert names == ["t0", "t2"]


@given(st.integers(0, 10**6))
@settings(deadline=None, max_examples=50)
def test_counts_equal_a_loop_over_images(dense_labels: Any, seed: int) -> None:
    rng = np.random.default_rng(seed)
    tags, dark = rng.random((2, 25, 6)) < np.array([0.5, 0.1])[:, None, None]
    labelled = dense_labels(tags, dark)
    least = bool(rng.random() < 0.5)
    group = exclusive("t0", "t1", "t2", when=("t3",), unless=("t4",), at_least_one=least)
    found = audited(Rules(implications=(implies("t0", "t5"),), exclusives=(group,)), labelled)
    expected = {"t0": [0, 0], "t0.t1.t2": [0, 0]}
    for true, unknown in zip(tags & ~dark, dark, strict=True):
        if true[0] and not unknown[5]:
            expected["t0"][0] += 1
            expected["t0"][1] += not true[5]
        held = int(true[:3].sum())
        says = held > 0 or (least and not unknown[:3].any())
        if true[3] and not true[4] and not unknown[4] and says:
            expected["t0.t1.t2"][0] += 1
            expected["t0.t1.t2"][1] += held > 1 or held == 0
    assert {rule: list(counts(audit)) for rule, audit in found.items()} == expected
