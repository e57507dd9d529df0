"""A tagger with a mirrored pass: the mean of both logits, exactly, whatever runs it."""

from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tagstack.base_models.parity.first_use import reference_of
from tagstack.base_models.taggers.asked_names import MIRRORED, asked_for
from tagstack.base_models.taggers.mirrored import Mirror
from tagstack.base_models.taggers.registry import load_taggers
from tagstack.configs.errors import TagstackError
from tagstack.configs.level1 import ScoreSettings

Folder = Callable[..., Path]
BACKENDS = ["ort", pytest.param("openvino", marks=pytest.mark.skipif(
    find_spec("openvino") is None, reason="the extra openvino is not installed"))]  # fmt: skip
TAGS = ("hat", "arrow_left", "Right", "copyright", "kw:left", "bright", "left-to-right", "cat")


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("batch", ["dynamic", 1])
def test_logits_are_the_mean_but_for_tags_with_sides(
    make_tagger_folder: Folder,
    tiny: Any,
    settings: ScoreSettings,
    rng: np.random.Generator,
    backend: str,
    batch: str | int,
) -> None:
    spec = replace(tiny, tags=TAGS, kind="logits", batch=batch)
    folder = make_tagger_folder(spec)
    settings = settings.model_copy(update={"backend": backend})
    plain, mirrored = load_taggers([str(folder), f"{folder}{MIRRORED}"], settings, threads=2)
    assert mirrored.name == plain.name + MIRRORED
    assert mirrored.source == plain.source + MIRRORED
    assert mirrored.fingerprint != plain.fingerprint
    assert (plain.n_passes, mirrored.n_passes) == (1, 2)
    assert mirrored.sided_tags == ("arrow_left", "Right", "kw:left", "left-to-right")

    pixels = rng.integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)
    seen, turned = plain.logits(pixels), plain.logits(np.ascontiguousarray(pixels[:, :, ::-1]))
    found = mirrored.logits(pixels)
    sided = np.isin(TAGS, mirrored.sided_tags)
    np.testing.assert_array_equal(found[:, sided], seen[:, sided])
    np.testing.assert_allclose(found[:, ~sided], ((seen + turned) / 2)[:, ~sided], rtol=1e-6)
    assert np.abs(found - seen)[:, ~sided].min() > 0
    one_by_one = np.concatenate([mirrored.logits(pixels[i : i + 1]) for i in range(5)])
    np.testing.assert_array_equal(one_by_one, found)
    again = np.ascontiguousarray(pixels[:, :, ::-1])
    np.testing.assert_array_equal(mirrored.logits(again)[:, ~sided], found[:, ~sided])
    assert mirrored.logits(pixels[:0]).shape == (0, len(TAGS))


def test_a_number_that_is_not_finite_in_either_costs_the_row(
    make_tagger_folder: Folder, tiny: Any, settings: ScoreSettings
) -> None:
    mirror = Mirror.of(("hat", "left"), settings.sided)
    seen = np.array([[1, 2], [1, 2], [np.nan, np.nan]], np.float32)
    turned = np.array([[3, 4], [np.nan, np.nan], [3, 4]], np.float32)
    found = mirror.mean(seen, turned)
    np.testing.assert_array_equal(found[0], [2, 2])
    assert np.isnan(found[1:]).any(axis=1).all()
    assert np.isnan(found[1]).all()


def test_features_are_the_mean_too(settings: ScoreSettings, rng: np.random.Generator) -> None:
    asked = settings.model_copy(update={"features": ("doll_vit+flip",)})
    plain, mirrored = load_taggers(["doll_vit", "doll_vit+flip"], asked, threads=1)
    assert (plain.n_features, mirrored.n_features > 0) == (0, True)
    (featured,) = load_taggers(
        ["doll_vit"], settings.model_copy(update={"features": ("all",)}), threads=1
    )
    shape = (3, plain.framing.height, plain.framing.width, 3)
    pixels = rng.integers(0, 256, shape, dtype=np.uint8)
    turned = np.ascontiguousarray(pixels[:, :, ::-1])
    expected = (featured.raw_features(pixels) + featured.raw_features(turned)) / 2
    np.testing.assert_array_equal(mirrored.outputs(pixels)[1], expected.astype(np.float16))


def test_the_reference_of_a_mirrored_tagger_sees_the_same(
    make_tagger_folder: Folder, settings: ScoreSettings, rng: np.random.Generator
) -> None:
    (mirrored,) = load_taggers([f"{make_tagger_folder()}{MIRRORED}"], settings, threads=1)
    pixels = rng.integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)
    reference = reference_of(mirrored, threads=1)
    np.testing.assert_allclose(reference.logits(pixels), mirrored.logits(pixels), atol=1e-4)


def test_other_words_for_left_and_right_are_another_member(
    make_tagger_folder: Folder, settings: ScoreSettings
) -> None:
    folder = f"{make_tagger_folder(tags=('hat', 'port', 'tag_2', 'tag_3'))}{MIRRORED}"
    changed = settings.model_copy(update={"sided": ("port", "tag_2")})
    (one,), (other,) = (load_taggers([folder], s, threads=1) for s in (settings, changed))
    assert (one.sided_tags, other.sided_tags) == ((), ("port", "tag_2"))
    assert one.fingerprint != other.fingerprint


def test_a_mirrored_tagger_twice_or_unknown_is_refused(
    make_tagger_folder: Folder, settings: ScoreSettings
) -> None:
    folder = f"{make_tagger_folder()}{MIRRORED}"
    with pytest.raises(TagstackError, match=r"are both named 'tiny\+flip'"):
        load_taggers([folder, folder], settings, threads=1)
    with pytest.raises(TagstackError, match=r"Unknown tagger 'wd-vit-taggr-v3'\. Did you mean"):
        load_taggers(["wd-vit-taggr-v3+flip"], settings, threads=1)
    with pytest.raises(TagstackError, match="There is no folder /nowhere/x"):
        load_taggers(["/nowhere/x+flip"], settings, threads=1)


@given(st.text(max_size=12))
def test_a_name_comes_apart_one_way(name: str) -> None:
    assert asked_for(name + MIRRORED) == (name, True)
    assert asked_for(name) == (name.removesuffix(MIRRORED), name.endswith(MIRRORED))
