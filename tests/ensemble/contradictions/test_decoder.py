import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from scipy import sparse

from tagstack.base_models.vocabulary import Vocabulary
from tagstack.configs.errors import TagstackError
from tagstack.ensemble.contradictions.decoder import implied_tags
from tagstack.ensemble.rules.rule import Exclusive, Implication
from tagstack.ensemble.rules.rule_set import Rules


def implies(child: str, *parents: str) -> Implication:
    return Implication(id=f"{child}.{parents[0]}", tags=(child,), implies=parents, source="me")


def exclusive(*tags: str, **changes: Any) -> Exclusive:
    return Exclusive(id="x." + ".".join(tags), tags=tags, source="me", **changes)


@pytest.mark.parametrize("how", ["map", "utility", "worth"])
def test_objective_equals_an_independent_milp_over_whole_images(bench: Any, how: str) -> None:
    rng = np.random.default_rng(len(how))
    for _ in range(120):
        n_tags = int(rng.integers(2, 13))
        rules = bench.random_rules(rng, n_tags)
        proba, threshold = bench.random_image(rng, n_tags)
        worth = rng.uniform(0.1, 9.0, n_tags).astype(np.float32) if how == "worth" else None
        one = bench.decoder(rules, n_tags, objective="utility" if how == "utility" else "map")
        kept = one.decode(bench.pair_proba(proba[None]), threshold, worth).indices.tolist()
        oracle = bench.oracle(rules, proba, threshold, utility=how == "utility", worth=worth)
        assert oracle.value(kept) == pytest.approx(oracle.best(), abs=1e-4)


@pytest.mark.parametrize("seed", range(8))
def test_objective_equals_the_best_of_all_tag_sets(bench: Any, seed: int) -> None:
    """Thousands of small images, for which every tag set can be tried."""
    rng = np.random.default_rng(seed)
    for _ in range(25):
        rules, dense, threshold = bench.drawn_images(int(rng.integers(10**6)), 8, 6)
        decided = bench.decoder(rules, 6).decode(bench.pair_proba(dense), threshold).toarray()
        for proba, kept in zip(dense, decided, strict=True):
            oracle = bench.oracle(rules, proba, threshold)
            found = oracle.value(np.flatnonzero(kept).tolist())
            assert found == pytest.approx(oracle.best_by_trial(), abs=1e-4)


def test_components_above_the_limit_go_to_the_solver(bench: Any) -> None:
    rng = np.random.default_rng(6)
    for _ in range(60):
        rules, (proba, threshold) = bench.random_rules(rng, 10), bench.random_image(rng, 10)
        values = []
        for search_tags in (1, 64):
            kept = bench.decoder(rules, 10, search_tags=search_tags).decode(
                bench.pair_proba(proba[None]), threshold
            )
            values.append(bench.oracle(rules, proba, threshold).value(kept.indices.tolist()))
        assert values[0] == pytest.approx(values[1], abs=1e-4)


