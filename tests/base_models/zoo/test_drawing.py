from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tagstack.base_models.zoo.drawing import draw_scene, paint_scene
from tagstack.base_models.zoo.gallery import Picture
from tagstack.base_models.zoo.scene import Doll, Scene, sample_scene


def pixels(scene: Scene) -> NDArray[np.float32]:
    """The fresh picture: grain would hide what a test compares."""
    return np.asarray(paint_scene(scene, np.random.default_rng(0)), np.float32)


@pytest.fixture
def portrait() -> Scene:
    """A single doll in colour on white paper, looking out of the picture."""
    scene = next(
        scene
        for scene in (sample_scene(5, index) for index in range(500))
        if len(scene.dolls) == 1 and scene.dolls[0].look.girl
    )
    doll = replace(scene.dolls[0], framing="upper_body", eyes="open", headwear="none", held="none")
    plain = replace(scene, medium="colour", place="simple", backdrop="white", speech_bubble=False)
    return replace(plain, dolls=(doll,))


def with_doll(scene: Scene, doll: Doll) -> Scene:
    return replace(scene, dolls=(doll,))


def test_drawing_is_a_pure_function_of_the_scene() -> None:
    forwards = [draw_scene(sample_scene(1, index)).tobytes() for index in range(12)]
    backwards = [draw_scene(sample_scene(1, index)).tobytes() for index in reversed(range(12))]
    assert forwards == backwards[::-1]


def test_pictures_have_the_size_of_their_scene_in_rgb(pictures: list[Picture]) -> None:
    for picture in pictures:
        assert picture.image.mode == "RGB"
        assert picture.image.size == sample_scene(5, picture.index).size
    assert len({picture.image.size for picture in pictures}) >= 3


@pytest.mark.parametrize("medium", ["greyscale", "sketch"])
def test_greyscale_pictures_are_grey(portrait: Scene, medium: str) -> None:
    drawn = pixels(replace(portrait, medium=medium))
    assert np.ptp(drawn, axis=2).max() == 0
    assert np.ptp(pixels(portrait), axis=2).max() > 60


def test_only_the_eyes_of_a_spot_colour_picture_are_coloured(portrait: Scene) -> None:
    seen = replace(portrait.dolls[0], look=replace(portrait.dolls[0].look, eyewear="none"))
    spot, grey = (
        pixels(replace(with_doll(portrait, seen), medium=medium))
        for medium in ("spot", "greyscale")
    )
    changed = np.abs(spot - grey).max(2) > 40
    assert 5 < changed.sum() < 0.1 * changed.size


@pytest.mark.parametrize(
    "change",
    [
        {"hair": "green"},
        {"hair_length": "very_long"},
        {"hairstyle": "twintails"},
        {"ears": "rabbit"},
        {"horns": True},
        {"halo": True},
        {"eyewear": "glasses"},
        {"outfit": "kimono"},
        {"scarf": True},
        {"cape": True},
        {"wings": "angel"},
        {"fringe": "blunt"},
        {"ornament": "flower"},
        {"ahoge": True},
    ],
    ids=str,
)
def test_what_is_tagged_can_be_seen(portrait: Scene, change: dict[str, Any]) -> None:
    bare = replace(
        portrait.dolls[0].look,
        hair="black", hair_length="short", hairstyle="loose", ears="none", horns=False, halo=False,
        eyewear="none", outfit="shirt", scarf=False, cape=False, wings="none", fringe="plain",
        ornament="none", ahoge=False, second_hair="", striped=False, necktie=False,
    )  # fmt: skip
    before, after = (
        pixels(with_doll(portrait, replace(portrait.dolls[0], look=look)))
        for look in (bare, replace(bare, **change))
    )
    assert (np.abs(before - after).max(2) > 60).sum() >= 12


def test_pictures_are_worn_in_different_ways(pictures: list[Picture]) -> None:
    """Some are blurred, some grainy, so the finest detail varies far more than the drawings do."""
    arrays = [np.asarray(picture.image, np.float32) for picture in pictures]
    detail = [np.abs(np.diff(array, axis=1)).mean() for array in arrays]
    assert max(detail) > 4 * min(detail)
