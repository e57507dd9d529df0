"""The shipped taggers: files that fit their recipes, scores that hold on fresh pictures."""

import json
from collections.abc import Iterator
from dataclasses import replace
from functools import reduce
from pathlib import Path

import numpy as np
import onnx
import pytest
from quality import (
    fresh_pictures,
    measure,
    shipped_taggers,
)
from recipes import FIRST_RESERVED_SEED, FOLDER, RECIPES, RECORD_FILE, Recipe

from tagstack.base_models.contract import Input
from tagstack.base_models.taggers.tagger import Tagger
from tagstack.base_models.training.thresholds import best_thresholds
from tagstack.base_models.zoo.gallery import Picture
from tagstack.base_models.zoo.tags import VOCABULARY

SEED = 77
# Measured on these 300 pictures, minus what another Pillow or ONNX Runtime might cost.
FLOORS = {"doll_resnet": 0.77, "doll_convnext": 0.735, "doll_vit": 0.69}


@pytest.fixture(scope="module")
def fresh() -> list[Picture]:
    assert SEED < FIRST_RESERVED_SEED
    return fresh_pictures(300, SEED)


@pytest.fixture(scope="module")
def taggers() -> Iterator[dict[str, Tagger]]:
    loaded = {tagger.name: tagger for tagger in shipped_taggers()}
    yield loaded
    for tagger in loaded.values():
        tagger.close()


@pytest.mark.parametrize("name", FLOORS)
def test_macro_average_precision_on_fresh_pictures(
    name: str, taggers: dict[str, Tagger], fresh: list[Picture]
) -> None:
    assert measure(taggers[name], fresh, clean=True).macro_ap >= FLOORS[name]


@pytest.mark.parametrize("name", FLOORS)
def test_a_wrong_colour_order_would_be_noticed(
    name: str, taggers: dict[str, Tagger], fresh: list[Picture]
) -> None:
    """The floor above is no use if a broken preprocessing reached it too."""
    tagger = taggers[name]
    assert (
        measure(broken(tagger, swapped(tagger.contract.input)), fresh, clean=True).macro_ap
        < (FLOORS[name])
    )


def swapped(contract: Input) -> Input:
    return contract.model_copy(update={"colour": "RGB" if contract.colour == "BGR" else "BGR"})


def broken(tagger: Tagger, contract: Input) -> Tagger:
    return replace(tagger, contract=tagger.contract.model_copy(update={"input": contract}))


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_the_vocabulary_is_the_recipes(recipe: Recipe, taggers: dict[str, Tagger]) -> None:
    """Aliases applied: the outdated name of the ResNet's file is not seen."""
    assert taggers[recipe.name].vocabulary == recipe.vocabulary


def test_vocabularies_differ_but_together_hold_every_tag() -> None:
    lacks = [recipe.lacks for recipe in RECIPES]
    assert all(8 <= len(tags) <= 15 for tags in lacks)
    assert not reduce(frozenset.intersection, lacks)
    assert frozenset().union(*lacks) <= set(VOCABULARY.tags)


def test_contracts_differ(taggers: dict[str, Tagger]) -> None:
    inputs = [tagger.contract.input for tagger in taggers.values()]
    assert len({contract.height_width for contract in inputs}) == 3
    assert len({contract.geometry for contract in inputs}) == 3
    assert {contract.layout for contract in inputs} == {"NHWC", "NCHW"}
    assert {tagger.contract.output.kind for tagger in taggers.values()} == {
        "probabilities", "logits",
    }  # fmt: skip


def test_the_models_are_small_and_whole() -> None:
    models = [FOLDER / recipe.name / "model.onnx" for recipe in RECIPES]
    assert sum(path.stat().st_size for path in models) < 8_000_000
    for path in models:
        model = onnx.load(path, load_external_data=False)
        onnx.checker.check_model(model)
        assert not any(part.external_data for part in model.graph.initializer)
        assert model.opset_import[0].version >= 17


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_the_record_beside_a_model_is_its_recipe(recipe: Recipe) -> None:
    record = json.loads((FOLDER / recipe.name / RECORD_FILE).read_text())
    assert record["seed"] == recipe.seed >= FIRST_RESERVED_SEED
    assert record["n_images"] == recipe.n_images
    assert record["epochs"] == recipe.epochs
    assert record["lacks"] == sorted(recipe.lacks)
    assert record["loss"] == recipe.loss


@pytest.mark.parametrize("name", FLOORS)
def test_an_images_logits_do_not_depend_on_its_batch(
    name: str, taggers: dict[str, Tagger], rng: np.random.Generator
) -> None:
    tagger = taggers[name]
    shape = (5, tagger.framing.height, tagger.framing.width, 3)
    pixels = rng.integers(0, 256, shape, dtype=np.uint8)
    together = tagger.logits(pixels)
    alone = np.concatenate([tagger.logits(pixels[i : i + 1]) for i in range(5)])
    assert np.array_equal(together, alone)


def test_best_thresholds_match_a_search_by_hand(rng: np.random.Generator) -> None:
    labels = rng.random((200, 4)) < 0.3
    proba = np.clip(labels * 0.4 + rng.random((200, 4)) * 0.6, 0, 1).astype(np.float32)

    def f1(tag: int, threshold: np.float32) -> float:
        tagged = proba[:, tag] >= threshold
        hits = int((tagged & labels[:, tag]).sum())
        return 2 * hits / int(tagged.sum() + labels[:, tag].sum())

    grid = [np.float32(step) / np.float32(100) for step in range(5, 96)]
    for tag, found in enumerate(best_thresholds(proba, labels)):
        assert f1(tag, found) == max(f1(tag, threshold) for threshold in grid)


def test_a_folder_without_the_models_says_which_file_is_missing(tmp_path: Path) -> None:
    from tagstack.configs.errors import TagstackError

    with pytest.raises(TagstackError, match=r"tagger\.toml"):
        shipped_taggers(tmp_path)