def test_an_exhausted_budget_still_gives_legal_tags_and_says_so(
    bench: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    rng = np.random.default_rng(7)
    n_inexact = 0
    for _ in range(60):
        rules, (proba, threshold) = bench.random_rules(rng, 12), bench.random_image(rng, 12)
        hurried = bench.decoder(rules, 12, search_budget=1).solve(
            bench.pair_proba(proba[None]), threshold
        )
        best = bench.decoder(rules, 12).decode(bench.pair_proba(proba[None]), threshold)
        oracle = bench.oracle(rules, proba, threshold)
        value = oracle.value(hurried.tags.indices.tolist())
        assert -math.inf < value <= oracle.value(best.indices.tolist()) + 1e-4
        n_inexact += int(hurried.inexact.sum())
    assert n_inexact > 10
    groups = Rules(exclusives=(exclusive("t0", "t1", unless=("t2",)),))
    assert bench.decode(groups, 0.9, 0.8, 0.6, search_budget=1) is not None
    assert "ran out" not in caplog.text  # the guard is kept anyway: nothing to search
    tied = Rules(exclusives=(exclusive("t0", "t1"), exclusive("t1", "t2")))
    assert bench.decode(tied, 0.6, 0.9, 0.6, search_budget=1) == [1]
    assert "The search budget of 1 ran out on 1 of 1 images" in caplog.text


def test_no_rules_leave_the_thresholds_alone(bench: Any) -> None:
    assert bench.decode(Rules.none(), 0.5, 0.49, 0.9, math.nan) == [0, 2]


def test_a_tag_exactly_at_its_threshold_is_kept_when_legal(bench: Any) -> None:
    assert bench.decode(Rules(implications=(implies("t0", "t1"),)), 0.5, 0.5) == [0, 1]
    assert bench.decode(Rules(exclusives=(exclusive("t0", "t1"),)), 0.5, 0.5) == [0]
    assert bench.decode(Rules(exclusives=(exclusive("t0", "t1"),)), 0.5, 0.6) == [1]


def test_implied_tags_come_along_or_take_their_children_away(bench: Any) -> None:
    rules = Rules(implications=(implies("t0", "t1"),))
    assert bench.decode(rules, 0.9, 0.3) == [0, 1]
    assert bench.decode(rules, 0.6, 0.1) == []


def test_an_unscored_or_forbidden_parent_does_not_cost_its_child(bench: Any) -> None:
    rules = Rules(implications=(implies("t0", "t1"),))
    assert bench.decode(rules, 0.6, math.nan) == [0, 1]
    thresholds = np.array([0.5, np.inf], np.float32)
    assert bench.decoder(rules, 2).decode(bench.image(0.6, 0.99), thresholds).indices.tolist() == [
        0,
        1,
    ]
    assert bench.decoder(rules, 2).decode(bench.image(0.4, 0.99), thresholds).indices.tolist() == []


def test_guards(bench: Any) -> None:
    hair = Rules(exclusives=(exclusive("t0", "t1", when=("t2",), unless=("t3",)),))
    assert bench.decode(hair, 0.9, 0.8, 0.1, 0.1) == [0, 1]
    assert bench.decode(hair, 0.9, 0.8, 0.7, 0.1) == [0, 1]  # giving up the condition is cheapest
    assert bench.decode(hair, 0.9, 0.8, 0.99, 0.1) == [0, 2]
    assert bench.decode(hair, 0.9, 0.8, 0.99, 0.6) == [0, 1, 2, 3]
    # A guard below its threshold is never tagged as a way out.
    assert bench.decode(hair, 0.99, 0.98, 0.999, 0.499) == [0, 2]


def test_at_least_one_falls_back_on_the_likeliest(bench: Any) -> None:
    rating = Rules(exclusives=(exclusive("t0", "t1", "t2", at_least_one=True),))
    assert bench.decode(rating, 0.1, 0.4, 0.2) == [1]
    assert bench.decode(rating, 0.1, 0.6, 0.7) == [2]
    assert bench.decode(rating, math.nan, math.nan, math.nan) == []
    assert bench.decode(rating, 0.2, 0.2, 0.1) == [0]


def test_at_least_one_asks_for_nothing_that_nobody_scored(bench: Any) -> None:
    soft = exclusive("t0", "t1", at_least_one=True, when=("t2",), penalty=9.0)
    for rule in (soft, exclusive("t0", "t1", at_least_one=True, when=("t2",))):
        rules = Rules(exclusives=(rule,))
        assert bench.decode(rules, math.nan, math.nan, 0.9) == [2]
        assert bench.decode(rules, math.nan, 0.2, 0.9) == [1, 2]


def test_penalties_are_weighed(bench: Any) -> None:
    weak = Rules(exclusives=(exclusive("t0", "t1", penalty=0.5),))
    strong = Rules(exclusives=(exclusive("t0", "t1", penalty=3.0),))
    assert bench.decode(weak, 0.9, 0.8) == [0, 1]
    assert bench.decode(strong, 0.9, 0.8) == [0]


def test_utility_weighs_probabilities_instead_of_log_odds(bench: Any) -> None:
    rules = Rules(implications=(implies("t0", "t1"),))
    assert bench.decode(rules, 0.999, 0.01, threshold=0.6) == [0, 1]
    assert bench.decode(rules, 0.999, 0.1, threshold=0.6, objective="utility") == []
    assert bench.decode(rules, 0.999, 0.3, threshold=0.6, objective="utility") == [0, 1]


def test_unlisted_pairs_count_by_their_base(bench: Any) -> None:
    rules = Rules(implications=(implies("t0", "t1"),))
    base = np.array([0.0, 0.45, 0.6], np.float32)
    proba = bench.pair_proba(np.array([[0.9, 0.45, 0.6], [0.0, 0.45, 0.3]], np.float32), base)
    assert len(proba.pairs) == 2
    kept = bench.decoder(rules, 3).decode(proba, np.full(3, 0.5, np.float32))
    assert kept.toarray().tolist() == [[True, True, True], [False, False, False]]


@given(st.integers(0, 10**6))
@hypothesis_settings(deadline=None, max_examples=30)
def test_each_image_is_decided_alone_and_legally(bench: Any, seed: int) -> None:
    rules, dense, threshold = bench.drawn_images(seed, 9, 10)
    together = bench.decoder(rules, 10).decode(bench.pair_proba(dense), threshold).toarray()
    order = np.random.default_rng(seed).permutation(9)
    shuffled = bench.decoder(rules, 10).decode(bench.pair_proba(dense[order]), threshold).toarray()
    assert (shuffled == together[order]).all()
    for i in range(9):
        alone = (
            bench.decoder(rules, 10).decode(bench.pair_proba(dense[i : i + 1]), threshold).toarray()
        )
        assert (alone[0] == together[i]).all()
        kept = np.flatnonzero(together[i]).tolist()
        assert bench.oracle(rules, dense[i], threshold).value(kept) > -math.inf


def test_results_do_not_depend_on_chunks(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    rules, dense, threshold = bench.drawn_images(3, 50, 12)
    whole = bench.decoder(rules, 12).decode(bench.pair_proba(dense), threshold).toarray()
    monkeypatch.setattr("tagstack.ensemble.contradictions.decoder._CHUNK", 7)
    parts = bench.decoder(rules, 12).decode(bench.pair_proba(dense), threshold).toarray()
    assert whole.any()
    assert (whole == parts).all()


def test_bad_input_is_refused(bench: Any) -> None:
    one = bench.decoder(Rules.none(), 3)
    with pytest.raises(TagstackError, match="about 3 tags, but proba has 2"):
        one.decode(bench.image(0.1, 0.2), np.full(3, 0.5, np.float32))
    with pytest.raises(TagstackError, match=r"thresholds have shape \(2,\)"):
        one.decode(bench.image(0.1, 0.2, 0.3), np.full(2, 0.5, np.float32))
    with pytest.raises(TagstackError, match="1 thresholds are NaN"):
        one.decode(bench.image(0.1, 0.2, 0.3), np.array([0.5, np.nan, 0.5], np.float32))


def test_no_images_give_no_tags(bench: Any) -> None:
    empty = bench.pair_proba(np.zeros((0, 3), np.float32))
    rules = Rules(exclusives=(exclusive("t0", "t1", at_least_one=True),))
    assert bench.decoder(rules, 3).decode(empty, np.full(3, 0.5, np.float32)).shape == (0, 3)


def test_implied_tags_are_styled_for_export() -> None:
    rules = Rules(implications=(implies("t0", "t1"), implies("t1", "t2")))
    bound = rules.bind(Vocabulary(("t0", "t1", "t2", "t3"), ("",) * 4))
    decided = sparse.csr_array(np.array([[1, 1, 1, 1], [1, 0, 0, 0], [0, 0, 1, 1]], bool))
    styled = {
        style: implied_tags(decided, bound, style).toarray().astype(int).tolist()
        for style in ("keep", "add", "drop")
    }
    assert styled["keep"] == [[1, 1, 1, 1], [1, 0, 0, 0], [0, 0, 1, 1]]
    assert styled["add"] == [[1, 1, 1, 1], [1, 1, 1, 0], [0, 0, 1, 1]]
    assert styled["drop"] == [[1, 0, 0, 1], [1, 0, 0, 0], [0, 0, 1, 1]]


@given(st.integers(0, 10**6))
@hypothesis_settings(deadline=None, max_examples=60)
def test_export_styles_differ_by_what_is_implied_alone(drawing: Any, seed: int) -> None:
    rules, dense, _ = drawing.drawn_images(seed, 8, 10)
    bound = rules.bind(Vocabulary(tuple(f"t{i}" for i in range(10)), ("",) * 10))
    decided = sparse.csr_array(np.nan_to_num(dense) > 0.5)
    keep, add, drop = (
        implied_tags(decided, bound, style).toarray() for style in ("keep", "add", "drop")
    )
    above = bound.ancestors.toarray().astype(int)
    assert (keep == decided.toarray()).all()
    assert (add == (keep | (keep @ above > 0))).all()
    assert (drop == (keep & ~(keep @ above > 0))).all()
    again = implied_tags(sparse.csr_array(drop), bound, "add").toarray()
    assert (again == add).all()  # dropping loses nothing that cannot be had back
