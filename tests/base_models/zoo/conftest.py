"""Scenes and pictures that several tests look at, drawn once."""

import pytest

from tagstack.base_models.zoo.gallery import Picture, draw_pictures
from tagstack.base_models.zoo.scene import Scene, sample_scene


@pytest.fixture(scope="package")
def scenes() -> list[Scene]:
    return [sample_scene(5, index) for index in range(4000)]


@pytest.fixture(scope="package")
def pictures() -> list[Picture]:
    return list(draw_pictures(n_images=60, seed=5))
