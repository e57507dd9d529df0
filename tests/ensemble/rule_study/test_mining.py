from typing import Any

import numpy as np
import pytest

from tagstack.configs.settings import load_settings
from tagstack.ensemble.rule_study.mining import CoCounts, Relation, mine_relations

SETTINGS = load_settings().rules


def changed(**changes: Any) -> Any:
    return SETTINGS.model_copy(update={"mining": SETTINGS.mining.model_copy(update=changes)})


def pairs(found: tuple[Relation, ...]) -> set[tuple[int, int]]:
    return {relation.tags for relation in found}


def planted(rng: np.random.Generator, n_images: int = 8000) -> np.ndarray:
    """Return noise with an exclusive group (0, 1, 2), an implication 3 -> 4, and a habit 5 -> 6."""
    tags = rng.random((n_images, 20)) < 0.25
    choice = rng.integers(0, 4, n_images)
    for i in range(3):
        tags[:, i] = choice == i
    tags[:, 4] |= tags[:, 3]
    tags[:, 6] |= tags[:, 5] & (rng.random(n_images) < 0.95)
    return tags


def test_planted_relations_are_found_and_nothing_else(dense_labels: Any) -> None:
    for seed in range(5):
        labelled = dense_labels(planted(np.random.default_rng(seed)))
        exclusions, implications = mine_relations(labelled, SETTINGS)
        assert pairs(exclusions) == {(0, 1), (0, 2), (1, 2)}
        assert pairs(implications) == {(3, 4)}
        for relation in exclusions:
            assert relation.together == 0
            assert relation.bound < SETTINGS.mining.lift
            assert relation.q_value <= SETTINGS.mining.false_discovery_rate


def test_a_few_exceptions_do_not_hide_a_relation_but_many_do(dense_labels: Any) -> None:
    rng = np.random.default_rng(0)
    tags = planted(rng, 20_000)
    tags[:5, 0] = tags[:5, 1] = True
    tags[np.flatnonzero(tags[:, 3])[:5], 4] = False
    exclusions, implications = mine_relations(dense_labels(tags), SETTINGS)
    assert (0, 1) in pairs(exclusions)
    assert (3, 4) in pairs(implications)
    tags[:100, 0] = tags[:100, 1] = True
    tags[np.flatnonzero(tags[:, 3])[:100], 4] = False
    exclusions, implications = mine_relations(dense_labels(tags), SETTINGS)
    assert pairs(exclusions) == {(0, 2), (1, 2)}
    assert pairs(implications) == set()


@pytest.mark.parametrize("method", ["by", "bh"])
def test_independent_tags_give_nothing(dense_labels: Any, method: str) -> None:
    """Whatever their frequencies: what is rare together by chance is not proposed."""
    n_found = 0
    for seed in range(30):
        rng = np.random.default_rng(seed)
        tags = rng.random((3000, 40)) < rng.beta(0.5, 2, 40)
        found = mine_relations(dense_labels(tags), changed(method=method))
        n_found += sum(len(kind) for kind in found)
    assert n_found == 0


def test_false_discoveries_stay_below_the_rate(dense_labels: Any) -> None:
    """Tags at the very bounds: each proposal is false, and few runs may have any."""
    mining = SETTINGS.mining
    n_false = n_found = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        n_images, n_pairs = 4000, 15
        tags = np.zeros((n_images, 4 * n_pairs), bool)
        for pair in range(n_pairs):
            one, other, child, parent = range(4 * pair, 4 * pair + 4)
            tags[:, one] = rng.random(n_images) < 0.5
            # Together at exactly the lift of the bound, and at exactly the bound's precision.
            share = np.where(tags[:, one], mining.lift / 2, 1 - mining.lift / 2)
            tags[:, other] = rng.random(n_images) < share
            tags[:, child] = rng.random(n_images) < 0.3
            share = np.where(tags[:, child], mining.precision, 0.1)
            tags[:, parent] = rng.random(n_images) < share
        labelled = dense_labels(tags)
        expected = {(4 * i, 4 * i + 1) for i in range(n_pairs)}
        exclusions, implications = mine_relations(labelled, changed(method="bh"))
        assert pairs(exclusions) <= expected
        n_found += len(exclusions) + len(implications)
        n_false += bool(implications)
    assert n_false <= 60 * mining.false_discovery_rate + 5
    assert n_found < 60 * 30 * mining.false_discovery_rate


def test_what_holds_within_a_stratum_alone_is_found_there(dense_labels: Any) -> None:
    rng = np.random.default_rng(0)
    tags = rng.random((12_000, 6)) < 0.5
    alone = tags[:, 0]
    tags[alone, 2] &= ~tags[alone, 1]
    labelled = dense_labels(tags, names=["solo"])
    exclusions, _ = mine_relations(labelled, SETTINGS)
    assert [(relation.tags, relation.stratum) for relation in exclusions] == [((1, 2), 0)]
    assert mine_relations(labelled, changed(strata=()))[0] == ()


def test_unknown_pairs_are_left_out_of_their_counts(dense_labels: Any) -> None:
    rng = np.random.default_rng(3)
    tags = rng.random((400, 5)) < 0.4
    dark = rng.random((400, 5)) < 0.2
    counts = CoCounts(dense_labels(tags, dark))
    one, other = (np.array(side) for side in zip((0, 1), (0, 4), (3, 2), strict=True))
    found = counts.pairs(one, other)
    for row, (a, b) in enumerate(zip(one, other, strict=True)):
        known = ~dark[:, a] & ~dark[:, b]
        first, second = tags[known, a], tags[known, b]
        assert found.images[row] == known.sum()
        assert found.together[row] == (first & second).sum()
        assert found.first[row] == first.sum()
        assert found.expected[row] == pytest.approx(first.sum() * second.sum() / known.sum())


def test_what_is_mostly_unknown_is_no_exclusion(dense_labels: Any) -> None:
    """Two tags that are never labelled on the same images are not known to exclude each other."""
    rng = np.random.default_rng(0)
    tags = rng.random((8000, 3)) < 0.5
    half = np.arange(8000) < 4000
    dark = np.zeros(tags.shape, bool)
    dark[half, 0] = dark[~half, 1] = True
    assert mine_relations(dense_labels(tags, dark), SETTINGS)[0] == ()
    assert pairs(mine_relations(dense_labels(tags & ~dark), SETTINGS)[0]) == {(0, 1)}


def test_a_tag_that_is_nearly_everywhere_is_implied_by_nothing(dense_labels: Any) -> None:
    rng = np.random.default_rng(0)
    tags = rng.random((8000, 3)) < np.array([0.3, 0.999, 0.3])
    assert mine_relations(dense_labels(tags), SETTINGS)[1] == ()


def test_labels_without_images_or_tags_give_nothing(dense_labels: Any) -> None:
    for shape in ((0, 4), (5, 4)):
        assert mine_relations(dense_labels(np.zeros(shape, bool)), SETTINGS) == ((), ())
