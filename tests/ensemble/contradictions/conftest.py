"""Random rules and images, and an oracle: a mixed-integer program over whole images."""

import math
from collections.abc import Collection, Sequence
from importlib.util import find_spec
from itertools import product
from typing import Any, Literal, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.special import logit

from tagstack.base_models.pairs import PairProba, Pairs
from tagstack.base_models.vocabulary import Vocabulary
from tagstack.configs.decisions import DecoderSettings
from tagstack.configs.errors import TagstackError
from tagstack.configs.settings import load_settings
from tagstack.ensemble.contradictions.decoder import Decoder
from tagstack.ensemble.contradictions.search import UNMET
from tagstack.ensemble.rules.rule import Exclusive, Implication
from tagstack.ensemble.rules.rule_set import Rules

Floats = NDArray[np.float32]
EngineName = Literal["python", "numba"]

_SETTINGS = load_settings().decoder


def vocabulary(n_tags: int) -> Vocabulary:
    return Vocabulary(tuple(f"t{i}" for i in range(n_tags)), ("general",) * n_tags)


def pair_proba(dense: Floats, base: Floats | None = None) -> PairProba:
    """Return dense probabilities as pairs; a pair equal to its base is not listed."""
    base = np.zeros(dense.shape[1], np.float32) if base is None else base
    listed = dense != base
    indptr = np.concatenate([[0], np.cumsum(listed.sum(1))]).astype(np.int64)
    pairs = Pairs(indptr=indptr, tag=np.nonzero(listed)[1].astype(np.int32), n_tags=len(base))
    return PairProba(pairs=pairs, proba=dense[listed], base=base)


class Bench:
    """One engine, with everything that a test of it needs."""

    def __init__(self, engine: EngineName) -> None:
        self.engine = engine

    def settings(self, **changes: object) -> DecoderSettings:
        return _SETTINGS.model_copy(update={"engine": self.engine, **changes})

    def decoder(self, rules: Rules, n_tags: int, **changes: object) -> Decoder:
        return Decoder(rules.bind(vocabulary(n_tags)), self.settings(**changes))

    def decode(
        self, rules: Rules, *probas: float, threshold: float = 0.5, **changes: object
    ) -> list[int]:
        thresholds = np.full(len(probas), threshold, np.float32)
        one = self.decoder(rules, len(probas), **changes)
        return list(one.decode(self.image(*probas), thresholds).indices.tolist())

    def image(self, *probas: float) -> PairProba:
        return pair_proba(np.array([probas], np.float32))

    def pair_proba(self, dense: Floats, base: Floats | None = None) -> PairProba:
        return pair_proba(dense, base)

    def random_rules(self, rng: np.random.Generator, n_tags: int) -> Rules:
        """Return rules with implications along the tag order, guards, penalties, exact groups."""
        edges = [(c, p) for c in range(n_tags) for p in range(c) if rng.random() < 0.12]
        exclusives = tuple(_random_exclusive(rng, n_tags, i) for i in range(rng.integers(1, 6)))
        while True:
            implications = tuple(
                Implication(
                    id=f"i{c}.{p}",
                    tags=(f"t{c}",),
                    implies=(f"t{p}",),
                    source="test",
                    penalty=(c + p) / 4 if (c * 7 + p) % 4 == 0 else math.inf,
                )
                for c, p in edges
            )
            rules = Rules(implications=implications, exclusives=exclusives)
            try:
                rules.bind(vocabulary(n_tags))
            except TagstackError:
                edges = edges[:-1]
                continue
            return rules

    def random_image(self, rng: np.random.Generator, n_tags: int) -> tuple[Floats, Floats]:
        proba = rng.beta(0.7, 0.9, n_tags).astype(np.float32)
        threshold = rng.uniform(0.1, 0.7, n_tags).astype(np.float32)
        proba[rng.random(n_tags) < 0.08] = np.nan
        threshold[rng.random(n_tags) < 0.05] = np.inf
        return proba, threshold

    def drawn_images(self, seed: int, n_images: int, n_tags: int) -> tuple[Rules, Floats, Floats]:
        rng = np.random.default_rng(seed)
        rules = self.random_rules(rng, n_tags)
        dense = np.stack([self.random_image(rng, n_tags)[0] for _ in range(n_images)])
        return rules, dense, self.random_image(rng, n_tags)[1]

    def oracle(self, rules: Rules, proba: Floats, threshold: Floats, **changes: Any) -> "Oracle":
        return Oracle(rules, proba, threshold, **changes)


