import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import sparse
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.special import logit

from tagstack.base_models.pairs import PairProba, Pairs
from tagstack.base_models.vocabulary import Vocabulary
from tagstack.configs.decisions import DecoderSettings
from tagstack.configs.errors import TagstackError
from tagstack.configs.settings import load_settings
from tagstack.ensemble.contradictions.decoder import Decoder, implied_tags
from tagstack.ensemble.contradictions.explanations import Change
from tagstack.ensemble.contradictions.milp import solve_milp
from tagstack.ensemble.contradictions.search import (
    UNMET,
    Component,
    Limit,
    branch_and_bound,
    greedy,
)
from tagstack.ensemble.rules.rule_set import Exclusive, Implication, Rules

Floats = NDArray[np.float32]


def settings(**changes: object) -> DecoderSettings:
    return load_settings().decoder.model_copy(update=changes)


def vocabulary(n_tags: int) -> Vocabulary:
    return Vocabulary(tuple(f"t{i}" for i in range(n_tags)), ("general",) * n_tags)


def pair_proba(dense: Floats, base: Floats | None = None) -> PairProba:
    """Return dense probabilities as pairs; a pair equal to its base is not listed."""
    base = np.zeros(dense.shape[1], np.float32) if base is None else base
    listed = dense != base
    indptr = np.concatenate([[0], np.cumsum(listed.sum(1))]).astype(np.int64)
    pairs = Pairs(indptr=indptr, tag=np.nonzero(listed)[1].astype(np.int32), n_tags=len(base))
    return PairProba(pairs=pairs, proba=dense[listed], base=base)


def random_rules(rng: np.random.Generator, n_tags: int) -> Rules:
    """Return rules with implications along the tag order, guards, penalties and exact groups."""
    names = [f"t{i}" for i in range(n_tags)]
    edges = [(c, p) for c in range(n_tags) for p in range(c) if rng.random() < 0.12]
    while True:
        exclusives = []
        for i in range(rng.integers(1, 6)):
            size = rng.integers(2, min(5, n_tags) + 1)
            order = rng.permutation(n_tags)
            tags, rest = order[:size], order[size:]
            n_when, n_unless = rng.integers(0, 3, size=2)
            guarded = rng.random() < 0.5
            exclusives.append(
                Exclusive(
                    id=f"x{i}",
                    tags=tuple(names[j] for j in tags),
                    source="test",
                    at_least_one=bool(rng.random() < 0.3),
                    when=tuple(names[j] for j in rest[:n_when]) if guarded else (),
                    unless=tuple(names[j] for j in rest[n_when : n_when + n_unless])
                    if guarded
                    else (),
                    penalty=float(rng.uniform(0.2, 4)) if rng.random() < 0.3 else math.inf,
                )
            )
        implications = tuple(
            Implication(id=f"i{c}.{p}", tags=(names[c],), implies=(names[p],), source="test")
            for c, p in edges
        )
        rules = Rules(implications=implications, exclusives=tuple(exclusives))
        try:
            rules.bind(vocabulary(n_tags))
        except TagstackError:
            edges = edges[:-1]
            continue
        return rules


def weights(proba: Floats, threshold: Floats) -> NDArray[np.float64]:
    """Return the gain of each tag of one image, written down independently of the decoder."""
    known = np.isfinite(proba) & np.isfinite(threshold)
    with np.errstate(invalid="ignore", divide="ignore"):
        inside = [np.clip(x.astype(float), 1e-9, 1 - 1e-9) for x in (proba, threshold)]
        return np.where(known, logit(inside[0]) - logit(inside[1]), 0.0)


def objective(rules: Rules, kept: Sequence[int], gain: NDArray[np.float64]) -> float:
    """Return the value of a tag set by the plain reading of the rules; -inf if it is illegal."""
    names = {f"t{i}" for i in kept}
    for rule in rules.implications:
        if any(child in names and parent not in names for child, parent in rule.edges):
            return -math.inf
    value = float(gain[list(kept)].sum())
    for exclusive in rules.exclusives:
        if not set(exclusive.when) <= names or names & set(exclusive.unless):
            continue
        held = len(names & set(exclusive.tags))
        if held > 1:
            value -= exclusive.penalty * (held - 1)
        if held == 0 and exclusive.at_least_one:
            value -= min(exclusive.penalty, UNMET)
    return value


