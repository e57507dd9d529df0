import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from scipy.special import logit

from tagstack.configs.errors import TagstackError
from tagstack.ensemble.contradictions.explanations import Change, explain
from tagstack.ensemble.rules.rule import Exclusive, Implication
from tagstack.ensemble.rules.rule_set import Rules


def implies(child: str, *parents: str) -> Implication:
    return Implication(id=f"{child}.{parents[0]}", tags=(child,), implies=parents, source="me")


def exclusive(*tags: str, **changes: Any) -> Exclusive:
    return Exclusive(id="x." + ".".join(tags), tags=tags, source="me", **changes)


def explained(bench: Any, rules: Rules, *probas: float) -> dict[str, Change]:
    thresholds = np.full(len(probas), 0.5, np.float32)
    changes = explain(bench.decoder(rules, len(probas)), bench.image(*probas), thresholds)
    return {change.tag: change for change in changes}


def culprits(change: Change) -> dict[str, float]:
    return dict(change.because)


def test_a_removed_tag_names_its_rival_and_the_margin(bench: Any) -> None:
    change = explained(bench, Rules(exclusives=(exclusive("t0", "t1"),)), 0.9, 0.6)["t1"]
    assert (change.action, change.rule, change.source) == ("removed", "x.t0.t1", "me")
    assert culprits(change) == {"t0": pytest.approx(0.9)}
    assert change.margin == pytest.approx(logit(0.9) - logit(0.6), abs=1e-5)
    assert str(change).startswith("removed t1 (0.60): against t0 (0.90), rule x.t0.t1; the opp")


def test_all_culprits_are_named(bench: Any) -> None:
    rules = Rules(exclusives=(exclusive("t0", "t2"), exclusive("t1", "t2")))
    change = explained(bench, rules, 0.8, 0.9, 0.6)["t2"]
    assert [tag for tag, _ in change.because] == ["t1", "t0"]
    expected = logit(0.8) + logit(0.9) - logit(0.6)
    assert change.margin == pytest.approx(expected, abs=1e-5)


def test_an_added_tag_names_who_implies_it(bench: Any) -> None:
    rules = Rules(implications=(implies("t0", "t1"), implies("t1", "t2")))
    changes = explained(bench, rules, 0.9, 0.4, 0.45)
    assert {tag: change.action for tag, change in changes.items()} == {
        "t1": "added",
        "t2": "added",
    }
    assert culprits(changes["t1"]) == {"t0": pytest.approx(0.9)}
    assert changes["t2"].rule == "t1.t2"
    total = logit(0.9) + logit(0.4) + logit(0.45)
    assert changes["t1"].margin == pytest.approx(total, abs=1e-5)


def test_a_tag_whose_parent_is_too_improbable_says_so(bench: Any) -> None:
    change = explained(bench, Rules(implications=(implies("t0", "t1"),)), 0.6, 0.1)["t0"]
    assert (change.action, change.rule) == ("removed", "t0.t1")
    assert culprits(change) == {"t1": pytest.approx(0.1)}
    assert change.margin == pytest.approx(-logit(0.6) - logit(0.1), abs=1e-5)


def test_an_unscored_parent_is_explained_too(bench: Any) -> None:
    change = explained(bench, Rules(implications=(implies("t0", "t1"),)), 0.6, math.nan)["t1"]
    assert change.action == "added"
    assert math.isnan(change.proba)
    assert change.margin == pytest.approx(logit(0.6), abs=1e-5)


def test_what_at_least_one_adds_is_explained(bench: Any) -> None:
    changes = explained(
        bench, Rules(exclusives=(exclusive("t0", "t1", at_least_one=True),)), 0.4, 0.3
    )
    assert changes["t0"].rule == "x.t0.t1"
    assert changes["t0"].margin == pytest.approx(logit(0.4) - logit(0.3), abs=1e-5)


@given(st.integers(0, 10**6))
@hypothesis_settings(deadline=None, max_examples=60)
def test_explanations_cover_exactly_what_changed(bench: Any, seed: int) -> None:
    rules, dense, threshold = bench.drawn_images(seed, 1, 9)
    one, proba = bench.decoder(rules, 9), bench.pair_proba(dense)
    kept = one.decode(proba, threshold).toarray()[0]
    changes = explain(one, proba, threshold)
    passed = np.nan_to_num(dense[0], nan=-1.0) >= threshold
    assert [c.tag for c in changes] == [f"t{i}" for i in np.flatnonzero(kept != passed)]
    oracle = bench.oracle(rules, dense[0], threshold)
    best = oracle.value(np.flatnonzero(kept).tolist())
    for change in changes:
        tag = int(change.tag[1:])
        assert change.action == ("added" if kept[tag] else "removed")
        assert change.rule in rules.ids
        assert change.margin >= 0
        if math.isfinite(change.margin):
            forced = oracle.best({tag: not kept[tag]})
            assert best - change.margin == pytest.approx(forced, abs=1e-3)


def test_only_one_image_is_explained_at_a_time(bench: Any) -> None:
    two = bench.pair_proba(np.full((2, 2), 0.7, np.float32))
    with pytest.raises(TagstackError, match="one image can be explained at a time, got 2"):
        explain(bench.decoder(Rules.none(), 2), two, np.full(2, 0.5, np.float32))


def test_reasons_can_be_had_without_margins(drawing: Any) -> None:
    for seed in range(20):
        rules, dense, threshold = drawing.drawn_images(seed, 1, 9)
        one, proba = drawing.decoder(rules, 9), drawing.pair_proba(dense)
        whole = explain(one, proba, threshold)
        quick = explain(one, proba, threshold, margins=False)
        same = [replace(change, margin=math.nan) for change in whole]
        assert str(same) == str(list(quick))  # NaN differs from itself
        assert all(math.isnan(change.margin) for change in quick)


def test_the_opposite_may_use_what_another_rule_offers(drawing: Any) -> None:
    """A tag that only an at-least-one rule offers stays on offer when that rule is out of play."""
    rules, dense, threshold = drawing.drawn_images(134656, 1, 9)
    (removed, added) = explain(drawing.decoder(rules, 9), drawing.pair_proba(dense), threshold)
    assert (removed.tag, added.tag) == ("t6", "t7")
    assert added.margin == pytest.approx(removed.margin)
