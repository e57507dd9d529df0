"""The training loop: augmentation, losses, one-cycle schedule, averaged weights.

Needs the extra ``train``; nothing but the training script imports this module.
"""

import copy
import logging
import math
import time
from collections.abc import Callable, Iterator

import numpy as np
import torch
from augmentation import augmented
from networks import ConvNext, ResNet, VisionTransformer
from numpy.typing import NDArray
from recipes import Recipe
from torch import Tensor, nn
from torch.nn import functional
from training_data import DrawnSet

from tagstack.base_models.contract import Input
from tagstack.base_models.pictures.preprocess import input_tensor

logger = logging.getLogger(__name__)

ARCHITECTURES: dict[str, Callable[[int], nn.Module]] = {
    "resnet": ResNet,
    "convnext": ConvNext,
    "vit": VisionTransformer,
}
AVERAGE_DECAY = 0.997
WARM_UP = 0.12
REPORTED_STEPS = 100


def train_network(recipe: Recipe, contract: Input, data: DrawnSet) -> nn.Module:
    """Return the network with averaged weights after the recipe's epochs, in evaluation mode."""
    torch.manual_seed(recipe.seed)
    network = ARCHITECTURES[recipe.architecture](data.noisy.shape[1])
    # Most tags are rare: starting there saves the first hundred steps.
    nn.init.constant_(network.head.bias, -2.0)
    network = network.to(memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(_groups(network, recipe), lr=recipe.learning_rate)
    n_steps = recipe.epochs * (len(data.pixels) // recipe.batch_images)
    average, began = copy.deepcopy(network), time.perf_counter()
    for step, (images, labels) in enumerate(_batches(recipe, contract, data)):
        for group in optimiser.param_groups:
            group["lr"] = recipe.learning_rate * one_cycle(step / n_steps)
        # bfloat16 halves the time on the processors that have it; nothing is lost elsewhere.
        with torch.autocast("cpu", torch.bfloat16):
            logits = network(images)
        loss = LOSSES[recipe.loss](logits.float(), labels)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        _update(average, network, min(AVERAGE_DECAY, (step + 1) / (step + 10)))
        if step % REPORTED_STEPS == 0:
            seconds = time.perf_counter() - began
            logger.info("%s %d/%d %.4f %.0f s", recipe.name, step, n_steps, loss.item(), seconds)
    return average.eval()


def one_cycle(progress: float) -> float:
    """Return the share of the peak learning rate at ``progress`` in [0, 1]: up, then a cosine."""
    if progress < WARM_UP:
        return progress / WARM_UP
    return 0.5 * (1 + math.cos(math.pi * (progress - WARM_UP) / (1 - WARM_UP)))


def binary_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the mean binary cross-entropy."""
    return functional.binary_cross_entropy_with_logits(logits, labels)


def focal_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the focal loss with gamma 2, scaled to a size like cross-entropy (Lin et al. 2017)."""
    error = (labels - logits.sigmoid()).abs()
    plain = functional.binary_cross_entropy_with_logits(logits, labels, reduction="none")
    return 4 * (error**2 * plain).mean()


def asymmetric_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the asymmetric loss: negatives matter less, easy ones not at all.

    References
    ----------
    Ridnik et al. (2021), "Asymmetric loss for multi-label classification"; here gamma- 2,
    gamma+ 0 and a probability margin of 0.03.
    """
    proba = logits.sigmoid()
    shifted = (proba - 0.03).clamp(min=0)
    positive = labels * functional.logsigmoid(logits)
    negative = (1 - labels) * shifted**2 * torch.log1p(-shifted.clamp(max=1 - 1e-6))
    return -(positive + negative).mean()


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "bce": binary_loss,
    "focal": focal_loss,
    "asymmetric": asymmetric_loss,
}


@torch.inference_mode()  # type: ignore[untyped-decorator]
def network_proba(
    network: nn.Module, contract: Input, pixels: NDArray[np.uint8]
) -> NDArray[np.float32]:
    """Return the network's probabilities, shape (n_images, n_tags), float32."""
    parts = [
        network(_as_input(pixels[start : start + 64], contract)).sigmoid().numpy()
        for start in range(0, len(pixels), 64)
    ]
    return np.concatenate(parts).astype(np.float32)


def _as_input(pixels: NDArray[np.uint8], contract: Input) -> Tensor:
    """Return what the network itself sees: NCHW, and 0-255 already scaled to -1..1.

    An exported 0-255 model holds that scaling in its graph.
    """
    values = torch.from_numpy(input_tensor(pixels, contract))
    if contract.layout == "NHWC":
        values = values.permute(0, 3, 1, 2)
    values = values / 127.5 - 1 if contract.range == "0-255" else values
    return values.contiguous(memory_format=torch.channels_last)


def _batches(recipe: Recipe, contract: Input, data: DrawnSet) -> Iterator[tuple[Tensor, Tensor]]:
    rng = np.random.default_rng([recipe.seed, 1])
    labels = data.noisy.astype(np.float32)
    for _ in range(recipe.epochs):
        order = rng.permutation(len(data.pixels))
        for start in range(0, len(order) - recipe.batch_images + 1, recipe.batch_images):
            chosen = order[start : start + recipe.batch_images]
            pixels = augmented(data.pixels[chosen], recipe, rng)
            yield _as_input(pixels, contract), torch.from_numpy(labels[chosen])


def _groups(network: nn.Module, recipe: Recipe) -> list[dict[str, object]]:
    parameters = list(network.parameters())
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]


@torch.no_grad()  # type: ignore[untyped-decorator]
def _update(average: nn.Module, network: nn.Module, decay: float) -> None:
    for kept, new in zip(average.parameters(), network.parameters(), strict=True):
        kept.lerp_(new, 1 - decay)
    for kept, new in zip(average.buffers(), network.buffers(), strict=True):
        kept.copy_(new)
