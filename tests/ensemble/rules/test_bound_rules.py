"""All rules counted at once are each rule counted by itself, whatever guards and sizes."""

from itertools import pairwise

import numpy as np
import pytest
from scipy import sparse

from tagstack.base_models.vocabulary import Vocabulary
from tagstack.ensemble.rules.bound_rules import broken_exclusive
from tagstack.ensemble.rules.rule import Exclusive, Implication
from tagstack.ensemble.rules.rule_set import Rules


def random_rules(rng: np.random.Generator, n_tags: int) -> Rules:
    """Return exclusions with guards of every kind, and soft implications."""
    exclusives = []
    for number in range(rng.integers(1, 6)):
        tags = [f"t{i}" for i in rng.permutation(n_tags)]
        size, when, unless = rng.integers(2, n_tags - 2), rng.integers(0, 3), rng.integers(0, 3)
        ends = np.cumsum([0, size, when, unless])
        parts = [tuple(sorted(tags[a:b])) for a, b in pairwise(ends)]
        exclusives.append(
            Exclusive(
                id=f"x{number}", tags=parts[0], when=parts[1], unless=parts[2], source="test",
                at_least_one=bool(rng.random() < 0.5),
            )
        )  # fmt: skip
    soft = Implication(id="soft", tags=("t0",), implies=("t1",), source="test", penalty=2.0)
    return Rules(implications=(soft,), exclusives=tuple(exclusives))


@pytest.mark.parametrize("seed", range(30))
def test_all_at_once_are_each_by_itself(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n_tags, n_images = int(rng.integers(5, 10)), int(rng.integers(0, 40))
    names = Vocabulary(tuple(f"t{i}" for i in range(n_tags)), ("general",) * n_tags)
    bound = random_rules(rng, n_tags).bind(names)
    decided = sparse.csr_array(rng.random((n_images, n_tags)) < rng.random())
    found = bound.violations(decided)
    by_tag = decided.astype(np.int32).tocsc()
    for rule in bound.exclusives:
        column = found.counts.toarray()[:, found.rules.index(rule.id)]
        assert column.tolist() == broken_exclusive(rule, by_tag).astype(int).tolist(), rule
