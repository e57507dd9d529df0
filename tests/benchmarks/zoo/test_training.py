"""The training code, where its extra is installed; CI has no torch and skips this file."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from recipes import FOLDER, RECIPES, Recipe
from training_data import DrawnSet, drawn_set

from tagstack.base_models.contract import CONTRACT_FILE, Contract, read_contract
from tagstack.base_models.taggers.tagger import load_tagger

torch = pytest.importorskip("torch", reason="torch is only in the extra `train`")
pytest.importorskip("onnxscript", reason="onnxscript is only in the extra `train`")

# Torch's own exporter uses functions that it deprecates itself.
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")

NAMES = [recipe.name for recipe in RECIPES]


def contract_of(recipe: Recipe) -> Contract:
    return read_contract(FOLDER / recipe.name / CONTRACT_FILE)


def small_set(recipe: Recipe, n_images: int = 128) -> DrawnSet:
    return drawn_set(contract_of(recipe).input, recipe.vocabulary, n_images=n_images, seed=1)


def test_a_drawn_set_holds_pictures_and_both_kinds_of_labels() -> None:
    data = small_set(RECIPES[0], 40)
    assert data.pixels.shape == (40, 80, 80, 3)
    assert data.noisy.shape == data.clean.shape == (40, len(RECIPES[0].vocabulary))
    assert data.noisy.sum() < data.clean.sum()


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES, ids=NAMES)
def test_training_lowers_the_loss(recipe: Recipe, tmp_path: Path) -> None:
    from training import train_network

    from tagstack.base_models.training.losses import mean_loss
    from tagstack.base_models.training.steps import network_proba

    data = small_set(recipe, 64)
    contract = contract_of(recipe).input
    losses = []
    for epochs in (1, 40):
        short = replace(recipe, epochs=epochs, batch_images=32)
        folder = tmp_path / str(epochs)
        folder.mkdir()
        network = train_network(short, contract, data, data, folder)
        proba = torch.from_numpy(network_proba(network, contract, data.pixels))
        labels = torch.from_numpy(data.noisy.astype(np.float32))
        losses.append(mean_loss(recipe.loss, torch.logit(proba, 1e-6), labels).item())
    assert losses[1] < 0.9 * losses[0]


@pytest.mark.parametrize("recipe", RECIPES, ids=NAMES)
def test_an_exported_tagger_gives_the_networks_probabilities(
    recipe: Recipe, tmp_path: Path
) -> None:
    from export import export_tagger

    from tagstack.base_models.training.networks import BUILT_IN
    from tagstack.base_models.training.steps import network_proba

    torch.manual_seed(0)
    contract, n_tags = contract_of(recipe), len(recipe.vocabulary)
    network = BUILT_IN[recipe.architecture](n_tags).eval()
    thresholds = np.full(n_tags, 0.25, np.float32)
    counts = np.arange(n_tags, dtype=np.int64)
    export_tagger(tmp_path, recipe, contract, network, thresholds, counts)
    tagger = load_tagger(tmp_path, floor=1e-4, threads=1)
    assert tagger.vocabulary == recipe.vocabulary
    pixels = small_set(recipe, 8).pixels
    expected = network_proba(network, contract.input, pixels)
    assert 1 / (1 + np.exp(-tagger.logits(pixels))) == pytest.approx(expected, abs=2e-5)
    if recipe.architecture == "vit":
        assert tagger.published_thresholds == pytest.approx(thresholds)


@pytest.mark.parametrize("loss", ["bce", "focal", "asymmetric"])
def test_losses_match_their_formulas(loss: str, rng: np.random.Generator) -> None:
    from tagstack.base_models.training.losses import mean_loss

    logits = rng.normal(0, 2, (6, 5))
    labels = (rng.random((6, 5)) < 0.4).astype(float)
    proba = 1 / (1 + np.exp(-logits))
    shifted = np.maximum(proba - 0.03, 0)
    plain = -(labels * np.log(proba) + (1 - labels) * np.log(1 - proba))
    expected = {
        "bce": plain,
        "focal": 4 * np.abs(labels - proba) ** 2 * plain,
        "asymmetric": -(labels * np.log(proba) + (1 - labels) * shifted**2 * np.log(1 - shifted)),
    }[loss].mean()
    found = mean_loss(loss, torch.from_numpy(logits), torch.from_numpy(labels)).item()
    assert found == pytest.approx(expected, rel=1e-9)


def test_the_learning_rate_rises_and_falls_once() -> None:
    from tagstack.base_models.training.schedule import one_cycle

    rates = np.array([one_cycle(step / 1000) for step in range(1001)])
    top = rates.argmax()
    assert rates[top] == pytest.approx(1, abs=0.01)
    assert (np.diff(rates[: top + 1]) > 0).all()
    assert (np.diff(rates[top:]) < 0).all()
    assert rates[-1] == pytest.approx(0, abs=1e-6)
