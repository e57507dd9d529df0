"""Trains one of the demonstration's networks on drawn pictures, with the package's own trainer.

Needs the extra ``train``; nothing but the training script imports this module.
"""

import copy
import logging
import time
from collections.abc import Iterator

import numpy as np
import torch
from recipes import Recipe
from torch import Tensor, nn
from training_data import DrawnSet

from tagstack.base_models.contract import Input
from tagstack.base_models.training.augmentation import augmented
from tagstack.base_models.training.losses import mean_loss
from tagstack.base_models.training.networks import BUILT_IN
from tagstack.base_models.training.schedule import decay_at, one_cycle
from tagstack.base_models.training.steps import (
    average_in,
    mixed,
    network_input,
    parameter_groups,
    stepped,
)

logger = logging.getLogger(__name__)

REPORTED_STEPS = 100


def train_network(recipe: Recipe, contract: Input, data: DrawnSet) -> nn.Module:
    """Return the network with averaged weights after the recipe's epochs, in evaluation mode."""
    torch.manual_seed(recipe.seed)
    network = BUILT_IN[recipe.architecture](data.noisy.shape[1])
    # Most tags are rare: starting there saves the first hundred steps.
    nn.init.constant_(network.head.bias, -2.0)
    network = network.to(memory_format=torch.channels_last)
    groups = parameter_groups(network, recipe.weight_decay)
    optimiser = torch.optim.AdamW(groups, lr=recipe.learning_rate)
    n_steps = recipe.epochs * (len(data.pixels) // recipe.batch_images)
    average, began = copy.deepcopy(network), time.perf_counter()
    for step, (images, labels) in enumerate(_batches(recipe, contract, data)):
        with mixed("cpu"):
            logits = network(images)
        loss = mean_loss(recipe.loss, logits.float(), labels)
        value = stepped(network, optimiser, loss, recipe.learning_rate * one_cycle(step / n_steps))
        average_in(average, network, decay_at(step))
        if step % REPORTED_STEPS == 0:
            seconds = time.perf_counter() - began
            logger.info("%s %d/%d %.4f %.0f s", recipe.name, step, n_steps, value, seconds)
    return average.eval()


def _batches(recipe: Recipe, contract: Input, data: DrawnSet) -> Iterator[tuple[Tensor, Tensor]]:
    rng = np.random.default_rng([recipe.seed, 1])
    labels = data.noisy.astype(np.float32)
    for _ in range(recipe.epochs):
        order = rng.permutation(len(data.pixels))
        for start in range(0, len(order) - recipe.batch_images + 1, recipe.batch_images):
            chosen = order[start : start + recipe.batch_images]
            pixels = augmented(data.pixels[chosen], recipe, rng)
            yield network_input(pixels, contract), torch.from_numpy(labels[chosen])
