"""Losses over pairs of image and tag; what is unknown counts nowhere."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional


def binary_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the binary cross-entropy of each pair, of the shape of ``logits``."""
    return functional.binary_cross_entropy_with_logits(logits, labels, reduction="none")


def focal_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the focal loss with gamma 2, scaled to a size like cross-entropy (Lin et al. 2017)."""
    return 4 * (labels - logits.sigmoid()).abs() ** 2 * binary_loss(logits, labels)


def asymmetric_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the asymmetric loss: negatives matter less, easy ones not at all.

    References
    ----------
    Ridnik et al. (2021), "Asymmetric loss for multi-label classification"; here gamma- 2,
    gamma+ 0 and a probability margin of 0.03.
    """
    shifted = (logits.sigmoid() - 0.03).clamp(min=0)
    positive = labels * functional.logsigmoid(logits)
    negative = (1 - labels) * shifted**2 * torch.log1p(-shifted.clamp(max=1 - 1e-6))
    return -(positive + negative)


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "bce": binary_loss,
    "focal": focal_loss,
    "asymmetric": asymmetric_loss,
}


def mean_loss(name: str, logits: Tensor, labels: Tensor, known: Tensor | None = None) -> Tensor:
    """Return the mean of a loss over all pairs, or over those that are known.

    Parameters
    ----------
    name : str
        ``"bce"``, ``"focal"`` or ``"asymmetric"``.
    logits, labels : tensor of shape (n_images, n_tags), float32
        Labels are 0 or 1.
    known : tensor of shape (n_images, n_tags), float32, optional
        0 where nobody knows whether the tag holds, else 1.
    """
    loss = LOSSES[name](logits, labels)
    if known is None:
        return loss.mean()
    return (loss * known).sum() / known.sum().clamp(min=1)
