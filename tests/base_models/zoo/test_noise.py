from collections import Counter

import numpy as np
import pytest

from tagstack.base_models.zoo.noise import MISSING, noisy_tags
from tagstack.base_models.zoo.scene import Scene
from tagstack.base_models.zoo.scene_tags import scene_tags
from tagstack.base_models.zoo.tags import RATINGS, VOCABULARY, closed


@pytest.fixture(scope="module")
def pairs(scenes: list[Scene]) -> list[tuple[frozenset[str], frozenset[str]]]:
    clean = [scene_tags(scene) for scene in scenes]
    return [(tags, noisy_tags(tags, np.random.default_rng([9, i]))) for i, tags in enumerate(clean)]


def test_tags_are_more_often_missing_than_wrong(
    pairs: list[tuple[frozenset[str], frozenset[str]]],
) -> None:
    total = sum(len(clean) for clean, _ in pairs)
    missing = sum(len(clean - noisy) for clean, noisy in pairs) / total
    wrong = sum(len(noisy - clean) for clean, noisy in pairs) / total
    assert missing == pytest.approx(0.062, abs=0.004)
    assert wrong == pytest.approx(0.003, abs=0.0008)


def test_an_ordinary_tag_goes_missing_at_the_documented_rate(
    pairs: list[tuple[frozenset[str], frozenset[str]]],
) -> None:
    """Over tags that nothing implies, nothing looks like, and no table singles out."""
    ordinary = {"scarf", "hoodie", "horns", "arms_up", "kimono", "glasses", "chibi", "maid"}
    given = Counter[bool]()
    for clean, noisy in pairs:
        given.update(tag in noisy for tag in clean & ordinary)
    assert given.total() > 2000
    assert given[False] / given.total() == pytest.approx(MISSING, abs=0.012)


def test_subtle_tags_go_missing_more_often(
    pairs: list[tuple[frozenset[str], frozenset[str]]],
) -> None:
    def rate(tag: str) -> float:
        with_tag = [noisy for clean, noisy in pairs if tag in clean]
        return sum(tag not in noisy for noisy in with_tag) / len(with_tag)

    assert rate("blush") > 3 * rate("hoodie") > 3 * rate("solo")


def test_noisy_tags_stay_closed_and_keep_their_rating(
    pairs: list[tuple[frozenset[str], frozenset[str]]],
) -> None:
    for clean, noisy in pairs:
        assert closed(noisy) == noisy
        assert noisy <= set(VOCABULARY.tags)
        assert noisy & set(RATINGS) == clean & set(RATINGS)


def test_noise_does_not_depend_on_the_order_of_the_tags() -> None:
    tags = ["solo", "1girl", "smile", "blush", "long_hair", "blue_eyes", "general"]
    runs = {
        noisy_tags(order, np.random.default_rng(seed=4))
        for order in (tags, sorted(tags), tags[::-1])
    }
    assert len(runs) == 1
