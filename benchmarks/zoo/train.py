"""Trains the three taggers of the demonstration: ``python benchmarks/zoo/train.py --out FOLDER``.

Needs the extras ``train`` and ``cpu``. On one core it takes about a quarter of an hour a tagger;
run again after an interruption, it goes on where it was.
"""

import argparse
import dataclasses
import json
import logging
import time
from pathlib import Path

import torch
from export import export_tagger
from recipes import FOLDER, RECIPES, RECORD_FILE, VALIDATION_SEED, Recipe
from training import train_network
from training_data import drawn_set

from tagstack.base_models.atomic import write_text
from tagstack.base_models.contract import CONTRACT_FILE, read_contract
from tagstack.base_models.training.checkpoint import CHECKPOINT_FILE
from tagstack.base_models.training.steps import network_proba
from tagstack.base_models.training.thresholds import best_thresholds

VALIDATION_IMAGES = 3000

logger = logging.getLogger(__name__)


def main() -> None:
    """Train the taggers named on the command line, all by default."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for the taggers' folders")
    parser.add_argument("--only", choices=[recipe.name for recipe in RECIPES], action="append")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--images", type=int, help="training images, for a trial run")
    parser.add_argument("--epochs", type=int, help="epochs, for a trial run")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(arguments.threads)
    for recipe in RECIPES:
        if arguments.only is None or recipe.name in arguments.only:
            train_tagger(_shortened(recipe, arguments), arguments.out / recipe.name)


def train_tagger(recipe: Recipe, folder: Path) -> None:
    """Train one tagger and write its folder, with a record of the training beside the model."""
    began = time.perf_counter()
    contract = read_contract(FOLDER / recipe.name / CONTRACT_FILE)
    vocabulary = recipe.vocabulary
    data = drawn_set(contract.input, vocabulary, n_images=recipe.n_images, seed=recipe.seed)
    held_out = drawn_set(
        contract.input, vocabulary, n_images=VALIDATION_IMAGES, seed=VALIDATION_SEED
    )
    drawn = time.perf_counter()
    folder.mkdir(parents=True, exist_ok=True)
    network = train_network(recipe, contract.input, data, held_out, folder)
    trained = time.perf_counter()
    proba = network_proba(network, contract.input, held_out.pixels)
    thresholds = best_thresholds(proba, held_out.noisy)
    counts = data.noisy.sum(0)
    export_tagger(folder, recipe, contract, network, thresholds, counts)
    record = {
        **dataclasses.asdict(recipe),
        "lacks": sorted(recipe.lacks),
        "n_parameters": sum(part.numel() for part in network.parameters()),
        "steps": recipe.epochs * (recipe.n_images // recipe.batch_images),
        "drawing_s": round(drawn - began),
        "training_s": round(trained - drawn),
        "torch": torch.__version__,
    }
    write_text(folder / RECORD_FILE, json.dumps(record, indent=1) + "\n")
    (folder / CHECKPOINT_FILE).unlink()
    logger.info("%s: %.0f s", recipe.name, time.perf_counter() - began)


def _shortened(recipe: Recipe, arguments: argparse.Namespace) -> Recipe:
    return dataclasses.replace(
        recipe,
        n_images=arguments.images or recipe.n_images,
        epochs=arguments.epochs or recipe.epochs,
    )


if __name__ == "__main__":
    main()
