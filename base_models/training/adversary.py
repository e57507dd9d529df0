"""Training against a column: features from which its value cannot be told.

A second small network guesses the value from the features. Its gradient is reversed before it
reaches the network, which so learns what tells the tags and not the value. How far it pulls is
measured by how far the tags do, batch by batch: their loss is a mean over tags, so that many tags
pull less each, and the guess's is not.

References
----------
Ganin & Lempitsky (2015), "Unsupervised domain adaptation by backpropagation"; the rise of the
reversal over a training is theirs.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

UNKNOWN = -1
_HIDDEN = 128
_STEEPNESS = 10.0
_TINY = 1e-12
_HEAVIEST = 10.0  # a rare value weighs as much as so many average ones at most


@dataclass(frozen=True, kw_only=True)
class Column:
    """What a network must not tell.

    Parameters
    ----------
    values : array of shape (n_images,), int64
        Number of each image's value, `UNKNOWN` where it has none.
    names : tuple of str
        Of the values.
    """

    values: NDArray[np.int64]
    names: tuple[str, ...]

    def weights(self, images: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return how much an image of each value counts: all values as much as each other.

        Shape (n_values,), float32.
        """
        own = self.values[images]
        counts = np.bincount(own[own != UNKNOWN], minlength=len(self.names))
        mean = counts.sum() / max((counts > 0).sum(), 1)
        found: NDArray[np.float32] = np.minimum(mean / np.maximum(counts, 1), _HEAVIEST).astype(
            np.float32
        )
        return found


class Adversary(nn.Module):  # type: ignore[misc]
    """Guesses a column's value from features.

    Parameters
    ----------
    width : int
        Of the features.
    weights : array of shape (n_values,), float32
        Of each value.
    """

    def __init__(self, width: int, weights: NDArray[np.float32]) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(width, _HIDDEN), nn.ReLU(), nn.Linear(_HIDDEN, len(weights))
        )
        self.register_buffer("weights", torch.from_numpy(weights), persistent=False)

    def loss(
        self, features: Tensor, values: Tensor, strength: float, of_tags: Tensor | None = None
    ) -> Tensor:
        """Return how wrong the guesses are; 0 where no value is known.

        Parameters
        ----------
        features : tensor of shape (n_images, width), float32
        values : tensor of shape (n_images,), int64
        strength : float
            How long the reversed gradient is at the features, against that of the tags' loss.
        of_tags : tensor of shape (), float32, optional
            The tags' loss; without it ``strength`` is what the gradient is multiplied with.
        """
        known = values != UNKNOWN
        if not known.any():
            return features.sum() * 0
        if of_tags is not None:
            own = self._wrong(features, values, known)
            strength *= _length(of_tags, features) / max(_length(own, features), _TINY)
        return self._wrong(_Reversed.apply(features, strength), values, known)

    def _wrong(self, features: Tensor, values: Tensor, known: Tensor) -> Tensor:
        guess = self.layers(features[known])
        return functional.cross_entropy(guess, values[known], self.weights)


def _length(loss: Tensor, features: Tensor) -> float:
    """Return the length of a loss's gradient at the features."""
    (gradient,) = torch.autograd.grad(loss, features, retain_graph=True)
    return float(gradient.norm())


class _Reversed(torch.autograd.Function):  # type: ignore[misc]
    """The identity, whose gradient is turned round."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, strength: float) -> Tensor:
        ctx.strength = strength
        return features.view_as(features)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return -ctx.strength * gradient, None


def strength_at(progress: float, most: float) -> float:
    """Return the strength of the reversal at ``progress`` in [0, 1]: 0 to ``most``."""
    return most * (2 / (1 + math.exp(-_STEEPNESS * progress)) - 1)
