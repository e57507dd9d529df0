import math

import numpy as np
import pytest

from tagstack.ensemble.contradictions.milp import solve_milp
from tagstack.ensemble.contradictions.search import Component, Limit, branch_and_bound, greedy


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
