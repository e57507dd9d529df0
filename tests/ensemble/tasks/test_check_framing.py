"""Faults that give almost right scores are found by labelled pictures; right contracts stand."""

import shutil
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tagstack.base_models.taggers.registry import resolve
from tagstack.base_models.taggers.tagger import Tagger, load_tagger
from tagstack.base_models.zoo.gallery import Picture, draw_picture
from tagstack.configs.errors import TagstackError
from tagstack.configs.settings import load_settings
from tagstack.ensemble.tasks.check_framing import (
    _as,
    agreement,
    better_ways,
    check_framing,
    ways,
)

N = 24


@cache
def tagger(name: str) -> Tagger:
    return load_tagger(resolve(name), floor=1e-4, threads=1, smoke=False)


@cache
def gallery(seed: int) -> tuple[Picture, ...]:
    return tuple(draw_picture(seed, i) for i in range(N))


def drawn(seed: int) -> Iterator[Image.Image]:
    return (picture.image for picture in gallery(seed))


def truth(name: str, seed: int) -> NDArray[np.bool_]:
    tags = tagger(name).vocabulary.tags
    return np.array([[tag in picture.clean for tag in tags] for picture in gallery(seed)])


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("doll_vit", {"colour": "BGR"}),
        ("doll_vit", {"range": "0-255", "mean": None, "std": None}),
        ("doll_resnet", {"colour": "other"}),
    ],
)
def test_a_wrong_input_is_named_with_the_line_that_mends_it(
    name: str, wrong: Mapping[str, Any]
) -> None:
    right = tagger(name).contract.input
    swapped = {"colour": "BGR" if right.colour == "RGB" else "RGB"}
    facts = {key: swapped[key] if value == "other" else value for key, value in wrong.items()}
    found = better_ways(_as(tagger(name), facts), lambda: drawn(5), truth(name, 5))
    key = next(iter(facts))
    mended = {fact: value for item in found for fact, value in item.facts.items()}
    assert key in mended, found
    assert found[0].low > 0


@pytest.mark.parametrize("name", ["doll_vit", "doll_resnet", "doll_convnext"])
def test_a_right_contract_is_not_accused(name: str) -> None:
    assert better_ways(tagger(name), lambda: drawn(5), truth(name, 5)) == ()


def test_labels_that_say_nothing_accuse_nobody(rng: np.random.Generator) -> None:
    noise = rng.random((N, len(tagger("doll_vit").vocabulary))) < 0.1
    noise[:, 0] = True
    assert better_ways(tagger("doll_vit"), lambda: drawn(5), noise) == ()


def test_agreement_is_the_average_precision_of_a_pictures_labels() -> None:
    scores = np.array([3, 1, 2, 0], np.float32)
    assert agreement(scores, np.array([True, False, True, False])) == 1
    assert agreement(scores, np.array([False, True, False, True])) == pytest.approx(5 / 12)
    assert agreement(np.zeros(4, np.float32), np.array([True, False, False, False])) == 0.25
    assert agreement(scores * np.nan, np.array([True, False, False, False])) == 0


def test_no_way_says_what_the_contract_says() -> None:
    for name in ("doll_vit", "doll_resnet", "doll_convnext"):
        source = tagger(name).contract.input
        for facts in ways(source):
            assert any(getattr(source, key) != value for key, value in facts.items())
            type(source).model_validate({**source.model_dump(), **facts})  # a contract could say it


def test_from_files_to_the_line_to_change(tmp_path: Path) -> None:
    settings = load_settings().score
    rows = ["image,tags"]
    for i, picture in enumerate(gallery(5)):
        picture.image.save(tmp_path / f"{i}.png")
        rows.append(f"{i}.png,{' '.join(sorted(picture.clean))}")
    labels = tmp_path / "labels.csv"
    labels.write_text("\n".join(rows))
    folder = tmp_path / "tagger"
    shutil.copytree(resolve("doll_vit"), folder)
    seen: list[tuple[int, int]] = []
    tell = lambda done, total: seen.append((done, total))  # noqa: E731
    assert check_framing(folder, tmp_path, labels, settings, tell).passed
    assert seen[-1] == (N, N)
    toml = folder / "tagger.toml"
    toml.write_text(wrong := toml.read_text().replace('"RGB"', '"BGR"'))
    said = check_framing(folder, tmp_path, labels, settings, tell)
    assert not said.passed
    assert 'in [input]: colour = "RGB" (average precision' in said.detail
    assert toml.read_text() == wrong
    labels.write_text("\n".join(rows[:5]))
    with pytest.raises(TagstackError, match=r"4 labelled pictures .* at least 20 with 100"):
        check_framing(folder, tmp_path, labels, settings, tell)