def _random_exclusive(rng: np.random.Generator, n_tags: int, number: int) -> Exclusive:
    size = rng.integers(2, min(5, n_tags) + 1)
    names = [f"t{i}" for i in rng.permutation(n_tags)]
    n_when, n_unless = rng.integers(0, 3, size=2) if rng.random() < 0.5 else (0, 0)
    rest = names[size:]
    return Exclusive(
        id=f"x{number}",
        tags=tuple(names[:size]),
        source="test",
        at_least_one=bool(rng.random() < 0.3),
        when=tuple(rest[:n_when]),
        unless=tuple(rest[n_when : n_when + n_unless]),
        penalty=float(rng.uniform(0.2, 4)) if rng.random() < 0.3 else math.inf,
    )


class OracleLimit(NamedTuple):
    """An exclusion, or a soft implication, over tag numbers."""

    id: str
    tags: tuple[int, ...]
    when: tuple[int, ...]
    unless: tuple[int, ...]
    penalty: float
    least: bool


def _limits(rules: Rules) -> list[OracleLimit]:
    found = [
        OracleLimit(
            rule.id,
            _numbers(rule.tags),
            _numbers(rule.when),
            _numbers(rule.unless),
            rule.penalty,
            rule.at_least_one,
        )
        for rule in rules.exclusives
    ]
    soft = [rule for rule in rules.implications if not rule.hard]
    for rule in soft:
        for child, parent in rule.edges:
            ends = _numbers([parent]), _numbers([child])
            found.append(OracleLimit(rule.id, ends[0], ends[1], (), rule.penalty, True))
    return found


def _numbers(tags: Sequence[str]) -> tuple[int, ...]:
    return tuple(int(tag[1:]) for tag in tags)