def _best_with(rules: Rules, proba: Floats, threshold: Floats, tag: int, kept: bool) -> float:
    return best_by_milp(rules, proba, threshold, forced={tag: kept})


def best_by_milp(
    rules: Rules, proba: Floats, threshold: Floats, forced: dict[int, bool] | None = None
) -> float:
    """Return the best objective over whole tag sets of one image, without any reduction."""
    n_tags = len(proba)
    gain, index = weights(proba, threshold), {f"t{i}": i for i in range(n_tags)}
    fill = {index[tag] for rule in rules.exclusives if rule.at_least_one for tag in rule.tags}
    usable = np.isfinite(proba) & np.isfinite(threshold)
    choice = (proba >= threshold) | [i in fill and bool(usable[i]) for i in range(n_tags)]
    rows: list[dict[int, float]] = []
    upper: list[float] = []
    cost = list(-gain)
    below = {i: set() for i in range(n_tags)}  # type: dict[int, set[int]]
    for rule in rules.implications:
        for child, parent in rule.edges:
            rows.append({index[child]: 1, index[parent]: -1})
            upper.append(0)
            below[index[parent]].add(index[child])
    for tag in range(n_tags):
        if not choice[tag]:
            rows.append({tag: 1} | dict.fromkeys(below[tag], -1.0))
            upper.append(0)
    for exclusive in rules.exclusives:
        guards = {index[t]: 100.0 for t in exclusive.when}
        guards |= {index[t]: -100.0 for t in exclusive.unless}
        slack = 100.0 * len(exclusive.when)
        members = [index[t] for t in exclusive.tags]
        row = dict.fromkeys(members, 1.0) | guards
        if not exclusive.hard:
            row[len(cost)] = -1.0
            cost.append(exclusive.penalty)
        rows.append(row)
        upper.append(1 + slack)
        if exclusive.at_least_one:
            rows.append(dict.fromkeys(members, -1.0) | guards | {len(cost): -1.0})
            upper.append(-1 + slack)
            cost.append(min(exclusive.penalty, UNMET))
    matrix = np.zeros((len(rows), len(cost)))
    for i, row in enumerate(rows):
        matrix[i, list(row)] = list(row.values())
    binary = np.arange(len(cost)) < n_tags
    lower, higher = np.zeros(len(cost)), np.where(binary, 1, np.inf)
    for tag, kept in (forced or {}).items():
        lower[tag] = higher[tag] = float(kept)
    result = milp(
        cost,
        integrality=binary.astype(int),
        bounds=Bounds(lower, higher),
        constraints=LinearConstraint(matrix, -np.inf, upper) if rows else (),
        options={"mip_rel_gap": 0.0},
    )
    assert result.status == 0
    return float(-result.fun)


def random_image(rng: np.random.Generator, n_tags: int) -> tuple[Floats, Floats]:
    proba = rng.beta(0.7, 0.9, n_tags).astype(np.float32)
    threshold = rng.uniform(0.1, 0.7, n_tags).astype(np.float32)
    proba[rng.random(n_tags) < 0.08] = np.nan
    threshold[rng.random(n_tags) < 0.05] = np.inf
    return proba, threshold


def image(*probas: float) -> PairProba:
    return pair_proba(np.array([probas], np.float32))


def decoder(rules: Rules, n_tags: int, **changes: object) -> Decoder:
    return Decoder(rules.bind(vocabulary(n_tags)), settings(**changes))


def implies(child: str, *parents: str) -> Implication:
    return Implication(id=f"{child}.{parents[0]}", tags=(child,), implies=parents, source="me")


def exclusive(*tags: str, **changes: Any) -> Exclusive:
    return Exclusive(id="x." + ".".join(tags), tags=tags, source="me", **changes)


