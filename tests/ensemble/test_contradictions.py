import math
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import sparse
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.special import logit

from tagstack.base_models.pairs import PairProba, Pairs
from tagstack.base_models.vocabulary import Vocabulary
from tagstack.configs.decisions import DecoderSettings
from tagstack.configs.errors import TagstackError
from tagstack.configs.settings import load_settings
from tagstack.ensemble.contradictions import Decoder
from tagstack.ensemble.contradictions_milp import solve_milp
from tagstack.ensemble.contradictions_search import (
    UNMET,
    Component,
    Limit,
    branch_and_bound,
    greedy,
)
from tagstack.ensemble.rules import Exclusive, Implication, Rules

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


def best_by_milp(rules: Rules, proba: Floats, threshold: Floats) -> float:
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
    result = milp(
        cost,
        integrality=binary.astype(int),
        bounds=Bounds(0, np.where(binary, 1, np.inf)),
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


@pytest.mark.parametrize("seed", range(8))
def test_objective_equals_an_independent_milp_over_whole_images(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(250):
        n_tags = int(rng.integers(2, 13))
        rules = random_rules(rng, n_tags)
        proba, threshold = random_image(rng, n_tags)
        decoder = Decoder(rules.bind(vocabulary(n_tags)), settings())
        kept = decoder.decode(pair_proba(proba[None]), threshold).indices
        found = objective(rules, kept, weights(proba, threshold))
        assert found == pytest.approx(best_by_milp(rules, proba, threshold), abs=1e-4)