class Oracle:
    """One image, written down independently of the decoder: no reduction, no components."""

    def __init__(
        self,
        rules: Rules,
        proba: Floats,
        threshold: Floats,
        *,
        utility: bool = False,
        worth: Floats | None = None,
    ) -> None:
        self.limits, self.n_tags = _limits(rules), len(proba)
        self.edges = [
            (int(child[1:]), int(parent[1:]))
            for rule in rules.implications
            for child, parent in rule.edges
            if rule.hard
        ]
        usable = np.isfinite(proba) & np.isfinite(threshold)
        self.gain = np.where(usable, _gains(proba, threshold, utility, worth), 0.0)
        self.choice = proba >= threshold
        while True:
            possible = self._closed(np.flatnonzero(self.choice).tolist())
            grown = self.choice | (usable & self._asked(possible))
            if (grown == self.choice).all():
                break
            self.choice = grown
        # Where no tag of a group could be kept, nobody scored what it asks for.
        self.asking = {
            rule.id for rule in self.limits if rule.least and not possible.isdisjoint(rule.tags)
        }

    def _closed(self, tags: Collection[int]) -> set[int]:
        closed = set(tags)
        while more := {parent for child, parent in self.edges if child in closed} - closed:
            closed |= more
        return closed

    def _asked(self, possible: set[int]) -> NDArray[np.bool_]:
        """Return the tags of the at-least-one groups that could apply."""
        asked = np.zeros(self.n_tags, bool)
        for rule in self.limits:
            if rule.least and possible.issuperset(rule.when):
                asked[list(rule.tags)] = True
        return asked

    def value(self, kept: Collection[int]) -> float:
        """Return the objective by the plain reading of the rules; -inf for illegal tags."""
        names = set(kept)
        if any(child in kept and parent not in kept for child, parent in self.edges):
            return -math.inf
        value = float(self.gain[list(kept)].sum())
        for rule in self.limits:
            if not set(rule.when) <= names or names & set(rule.unless):
                continue
            held = len(names & set(rule.tags))
            if held > 1:
                value -= rule.penalty * (held - 1)
            if held == 0 and rule.id in self.asking:
                value -= min(rule.penalty, UNMET)
        return value

    def best_by_trial(self) -> float:
        """Return the best objective over every set of choices and what they imply."""
        best = -math.inf
        for taken in product([False, True], repeat=int(self.choice.sum())):
            best = max(best, self.value(self._closed(np.flatnonzero(self.choice)[list(taken)])))
        return best

    def best(self, forced: dict[int, bool] | None = None) -> float:
        """Return the best objective over all tag sets, by a mixed-integer program."""
        rows, cost = self._support(), list(-self.gain)
        for rule in self.limits:
            rows += self._limit(rule, cost)
        return -_minimum(rows, cost, self.n_tags, forced or {})

    def _support(self) -> list[tuple[dict[int, float], float]]:
        rows: list[tuple[dict[int, float], float]] = []
        for child, parent in self.edges:
            rows.append(({child: 1.0, parent: -1.0}, 0.0))
        for tag in np.flatnonzero(~self.choice).tolist():
            children = {child: -1.0 for child, parent in self.edges if parent == tag}
            rows.append(({tag: 1.0} | children, 0.0))
        return rows

    def _limit(self, rule: OracleLimit, cost: list[float]) -> list[tuple[dict[int, float], float]]:
        guards = dict.fromkeys(rule.when, 100.0) | dict.fromkeys(rule.unless, -100.0)
        slack = 100.0 * len(rule.when)
        most = dict.fromkeys(rule.tags, 1.0) | guards
        if math.isfinite(rule.penalty):
            most[len(cost)] = -1.0
            cost.append(rule.penalty)
        rows = [(most, 1 + slack)]
        if rule.id in self.asking:
            least = dict.fromkeys(rule.tags, -1.0) | guards | {len(cost): -1.0}
            cost.append(min(rule.penalty, UNMET))
            rows.append((least, -1 + slack))
        return rows


def _gains(
    proba: Floats, threshold: Floats, utility: bool, worth: Floats | None
) -> NDArray[np.float64]:
    wide = proba.astype(float), threshold.astype(float)
    with np.errstate(invalid="ignore"):
        if worth is not None:
            return np.asarray((wide[0] - wide[1]) * worth)
        if utility:
            return np.asarray(wide[0] - wide[1])
        inside = [np.clip(x, 1e-9, 1 - 1e-9) for x in wide]
        return np.asarray(logit(inside[0]) - logit(inside[1]))


def _minimum(
    rows: Sequence[tuple[dict[int, float], float]],
    cost: Sequence[float],
    n_tags: int,
    forced: dict[int, bool],
) -> float:
    matrix = np.zeros((len(rows), len(cost)))
    for i, (row, _) in enumerate(rows):
        matrix[i, list(row)] = list(row.values())
    binary = np.arange(len(cost)) < n_tags
    lower, upper = np.zeros(len(cost)), np.where(binary, 1, np.inf)
    for tag, kept in forced.items():
        lower[tag] = upper[tag] = float(kept)
    result = milp(
        cost,
        integrality=binary.astype(int),
        bounds=Bounds(lower, upper),
        constraints=LinearConstraint(matrix, -np.inf, [b for _, b in rows]) if rows else (),
        options={"mip_rel_gap": 0.0},
    )
    assert result.status == 0
    return float(result.fun)


_NUMBA = pytest.mark.skipif(find_spec("numba") is None, reason="numba is not installed")


@pytest.fixture(scope="module", params=["python", pytest.param("numba", marks=_NUMBA)])
def bench(request: pytest.FixtureRequest) -> Bench:
    """Return the workbench of one engine; every test that takes it holds for all engines."""
    return Bench(request.param)


@pytest.fixture(scope="session")
def drawing() -> Bench:
    """Return a workbench for what it draws, whatever the engine."""
    return Bench("python")
