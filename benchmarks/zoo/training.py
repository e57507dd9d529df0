"""Trains one of the demonstration's networks on drawn pictures, with the package's own trainer.

What `tagstack train` does with pictures from files is done here with drawn ones: the same loop,
the same choice of the best epoch, the same way to go on after a kill. Needs the extra ``train``.
"""

import logging
from pathlib import Path

import numpy as np
from recipes import Recipe
from scipy import sparse
from torch import nn
from training_data import DrawnSet

from tagstack.base_models.contract import Input
from tagstack.base_models.training.architectures import network_of
from tagstack.base_models.training.export import digest_of
from tagstack.base_models.training.loop import Material, Training
from tagstack.base_models.training.starts import Start
from tagstack.configs.settings import load_settings
from tagstack.configs.training import TrainSettings
from tagstack.ensemble.training.run import macro_average_precision

logger = logging.getLogger(__name__)

REPORTED_STEPS = 100
_SHARED = (
    "loss", "epochs", "batch_images", "learning_rate", "weight_decay",
    "mirrored", "shift", "colour_jitter", "grey_share", "erased_share",
)  # fmt: skip


def train_network(
    recipe: Recipe, contract: Input, data: DrawnSet, held_out: DrawnSet, folder: Path
) -> nn.Module:
    """Return the network with the averaged weights of its best epoch, in evaluation mode.

    Parameters
    ----------
    recipe : Recipe
    contract : Input
    data, held_out : DrawnSet
        Pictures to learn from, and those that say which epoch was the best.
    folder : Path
        Of the checkpoint; a training that was ended goes on from there.
    """
    size = contract.height_width[0]
    start = Start(architecture=recipe.architecture)
    network = network_of(start, recipe.vocabulary.tags, size, recipe.seed)
    settings = settings_of(recipe)
    run = Training(
        network, _material(data, held_out), settings, contract, seed=recipe.seed, device="cpu"
    )
    digest = digest_of(recipe, contract.model_dump(), len(data.pixels), len(held_out.pixels))

    def told(text: str, step: int, n_steps: int) -> None:
        if step % REPORTED_STEPS == 0:
            logger.info("%s: %s, step %d of %d", recipe.name, text, step, n_steps)

    position = run.run(folder, digest, macro_average_precision, told)
    logger.info("%s: macro-AP after each epoch %s", recipe.name, np.round(position.scores, 3))
    return run.best.eval()


def settings_of(recipe: Recipe) -> TrainSettings:
    """Return the defaults of `tagstack train` with what a recipe says; all epochs are run."""
    own = {name: getattr(recipe, name) for name in _SHARED}
    return load_settings(changes={"train": {**own, "patience": 0}}).train


def _material(data: DrawnSet, held_out: DrawnSet) -> Material:
    labels = sparse.csr_array(np.concatenate([data.noisy, held_out.noisy]))
    n_training, n_images = len(data.pixels), labels.shape[0]
    return Material(
        pixels=np.concatenate([data.pixels, held_out.pixels]),
        labels=labels,
        unknown=sparse.csr_array(labels.shape, dtype=bool),
        training=np.arange(n_training),
        left_out=np.arange(n_training, n_images),
    )