def decode(rules: Rules, *probas: float, threshold: float = 0.5, **changes: object) -> list[int]:
    thresholds = np.full(len(probas), threshold, np.float32)
    kept = decoder(rules, len(probas), **changes).decode(image(*probas), thresholds)
    return list(kept.indices.tolist())


@pytest.mark.parametrize("seed", range(4))
def test_objective_equals_an_independent_milp_over_whole_images(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(150):
        n_tags = int(rng.integers(2, 13))
        rules = random_rules(rng, n_tags)
        proba, threshold = random_image(rng, n_tags)
        kept = decoder(rules, n_tags).decode(pair_proba(proba[None]), threshold).indices
        found = objective(rules, kept, weights(proba, threshold))
        assert found == pytest.approx(best_by_milp(rules, proba, threshold), abs=1e-4)


def random_component(rng: np.random.Generator, n_tags: int) -> Component:
    above = [1 << i for i in range(n_tags)]
    for child in range(n_tags):
        for parent in range(child):
            if rng.random() < 0.15:
                above[child] |= above[parent]
    limits = tuple(
        Limit(
            members=int(rng.integers(1, 1 << n_tags)),
            when=int(rng.integers(1, 1 << n_tags)) if rng.random() < 0.3 else 0,
            unless=1 << int(rng.integers(n_tags)) if rng.random() < 0.3 else 0,
            penalty=float(rng.integers(1, 9)) / 2 if rng.random() < 0.4 else math.inf,
            least=bool(rng.random() < 0.3),
        )
        for _ in range(rng.integers(0, 4))
    )
    choices = int(rng.integers(1, 1 << n_tags))
    drawn = (rng.integers(-12, 20, n_tags) / 4).tolist()
    return Component(
        weight=tuple(w if choices >> i & 1 else -abs(w) for i, w in enumerate(drawn)),
        choices=choices,
        above=tuple(above),
        limits=limits,
    )


def best_by_trial(component: Component) -> float:
    """Return the best objective over every set of choices, closed upwards."""
    n_tags, best = len(component), -math.inf
    for chosen in range(1 << n_tags):
        if chosen & ~component.choices:
            continue
        kept = 0
        for tag in range(n_tags):
            if chosen >> tag & 1:
                kept |= component.above[tag]
        best = max(best, component.value(kept))
    return best


def test_search_solver_and_trial_of_all_sets_agree() -> None:
    rng = np.random.default_rng(5)
    for round_ in range(600):
        component = random_component(rng, int(rng.integers(1, 7)))
        best = best_by_trial(component)
        found = branch_and_bound(component, 10**6)
        assert found.exact
        assert found.value == best
        assert component.value(found.kept) == best
        assert greedy(component).value <= best
        if round_ < 200:
            assert solve_milp(component, 10**6).value == pytest.approx(best, abs=1e-6)


def test_components_above_the_limit_go_to_the_solver() -> None:
    rng = np.random.default_rng(6)
    for _ in range(60):
        rules, (proba, threshold) = random_rules(rng, 10), random_image(rng, 10)
        values = []
        for search_tags in (1, 64):
            kept = decoder(rules, 10, search_tags=search_tags).decode(
                pair_proba(proba[None]), threshold
            )
            values.append(objective(rules, kept.indices, weights(proba, threshold)))
        assert values[0] == pytest.approx(values[1], abs=1e-4)


def test_an_exhausted_budget_still_gives_legal_tags_and_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rng = np.random.default_rng(7)
    n_inexact = 0
    for _ in range(60):
        rules, (proba, threshold) = random_rules(rng, 12), random_image(rng, 12)
        hurried = decoder(rules, 12, search_budget=1).solve(pair_proba(proba[None]), threshold)
        best = decoder(rules, 12).decode(pair_proba(proba[None]), threshold)
        gain = weights(proba, threshold)
        value = objective(rules, hurried.tags.indices, gain)
        assert -math.inf < value <= objective(rules, best.indices, gain) + 1e-4
        n_inexact += int(hurried.inexact.sum())
    assert n_inexact > 10
    groups = Rules(exclusives=(exclusive("t0", "t1", unless=("t2",)),))
    assert decode(groups, 0.9, 0.8, 0.6, search_budget=1) is not None
    assert "ran out" not in caplog.text  # the guard is kept anyway: nothing to search
    tied = Rules(exclusives=(exclusive("t0", "t1"), exclusive("t1", "t2")))
    assert decode(tied, 0.6, 0.9, 0.6, search_budget=1) == [1]
    assert "The search budget of 1 ran out on 1 of 1 images" in caplog.text


def test_no_rules_leave_the_thresholds_alone() -> None:
    assert decode(Rules.none(), 0.5, 0.49, 0.9, math.nan) == [0, 2]


def test_a_tag_exactly_at_its_threshold_is_kept_when_legal() -> None:
    assert decode(Rules(implications=(implies("t0", "t1"),)), 0.5, 0.5) == [0, 1]
    assert decode(Rules(exclusives=(exclusive("t0", "t1"),)), 0.5, 0.5) == [0]
    assert decode(Rules(exclusives=(exclusive("t0", "t1"),)), 0.5, 0.6) == [1]


def test_implied_tags_come_along_or_take_their_children_away() -> None:
    rules = Rules(implications=(implies("t0", "t1"),))
    assert decode(rules, 0.9, 0.3) == [0, 1]
    assert decode(rules, 0.6, 0.1) == []


def test_an_unscored_or_forbidden_parent_does_not_cost_its_child() -> None:
    rules = Rules(implications=(implies("t0", "t1"),))
    assert decode(rules, 0.6, math.nan) == [0, 1]
    thresholds = np.array([0.5, np.inf], np.float32)
    assert decoder(rules, 2).decode(image(0.6, 0.99), thresholds).indices.tolist() == [0, 1]
    assert decoder(rules, 2).decode(image(0.4, 0.99), thresholds).indices.tolist() == []


def test_guards() -> None:
    hair = Rules(exclusives=(exclusive("t0", "t1", when=("t2",), unless=("t3",)),))
    assert decode(hair, 0.9, 0.8, 0.1, 0.1) == [0, 1]
    assert decode(hair, 0.9, 0.8, 0.7, 0.1) == [0, 1]  # giving up the condition is cheapest
    assert decode(hair, 0.9, 0.8, 0.99, 0.1) == [0, 2]
    assert decode(hair, 0.9, 0.8, 0.99, 0.6) == [0, 1, 2, 3]
    # A guard below its threshold is never tagged as a way out.
    assert decode(hair, 0.99, 0.98, 0.999, 0.499) == [0, 2]


def test_at_least_one_falls_back_on_the_likeliest() -> None:
    rating = Rules(exclusives=(exclusive("t0", "t1", "t2", at_least_one=True),))
    assert decode(rating, 0.1, 0.4, 0.2) == [1]
    assert decode(rating, 0.1, 0.6, 0.7) == [2]
    assert decode(rating, math.nan, math.nan, math.nan) == []
    assert decode(rating, 0.2, 0.2, 0.1) == [0]


def test_penalties_are_weighed() -> None:
    weak = Rules(exclusives=(exclusive("t0", "t1", penalty=0.5),))
    strong = Rules(exclusives=(exclusive("t0", "t1", penalty=3.0),))
    assert decode(weak, 0.9, 0.8) == [0, 1]
    assert decode(strong, 0.9, 0.8) == [0]


def test_utility_weighs_probabilities_instead_of_log_odds() -> None:
    rules = Rules(implications=(implies("t0", "t1"),))
    assert decode(rules, 0.999, 0.01, threshold=0.6) == [0, 1]
    assert decode(rules, 0.999, 0.1, threshold=0.6, objective="utility") == []
    assert decode(rules, 0.999, 0.3, threshold=0.6, objective="utility") == [0, 1]


def test_unlisted_pairs_count_by_their_base() -> None:
    rules = Rules(implications=(implies("t0", "t1"),))
    base = np.array([0.0, 0.45, 0.6], np.float32)
    proba = pair_proba(np.array([[0.9, 0.45, 0.6], [0.0, 0.45, 0.3]], np.float32), base)
    assert len(proba.pairs) == 2
    kept = decoder(rules, 3).decode(proba, np.full(3, 0.5, np.float32))
    assert kept.toarray().tolist() == [[True, True, True], [False, False, False]]


def drawn_images(seed: int, n_images: int, n_tags: int) -> tuple[Rules, Floats, Floats]:
    rng = np.random.default_rng(seed)
    rules = random_rules(rng, n_tags)
    dense = np.stack([random_image(rng, n_tags)[0] for _ in range(n_images)])
    return rules, dense, random_image(rng, n_tags)[1]


@given(st.integers(0, 10**6))
@hypothesis_settings(deadline=None, max_examples=30)
def test_each_image_is_decided_alone_and_legally(seed: int) -> None:
    rules, dense, threshold = drawn_images(seed, 9, 10)
    together = decoder(rules, 10).decode(pair_proba(dense), threshold).toarray()
    order = np.random.default_rng(seed).permutation(9)
    shuffled = decoder(rules, 10).decode(pair_proba(dense[order]), threshold).toarray()
    assert (shuffled == together[order]).all()
    for i in range(9):
        alone = decoder(rules, 10).decode(pair_proba(dense[i : i + 1]), threshold).toarray()
        assert (alone[0] == together[i]).all()
        kept = np.flatnonzero(together[i]).tolist()
        assert objective(rules, kept, weights(dense[i], threshold)) > -math.inf


def test_results_do_not_depend_on_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    rules, dense, threshold = drawn_images(3, 50, 12)
    whole = decoder(rules, 12).decode(pair_proba(dense), threshold).toarray()
    monkeypatch.setattr("tagstack.ensemble.contradictions.decoder._CHUNK", 7)
    parts = decoder(rules, 12).decode(pair_proba(dense), threshold).toarray()
    assert whole.any()
    assert (whole == parts).all()


def test_bad_input_is_refused() -> None:
    one = decoder(Rules.none(), 3)
    with pytest.raises(TagstackError, match="about 3 tags, but proba has 2"):
        one.decode(image(0.1, 0.2), np.full(3, 0.5, np.float32))
    with pytest.raises(TagstackError, match=r"thresholds have shape \(2,\)"):
        one.decode(image(0.1, 0.2, 0.3), np.full(2, 0.5, np.float32))
    with pytest.raises(TagstackError, match="1 thresholds are NaN"):
        one.decode(image(0.1, 0.2, 0.3), np.array([0.5, np.nan, 0.5], np.float32))


def test_no_images_give_no_tags() -> None:
    empty = pair_proba(np.zeros((0, 3), np.float32))
    rules = Rules(exclusives=(exclusive("t0", "t1", at_least_one=True),))
    assert decoder(rules, 3).decode(empty, np.full(3, 0.5, np.float32)).shape == (0, 3)


def test_implied_tags_are_styled_for_export() -> None:
    rules = Rules(implications=(implies("t0", "t1"), implies("t1", "t2")))
    bound = rules.bind(vocabulary(4))
    decided = sparse.csr_array(np.array([[1, 1, 1, 1], [1, 0, 0, 0], [0, 0, 1, 1]], bool))
    styled = {
        style: implied_tags(decided, bound, style).toarray().astype(int).tolist()
        for style in ("keep", "add", "drop")
    }
    assert styled["keep"] == [[1, 1, 1, 1], [1, 0, 0, 0], [0, 0, 1, 1]]
    assert styled["add"] == [[1, 1, 1, 1], [1, 1, 1, 0], [0, 0, 1, 1]]
    assert styled["drop"] == [[1, 0, 0, 1], [1, 0, 0, 0], [0, 0, 1, 1]]


def explained(rules: Rules, *probas: float) -> dict[str, Change]:
    thresholds = np.full(len(probas), 0.5, np.float32)
    changes = decoder(rules, len(probas)).explain(image(*probas), thresholds)
    return {change.tag: change for change in changes}


def culprits(change: Change) -> dict[str, float]:
    return dict(change.because)


def test_a_removed_tag_names_its_rival_and_the_margin() -> None:
    change = explained(Rules(exclusives=(exclusive("t0", "t1"),)), 0.9, 0.6)["t1"]
    assert (change.action, change.rule, change.source) == ("removed", "x.t0.t1", "me")
    assert culprits(change) == {"t0": pytest.approx(0.9)}
    assert change.margin == pytest.approx(logit(0.9) - logit(0.6), abs=1e-5)
    assert str(change).startswith("removed t1 (0.60): against t0 (0.90), rule x.t0.t1; the opp")


def test_all_culprits_are_named() -> None:
    rules = Rules(exclusives=(exclusive("t0", "t2"), exclusive("t1", "t2")))
    change = explained(rules, 0.8, 0.9, 0.6)["t2"]
    assert [tag for tag, _ in change.because] == ["t1", "t0"]
    expected = logit(0.8) + logit(0.9) - logit(0.6)
    assert change.margin == pytest.approx(expected, abs=1e-5)


def test_an_added_tag_names_who_implies_it() -> None:
    rules = Rules(implications=(implies("t0", "t1"), implies("t1", "t2")))
    changes = explained(rules, 0.9, 0.4, 0.45)
    assert {tag: change.action for tag, change in changes.items()} == {
        "t1": "added",
        "t2": "added",
    }
    assert culprits(changes["t1"]) == {"t0": pytest.approx(0.9)}
    assert changes["t2"].rule == "t1.t2"
    total = logit(0.9) + logit(0.4) + logit(0.45)
    assert changes["t1"].margin == pytest.approx(total, abs=1e-5)


def test_a_tag_whose_parent_is_too_improbable_says_so() -> None:
    change = explained(Rules(implications=(implies("t0", "t1"),)), 0.6, 0.1)["t0"]
    assert (change.action, change.rule) == ("removed", "t0.t1")
    assert culprits(change) == {"t1": pytest.approx(0.1)}
    assert change.margin == pytest.approx(-logit(0.6) - logit(0.1), abs=1e-5)


def test_an_unscored_parent_is_explained_too() -> None:
    change = explained(Rules(implications=(implies("t0", "t1"),)), 0.6, math.nan)["t1"]
    assert change.action == "added"
    assert math.isnan(change.proba)
    assert change.margin == pytest.approx(logit(0.6), abs=1e-5)


def test_what_at_least_one_adds_is_explained() -> None:
    changes = explained(Rules(exclusives=(exclusive("t0", "t1", at_least_one=True),)), 0.4, 0.3)
    assert changes["t0"].rule == "x.t0.t1"
    assert changes["t0"].margin == pytest.approx(logit(0.4) - logit(0.3), abs=1e-5)


@given(st.integers(0, 10**6))
@hypothesis_settings(deadline=None, max_examples=60)
def test_explanations_cover_exactly_what_changed(seed: int) -> None:
    rules, dense, threshold = drawn_images(seed, 1, 9)
    one, proba = decoder(rules, 9), pair_proba(dense)
    kept = one.decode(proba, threshold).toarray()[0]
    changes = one.explain(proba, threshold)
    passed = np.nan_to_num(dense[0], nan=-1.0) >= threshold
    assert [c.tag for c in changes] == [f"t{i}" for i in np.flatnonzero(kept != passed)]
    best = objective(rules, np.flatnonzero(kept).tolist(), weights(dense[0], threshold))
    for change in changes:
        tag = int(change.tag[1:])
        assert change.action == ("added" if kept[tag] else "removed")
        assert change.rule in rules.ids
        assert change.margin >= 0
        if math.isfinite(change.margin):
            forced = _best_with(rules, dense[0], threshold, tag, not kept[tag])
            assert best - change.margin == pytest.approx(forced, abs=1e-3)


def test_only_one_image_is_explained_at_a_time() -> None:
    two = pair_proba(np.full((2, 2), 0.7, np.float32))
    with pytest.raises(TagstackError, match="one image can be explained at a time, got 2"):
        decoder(Rules.none(), 2).explain(two, np.full(2, 0.5, np.float32))
