from collections import Counter

import numpy as np
import pytest

from tagstack.base_models.zoo.looks import weighted
from tagstack.base_models.zoo.scene import CAST, Scene, sample_scene


def test_same_seed_and_index_give_the_same_scene_in_any_order() -> None:
    forwards = [sample_scene(3, index) for index in range(20)]
    backwards = [sample_scene(3, index) for index in reversed(range(20))]
    assert forwards == backwards[::-1]


def test_seeds_and_indices_give_different_scenes() -> None:
    assert (
        len({sample_scene(seed, index).texture for seed in range(5) for index in range(20)}) == 100
    )


def test_pictures_of_a_series_show_one_character(scenes: list[Scene]) -> None:
    looks: dict[int, set[object]] = {}
    for scene in scenes:
        together = {doll.look for doll in scene.dolls}
        if len(scene.dolls) == 1:
            looks.setdefault(scene.series, set()).update(together)
    assert max(len(found) for found in looks.values()) == 1
    assert len({look for found in looks.values() for look in found}) > 0.95 * len(looks)


def test_series_have_the_sizes_that_are_promised(scenes: list[Scene]) -> None:
    sizes = Counter(Counter(scene.series for scene in scenes).values())
    n_blocks = len(scenes) // len(CAST)
    assert sizes == {4: n_blocks, 2: n_blocks, 1: 2 * n_blocks}


def test_several_views_show_the_same_character_twice(scenes: list[Scene]) -> None:
    several = [scene for scene in scenes if scene.several_views]
    assert several
    for scene in several:
        first, second = scene.dolls
        assert first.look == second.look


def test_weighted_follows_the_weights(rng: np.random.Generator) -> None:
    drawn = Counter(weighted(rng, {"a": 3, "b": 1, "never": 0}) for _ in range(4000))
    assert set(drawn) == {"a", "b"}
    assert drawn["a"] / 4000 == pytest.approx(0.75, abs=0.03)
