"""What scenes are tagged with: true of the scene, closed, and never against the shipped rules."""

import tomllib
from collections import Counter
from dataclasses import replace
from importlib import resources
from typing import Any

import pytest

from tagstack.base_models.zoo.scene import Scene, sample_scene
from tagstack.base_models.zoo.scene_tags import scene_tags
from tagstack.base_models.zoo.tags import VOCABULARY, closed


@pytest.fixture(scope="module")
def tagged(scenes: list[Scene]) -> list[frozenset[str]]:
    return [scene_tags(scene) for scene in scenes]


@pytest.fixture(scope="module")
def rules() -> dict[str, list[dict[str, Any]]]:
    file = resources.files("tagstack.configs").joinpath("rules/danbooru.toml")
    return tomllib.loads(file.read_text("utf-8"))


def test_every_tag_of_the_vocabulary_occurs_and_no_other(tagged: list[frozenset[str]]) -> None:
    assert set().union(*tagged) == set(VOCABULARY.tags)


def test_tags_are_closed_under_implications(tagged: list[frozenset[str]]) -> None:
    assert all(closed(tags) == tags for tags in tagged)


def test_frequencies_have_a_long_tail(tagged: list[frozenset[str]]) -> None:
    count = Counter(tag for tags in tagged for tag in tags)
    rare = [tag for tag, n in count.items() if 0.002 < n / len(tagged) < 0.013]
    assert len(rare) >= 6
    assert sum(n / len(tagged) > 0.3 for n in count.values()) >= 10


def test_shipped_implications_hold(
    tagged: list[frozenset[str]], rules: dict[str, list[dict[str, Any]]]
) -> None:
    known = set(VOCABULARY.tags)
    checked = 0
    for rule in rules["implication"]:
        implied = [rule["implies"]] if isinstance(rule["implies"], str) else rule["implies"]
        for child in known & set(rule["tags"]):
            for parent in known & set(implied):
                checked += 1
                assert all(parent in tags for tags in tagged if child in tags), (rule["id"], child)
    assert checked >= 25


def test_shipped_exclusions_hold(
    tagged: list[frozenset[str]], rules: dict[str, list[dict[str, Any]]]
) -> None:
    checked = 0
    for rule in rules["exclusive"]:
        members = set(rule["tags"]) & set(VOCABULARY.tags)
        checked += len(members) >= 2
        for tags in tagged:
            applies = tags.issuperset(rule.get("when", ())) and tags.isdisjoint(
                rule.get("unless", ())
            )
            if applies:
                assert len(tags & members) <= 1, (rule["id"], sorted(tags & members))
                assert not rule.get("at_least_one") or tags & members, rule["id"]
    assert checked >= 8


def test_guards_matter_in_these_pictures(tagged: list[frozenset[str]]) -> None:
    """Without its guard each of these exclusions would be broken: that is what guards are for."""
    hair = {tag for tag in VOCABULARY.tags if tag.endswith("_hair")} - {
        "short_hair", "medium_hair", "long_hair", "very_long_hair", "multicolored_hair",
        "two-tone_hair",
    }  # fmt: skip
    framings = {"full_body", "cowboy_shot", "upper_body", "portrait"}
    eyes = {f"{colour}_eyes" for colour in ("blue", "red", "green", "brown", "purple", "yellow")}
    for guard, members in (
        ("multicolored_hair", hair),
        ("heterochromia", eyes),
        ("multiple_views", framings),
    ):
        guarded = [tags for tags in tagged if {"solo", guard} <= tags]
        assert any(len(tags & members) > 1 for tags in guarded), guard


def test_a_portrait_shows_no_boots_and_a_full_body_does() -> None:
    scene = next(
        scene
        for scene in (sample_scene(5, index) for index in range(500))
        if len(scene.dolls) == 1 and scene.dolls[0].look.boots
    )
    near, far = (
        replace(scene, dolls=(replace(scene.dolls[0], framing=framing),))
        for framing in ("portrait", "full_body")
    )
    assert "boots" not in scene_tags(near)
    assert {"boots", "full_body"} <= scene_tags(far)


@pytest.mark.parametrize("medium", ["greyscale", "tinted", "sketch", "spot"])
def test_monochrome_pictures_have_no_colour_tags(scenes: list[Scene], medium: str) -> None:
    coloured = {
        *(f"{name}_hair" for name in ("black", "brown", "blonde", "blue", "pink", "grey")),
        "blue_sky", "black_dress", "red_dress", "white_shirt", "blue_background",
    }  # fmt: skip
    for scene in scenes[:300]:
        tags = scene_tags(replace(scene, medium=medium))
        assert "monochrome" in tags
        assert not tags & coloured
        assert medium == "spot" or not {tag for tag in tags if tag.endswith("_eyes")} & {
            "blue_eyes", "red_eyes", "green_eyes", "brown_eyes", "purple_eyes", "yellow_eyes",
        }  # fmt: skip
