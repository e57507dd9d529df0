"""Features as columns of one scale, on a grid that makes sums of products exact.

A picture's score must not depend on the pictures that come with it, and a product of matrices
does: in the last bits, by the number of rows. Here columns and weights are whole multiples of
powers of two, few enough that every sum of products is a whole multiple below 2**53. Float64 holds
those exactly, in whatever order they are added.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]

COLUMN_STEPS = 256.0  # of one standard deviation: half a step is a hundredth of float16's own noise
MOST_DEVIATIONS = 16.0
WEIGHT_BITS = 22
MOST_COLUMNS = 2**17
"""So many columns keep sums below 2**12 * 2**22 * 2**17 = 2**51 steps."""
_LEAST_DEVIATION = 1e-6
_CHUNK = 4096  # images


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Where each feature lies and how far it spreads.

    Parameters
    ----------
    mean, deviation : arrays of shape (n_columns,), float64
        ``deviation`` is above 0.
    """

    mean: Floats
    deviation: Floats

    @classmethod
    def of(cls, features: Sequence[NDArray[np.float16]]) -> "Columns":
        """Return the scale of some images' features, each of shape (n_images, n_features)."""
        mean = np.concatenate([own.mean(axis=0, dtype=np.float64) for own in features])
        spread = np.concatenate([own.std(axis=0, dtype=np.float64) for own in features])
        return cls(mean=mean, deviation=np.maximum(spread, _LEAST_DEVIATION))

    def __len__(self) -> int:
        return len(self.mean)

    def apply(self, features: Sequence[NDArray[np.float16]]) -> Floats:
        """Return the columns of images, shape (n_images, n_columns), on the grid."""
        raw = np.concatenate(features, axis=1, dtype=np.float64)
        steps = np.rint((raw - self.mean) / self.deviation * COLUMN_STEPS)
        most = MOST_DEVIATIONS * COLUMN_STEPS
        return np.asarray(np.clip(steps, -most, most) / COLUMN_STEPS, np.float64)

    def singles(self, features: Sequence[NDArray[np.float16]]) -> NDArray[np.float32]:
        """Return the same as float32, which the grid is exact in too, some images at a time.

        Shape (n_images, n_columns).
        """
        found = np.empty((len(features[0]), len(self)), np.float32)
        for start in range(0, len(found), _CHUNK):
            rows = slice(start, start + _CHUNK)
            found[rows] = self.apply([own[rows] for own in features])
        return found


def weights_on_grid(weights: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return weights as near multiples of a power of two, one for each tag.

    Parameters
    ----------
    weights : array of shape (n_columns, n_tags)
    """
    largest = np.abs(weights).max(axis=0, initial=0.0)
    _, exponent = np.frexp(largest)
    step = np.ldexp(1.0, np.maximum(exponent, -60) - WEIGHT_BITS)
    return np.asarray(np.rint(weights / step) * step, np.float32)
